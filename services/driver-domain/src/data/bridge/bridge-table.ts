/** Which address was seen at which port: open addressing over typed arrays, so that a lookup touches no objects.
 *
 *  An address is two numbers, as the three 16-bit words of memory give them: `a` the first four bytes, `b` the last
 *  two. Static entries come from the toolstack and never move; so a spoofed source cannot steal a guest's address. */

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
  private readonly a: Int32Array;
  private readonly b: Uint16Array;
  private readonly fixed: Uint8Array;
  private readonly mask: number;

  /** @param size slots, a power of two */
  constructor(size = 4096) {
    this.port = new Int16Array(size).fill(-1);
    this.seenNs = new Float64Array(size);
    this.a = new Int32Array(size);
    this.b = new Uint16Array(size);
    this.fixed = new Uint8Array(size);
    this.mask = size - 1;
    this.maxLearned = size >> 1;
  }

  /** @returns the slot of the address, or -1 */
  find(a: number, b: number): number {
    let i = this.hash(a, b);
    while (this.port[i] >= 0) {
      if (this.a[i] === a && this.b[i] === b) return i;
      i = (i + 1) & this.mask;
    }
    return -1;
  }

  isStatic(slot: number): boolean {
    return this.fixed[slot] !== 0;
  }

  /** Notes where an address was seen. @returns its slot; -1 when the table is full */
  learn(a: number, b: number, port: number, nowNs: number): number {
    const found = this.find(a, b);
    if (found >= 0) {
      if (this.fixed[found] === 0) this.port[found] = port;
      this.seenNs[found] = nowNs;
      return found;
    }
    if (this.learnedCount >= this.maxLearned) return -1;
    this.learnedCount++;
    return this.insert(a, b, port, nowNs, 0);
  }

  /** An address that belongs to a port for good. @returns its slot */
  setStatic(a: number, b: number, port: number): number {
    this.remove(a, b);
    return this.insert(a, b, port, 0, 1);
  }

  remove(a: number, b: number): void {
    const slot = this.find(a, b);
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
      out.push({ mac: macText(this.a[i], this.b[i]), port: this.port[i], isStatic, ageSeconds });
    }
    return out;
  }

  private hash(a: number, b: number): number {
    const h = Math.imul(a ^ Math.imul(b, 0x85ebca6b), 0x9e3779b1);
    return (h ^ (h >>> 15)) & this.mask;
  }

  private insert(a: number, b: number, port: number, seenNs: number, fixed: number): number {
    let i = this.hash(a, b);
    while (this.port[i] >= 0) i = (i + 1) & this.mask;
    this.a[i] = a;
    this.b[i] = b;
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
      const home = this.hash(this.a[i], this.b[i]);
      // The entry may fill the hole only if its home does not lie between the hole and itself.
      if (((i - home) & this.mask) < ((i - hole) & this.mask)) continue;
      this.a[hole] = this.a[i];
      this.b[hole] = this.b[i];
      this.port[hole] = this.port[i];
      this.seenNs[hole] = this.seenNs[i];
      this.fixed[hole] = this.fixed[i];
      hole = i;
    }
    this.port[hole] = -1;
  }
}

/** First four bytes of a printed address as the table wants them. @throws RangeError when it is no address */
export function macKey(mac: string): { a: number; b: number } {
  if (!/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i.test(mac)) throw new RangeError(`${mac} is not a MAC address`);
  const bytes = mac.split(':').map((part) => parseInt(part, 16)) as [number, number, number, number, number, number];
  return {
    a: bytes[0] | (bytes[1] << 8) | (bytes[2] << 16) | (bytes[3] << 24),
    b: bytes[4] | (bytes[5] << 8),
  };
}

function macText(a: number, b: number): string {
  const bytes = [a & 255, (a >>> 8) & 255, (a >>> 16) & 255, a >>> 24, b & 255, b >>> 8];
  return bytes.map((n) => n.toString(16).padStart(2, '0')).join(':');
}
