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
  const out: BlockSnapshot[] = [];
  for (const s of snap) if (where(s)) for (const b of s.blocks) if (plain(b.kind) === wanted) out.push(b);
  return out;
}

/** A counter, added up over all blocks of a kind. A counter that is not there is 0. */
export function sum(snap: Snapshot, kind: BlockKind, counter: string, where: Where = everywhere): number {
  let n = 0;
  for (const b of blocksOf(snap, kind, where)) n += b.values[counter] ?? 0;
  return n;
}

/** How much a counter grew from a to b. */
export function grew(a: Snapshot, b: Snapshot, kind: BlockKind, counter: string, where: Where = everywhere): number {
  return sum(b, kind, counter, where) - sum(a, kind, counter, where);
}

/** The service of that name, or undefined. */
export function serviceIn(snap: Snapshot, name: ServiceName): ServiceSnapshot | undefined {
  return snap.find((s) => s.name === name);
}

/** Seconds between two snapshots of a service, by its own clock. */
export function secondsBetween(a: ServiceSnapshot, b: ServiceSnapshot): number {
  return (b.atNs - a.atNs) / 1e9;
}

/** Events per second of a counter: each service's growth over that service's own time, added up. */
export function rate(a: Snapshot, b: Snapshot, kind: BlockKind, counter: string, where: Where = everywhere): number {
  let perSecond = 0;
  for (const after of b) {
    if (!where(after)) continue;
    const before = serviceIn(a, after.name);
    if (!before) continue;
    const seconds = secondsBetween(before, after);
    if (seconds > 0) perSecond += grew([before], [after], kind, counter) / seconds;
  }
  return perSecond;
}
