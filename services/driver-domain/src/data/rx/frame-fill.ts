/** Fills a guest's posted buffers with a frame: the hypervisor copies, by grant, or netback itself where the page is in
 *  the pool. A failed copy is a negative status in that slot and spoils that frame alone. */
import {
  CopyBatch,
  NETBACK_BATCH,
  GRANT_ENTRIES,
  NETRXF_EXTRA_INFO,
  NETRXF_MORE_DATA,
  RX_RING_SIZE,
  rxOffset,
} from '@grantline/xen';
import { slots as counterSlots, type CounterBlock, type Mem } from '@grantline/machine';
import { NETBACK_COUNTERS } from '@grantline/observe';
import { BatchTurns, type CallCosts, type Granter } from '../grants/batch-turns.js';
import { FramePieces, type BridgeProbe } from '../bridge/frame-pieces.js';
import type { Buffers } from '../bridge/buffers.js';
import type { GrantPool } from '../grants/grant-pool.js';
import { RX_MASK, type RxSlots } from './rx-slots.js';

const C = counterSlots(NETBACK_COUNTERS);
const N = NETBACK_BATCH;

/** Copies with the frames that they make up. The tag of an element is its ring slot. */
class FrameBatch extends CopyBatch {
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

/** Frames on their way through grant copies: which elements of which batch belong to which ring slot, and which slots
 *  to which frame. */
export class CopyFrames {
  /** Frames in batches, sent or not. */
  frames = 0;
  private readonly turns: BatchTurns<FrameBatch>;

  constructor({ port, self, domid }: Granter, costs: CallCosts, onReply: () => void) {
    const make = (): FrameBatch => new FrameBatch(port, self, domid, N, onReply);
    this.turns = new BatchTurns(make, costs, C.copyOps, C.hypercalls);
  }

  /** Calls without a reply yet. */
  get inFlight(): number {
    return this.turns.inFlight;
  }

  /** As BatchTurns. */
  makeRoom(elements: number): boolean {
    return this.turns.makeRoom(elements);
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
    this.turns.flush();
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
}

interface FrameFillOptions {
  mem: Mem;
  slots: RxSlots;
  buffers: Buffers;
  pool: GrantPool;
  copies: CopyFrames;
  probe: BridgeProbe;
  counters: CounterBlock;
}

export class FrameFill {
  /** Buffers of the driver domain have become free. */
  released = false;
  private readonly o: FrameFillOptions;
  private readonly pieces: FramePieces;
  /** By ring slot: 1 when its response may go out. */
  private readonly done = new Uint8Array(RX_RING_SIZE);

  constructor(options: FrameFillOptions) {
    this.o = options;
    this.pieces = new FramePieces(options.buffers);
  }

  /** @returns elements that the frame needs at most, in `need` requests */
  elements(id: number, len: number, need: number): number {
    // A slot needs one, or two where the source goes over to its next page.
    if (this.o.buffers.sourceOf(id) === null) return need * 2;
    // In another guest's pages each end of a piece, and of a slot, begins a new one.
    const { pieces } = this;
    const { bufferBytes } = this.o.slots;
    pieces.begin(id);
    let n = 0;
    for (let left = len; left > 0;) {
      let slot = left < bufferBytes ? left : bufferBytes;
      for (left -= slot; slot > 0; n++) slot -= pieces.take(slot);
    }
    return n;
  }

  /** Puts frame `id` into the next `need` requests, and one more that tells its mss when it has one; the caller has asked
   *  for room in the batch. @returns false when a request was impossible: the vif must be stopped */
  fill(id: number, len: number, need: number): boolean {
    const { slots, buffers, pool, counters, copies } = this.o;
    const { pieces } = this;
    const { bufferBytes } = slots;
    const v = counters.v;
    const first = slots.ring.reqCons & RX_MASK;
    pieces.begin(id);
    const { ours } = pieces;
    const mss = ours ? 0 : buffers.mssOf(id);
    // From another guest's pages the hypervisor copies, each byte once, also where the page is in the pool.
    let viaGrant = !ours;
    let left = len;
    for (let k = 0; k < need; k++) {
      const s = slots.take();
      if (s < 0) return false;
      const size = left < bufferBytes ? left : bufferBytes;
      left -= size;
      slots.status[s] = size;
      slots.flags[s] = left > 0 ? NETRXF_MORE_DATA : 0;
      if (k === 0 && !ours) slots.flags[s] |= buffers.flagsOf(id);
      const gref = slots.gref[s];
      const at = ours && gref < GRANT_ENTRIES ? pool.at[gref] : -1;
      let to = rxOffset(slots.low[s]);
      const end = to + size;
      while (to < end) {
        const chunk = pieces.take(end - to);
        if (at >= 0) {
          const from = pieces.at;
          this.o.mem.bulk.copy(at + to, from, chunk);
          v[C.localCopies]++;
          v[C.localCopiedBytes] += chunk;
        } else {
          copies.put(s, pieces.domid, pieces.page, pieces.offset, gref, to, chunk);
          viaGrant = true;
        }
        to += chunk;
      }
      this.done[s] = at >= 0 ? 1 : 0;
      if (k === 0 && mss > 0) {
        slots.flags[s] |= NETRXF_EXTRA_INFO;
        if (slots.takeGso(mss) < 0) return false;
      }
    }
    if (viaGrant) {
      const count = mss > 0 ? need + 1 : need;
      // Slots of this frame that were filled here wait with the others: the frame is answered as a whole.
      for (let k = 0; k < count; k++) this.done[(first + k) & RX_MASK] = 0;
      copies.endFrame(id, len, first, count);
    } else {
      v[C.outFrames]++;
      v[C.outBytes] += len;
      this.release(id);
    }
    return true;
  }

  /** Reads the replies that have come. @param disabled the vif is stopped: nobody gets these frames any more
   *  @returns frames settled */
  settle(disabled: boolean): number {
    const { slots, counters, copies } = this.o;
    const v = counters.v;
    let frames = 0;
    for (let batch = copies.replied(); batch !== null; batch = copies.replied()) {
      batch.readStatuses(slots.status);
      const n = batch.frames;
      for (let f = 0; f < n; f++) {
        const id = batch.id[f];
        const len = batch.len[f];
        const first = batch.firstSlot[f];
        const count = batch.slotCount[f];
        let bad = false;
        for (let k = 0; k < count; k++) {
          const s = (first + k) & RX_MASK;
          if (slots.status[s] < 0) bad = true;
          this.done[s] = 1;
        }
        const stoodFor = this.o.buffers.framesOf(id);
        if (disabled) v[C.dropDisabled] += stoodFor;
        else if (bad) {
          v[C.dropGrantError] += stoodFor;
          if (this.o.probe.on) this.o.probe.frame(id, len, C.dropGrantError);
        } else {
          v[C.outFrames] += stoodFor;
          v[C.outBytes] += len;
        }
        this.release(id);
      }
      frames += n;
      copies.settled(batch);
    }
    return frames;
  }

  /** Answers, in ring order, what is done. */
  answer(): void {
    const { slots } = this.o;
    for (let s = slots.oldest(); s >= 0 && this.done[s] === 1; s = slots.oldest()) slots.answer(s);
  }

  /** Drops the frames of the batch that was not sent: the vif is stopped. */
  abandon(): void {
    this.o.copies.abandonOpen((id) => {
      this.o.counters.v[C.dropDisabled] += this.o.buffers.framesOf(id);
      this.release(id);
    });
  }

  private release(id: number): void {
    this.o.buffers.release(id);
    this.released = true;
  }
}
