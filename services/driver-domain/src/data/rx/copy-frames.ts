/** Frames on their way through grant copies: which elements of which batch belong to which ring slot, and which slots
 *  to which frame. */
import { NETBACK_BATCH } from '@grantline/xen';
import { slots, type CounterBlock, DRIVER_DOMAIN_CPU, type Laps } from '@grantline/machine';
import { NETBACK_COUNTERS } from '@grantline/observe';
import { BATCHES, BatchTurns, type CopyBatch, type GrantCalls } from '../grants/grant-calls.js';

const C = slots(NETBACK_COUNTERS);
const CPU = slots(DRIVER_DOMAIN_CPU);
const N = NETBACK_BATCH;

export class CopyFrames {
  /** Frames in batches, sent or not. */
  frames = 0;
  private readonly counters: CounterBlock;
  private readonly meter: Laps;
  private readonly turns: BatchTurns<CopyBatch>;
  // By batch * N + element, and by batch * N + frame.
  private readonly slotOfElement = new Uint8Array(BATCHES * N);
  private readonly ids = new Int16Array(BATCHES * N);
  private readonly lens = new Uint16Array(BATCHES * N);
  private readonly firstSlots = new Uint8Array(BATCHES * N);
  private readonly slotCounts = new Uint16Array(BATCHES * N);
  private readonly frameCounts = new Uint8Array(BATCHES);

  constructor(calls: GrantCalls, counters: CounterBlock, meter: Laps, onReply: () => void) {
    this.counters = counters;
    this.meter = meter;
    this.turns = new BatchTurns(BATCHES, N, (replied) => calls.copyBatch(replied), onReply);
  }

  /** Calls without a reply yet. */
  get inFlight(): number {
    return this.turns.inFlight;
  }

  /** Makes sure that `elements` fit into the open batch, sending it first when they do not.
   *  @returns false when all batches are under way */
  makeRoom(elements: number): boolean {
    if (this.turns.room >= elements) return true;
    if (this.turns.open >= 0) this.send();
    return this.turns.room >= elements;
  }

  /** One element: bytes for ring slot `s`. */
  put(s: number, pfn: number, offset: number, gref: number, grefOffset: number, len: number): void {
    const b = this.turns.open;
    const batch = this.turns.batches[b];
    this.slotOfElement[b * N + batch.count] = s;
    batch.put(pfn, offset, gref, grefOffset, len);
  }

  /** As `put`, from a page that another guest granted. */
  putFrom(
    s: number,
    domid: number,
    from: number,
    fromOffset: number,
    gref: number,
    grefOffset: number,
    len: number,
  ): void {
    const b = this.turns.open;
    const batch = this.turns.batches[b];
    this.slotOfElement[b * N + batch.count] = s;
    batch.putFrom(domid, from, fromOffset, gref, grefOffset, len);
  }

  /** The elements put since the last frame are all of this one. */
  endFrame(id: number, len: number, firstSlot: number, slotCount: number): void {
    const b = this.turns.open;
    const at = b * N + this.frameCounts[b]++;
    this.ids[at] = id;
    this.lens[at] = len;
    this.firstSlots[at] = firstSlot;
    this.slotCounts[at] = slotCount;
    this.frames++;
  }

  /** Sends the open batch when it should go. */
  flush(): void {
    if (this.turns.ready()) this.send();
  }

  /** @returns number of the oldest batch that can be settled; -1 when there is none */
  replied(): number {
    return this.turns.replied();
  }

  /** Writes the status of each failed element over its slot's status. */
  readStatuses(b: number, statuses: Int16Array): void {
    const batch = this.turns.batches[b];
    for (let k = 0; k < batch.count; k++) {
      const status = batch.status(k);
      if (status < 0) statuses[this.slotOfElement[b * N + k]] = status;
    }
  }

  framesOf(b: number): number {
    return this.frameCounts[b];
  }

  idOf(b: number, f: number): number {
    return this.ids[b * N + f];
  }

  lenOf(b: number, f: number): number {
    return this.lens[b * N + f];
  }

  firstSlot(b: number, f: number): number {
    return this.firstSlots[b * N + f];
  }

  slotCount(b: number, f: number): number {
    return this.slotCounts[b * N + f];
  }

  /** The oldest batch's frames have been dealt with. */
  settled(): void {
    const b = this.turns.replied();
    this.frames -= this.frameCounts[b];
    this.frameCounts[b] = 0;
    this.turns.settled();
  }

  /** Gives up the frames of the batch that was not sent. */
  abandonOpen(each: (id: number) => void): void {
    const b = this.turns.open;
    if (b < 0) return;
    for (let f = 0; f < this.frameCounts[b]; f++) each(this.ids[b * N + f]);
    this.frames -= this.frameCounts[b];
    this.frameCounts[b] = 0;
    this.turns.batches[b].clear();
  }

  private send(): void {
    this.meter.lap(CPU.netback);
    this.counters.v[C.copyOps] += this.turns.send();
    this.counters.v[C.hypercalls]++;
    this.meter.lap(CPU.grantCalls);
  }
}
