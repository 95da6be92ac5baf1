/** Counters of all services at one moment, and how to read them. Pure. */
import type { BlockSnapshot } from '@grantline/machine';
import type { CounterKind } from '@grantline/observe';

export type ServiceName = 'hypervisor' | 'driver-domain' | 'nic' | `guest${number}`;

export interface ServiceSnapshot {
  name: ServiceName;
  kind: 'hypervisor' | 'driver-domain' | 'nic' | 'guest';
  domid: number;
  /** Monotonic nanoseconds at which the service read its counters. */
  atNs: number;
  processCpuNs: number;
  dataThreadCpuNs: number;
  rssBytes: number;
  blocks: BlockSnapshot[];
}

export type Snapshot = readonly ServiceSnapshot[];

/** Blocks by what they count: the `kind` that services give them. */
export type BlockKind = CounterKind | 'latency';

/** Which services are meant. */
export type Where = (s: ServiceSnapshot) => boolean;

export const everywhere: Where = () => true;
export const inGuests: Where = (s) => s.kind === 'guest';
export const inDriverDomain: Where = (s) => s.kind === 'driver-domain';
export const inNic: Where = (s) => s.kind === 'nic';
export const inHypervisor: Where = (s) => s.kind === 'hypervisor';

/** Kinds are compared without regard to case and punctuation, so that `nic-queue` and `nicQueue` are one. */
const plain = (kind: string): string => kind.toLowerCase().replace(/[^a-z]/g, '');

/** All blocks of a kind. */
export function blocksOf(snap: Snapshot, kind: BlockKind, where: Where = everywhere): BlockSnapshot[] {
  const wanted = plain(kind);
  return snap.filter(where).flatMap((s) => s.blocks.filter((b) => plain(b.kind) === wanted));
}

/** A counter, added up over all blocks of a kind. A counter that is not there is 0. */
export function sum(snap: Snapshot, kind: BlockKind, counter: string, where: Where = everywhere): number {
  return blocksOf(snap, kind, where).reduce((n, b) => n + (b.values[counter] ?? 0), 0);
}

/** How much a counter grew from a to b. */
export function grew(a: Snapshot, b: Snapshot, kind: BlockKind, counter: string, where: Where = everywhere): number {
  return sum(b, kind, counter, where) - sum(a, kind, counter, where);
}

/** The service of that name, or undefined. */
export function serviceIn(snap: Snapshot, name: ServiceName): ServiceSnapshot | undefined {
  return snap.find((s) => s.name === name);
}

/** Services that are in both. */
export const pairs = (a: Snapshot, b: Snapshot): { before: ServiceSnapshot; after: ServiceSnapshot }[] =>
  b.flatMap((after) => {
    const before = serviceIn(a, after.name);
    return before ? [{ before, after }] : [];
  });

/** CPU time over elapsed time of each process. */
export const cpuShares = (a: Snapshot, b: Snapshot): Record<string, number> =>
  Object.fromEntries(
    pairs(a, b).map(({ before, after }) => [
      after.name,
      (after.processCpuNs - before.processCpuNs) / (after.atNs - before.atNs),
    ]),
  );

/** Seconds between two snapshots of a service, by its own clock. */
export function secondsBetween(a: ServiceSnapshot, b: ServiceSnapshot): number {
  return (b.atNs - a.atNs) / 1e9;
}

/** Events per second of a counter: each service's growth over that service's own time, added up. */
export function rate(a: Snapshot, b: Snapshot, kind: BlockKind, counter: string, where: Where = everywhere): number {
  return pairs(a, b)
    .filter(({ after }) => where(after))
    .reduce((n, { before, after }) => {
      const seconds = secondsBetween(before, after);
      return seconds > 0 ? n + grew([before], [after], kind, counter) / seconds : n;
    }, 0);
}
