/** How much of the hypervisor's time a guest may have: half of it belongs to all guests in equal parts, the rest to the
 *  driver domain and the nic, which work for all. Who has used up its part is not read until it has some again. */

/** Part of the time that all guests have together. */
const GUESTS_PART = 0.5;
/** Time that a guest may save up, nanoseconds: a connection takes a tenth. */
export const SAVED_NS = 50e6;

export class TimeShare {
  private readonly nowNs: () => number;
  private readonly guests: () => number;
  private left = SAVED_NS;
  private lookedNs: number;

  /** @param nowNs any clock that does not go back @param guests how many share now */
  constructor(nowNs: () => number, guests: () => number) {
    this.nowNs = nowNs;
    this.guests = guests;
    this.lookedNs = nowNs();
  }

  /** Runs it and charges for it. */
  spend<T>(work: () => T): T {
    const start = this.nowNs();
    try {
      return work();
    } finally {
      const end = this.nowNs();
      this.left = this.saved(end) - (end - start);
    }
  }

  /** Milliseconds until the guest may go on; 0: now. */
  get waitMs(): number {
    this.left = this.saved(this.nowNs());
    return this.left > 0 ? 0 : Math.ceil(-this.left / this.rate / 1e6) + 1;
  }

  private saved(now: number): number {
    const left = Math.min(SAVED_NS, this.left + (now - this.lookedNs) * this.rate);
    this.lookedNs = now;
    return left;
  }

  private get rate(): number {
    return GUESTS_PART / Math.max(1, this.guests());
  }
}
