/** Hypercall batches of one kind that take turns: one is open and filling, some are sent and not yet settled. A batch that is
 *  not full waits while another one is under way: so the calls fill up exactly when they are what holds us up. Replies come
 *  in the order of the sends. */
import type { DomId } from '@grantline/base';
import { DRIVER_DOMAIN_CPU, slots, type CounterBlock, type Laps } from '@grantline/machine';
import type { Batch, HypercallPort } from '@grantline/xen';

const CPU = slots(DRIVER_DOMAIN_CPU);
/** Batches of one kind that a queue has under way at most. */
const BATCHES = 8;

/** A guest whose grants are used, and the way to the hypervisor that decides about them. */
export interface Granter {
  port: HypercallPort;
  /** Our own number. */
  self: DomId;
  domid: DomId;
}

/** What calls are charged to. */
export interface CallCosts {
  counters: CounterBlock;
  meter: Laps;
}

export class BatchTurns<B extends Batch> {
  private readonly batches: readonly B[];
  private readonly costs: CallCosts;
  private readonly ops: number;
  private readonly calls: number;
  /** The open batch; null when all are under way. */
  open: B | null;
  /** Free-running: batches sent, and of those settled. */
  private sent = 0;
  private settledCount = 0;

  /** Makes the batches, once for all. @param ops, calls slots of the counters of their elements, and of calls */
  constructor(make: () => B, costs: CallCosts, ops: number, calls: number) {
    this.batches = Array.from({ length: BATCHES }, make);
    this.open = this.batches[0];
    this.costs = costs;
    this.ops = ops;
    this.calls = calls;
  }

  get inFlight(): number {
    return this.sent - this.settledCount;
  }

  /** @returns elements that the open batch still takes; 0 when there is none */
  get room(): number {
    const { open } = this;
    return open === null ? 0 : open.capacity - open.count;
  }

  /** Makes sure that `elements` fit into the open batch, sending it first when they do not.
   *  @returns false when all batches are under way */
  makeRoom(elements: number): boolean {
    if (this.room >= elements) return true;
    if (this.open !== null) this.send();
    return this.room >= elements;
  }

  /** Sends the open batch when it should go. */
  flush(): void {
    const { open } = this;
    if (open !== null && open.count > 0 && (open.count >= open.capacity || this.inFlight === 0)) this.send();
  }

  /** Sends the open batch, whatever is under way. */
  flushAll(): void {
    if (this.open !== null && this.open.count > 0) this.send();
  }

  /** @returns the oldest batch whose reply is there and not settled; null when there is none */
  replied(): B | null {
    if (this.inFlight === 0) return null;
    const oldest = this.batches[this.settledCount % BATCHES];
    return oldest.answered ? oldest : null;
  }

  /** The oldest batch's statuses have been read. */
  settled(): void {
    const batch = this.batches[this.settledCount % BATCHES];
    batch.reset();
    this.settledCount++;
    // All were under way, and the oldest is the next.
    this.open ??= batch;
  }

  /** Sends the open batch; the next one is open then. */
  private send(): void {
    const { counters, meter } = this.costs;
    const batch = this.open!;
    const { count } = batch;
    meter.lap(CPU.netback);
    this.sent++;
    this.open = this.inFlight < BATCHES ? this.batches[this.sent % BATCHES] : null;
    batch.send();
    counters.v[this.ops] += count;
    counters.v[this.calls]++;
    meter.lap(CPU.grantCalls);
  }
}
