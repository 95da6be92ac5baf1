/** The few addresses (MAC or IP) that are this station's own, asked for once per frame. */
const SLOTS = 256;

export class AddressSet {
  private readonly hi = new Int32Array(SLOTS);
  private readonly lo = new Int32Array(SLOTS);
  private readonly used = new Uint8Array(SLOTS);
  private count = 0;

  /** @throws RangeError at more than 128 addresses */
  add(hi: number, lo: number): void {
    if (this.has(hi, lo)) return;
    if (++this.count > SLOTS / 2) throw new RangeError('too many addresses');
    let i = slotOf(lo);
    while (this.used[i] === 1) i = (i + 1) & (SLOTS - 1);
    this.used[i] = 1;
    this.hi[i] = hi;
    this.lo[i] = lo;
  }

  /** @param hi first 16 bits of a MAC address; 0 for an IP address
   *  @param lo the other 32 bits, signed or not */
  has(hi: number, lo: number): boolean {
    for (let i = slotOf(lo); this.used[i] === 1; i = (i + 1) & (SLOTS - 1))
      if (this.lo[i] === (lo | 0) && this.hi[i] === hi) return true;
    return false;
  }

  clear(): void {
    this.used.fill(0);
    this.count = 0;
  }
}

/** Own addresses often count up in the last byte, or in the one before. */
const slotOf = (lo: number): number => (lo ^ (lo >>> 8)) & (SLOTS - 1);
