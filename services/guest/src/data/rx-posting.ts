/** The requests of a receive queue: which buffers are posted, and in which slot of the ring each stands. A request's id
 *  is its slot, and its response comes in the same slot, so `slotBuffer` alone says which buffer that is. */
import { slots, type CounterBlock, type Mem, type Notify } from '@grantline/machine';
import { NETFRONT_COUNTERS } from '@grantline/observe';
import * as xen from '@grantline/xen';
import { type FrontRing, idxAdd, ringIdx, notifyIf } from '@grantline/xen';
import type { RxBuffers } from './rx-buffers.js';

// Local, so that the engine folds it into the code: see shared/frames/src/flow-templates.ts.
const { rxLow } = xen;

const C = slots(NETFRONT_COUNTERS);

export interface RxPostingOptions {
  mem: Mem;
  ring: FrontRing;
  buffers: RxBuffers;
  counters: CounterBlock;
  peer: Notify;
  /** True: refill once a quarter of the buffers is missing. False: after each batch. */
  batching: boolean;
}

export class RxPosting {
  /** Where slot 0 lies, in words of four bytes, and what makes a ring index a slot. */
  readonly slot0: number;
  readonly mask: number;
  /** By slot: the buffer whose request stands there unanswered, -1 when none does. */
  readonly slotBuffer: Int32Array;
  private readonly ring: FrontRing;
  private readonly buffers: RxBuffers;
  private readonly peer: Notify;
  private readonly batching: boolean;
  private readonly i32: Int32Array;
  private readonly v: Float64Array;

  constructor(options: RxPostingOptions) {
    this.ring = options.ring;
    this.buffers = options.buffers;
    this.peer = options.peer;
    this.batching = options.batching;
    this.i32 = options.mem.i32;
    this.v = options.counters.v;
    this.mask = options.ring.size - 1;
    this.slot0 = options.ring.slot(ringIdx(0)) >> 2;
    this.slotBuffer = new Int32Array(options.ring.size).fill(-1);
  }

  /** Posts what is free, or nothing while less than the wanted part of the ring is missing. Also the first fill. */
  refill(): void {
    const { ring, buffers, i32, slot0, slotBuffer, mask, v } = this;
    const { freeIds, granted, gref, pageOffset, count } = buffers;
    const most = count < ring.size ? count : ring.size;
    let want = ring.free() - (ring.size - most);
    if (this.batching && want < most >> 2) return;
    if (want > buffers.freeCount) want = buffers.freeCount;
    if (want <= 0) return;
    let issued = 0;
    let free = buffers.freeCount;
    const prod = ring.reqProdPvt;
    for (let i = 0; i < want; i++) {
      const id = freeIds[--free];
      if (granted[id] === 0) {
        buffers.grant(id);
        issued++;
      }
      const slot = (prod + i) & mask;
      slotBuffer[slot] = id;
      const word = slot0 + (slot << 1);
      i32[word] = rxLow(slot, pageOffset[id]);
      i32[word + 1] = gref[id]!;
    }
    buffers.freeCount = free;
    ring.reqProdPvt = idxAdd(prod, want);
    v[C.requests] += want;
    v[C.grantsIssued] += issued;
    notifyIf(ring.push(), this.peer, v, C.notifications, C.suppressed);
  }
}
