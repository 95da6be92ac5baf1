/** What an equation of conservation is made of. */
import { COUNTERS, type CounterKind, type CounterName } from '@grantline/observe';
import { sum, type Snapshot, type Where } from '../control/snapshot.js';

/** Which way frames go, as a guest sees it; rr: requests to it, and its answers. */
export type Direction = 'rx' | 'tx' | 'guest-to-guest' | 'rr';

export interface Term {
  name: string;
  value: number;
}

export interface Hop {
  name: string;
  in: Term[];
  out: Term[];
}

/** Terms of the counters of a kind, added up over the services that are meant. */
export interface Terms<N extends string> {
  (counter: N): Term;
  /** All reasons to drop that stand in an equation, but for those that stand in another. */
  drops(...but: N[]): Term[];
}

export function terms<K extends CounterKind>(c: Snapshot, kind: K, where: Where): Terms<CounterName<K>> {
  const term = (counter: string): Term => ({ name: `${kind}.${counter}`, value: sum(c, kind, counter, where) });
  const { drops, counters } = COUNTERS.get(kind)!;
  const balanced = drops.filter((name) => counters[name].drop?.outside === null);
  return Object.assign(term, {
    drops: (...but: string[]) => balanced.filter((name) => !but.includes(name)).map(term),
  });
}
