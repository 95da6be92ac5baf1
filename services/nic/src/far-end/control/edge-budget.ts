/** What the edge spends on its clients, of whom it knows nothing: descriptors and memory, in sum and for each.
 *
 *  Memory has no queue: a connection may hold a fixed part of what nobody holds (Choudhury and Hahne's dynamic threshold). The more
 *  connections hold something, the less each may, and there is always some left for one that comes. */
import { readFileSync } from 'node:fs';
import { nowNs } from '@grantline/base';
import { slots } from '@grantline/machine';
import { EDGE_COUNTERS } from '@grantline/observe';

export interface EdgeLimits {
  /** Connections of all doors, of one door, and of one client address. */
  connections: number;
  perDoor: number;
  perAddress: number;
  /** Bytes under way in this process, of all connections: more than that by one connection's smallest share each at most. */
  bytes: number;
  /** A client that takes nothing of what waits for it is let go of after so long. */
  stallMs: number;
  /** A connection on which nothing moves, neither way. */
  idleMs: number;
}

const CONNECTIONS_MAX = 8192;
const PER_DOOR_MAX = 4096;
const PER_ADDRESS_MAX = 3072;

/** The limits of a process that may open so many files. A quarter of them is the service's own. */
export function edgeLimits(descriptors = descriptorLimit()): EdgeLimits {
  const connections = Math.max(1, Math.min(CONNECTIONS_MAX, Math.floor(descriptors * 0.75)));
  return {
    connections,
    perDoor: Math.min(PER_DOOR_MAX, Math.ceil(connections * 0.75)),
    perAddress: Math.min(PER_ADDRESS_MAX, Math.ceil(connections * 0.625)),
    bytes: 48 << 20,
    stallMs: 120_000,
    idleMs: 3_600_000,
  };
}

/** @param text of /proc/self/limits @returns Infinity when there is no limit */
export function descriptorLimit(text = readFileSync('/proc/self/limits', 'latin1')): number {
  const soft = Number(/^Max open files +(\d+)/m.exec(text)?.[1] ?? NaN);
  return Number.isNaN(soft) ? Infinity : soft;
}

/** Largest and smallest share of one connection, bytes; and the part of what is free that one may hold. */
const SHARE_MAX = 1 << 18;
const SHARE_MIN = 1 << 10;
const SHARE_OF_FREE = 64;
/** What has been quiet for less is never ended to make room for a newcomer. */
const QUIET_MS = 5000;
/** Room is made for several at once, so that a flood does not make us look for it again and again. */
const RECLAIM_PART = 16;
const RECLAIM_EVERY_MS = 100;

/** A connection, as far as the budget is concerned with it. */
export interface Spender {
  /** `addressOf` the client. */
  readonly address: string;
  /** Bytes held for it, either way. */
  readonly heldBytes: number;
  /** When something last moved, milliseconds. */
  readonly movedMs: number;
  /** Ends it. It is removed from the budget before this returns. */
  drop(why: 'reclaimed'): void;
}

type Counter = keyof typeof EDGE_COUNTERS.counters;
export type Refusal = 'refusedAll' | 'refusedDoor' | 'refusedAddress';
const C = slots(EDGE_COUNTERS);

export class EdgeBudget {
  readonly limits: EdgeLimits;
  private readonly counters: { v: Float64Array; commit(): void };
  private readonly spenders = new Set<Spender>();
  private readonly byAddress = new Map<string, number>();
  private readonly clock: () => number;
  private used = 0;
  private reclaimedMs = -Infinity;

  /** @param counters named as EDGE_COUNTERS @param clock milliseconds */
  constructor(limits: EdgeLimits, counters: EdgeBudget['counters'], clock = (): number => nowNs() / 1e6) {
    this.limits = limits;
    this.counters = counters;
    this.clock = clock;
  }

  get connections(): number {
    return this.spenders.size;
  }
  /** Bytes that all hold. */
  get bytes(): number {
    return this.used;
  }
  get nowMs(): number {
    return this.clock();
  }

  count(what: Counter): void {
    this.counters.v[C[what]]++;
    this.counters.commit();
  }

  /** May one more be taken? Where it is full, those that have been quiet for longest make room.
   *  @param door those of the same door @returns null: it may; else why not, which is counted */
  refuses(address: string, door: ReadonlySet<Spender>): Refusal | null {
    const { connections, perDoor, perAddress } = this.limits;
    const full = (): { why: Refusal; among: Iterable<Spender> } | null => {
      if (this.spenders.size >= connections) return { why: 'refusedAll', among: this.spenders };
      if (door.size >= perDoor) return { why: 'refusedDoor', among: door };
      if ((this.byAddress.get(address) ?? 0) >= perAddress) return { why: 'refusedAddress', among: this.of(address) };
      return null;
    };
    // What makes room in one place may leave another full.
    for (let found = full(); found !== null; found = full()) {
      if (this.makeRoom(found.among)) continue;
      this.count(found.why);
      return found.why;
    }
    return null;
  }

  add(spender: Spender): void {
    this.spenders.add(spender);
    this.byAddress.set(spender.address, (this.byAddress.get(spender.address) ?? 0) + 1);
    this.count('opened');
  }

  /** It is over, and holds nothing any more. */
  remove(spender: Spender): void {
    if (!this.spenders.delete(spender)) return;
    const left = (this.byAddress.get(spender.address) ?? 1) - 1;
    if (left > 0) this.byAddress.set(spender.address, left);
    else this.byAddress.delete(spender.address);
  }

  /** Bytes that one connection may hold as things are. */
  share(): number {
    const free = this.limits.bytes - this.used;
    return Math.max(SHARE_MIN, Math.min(SHARE_MAX, Math.floor(free / SHARE_OF_FREE)));
  }

  /** Somebody holds more bytes than before, or fewer. */
  hold(bytes: number): void {
    this.used += bytes;
  }

  /** What clients send is in memory before we know of it: above the limit, those who hold something and have been quiet for longest
   *  are ended. Not to be called from within the stack. */
  keepWithin(): void {
    const { bytes } = this.limits;
    if (this.used <= bytes + this.spenders.size * SHARE_MIN) return;
    for (const spender of quietest(this.spenders, Infinity)) {
      if (this.used <= bytes * (1 - 1 / RECLAIM_PART)) break;
      if (spender.heldBytes > 0) this.reclaim(spender);
    }
  }

  /** @returns false when all have been busy */
  private makeRoom(among: Iterable<Spender>): boolean {
    const now = this.clock();
    if (now - this.reclaimedMs < RECLAIM_EVERY_MS) return false;
    this.reclaimedMs = now;
    const found = quietest(among, now - QUIET_MS);
    const some = found.slice(0, Math.ceil(found.length / RECLAIM_PART));
    for (const spender of some) this.reclaim(spender);
    return some.length > 0;
  }

  private reclaim(spender: Spender): void {
    this.count('reclaimed');
    spender.drop('reclaimed');
  }

  private *of(address: string): Generator<Spender> {
    for (const spender of this.spenders) if (spender.address === address) yield spender;
  }
}

/** Those that have not moved since then, the quietest first. */
function quietest(among: Iterable<Spender>, sinceMs: number): Spender[] {
  return [...among].filter((s) => s.movedMs <= sinceMs).sort((a, b) => a.movedMs - b.movedMs);
}

/** Whom a client is counted as: its IPv4 address, also where it came through an IPv6 socket, or its IPv6 network of 64 bits, of
 *  which one host has all addresses that it likes. */
export function addressOf(remote: string): string {
  const [, v4] = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(remote) ?? [];
  if (v4 !== undefined) return v4;
  if (!remote.includes(':')) return remote;
  const [head = '', tail] = (remote.split('%')[0] ?? '').split('::');
  const groups = head === '' ? [] : head.split(':');
  const after = tail === undefined || tail === '' ? [] : tail.split(':');
  while (tail !== undefined && groups.length + after.length < 8) groups.push('0');
  return `${[...groups, ...after].slice(0, 4).join(':')}::/64`;
}
