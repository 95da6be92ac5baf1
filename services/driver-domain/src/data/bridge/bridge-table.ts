/** Which address was seen at which port: open addressing over typed arrays, so that a lookup touches no objects.
 *
 *  An address is the two numbers of a Mac (headers.ts). Static entries come from the toolstack and never move, so a spoofed
 *  source cannot steal a guest's address. */
import { formatMac } from '@grantline/frames';

export interface BridgeEntry {
  mac: string;
  port: number;
  isStatic: boolean;
  ageSeconds: number;
}

export class BridgeTable {
  readonly port: Int16Array;
  readonly seenNs: Float64Array;
  /** Learned entries at most: half of the slots, so that probing stays short when somebody invents addresses. */
  readonly maxLearned: number;
  learnedCount = 0;
  private readonly hi: Uint16Array;
  private readonly lo: Int32Array;
  private readonly fixed: Uint8Array;
  private readonly mask: number;

  /** @param size slots, a power of two */
  constructor(size = 4096) {
    this.port = new Int16Array(size).fill(-1);
    this.seenNs = new Float64Array(size);
    this.hi = new Uint16Array(size);
    this.lo = new Int32Array(size);
    this.fixed = new Uint8Array(size);
    this.mask = size - 1;
    this.maxLearned = size >> 1;
  }

  /** @returns the slot of the address, or -1 */
  find(hi: number, lo: number): number {
    let i = this.hash(hi, lo);
    while (this.port[i] >= 0) {
      if (this.lo[i] === lo && this.hi[i] === hi) return i;
      i = (i + 1) & this.mask;
    }
    return -1;
  }

  isStatic(slot: number): boolean {
    return this.fixed[slot] !== 0;
  }

  /** Notes where an address was seen. @returns its slot; -1 when the table is full */
  learn(hi: number, lo: number, port: number, nowNs: number): number {
    const found = this.find(hi, lo);
    if (found >= 0) {
      if (this.fixed[found] === 0) this.port[found] = port;
      this.seenNs[found] = nowNs;
      return found;
    }
    if (this.learnedCount >= this.maxLearned) return -1;
    this.learnedCount++;
    return this.insert(hi, lo, port, nowNs, 0);
  }

  /** An address that belongs to a port for good. @returns its slot */
  setStatic(hi: number, lo: number, port: number): number {
    this.remove(hi, lo);
    return this.insert(hi, lo, port, 0, 1);
  }

  remove(hi: number, lo: number): void {
    const slot = this.find(hi, lo);
    if (slot >= 0) this.removeSlot(slot);
  }

  /** Forgets what was learned before `beforeNs`. @returns how many */
  age(beforeNs: number): number {
    let aged = 0;
    for (let i = 0; i <= this.mask; i++) {
      // Removing closes the gap by moving a later entry here: look at the same slot again.
      while (this.port[i] >= 0 && this.fixed[i] === 0 && this.seenNs[i] < beforeNs) {
        this.removeSlot(i);
        aged++;
      }
    }
    return aged;
  }

  /** Forgets what was learned at a port. */
  forgetPort(port: number): void {
    for (let i = 0; i <= this.mask; i++) while (this.port[i] === port && this.fixed[i] === 0) this.removeSlot(i);
  }

  entries(nowNs: number): BridgeEntry[] {
    const out: BridgeEntry[] = [];
    for (let i = 0; i <= this.mask; i++) {
      if (this.port[i] < 0) continue;
      const isStatic = this.fixed[i] !== 0;
      const ageSeconds = isStatic ? 0 : Math.max(0, (nowNs - this.seenNs[i]) / 1e9);
      out.push({ mac: formatMac({ hi: this.hi[i], lo: this.lo[i] }), port: this.port[i], isStatic, ageSeconds });
    }
    return out;
  }

  private hash(hi: number, lo: number): number {
    const h = Math.imul(lo ^ Math.imul(hi, 0x85ebca6b), 0x9e3779b1);
    return (h ^ (h >>> 15)) & this.mask;
  }

  private insert(hi: number, lo: number, port: number, seenNs: number, fixed: number): number {
    let i = this.hash(hi, lo);
    while (this.port[i] >= 0) i = (i + 1) & this.mask;
    this.hi[i] = hi;
    this.lo[i] = lo;
    this.port[i] = port;
    this.seenNs[i] = seenNs;
    this.fixed[i] = fixed;
    return i;
  }

  /** Backward-shift deletion: no tombstones, so the table does not wear out. */
  private removeSlot(slot: number): void {
    if (this.fixed[slot] === 0) this.learnedCount--;
    let hole = slot;
    let i = slot;
    for (;;) {
      i = (i + 1) & this.mask;
      if (this.port[i] < 0) break;
      const home = this.hash(this.hi[i], this.lo[i]);
      // The entry may fill the hole only if its home does not lie between the hole and itself.
      if (((i - home) & this.mask) < ((i - hole) & this.mask)) continue;
      this.hi[hole] = this.hi[i];
      this.lo[hole] = this.lo[i];
      this.port[hole] = this.port[i];
      this.seenNs[hole] = this.seenNs[i];
      this.fixed[hole] = this.fixed[i];
      hole = i;
    }
    this.port[hole] = -1;
  }
}
