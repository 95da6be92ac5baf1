/** Requests whose grants are not in the pool, and pooled ones among them: such a page is pinned before the NIC learns of
 *  it, and unpinned before the guest has it back, by hypercalls. Answers stand in their requests' slots, so all goes
 *  strictly in ring order, and a pooled request waits for the pins of those before it. */
import {
  GRANT_ENTRIES,
  NETIF_RSP_ERROR,
  NETRXF_MORE_DATA,
  NICQ_COMP_EOP,
  NICQ_COMP_ERROR,
  NICQ_SIZE,
  RX_RING_SIZE,
  type DriverQueue,
  compFlags,
  compLen,
  ringIdx,
  type RingIdx,
} from '@grantline/xen';
import { slots as counterSlots, type CounterBlock, type Laps } from '@grantline/machine';
import { NETBACK_COUNTERS } from '@grantline/observe';
import type { Granter } from '../grants/batch-turns.js';
import type { NicFrames } from './nic-frames.js';
import { Pins, type PinSink } from '../grants/pins.js';
import type { GrantPool } from '../grants/grant-pool.js';
import { RX_MASK, type RxSlots } from './rx-slots.js';

const C = counterSlots(NETBACK_COUNTERS);
const NICQ_MASK = NICQ_SIZE - 1;

// State of a slot that was taken. A pooled slot rests in POSTED: the quick loops need not write it.
const POSTED = 0;
const PINNING = 1;
const READY = 2;
const UNPINNING = 3;
const DONE = 4;

export interface PinnedRxOptions {
  slots: RxSlots;
  queue: DriverQueue;
  pool: GrantPool;
  granter: Granter;
  frames: NicFrames;
  /** Ring slot of each buffer on the NIC's queue. */
  postedSlot: Uint8Array;
  counters: CounterBlock;
  meter: Laps;
  /** A reply has come: call `pins.settle` soon. */
  onReply: () => void;
}

export class PinnedRx implements PinSink {
  /** Unanswered requests whose grant was not in the pool. While there are none, the quick loops run. */
  slow = 0;
  /** Taking or completing waits for a batch to come back. */
  blocked = false;
  /** The guest put a request that cannot be. */
  impossible = false;
  readonly pins: Pins;
  private readonly o: PinnedRxOptions;
  private readonly state = new Uint8Array(RX_RING_SIZE);
  private readonly isSlow = new Uint8Array(RX_RING_SIZE);
  /** The NIC gave up a frame at this slot. */
  private readonly nicFailed = new Uint8Array(RX_RING_SIZE);
  /** Next request to post; those before it are posted or were refused. */
  private postIdx: RingIdx;

  constructor(options: PinnedRxOptions) {
    this.o = options;
    this.postIdx = options.slots.ring.reqCons;
    this.pins = new Pins(options.granter, this, options.counters, options.meter, options.onReply);
  }

  /** Takes up to n requests of either kind; `post` follows in ring order, when their pins are there.
   *  @returns how many; fewer than n when `blocked` or `impossible` */
  take(n: number): number {
    const { slots, pool } = this.o;
    // The quick loop has posted all that it took.
    if (this.slow === 0) this.postIdx = slots.ring.reqCons;
    for (let i = 0; i < n; i++) {
      if (!this.pins.canPin()) {
        this.blocked = true;
        return i;
      }
      const s = slots.take();
      if (s < 0) {
        this.impossible = true;
        return i;
      }
      const gref = slots.gref[s];
      const dpn = gref < GRANT_ENTRIES ? pool.dpn[gref] : 0;
      if (dpn !== 0) {
        this.pins.dpn[s] = dpn;
        this.state[s] = READY;
      } else {
        this.slow++;
        this.isSlow[s] = 1;
        this.state[s] = PINNING;
        this.pins.pin(s, gref);
      }
    }
    return n;
  }

  pinned(s: number, status: number): void {
    this.state[s] = status === 0 ? READY : DONE;
    this.o.slots.flags[s] = 0;
    this.o.slots.status[s] = status;
    if (status !== 0) this.o.counters.v[C.badRequests]++;
  }

  /** Posts, in ring order, what is pinned or pooled. */
  post(): void {
    const { slots, queue, postedSlot } = this.o;
    while (this.postIdx !== slots.ring.reqCons) {
      const s = this.postIdx & RX_MASK;
      if (this.state[s] === PINNING) return;
      if (this.state[s] === READY) {
        postedSlot[queue.availProd & NICQ_MASK] = s;
        queue.post(this.pins.dpn[s], slots.offset[s], slots.bufferBytes);
        this.state[s] = POSTED;
      }
      this.postIdx = ringIdx(this.postIdx + 1);
    }
  }

  /** Takes up to n completions and unpins their pages. @returns how many; fewer than n when `blocked` */
  complete(n: number): number {
    const { slots, queue, postedSlot, frames } = this.o;
    const v = this.o.counters.v;
    for (let i = 0; i < n; i++) {
      if (!this.pins.canUnpin()) {
        this.blocked = true;
        return i;
      }
      const comp = queue.completion(i);
      const len = compLen(comp);
      const flags = compFlags(comp);
      const s = postedSlot[(queue.compCons + i) & NICQ_MASK];
      slots.flags[s] = 0;
      if ((flags & NICQ_COMP_ERROR) !== 0 || len > slots.bufferBytes) {
        slots.status[s] = NETIF_RSP_ERROR;
        this.nicFailed[s] = 1;
        frames.nicError(flags);
      } else {
        slots.status[s] = len;
        if ((flags & NICQ_COMP_EOP) === 0) slots.flags[s] = NETRXF_MORE_DATA;
        else v[C.nicFrames]++;
      }
      if (this.pins.handle[s] < 0) this.state[s] = DONE;
      else {
        this.state[s] = UNPINNING;
        this.pins.unpin(s);
      }
    }
    return n;
  }

  unpinned(s: number, status: number): void {
    this.state[s] = DONE;
    if (status !== 0) this.o.slots.status[s] = status;
  }

  /** Answers, in ring order, what is done. */
  answer(): void {
    const { slots, frames } = this.o;
    for (let s = slots.oldest(); s >= 0 && this.state[s] === DONE; s = slots.oldest()) {
      if (slots.status[s] < 0) {
        if (this.nicFailed[s] !== 0) frames.abandon();
        else frames.interrupted();
      } else if (slots.hasMore(s)) frames.bytes += slots.status[s];
      else frames.end(slots.status[s]);
      slots.answer(s);
      this.state[s] = POSTED;
      this.nicFailed[s] = 0;
      if (this.isSlow[s] !== 0) {
        this.isSlow[s] = 0;
        this.slow--;
      }
    }
  }

  /** @returns frames that the NIC delivered and that are not answered */
  unansweredFrames(): number {
    const { slots } = this.o;
    const n = slots.unanswered();
    let frames = 0;
    for (let i = 0; i < n; i++) {
      const s = (slots.ring.rspProdPvt + i) & RX_MASK;
      const complete = this.state[s] === UNPINNING || this.state[s] === DONE;
      if (complete && slots.status[s] >= 0 && !slots.hasMore(s)) frames++;
    }
    return frames;
  }
}
