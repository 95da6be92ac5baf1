/** How a counter is declared: once, with all that is said of it. Its place gives its slot, its name the word for it in a label
 *  (dropNoPort: `no_port`) and in C.dropNoPort, its entry what Prometheus shows of it - or why not - and whether it counts drops.
 *  Whoever shows, captures or balances counters asks the declaration, and keeps no list of its own.
 *
 *  Units: frames, bytes or operations; time in nanoseconds, in counters whose names end in Ns and in those of CPU time. */
import type { CounterFamily, Labels } from './families.js';

/** A series that a counter adds to. */
export interface Series {
  readonly family: CounterFamily;
  readonly labels: Labels;
  /** From the counter's unit to the metric's. */
  readonly scale: number;
}

/** Why a frame, packet or request went no further: in words of grantline_dropped_frames_total. */
export interface Drop {
  readonly component: string;
  readonly reason: string;
  /** Why it stands in no equation of conservation; null: it does (load/src/runner). */
  readonly outside: string | null;
}

export interface Counter {
  /** None when it is hidden. */
  readonly series: readonly Series[];
  /** Why; null: it is shown. */
  readonly hidden: string | null;
  /** null: it counts no drops. */
  readonly drop: Drop | null;
}

/** The label of its blocks by which the series of a kind are told apart. */
export type By = 'vif' | 'queue' | 'hop' | 'domain' | 'direction' | 'device';

/** What is said of a counter, before it is known which. */
export type Entry = (name: string, kind: string) => Counter;

/** What a block is made of: counter-file.ts. */
export interface Layout {
  readonly kind: string;
  /** In the order of the slots. */
  readonly names: readonly string[];
}

/** The counters of a kind of block. */
export interface Declared extends Layout {
  readonly counters: Readonly<Record<string, Counter>>;
  /** null: those of all its blocks add up. */
  readonly by: By | null;
  /** Those that count drops. */
  readonly drops: readonly string[];
}

/** As Declared, with their names: T has a property for each. */
export interface Counters<K extends string, T extends Declared['counters']> extends Declared {
  readonly kind: K;
  readonly names: readonly (keyof T & string)[];
  readonly counters: T;
  readonly drops: readonly (keyof T & string)[];
}

/** An entry for each counter, by its name. */
type Entries = Readonly<Record<string, Entry>>;
type Made<E> = { readonly [N in keyof E]: Counter };

/** Declares the counters of a kind of block, in the order of their slots. */
export function counters<const K extends string, E extends Entries>(kind: K, entries: E): Counters<K, Made<E>>;
export function counters<const K extends string, E extends Entries>(kind: K, by: By, entries: E): Counters<K, Made<E>>;
export function counters(kind: string, ...[first, second]: [Entries] | [By, Entries]): Declared {
  const [by, entries] = typeof first === 'string' ? [first, second] : [null, first];
  const names = Object.keys(entries);
  const made = Object.fromEntries(names.map((name) => [name, entries[name](name, kind)]));
  return { kind, by, names, counters: made, drops: names.filter((name) => made[name].drop !== null) };
}

/** Adds to that series. */
export const shown =
  (family: CounterFamily, labels: Labels = {}): Entry =>
  () =>
    counter(family, labels);

/** As `shown`, under the counter's own name. */
export const named =
  (family: CounterFamily, label: 'op' | 'reason' | 'component'): Entry =>
  (name) =>
    counter(family, { [label]: wordOf(name) });

/** Not shown, because. */
export const hidden =
  (why: string): Entry =>
  () => ({ series: [], hidden: why, drop: null });

/** Counts drops, for the reason that is its name. @param component where they happen: who counts them, if it is not said */
export const dropOf =
  (o: { component?: string; outside?: string }): Entry =>
  (name, kind) => {
    const component = o.component ?? snake(kind.replace(/Tx$/, 'Transmit'));
    const reason = wordOf(name);
    const { series } = counter('grantline_dropped_frames_total', { component, reason });
    return { series, hidden: null, drop: { component, reason, outside: o.outside ?? null } };
  };
export const drop = dropOf({});

/** Adds to the series of both. */
export const both =
  (one: Entry, other: Entry): Entry =>
  (name, kind) => {
    const [a, b] = [one(name, kind), other(name, kind)];
    return { series: [...a.series, ...b.series], hidden: null, drop: a.drop ?? b.drop };
  };

// What several components count.
export const RX = { direction: 'rx' } as const;
export const TX = { direction: 'tx' } as const;
export const sent = (component: string): Entry => shown('grantline_notifications_total', { component });
export const suppressed = (component: string): Entry =>
  shown('grantline_notifications_suppressed_total', { component });
export const contained = (component: string): Entry => shown('grantline_contained_faults_total', { component });
export const copies = (component: string): Entry => shown('grantline_copies_total', { component });
export const copied = (component: string): Entry => shown('grantline_copied_bytes_total', { component });
export const level = hidden('a level, not a count: grantline_pool_grants is read from the pool itself');

/** camelCase to snake_case. */
export const snake = (name: string): string => name.replace(/([a-z0-9])([A-Z])/g, '$1_$2').toLowerCase();

/** The word for a counter in a label. */
const wordOf = (name: string): string => snake(name.replace(/^drop(?=[A-Z])/, ''));

/** Time is counted in nanoseconds and shown in seconds. */
const counter = (family: CounterFamily, labels: Labels): Counter => ({
  series: [{ family, labels, scale: family.includes('_seconds_') ? 1e-9 : 1 }],
  hidden: null,
  drop: null,
});
