/** Grant operations in batches, as the data path sees them. Batches are made once, at connect, and used again and again:
 *  put elements, send, and when the reply is there read each element's own status. Replies come in the order of the
 *  sends. Tests put a hypervisor in memory behind this; control/grant-calls.ts puts the real one. */

/** Batches of one kind that a queue has under way at most. */
export const BATCHES = 8;

/** What all batches have in common. */
export interface GrantBatch {
  /** Elements put since the last clear. */
  readonly count: number;
  clear(): void;
  /** One hypercall. The `replied` function given at creation runs once, later, never inside send. */
  send(): void;
  /** Status of element i, GNTST_*; GNTST.generalError for all when the call itself failed. */
  status(i: number): number;
}

/** Copies from the driver domain's own pages into a guest's granted ones. */
export interface CopyBatch extends GrantBatch {
  put(pfn: number, offset: number, gref: number, grefOffset: number, len: number): void;
  /** The same from a page that another guest granted us. */
  putFrom(domid: number, from: number, fromOffset: number, gref: number, grefOffset: number, len: number): void;
}

/** Pins a guest's pages so that the NIC may write them. */
export interface PinBatch extends GrantBatch {
  put(gref: number): void;
  handle(i: number): number;
  /** Page number as the NIC sees it. */
  dpn(i: number): number;
}

/** Undoes pins. */
export interface UnpinBatch extends GrantBatch {
  put(handle: number, dpn: number): void;
}

/** Makes batches of up to NETBACK_BATCH elements for one guest. */
export interface GrantCalls {
  copyBatch(replied: () => void): CopyBatch;
  pinBatch(replied: () => void): PinBatch;
  unpinBatch(replied: () => void): UnpinBatch;
}

/** Batches of one kind that take turns: one is open and filling, some are sent and not yet settled. A batch that is
 *  not full waits while another one is under way: so the calls fill up exactly when they are what holds us up. */
export class BatchTurns<B extends GrantBatch> {
  readonly batches: readonly B[];
  private readonly size: number;
  private readonly answered: Uint8Array;
  /** Free-running: batches sent, and of those replied and settled. */
  private sent = 0;
  private settledCount = 0;

  /** @param size elements in a full batch */
  constructor(count: number, size: number, make: (replied: () => void) => B, onReply: () => void) {
    this.size = size;
    this.answered = new Uint8Array(count);
    this.batches = Array.from({ length: count }, (_, i) =>
      make(() => {
        this.answered[i] = 1;
        onReply();
      }),
    );
  }

  /** Number of the open batch; -1 when all are under way. */
  get open(): number {
    return this.sent - this.settledCount < this.batches.length ? this.sent % this.batches.length : -1;
  }

  get inFlight(): number {
    return this.sent - this.settledCount;
  }

  /** @returns elements that the open batch still takes; 0 when there is none */
  get room(): number {
    const open = this.open;
    return open < 0 ? 0 : this.size - this.batches[open].count;
  }

  /** @returns true when the open batch should go now */
  ready(): boolean {
    const open = this.open;
    if (open < 0) return false;
    const count = this.batches[open].count;
    return count > 0 && (count >= this.size || this.inFlight === 0);
  }

  /** Sends the open batch; the next one is open then. @returns its elements */
  send(): number {
    const batch = this.batches[this.open];
    const count = batch.count;
    this.sent++;
    batch.send();
    return count;
  }

  /** @returns number of the oldest batch whose reply is there and not settled; -1 when there is none */
  replied(): number {
    if (this.sent === this.settledCount) return -1;
    const oldest = this.settledCount % this.batches.length;
    return this.answered[oldest] === 0 ? -1 : oldest;
  }

  /** The oldest batch's statuses have been read. */
  settled(): void {
    const oldest = this.settledCount % this.batches.length;
    this.answered[oldest] = 0;
    this.batches[oldest].clear();
    this.settledCount++;
  }
}
