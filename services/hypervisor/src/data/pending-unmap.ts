/** Uses of pages that have been ended but not yet given back: the NIC may still be inside a transfer. */

export class PendingUnmap {
  /** Burst count after the last entry was cleared (DmaQuiesce). */
  snapshot = 0;
  count = 0;
  /** True when the NIC could have seen something that this ended. */
  dma = false;
  granter: Uint16Array;
  gref: Uint16Array;
  /** Pins to drop, as PIN_* sums; 0: none. */
  pins: Int32Array;
  /** Entry of the DMA translation table to give back; 0: none. */
  dpn: Uint32Array;

  /** @param capacity places to begin with; it grows */
  constructor(capacity: number) {
    this.granter = new Uint16Array(capacity);
    this.gref = new Uint16Array(capacity);
    this.pins = new Int32Array(capacity);
    this.dpn = new Uint32Array(capacity);
  }

  add(granter: number, gref: number, pins: number, dpn: number): void {
    if (this.count === this.granter.length) this.grow();
    const i = this.count++;
    this.granter[i] = granter;
    this.gref[i] = gref;
    this.pins[i] = pins;
    this.dpn[i] = dpn;
    if (dpn !== 0) this.dma = true;
  }

  clear(): void {
    this.count = 0;
    this.dma = false;
  }

  /** Makes it wait although nothing is to be given back. */
  waitForNic(snapshot: number): void {
    this.dma = true;
    this.snapshot = snapshot;
  }

  /** Only the death of a domain with many mappings gets here. */
  private grow(): void {
    const size = this.granter.length * 2;
    const granter = new Uint16Array(size);
    const gref = new Uint16Array(size);
    const pins = new Int32Array(size);
    const dpn = new Uint32Array(size);
    granter.set(this.granter);
    gref.set(this.gref);
    pins.set(this.pins);
    dpn.set(this.dpn);
    this.granter = granter;
    this.gref = gref;
    this.pins = pins;
    this.dpn = dpn;
  }
}
