/** How much a vif may send: so many bytes in a window of so many microseconds. Source: Linux xen-netback (tx_credit_exceeded,
 *  tx_add_credit), xenstore node `rate`, "bytes,usec". */

/** A window always lets the largest packet through, whatever the rate (131072 in Linux). */
export const BURST_BYTES = 131072;

export class TxCredit {
  /** When there is credit again, after `allows` said no; nanoseconds. */
  refillAtNs = 0;
  private bytes = Infinity;
  private windowNs = 0;
  private left = Infinity;
  private windowEndNs = 0;

  /** @param text of the xenstore node; null, or what is no rate: no limit, as Linux has it
   *  @returns false when the text is no rate */
  set(text: string | null): boolean {
    const parts = text === null ? null : /^(\d{1,10}),(\d{1,10})$/.exec(text);
    const bytes = Number(parts?.[1] ?? 0);
    const usec = Number(parts?.[2] ?? 0);
    const limited = bytes > 0 && usec > 0;
    this.bytes = limited ? bytes : Infinity;
    this.windowNs = limited ? usec * 1000 : 0;
    this.left = this.bytes;
    this.windowEndNs = 0;
    return text === null || parts !== null;
  }

  /** @returns true when a packet of so many bytes may go. @param nowNs monotonic */
  allows(bytes: number, nowNs: number): boolean {
    if (this.bytes === Infinity) return true;
    if (nowNs >= this.windowEndNs) {
      // Credit of an idle time is kept up to a burst, so that a packet larger than a window's bytes goes out at last.
      const most = Math.max(this.bytes, Math.min(BURST_BYTES, Math.max(bytes, this.bytes)));
      this.left = Math.min(most, (this.left === Infinity ? 0 : this.left) + this.bytes);
      this.windowEndNs = nowNs + this.windowNs;
    }
    if (bytes <= this.left) return true;
    this.refillAtNs = this.windowEndNs;
    return false;
  }

  /** A packet goes. What was charged beyond the credit is missing in the next window. */
  charge(bytes: number): void {
    this.left -= bytes;
  }
}
