/** Which queue a frame belongs to: by destination address, and by VLAN id where a queue has one.
 *
 *  Open addressing over typed arrays: a look-up compares two words and allocates nothing. Rebuilt on every change, so
 *  there are no tombstones; changes are rare, and there are some dozens of queues at most. */
import type { Mem } from '@grantline/machine';

/** No queue takes the frame. */
export const NO_QUEUE = -1;
const SLOTS = 256;
/** Beyond this the table's runs get long; MAX_GUESTS is 32. */
const MAX_ENTRIES = 128;
const ETHERTYPE_VLAN = 0x0081; // 0x8100 read as little-endian

/** Key words: the first four bytes of the address; the last two with (VLAN id + 1) above them, 0 for "any tag". */
interface Entry {
  a: number;
  b: number;
  queue: number;
}

export class MacFilter {
  /** Queue for group addresses and unknown ones; NO_QUEUE when there is none. */
  defaultQueue = NO_QUEUE;
  private entries: Entry[] = [];
  private readonly keyA = new Uint32Array(SLOTS);
  private readonly keyB = new Uint32Array(SLOTS);
  private readonly queues = new Int16Array(SLOTS).fill(NO_QUEUE);
  private hasVlan = false;
  /** The last hit. 1 is the start of a group address: `find` never compares it. */
  private lastA = 1;
  private lastB = 0;
  private lastQueue = NO_QUEUE;
  private readonly u8: Uint8Array;
  private readonly u16: Uint16Array;
  private readonly u32: Uint32Array;

  constructor(mem: Mem) {
    this.u8 = mem.u8;
    this.u16 = mem.u16;
    this.u32 = mem.u32;
  }

  /** @param mac below 2^48; null: the default queue
   *  @param vlan 0 to 4095; null: with any tag or none
   *  @returns false when that place is taken, or the table is full */
  add(mac: number | null, vlan: number | null, queue: number): boolean {
    if (mac === null) {
      if (this.defaultQueue !== NO_QUEUE) return false;
      this.defaultQueue = queue;
      return true;
    }
    const { a, b } = keyOf(mac, vlan);
    if (this.entries.length >= MAX_ENTRIES || this.entries.some((e) => e.a === a && e.b === b)) return false;
    this.entries.push({ a, b, queue });
    this.rebuild();
    return true;
  }

  /** Forgets all that leads to `queue`. */
  remove(queue: number): void {
    if (this.defaultQueue === queue) this.defaultQueue = NO_QUEUE;
    this.entries = this.entries.filter((e) => e.queue !== queue);
    this.rebuild();
  }

  /** @param off byte offset of a frame of at least 14 bytes, a multiple of 4
   *  @returns the queue, or NO_QUEUE. A group address goes to the default queue */
  find(off: number): number {
    const a = this.u32[off >> 2];
    if ((a & 1) !== 0) return this.defaultQueue;
    const b = this.u16[(off >> 1) + 2];
    if (this.hasVlan && this.u16[(off >> 1) + 6] === ETHERTYPE_VLAN) return this.findTagged(off, a, b);
    if (a === this.lastA && b === this.lastB) return this.lastQueue;
    return this.findSlow(a, b);
  }

  /** @param a, b the address: its first four bytes, its last two @returns the queue that has it, or NO_QUEUE */
  exact(a: number, b: number): number {
    return this.probe(a, b);
  }

  private findSlow(a: number, b: number): number {
    const found = this.probe(a, b);
    if (found === NO_QUEUE) return this.defaultQueue;
    this.lastA = a;
    this.lastB = b;
    this.lastQueue = found;
    return found;
  }

  private findTagged(off: number, a: number, b: number): number {
    const vlan = ((this.u8[off + 14] & 0x0f) << 8) | this.u8[off + 15];
    const found = this.probe(a, (b | ((vlan + 1) << 16)) >>> 0);
    return found === NO_QUEUE ? this.findSlow(a, b) : found;
  }

  private probe(a: number, b: number): number {
    for (let i = hash(a, b); ; i = (i + 1) & (SLOTS - 1)) {
      const queue = this.queues[i];
      if (queue === NO_QUEUE || (this.keyA[i] === a && this.keyB[i] === b)) return queue;
    }
  }

  private rebuild(): void {
    this.queues.fill(NO_QUEUE);
    this.lastA = 1;
    this.lastB = 0;
    this.hasVlan = false;
    for (const { a, b, queue } of this.entries) {
      let i = hash(a, b);
      while (this.queues[i] !== NO_QUEUE) i = (i + 1) & (SLOTS - 1);
      this.keyA[i] = a;
      this.keyB[i] = b;
      this.queues[i] = queue;
      if (b >>> 16 !== 0) this.hasVlan = true;
    }
  }
}

function keyOf(mac: number, vlan: number | null): { a: number; b: number } {
  const byte = (i: number): number => Math.floor(mac / 2 ** (40 - 8 * i)) % 256;
  return {
    a: (byte(0) | (byte(1) << 8) | (byte(2) << 16) | (byte(3) << 24)) >>> 0,
    b: (byte(4) | (byte(5) << 8) | ((vlan === null ? 0 : vlan + 1) << 16)) >>> 0,
  };
}

function hash(a: number, b: number): number {
  return Math.imul(a ^ Math.imul(b, 0x9e3779b1), 0x85ebca6b) >>> 24;
}
