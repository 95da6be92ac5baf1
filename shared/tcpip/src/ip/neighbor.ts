/** Somebody on the own network, and the packets that wait for the address. */
import type { PrivateMemory } from '@grantline/machine';
import { ETH_BYTES, ETH_DST, writeMac } from '@grantline/frames';
import { C, type Host } from '../host.js';
import { Timed } from '../storage/timer-heap.js';

/** Address not known; asked for; known; gone from the table (its holder looks again). */
export const NEIGHBOR_NEW = 0;
export const NEIGHBOR_ASKED = 1;
export const NEIGHBOR_KNOWN = 2;
export const NEIGHBOR_GONE = 3;

/** Something that wants to send and waits for the address. */
export interface AddressWaiter {
  /** @param known false: nobody answered */
  addressDone(known: boolean): void;
}

export class Neighbor extends Timed {
  readonly ip: number;
  state = NEIGHBOR_NEW;
  hi = 0;
  lo = 0;
  /** Times in the stack's milliseconds: last confirmed, asked for, used. */
  confirmedMs = 0;
  askedMs = -1e9;
  usedMs = 0;
  tries = 0;
  readonly waiters: AddressWaiter[] = [];
  private readonly expired: (neighbor: Neighbor) => void;

  constructor(ip: number, expired: (neighbor: Neighbor) => void) {
    super();
    this.ip = ip;
    this.expired = expired;
  }

  override expire(): void {
    this.expired(this);
  }
}

/** Packets that wait for an address (RFC 1122, 2.3.2.2): a fixed number of slots of MTU size for all neighbours. */
export class WaitingPackets {
  private readonly host: Host;
  private readonly base: number;
  private readonly stride: number;
  private readonly whose: (Neighbor | null)[];
  private readonly bytes: Int32Array;
  private readonly csumStart: Int32Array;
  private readonly csumOffset: Int32Array;

  constructor(host: Host, space: PrivateMemory) {
    const slots = host.set.arpQueue;
    this.host = host;
    this.stride = (host.set.mtu + ETH_BYTES + 63) & ~63;
    this.base = space.mapPrivate(slots * this.stride);
    this.whose = new Array<Neighbor | null>(slots).fill(null);
    this.bytes = new Int32Array(slots);
    this.csumStart = new Int32Array(slots);
    this.csumOffset = new Int32Array(slots);
  }

  /** @returns byte offset of room for a packet up to the MTU, or -1 when all is taken */
  reserve(): number {
    const slot = this.whose.indexOf(null);
    if (slot < 0) {
      this.host.v[C.arpQueueDrop]++;
      return -1;
    }
    return this.base + slot * this.stride;
  }

  /** Keeps the frame that stands at the reserved offset, for NetLink.send later. */
  keep(at: number, neighbor: Neighbor, bytes: number, csumStart: number, csumOffset: number): void {
    const slot = (at - this.base) / this.stride;
    this.whose[slot] = neighbor;
    this.bytes[slot] = bytes;
    this.csumStart[slot] = csumStart;
    this.csumOffset[slot] = csumOffset;
  }

  /** Sends what waited for a neighbour, now that the address is known. */
  send(neighbor: Neighbor): void {
    const { host } = this;
    for (let slot = 0; slot < this.whose.length; slot++) {
      if (this.whose[slot] !== neighbor) continue;
      this.whose[slot] = null;
      const bytes = this.bytes[slot];
      const to = host.link.reserve(bytes);
      if (to < 0) {
        host.v[C.linkFull]++;
        continue;
      }
      const from = this.base + slot * this.stride;
      host.mem.u8.copyWithin(to, from, from + bytes);
      writeMac(host.mem, to + ETH_DST, neighbor);
      host.send(to, bytes, this.csumStart[slot], this.csumOffset[slot], 0);
    }
  }

  /** Drops what waited for a neighbour. */
  drop(neighbor: Neighbor): void {
    for (let slot = 0; slot < this.whose.length; slot++) {
      if (this.whose[slot] !== neighbor) continue;
      this.whose[slot] = null;
      this.host.v[C.arpQueueDrop]++;
    }
  }
}
