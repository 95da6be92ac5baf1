/** Fills a guest's posted buffers with a frame: the hypervisor copies, by grant, or netback itself where the page is in
 *  the pool. A failed copy is a negative status in that slot and spoils that frame alone. */
import { GRANT_ENTRIES, NETRXF_EXTRA_INFO, NETRXF_MORE_DATA, RX_RING_SIZE } from '@grantline/xen';
import { PAGE_SIZE } from '@grantline/base';
import { slots as counterSlots, type CounterBlock, type Mem } from '@grantline/machine';
import { NETBACK_COUNTERS } from '@grantline/observe';
import type { BridgeTap } from '../capture/bridge-tap.js';
import type { Buffers } from '../bridge/buffers.js';
import type { CopyFrames } from './copy-frames.js';
import { FOREIGN } from '../bridge/foreign-frames.js';
import { ForeignPieces } from '../bridge/foreign-pieces.js';
import type { GrantPool } from '../grants/pool.js';
import { RX_MASK, type RxSlots } from './rx-slots.js';

const C = counterSlots(NETBACK_COUNTERS);

export interface FrameFillOptions {
  mem: Mem;
  slots: RxSlots;
  buffers: Buffers;
  pool: GrantPool;
  copies: CopyFrames;
  tap: BridgeTap;
  counters: CounterBlock;
}

export class FrameFill {
  /** Buffers of the driver domain have become free. */
  released = false;
  private readonly o: FrameFillOptions;
  private readonly source = new ForeignPieces();
  /** By ring slot: 1 when its response may go out. */
  private readonly done = new Uint8Array(RX_RING_SIZE);

  constructor(options: FrameFillOptions) {
    this.o = options;
  }

  /** Puts the frame in buffer `id` into the next `need` requests; the caller has asked for room in the batch.
   *  @returns false when a request was impossible: the vif must be stopped */
  fill(id: number, len: number, need: number): boolean {
    const { slots, buffers, pool, counters, copies } = this.o;
    const { bufferBytes } = slots;
    const v = counters.v;
    const first = slots.ring.reqCons & RX_MASK;
    let viaGrant = false;
    let buffer = id;
    let from = 0;
    let left = len;
    for (let k = 0; k < need; k++) {
      const s = slots.take();
      if (s < 0) return false;
      const size = left < bufferBytes ? left : bufferBytes;
      left -= size;
      slots.status[s] = size;
      slots.flags[s] = left > 0 ? NETRXF_MORE_DATA : 0;
      const gref = slots.gref[s];
      const at = gref < GRANT_ENTRIES ? pool.at[gref] : -1;
      let to = slots.offset[s];
      const end = to + size;
      while (to < end) {
        if (from === PAGE_SIZE) {
          buffer = buffers.next[buffer];
          from = 0;
        }
        const chunk = Math.min(end - to, PAGE_SIZE - from);
        if (at >= 0) {
          const source = buffers.offset(buffer) + from;
          this.o.mem.u8.copyWithin(at + to, source, source + chunk);
          v[C.localCopies]++;
          v[C.localCopiedBytes] += chunk;
        } else {
          copies.put(s, -1, buffers.firstPfn + buffer, from, gref, to, chunk);
          viaGrant = true;
        }
        from += chunk;
        to += chunk;
      }
      this.done[s] = at >= 0 ? 1 : 0;
    }
    if (viaGrant) {
      // Slots of this frame that were filled here wait with the others: the frame is answered as a whole.
      for (let k = 0; k < need; k++) this.done[(first + k) & RX_MASK] = 0;
      copies.endFrame(id, len, first, need);
    } else {
      v[C.outFrames]++;
      v[C.outBytes] += len;
      this.release(id);
    }
    return true;
  }

  /** Elements that a frame in another guest's pages needs: each end of a piece, and of a slot, begins a new one. */
  foreignElements(i: number, len: number): number {
    const { buffers, slots } = this.o;
    this.source.begin(buffers.foreign!, i);
    let n = 0;
    for (let left = len; left > 0;) {
      let slot = left < slots.bufferBytes ? left : slots.bufferBytes;
      for (left -= slot; slot > 0; n++) slot -= this.source.take(slot);
    }
    return n;
  }

  /** As `fill`, for a frame in another guest's pages: from page to page by grant, each byte once. */
  fillForeign(i: number, len: number, need: number): boolean {
    const { slots, buffers, copies } = this.o;
    const { bufferBytes } = slots;
    const first = slots.ring.reqCons & RX_MASK;
    const mss = buffers.foreign!.mss[i];
    this.source.begin(buffers.foreign!, i);
    let left = len;
    for (let k = 0; k < need; k++) {
      const s = slots.take();
      if (s < 0) return false;
      const size = left < bufferBytes ? left : bufferBytes;
      left -= size;
      slots.status[s] = size;
      slots.flags[s] = (left > 0 ? NETRXF_MORE_DATA : 0) | (k === 0 ? buffers.foreign!.flags[i] : 0);
      this.done[s] = 0;
      let to = slots.offset[s];
      const end = to + size;
      while (to < end) {
        const piece = this.source;
        const chunk = piece.take(end - to);
        copies.put(s, piece.domid, piece.page, piece.offset, slots.gref[s], to, chunk);
        to += chunk;
      }
      if (k === 0 && mss > 0) {
        slots.flags[s] |= NETRXF_EXTRA_INFO;
        const extra = slots.takeGso(mss);
        if (extra < 0) return false;
        this.done[extra] = 0;
      }
    }
    copies.endFrame(FOREIGN + i, len, first, mss > 0 ? need + 1 : need);
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
        const stands = this.o.buffers.framesOf(id);
        if (disabled) v[C.dropDisabled] += stands;
        else if (bad) {
          v[C.dropGrantError] += stands;
          if (this.o.tap.on) this.o.tap.frame(id, len, C.dropGrantError);
        } else {
          v[C.outFrames] += stands;
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
