/** Damps a port whose peer rings without reason, as Xen's late EOI does (Linux drivers/xen/events): an event behind which nothing
 *  was published is spurious; after a few of them in a row the port is masked for 1, 2, 4 ... ms, until one has a reason again.
 *  Nothing is lost meanwhile: what comes while it is masked is pending, and taken when the mask ends.
 *
 *  Only what the peer published counts, not what was found: a poller that had taken the work before the event came, or cannot
 *  take it now, is no fault of the peer's. */

/** So many spurious events in a row are put up with: binding, and a port that changes hands, make one each. */
export const PATIENCE = 4;
export const LONGEST_MASK_MS = 64;

/** What all ports of a service share. */
export interface StormOptions {
  /** Events are there although no doorbell was rung: dispatch them soon. */
  kick: () => void;
  /** A port was masked. */
  count: () => void;
  after: (ms: number, then: () => void) => void;
}

/** What this needs of an EventChannel. */
interface Maskable {
  mask(): void;
  unmask(): boolean;
}

export class StormGuard {
  private readonly port: Maskable;
  private readonly o: StormOptions;
  private readonly published: () => number;
  private last: number;
  private spurious = 0;
  private masked = false;

  /** @param published how far the peer has published: an index modulo 2^32, or a sum of such */
  constructor(port: Maskable, options: StormOptions, published: () => number) {
    this.port = port;
    this.o = options;
    this.published = published;
    this.last = published() | 0;
  }

  /** An event has come. */
  event(): void {
    const now = this.published() | 0;
    if (((now - this.last) | 0) > 0) {
      this.last = now;
      this.spurious = 0;
      return;
    }
    if (++this.spurious <= PATIENCE || this.masked) return;
    const ms = Math.min(LONGEST_MASK_MS, 2 ** (this.spurious - PATIENCE - 1));
    this.masked = true;
    this.port.mask();
    this.o.count();
    this.o.after(ms, () => {
      this.masked = false;
      if (this.port.unmask()) this.o.kick();
    });
  }
}
