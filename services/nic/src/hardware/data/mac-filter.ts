/** Which queue a frame belongs to: by destination address, and by VLAN id where a queue has one.
 *
 *  Open addressing over typed arrays: a look-up compares two words and allocates nothing. Rebuilt on every change, so
 *  there are no tombstones; changes are rare, and there are some dozens of queues at most. */
import * as frames from '@grantline/frames';
import type { Mac } from '@grantline/frames';
import type { Mem } from '@grantline/machine';

/** No queue takes the frame. */
export const NO_QUEUE = -1;
const SLOTS = 256;
/** Beyond this the table's runs get long; MAX_GUESTS is 32. */
const MAX_ENTRIES = 128;
// Local, so that the engine folds them into the code: see flow-templates.ts.
const { ETHERTYPE_VLAN, ETH_BYTES, ETH_TYPE, isGroup, macHi, macLo, macOf } = frames;

/** An address whose first 16 bits have (VLAN id + 1) above them, 0 for "any tag". */
interface Entry extends Mac {
  queue: number;
}

export class MacFilter {
  /** Queue for group addresses and unknown ones; NO_QUEUE when there is none. */
  defaultQueue = NO_QUEUE;
  private entries: Entry[] = [];
  private readonly his = new Int32Array(SLOTS);
  private readonly los = new Int32Array(SLOTS);
  private readonly queues = new Int16Array(SLOTS).fill(NO_QUEUE);
  private hasVlan = false;
  /** The last hit; -1: there is none. */
  private lastHi = -1;
  private lastLo = 0;
  private lastQueue = NO_QUEUE;
  private readonly mem: Mem;

  constructor(mem: Mem) {
    this.mem = mem;
  }

  /** @param mac its key; null: the default queue
   *  @param vlan 0 to 4095; null: with any tag or none
   *  @returns false when that place is taken, or the table is full */
  add(mac: number | null, vlan: number | null, queue: number): boolean {
    if (mac === null) {
      if (this.defaultQueue !== NO_QUEUE) return false;
      this.defaultQueue = queue;
      return true;
    }
    const { hi: first, lo } = macOf(mac);
    const hi = first | (vlan === null ? 0 : (vlan + 1) << 16);
    if (this.entries.length >= MAX_ENTRIES || this.entries.some((e) => e.hi === hi && e.lo === lo)) return false;
    this.entries.push({ hi, lo, queue });
    this.rebuild();
    return true;
  }

  /** Forgets all that leads to `queue`. */
  remove(queue: number): void {
    if (this.defaultQueue === queue) this.defaultQueue = NO_QUEUE;
    this.entries = this.entries.filter((e) => e.queue !== queue);
    this.rebuild();
  }

  /** @param off byte offset of a frame of at least 14 bytes
   *  @returns the queue, or NO_QUEUE. A group address goes to the default queue */
  find(off: number): number {
    const { mem } = this;
    const hi = macHi(mem, off);
    if (isGroup(hi)) return this.defaultQueue;
    const lo = macLo(mem, off);
    if (this.hasVlan && mem.dv.getUint16(off + ETH_TYPE) === ETHERTYPE_VLAN) return this.findTagged(off, hi, lo);
    if (hi === this.lastHi && lo === this.lastLo) return this.lastQueue;
    return this.findSlow(hi, lo);
  }

  /** @returns the queue that has the address, with any tag; or NO_QUEUE */
  exact(hi: number, lo: number): number {
    for (let i = hash(hi, lo); ; i = (i + 1) & (SLOTS - 1)) {
      const queue = this.queues[i];
      if (queue === NO_QUEUE || (this.los[i] === lo && this.his[i] === hi)) return queue;
    }
  }

  private findSlow(hi: number, lo: number): number {
    const found = this.exact(hi, lo);
    if (found === NO_QUEUE) return this.defaultQueue;
    this.lastHi = hi;
    this.lastLo = lo;
    this.lastQueue = found;
    return found;
  }

  private findTagged(off: number, hi: number, lo: number): number {
    const vlan = this.mem.dv.getUint16(off + ETH_BYTES) & 0x0fff;
    const found = this.exact(hi | ((vlan + 1) << 16), lo);
    return found === NO_QUEUE ? this.findSlow(hi, lo) : found;
  }

  private rebuild(): void {
    this.queues.fill(NO_QUEUE);
    this.lastHi = -1;
    this.hasVlan = false;
    for (const { hi, lo, queue } of this.entries) {
      let i = hash(hi, lo);
      while (this.queues[i] !== NO_QUEUE) i = (i + 1) & (SLOTS - 1);
      this.his[i] = hi;
      this.los[i] = lo;
      this.queues[i] = queue;
      if (hi >>> 16 !== 0) this.hasVlan = true;
    }
  }
}

function hash(hi: number, lo: number): number {
  return Math.imul(lo ^ Math.imul(hi, 0x9e3779b1), 0x85ebca6b) >>> 24;
}
