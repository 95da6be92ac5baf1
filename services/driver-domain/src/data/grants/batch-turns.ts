/** Hypercall batches of one kind that take turns: one is open and filling, some are sent and not yet settled. A batch that is
 *  not full waits while another one is under way: so the calls fill up exactly when they are what holds us up. Replies come
 *  in the order of the sends. */
import type { DomId } from '@grantline/base';
import type { Batch, HypercallPort } from '@grantline/xen';

/** Batches of one kind that a queue has under way at most. */
const BATCHES = 8;

/** A guest whose grants are used, and the way to the hypervisor that decides about them. */
export interface Granter {
  port: HypercallPort;
  /** Our own number. */
  self: DomId;
  domid: DomId;
}

export class BatchTurns<B extends Batch> {
  private readonly batches: readonly B[];
  /** Free-running: batches sent, and of those settled. */
  private sent = 0;
  private settledCount = 0;

  /** Makes the batches, once for all. */
  constructor(make: () => B) {
    this.batches = Array.from({ length: BATCHES }, make);
  }

  /** The open batch; null when all are under way. */
  get open(): B | null {
    return this.inFlight < BATCHES ? this.batches[this.sent % BATCHES] : null;
  }

  get inFlight(): number {
    return this.sent - this.settledCount;
  }

  /** @returns elements that the open batch still takes; 0 when there is none */
  get room(): number {
    const { open } = this;
    return open === null ? 0 : open.capacity - open.count;
  }

  /** @returns true when the open batch should go now */
  ready(): boolean {
    const { open } = this;
    if (open === null) return false;
    return open.count > 0 && (open.count >= open.capacity || this.inFlight === 0);
  }

  /** Sends the open batch; the next one is open then. @returns its elements */
  send(): number {
    const batch = this.open!;
    const { count } = batch;
    this.sent++;
    batch.send();
    return count;
  }

  /** @returns the oldest batch whose reply is there and not settled; null when there is none */
  replied(): B | null {
    if (this.inFlight === 0) return null;
    const oldest = this.batches[this.settledCount % BATCHES];
    return oldest.answered ? oldest : null;
  }

  /** The oldest batch's statuses have been read. */
  settled(): void {
    this.batches[this.settledCount % BATCHES].reset();
    this.settledCount++;
  }
}
