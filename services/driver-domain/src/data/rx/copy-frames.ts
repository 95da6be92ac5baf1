/** Frames on their way through grant copies: which elements of which batch belong to which ring slot, and which slots
 *  to which frame. */
import { CopyBatch, NETBACK_BATCH } from '@grantline/xen';
import { slots, type CounterBlock, DRIVER_DOMAIN_CPU, type Laps } from '@grantline/machine';
import { NETBACK_COUNTERS } from '@grantline/observe';
import { BatchTurns, type Granter } from '../grants/batch-turns.js';

const C = slots(NETBACK_COUNTERS);
const CPU = slots(DRIVER_DOMAIN_CPU);
const N = NETBACK_BATCH;

/** Copies with the frames that they make up. The tag of an element is its ring slot. */
export class FrameBatch extends CopyBatch {
  frames = 0;
  // By frame.
  readonly id = new Int16Array(N);
  readonly len = new Uint16Array(N);
  readonly firstSlot = new Uint8Array(N);
  readonly slotCount = new Uint16Array(N);

  override reset(): void {
    super.reset();
    this.frames = 0;
  }

  /** Writes the status of each failed element over its slot's status. */
  readStatuses(statuses: Int16Array): void {
    for (let k = 0; k < this.count; k++) {
      const status = this.status(k);
      if (status < 0) statuses[this.tag[k]] = status;
    }
  }
}

export class CopyFrames {
  /** Frames in batches, sent or not. */
  frames = 0;
  private readonly counters: CounterBlock;
  private readonly meter: Laps;
  private readonly turns: BatchTurns<FrameBatch>;

  constructor({ port, self, domid }: Granter, counters: CounterBlock, meter: Laps, onReply: () => void) {
    this.counters = counters;
    this.meter = meter;
    this.turns = new BatchTurns(() => new FrameBatch(port, self, domid, N, onReply));
  }

  /** Calls without a reply yet. */
  get inFlight(): number {
    return this.turns.inFlight;
  }

  /** Makes sure that `elements` fit into the open batch, sending it first when they do not.
   *  @returns false when all batches are under way */
  makeRoom(elements: number): boolean {
    if (this.turns.room >= elements) return true;
    if (this.turns.open !== null) this.send();
    return this.turns.room >= elements;
  }

  /** One element: bytes for ring slot `s`. @param domid whose the source page is, -1: ours; see CopyBatch */
  put(s: number, domid: number, page: number, offset: number, gref: number, grefOffset: number, len: number): void {
    this.turns.open!.put(domid, page, offset, gref, grefOffset, len, s);
  }

  /** The elements put since the last frame are all of this one. */
  endFrame(id: number, len: number, firstSlot: number, slotCount: number): void {
    const batch = this.turns.open!;
    const f = batch.frames++;
    batch.id[f] = id;
    batch.len[f] = len;
    batch.firstSlot[f] = firstSlot;
    batch.slotCount[f] = slotCount;
    this.frames++;
  }

  /** Sends the open batch when it should go. */
  flush(): void {
    if (this.turns.ready()) this.send();
  }

  /** @returns the oldest batch that can be settled; null when there is none */
  replied(): FrameBatch | null {
    return this.turns.replied();
  }

  /** The frames of the oldest batch, which has been replied to, have been dealt with. */
  settled(batch: FrameBatch): void {
    this.frames -= batch.frames;
    this.turns.settled();
  }

  /** Gives up the frames of the batch that was not sent. */
  abandonOpen(each: (id: number) => void): void {
    const batch = this.turns.open;
    if (batch === null) return;
    for (let f = 0; f < batch.frames; f++) each(batch.id[f]);
    this.frames -= batch.frames;
    batch.reset();
  }

  private send(): void {
    this.meter.lap(CPU.netback);
    this.counters.v[C.copyOps] += this.turns.send();
    this.counters.v[C.hypercalls]++;
    this.meter.lap(CPU.grantCalls);
  }
}
