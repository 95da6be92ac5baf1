/** Requests whose grants are not in the pool, and pooled ones among them: such a page is pinned before the NIC learns of
 *  it, and unpinned before the guest has it back, by hypercalls. Answers stand in their requests' slots, so all goes
 *  strictly in ring order, and a pooled request waits for the pins of those before it. */
import {
  GNTMAP_DEVICE_MAP,
  MapBatch,
  NETBACK_BATCH,
  RX_RING_SIZE,
  UnmapBatch,
  GRANT_ENTRIES,
  NETIF_NR_SLOTS_MIN,
  NETIF_RSP_ERROR,
  NETRXF_MORE_DATA,
  NICQ_COMP_EOP,
  NICQ_COMP_ERROR,
  NICQ_COMP_INFO,
  NICQ_COMP_PACKET,
  NICQ_SIZE,
  XEN_NETIF_EXTRA_TYPE_GSO,
  XEN_NETIF_GSO_TYPE_TCPV4,
  extraHead,
  compFlags,
  compLen,
  ringIdx,
  rxOffset,
  type DriverQueue,
  type RingIdx,
} from '@grantline/xen';
import { slots as counterSlots } from '@grantline/machine';
import { NETBACK_COUNTERS } from '@grantline/observe';
import { BatchTurns, type CallCosts, type Granter } from '../grants/batch-turns.js';
import { PACKET_FLAGS, type NicFrames } from './pooled-rx.js';
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

interface PinnedRxOptions extends CallCosts {
  slots: RxSlots;
  queue: DriverQueue;
  pool: GrantPool;
  granter: Granter;
  frames: NicFrames;
  /** Ring slot of each buffer on the NIC's queue. */
  postedSlot: Uint8Array;
  /** A reply has come: call `settle` soon. */
  onReply: () => void;
}

export class PinnedRx {
  /** Unanswered requests whose grant was not in the pool. While there are none, the quick loops run. */
  slow = 0;
  /** Taking or completing waits for a batch to come back. */
  blocked = false;
  /** The guest put a request that cannot be. */
  impossible = false;
  private readonly o: PinnedRxOptions;
  /** By ring slot: handle of its pin, -1 when it has none; and its page as the NIC sees it. */
  private readonly handle = new Float64Array(RX_RING_SIZE).fill(-1);
  private readonly dpn = new Int32Array(RX_RING_SIZE);
  // The tag of an element is its ring slot.
  private readonly pins: BatchTurns<MapBatch>;
  private readonly unpins: BatchTurns<UnmapBatch>;
  private readonly state = new Uint8Array(RX_RING_SIZE);
  private readonly isSlow = new Uint8Array(RX_RING_SIZE);
  /** The NIC gave up a frame at this slot. */
  private readonly nicFailed = new Uint8Array(RX_RING_SIZE);
  /** The slot's page could not be pinned: the NIC never had it, and goes on in the next one. */
  private readonly refused = new Uint8Array(RX_RING_SIZE);
  /** How many frames the packet stands for that begins at this slot, 0: none begins; and whether the slot tells what a packet is. */
  private readonly standsFor = new Uint8Array(RX_RING_SIZE);
  private readonly isInfo = new Uint8Array(RX_RING_SIZE);
  /** Next request to post; those before it are posted or were refused. */
  private postIdx: RingIdx;

  constructor(options: PinnedRxOptions) {
    this.o = options;
    this.postIdx = options.slots.ring.reqCons;
    const { granter, onReply } = options;
    const { port, domid } = granter;
    const makePins = (): MapBatch => new MapBatch(port, domid, GNTMAP_DEVICE_MAP, NETBACK_BATCH, onReply);
    const makeUnpins = (): UnmapBatch => new UnmapBatch(port, NETBACK_BATCH, onReply);
    this.pins = new BatchTurns(makePins, options, C.pinOps, C.hypercalls);
    this.unpins = new BatchTurns(makeUnpins, options, C.unpinOps, C.hypercalls);
  }

  /** Calls without a reply yet. */
  get inFlight(): number {
    return this.pins.inFlight + this.unpins.inFlight;
  }

  /** Takes up to n requests of either kind; `post` follows in ring order, when their pins are there.
   *  @returns how many; fewer than n when `blocked` or `impossible` */
  take(n: number): number {
    const { slots, pool } = this.o;
    // The quick loop has posted all that it took.
    if (this.slow === 0) this.postIdx = slots.ring.reqCons;
    let pins = this.pins.open;
    for (let i = 0; i < n; i++) {
      if (pins === null) {
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
        this.dpn[s] = dpn;
        this.state[s] = READY;
      } else {
        this.slow++;
        this.isSlow[s] = 1;
        this.state[s] = PINNING;
        pins.put(gref, 0, s);
        if (pins.count === pins.capacity) {
          this.pins.flush();
          pins = this.pins.open;
        }
      }
    }
    return n;
  }

  /** Posts, in ring order, what is pinned or pooled. */
  post(): void {
    const { slots, queue, postedSlot } = this.o;
    while (this.postIdx !== slots.ring.reqCons) {
      const s = this.postIdx & RX_MASK;
      if (this.state[s] === PINNING) return;
      if (this.state[s] === READY) {
        postedSlot[queue.availProd & NICQ_MASK] = s;
        queue.post(this.dpn[s], rxOffset(slots.low[s]), slots.bufferBytes);
        this.state[s] = POSTED;
      }
      this.postIdx = ringIdx(this.postIdx + 1);
    }
  }

  /** Takes up to n completions and unpins their pages. @returns how many; fewer than n when `blocked` */
  complete(n: number): number {
    const { slots, queue, postedSlot, frames } = this.o;
    const v = this.o.counters.v;
    let unpins = this.unpins.open;
    for (let i = 0; i < n; i++) {
      if (unpins === null) {
        this.blocked = true;
        return i;
      }
      const comp = queue.completion(i);
      const len = compLen(comp);
      const flags = compFlags(comp);
      const s = postedSlot[(queue.compCons + i) & NICQ_MASK];
      slots.flags[s] = 0;
      this.standsFor[s] = 0;
      if ((flags & NICQ_COMP_INFO) !== 0 && !this.isTorn(i - 1)) {
        this.isInfo[s] = 1;
        slots.low[s] = extraHead(XEN_NETIF_EXTRA_TYPE_GSO, len);
        slots.flags[s] = XEN_NETIF_GSO_TYPE_TCPV4;
        slots.status[s] = 0;
      } else if ((flags & NICQ_COMP_ERROR) !== 0 || len > slots.bufferBytes) {
        slots.status[s] = NETIF_RSP_ERROR;
        this.nicFailed[s] = 1;
        frames.nicError(flags);
      } else if ((flags & NICQ_COMP_INFO) !== 0) {
        slots.flags[s] = NETRXF_MORE_DATA;
        slots.status[s] = NETIF_RSP_ERROR;
      } else {
        slots.status[s] = len;
        if ((flags & NICQ_COMP_EOP) === 0) slots.flags[s] = NETRXF_MORE_DATA;
        else v[C.nicFrames]++;
        if ((flags & NICQ_COMP_PACKET) !== 0) {
          this.standsFor[s] = queue.frames(i);
          // What tells what it is has to stand right behind. Where a refused page does, the packet is lost.
          if (this.isTorn(i)) slots.status[s] = NETIF_RSP_ERROR;
          else slots.flags[s] |= PACKET_FLAGS;
          // With its last buffer comes the one that is missing.
          v[C.nicFrames] += this.standsFor[s] - 1;
        }
      }
      if (this.handle[s] < 0) this.state[s] = DONE;
      else {
        this.state[s] = UNPINNING;
        unpins.put(this.handle[s], this.dpn[s], 0, s);
        if (unpins.count === unpins.capacity) {
          this.unpins.flush();
          unpins = this.unpins.open;
        }
      }
    }
    return n;
  }

  /** @returns true when the buffers of completion `i` and the next one are not those of requests side by side */
  private isTorn(i: number): boolean {
    const { queue, postedSlot } = this.o;
    const at = queue.compCons + i;
    return postedSlot[(at + 1) & NICQ_MASK] !== ((postedSlot[at & NICQ_MASK] + 1) & RX_MASK);
  }

  /** Sends what waits and may go. */
  flush(): void {
    this.pins.flush();
    this.unpins.flush();
  }

  /** Reads the replies that have come. @returns elements settled */
  settle(): number {
    const { slots, counters } = this.o;
    let done = 0;
    for (let batch = this.pins.replied(); batch !== null; batch = this.pins.replied()) {
      for (let k = 0; k < batch.count; k++) {
        const s = batch.tag[k];
        const status = batch.status(k);
        if (status === 0) {
          this.handle[s] = batch.handle(k);
          this.dpn[s] = batch.dpn(k);
        } else {
          counters.v[C.badRequests]++;
          this.refused[s] = 1;
        }
        this.state[s] = status === 0 ? READY : DONE;
        slots.flags[s] = 0;
        slots.status[s] = status;
      }
      done += batch.count;
      this.pins.settled();
    }
    for (let batch = this.unpins.replied(); batch !== null; batch = this.unpins.replied()) {
      for (let k = 0; k < batch.count; k++) {
        const s = batch.tag[k];
        const status = batch.status(k);
        this.handle[s] = -1;
        this.state[s] = DONE;
        // What tells what a packet is has no data in its buffer.
        if (status !== 0 && this.isInfo[s] === 0) slots.status[s] = status;
      }
      done += batch.count;
      this.unpins.settled();
    }
    return done;
  }

  /** Once nothing is in flight and the NIC is off the queue: what is still pinned. Each is handed out once. */
  takePins(each: (handle: number, dpn: number) => void): void {
    for (let s = 0; s < RX_RING_SIZE; s++) {
      if (this.handle[s] < 0) continue;
      each(this.handle[s], this.dpn[s]);
      this.handle[s] = -1;
    }
  }

  /** Answers, in ring order, what is done. */
  answer(): void {
    const { slots } = this.o;
    for (let s = slots.oldest(); s >= 0 && this.state[s] === DONE; s = slots.oldest()) {
      this.judge(s);
      slots.answer(s);
      this.state[s] = POSTED;
      this.nicFailed[s] = 0;
      this.refused[s] = 0;
      this.standsFor[s] = 0;
      this.isInfo[s] = 0;
      if (this.isSlow[s] !== 0) {
        this.isSlow[s] = 0;
        this.slow--;
      }
    }
  }

  /** What slot `s`, the next to be answered, means to the frame at hand. For the guest a frame ends where its response does not
   *  say "more", whatever else that says: so one that failed goes on to its last slot. */
  private judge(s: number): void {
    const { slots, frames } = this.o;
    if (this.isInfo[s] !== 0) return;
    if (this.nicFailed[s] !== 0) {
      frames.abandon();
      return;
    }
    if (this.refused[s] !== 0) {
      // Between frames it stands alone.
      if (frames.parts === 0) return;
      slots.flags[s] = NETRXF_MORE_DATA;
    }
    if (this.standsFor[s] > 0) frames.standsFor = this.standsFor[s];
    // With refused pages in it a frame may have more slots than a front end takes: what is over stands alone, and holds nothing.
    if (frames.parts >= NETIF_NR_SLOTS_MIN) slots.status[s] = NETIF_RSP_ERROR;
    const len = Math.max(0, slots.status[s]);
    if (slots.status[s] < 0) frames.failed = true;
    if (!slots.hasMore(s)) {
      frames.end(len);
      return;
    }
    frames.bytes += len;
    frames.parts++;
    if (frames.failed && frames.parts % NETIF_NR_SLOTS_MIN === 0) slots.flags[s] &= ~NETRXF_MORE_DATA;
  }

  /** @returns frames that the NIC delivered and that are not answered */
  unansweredFrames(): number {
    const { slots } = this.o;
    const n = slots.unanswered();
    // Of a packet that is answered in part the last frame is told of by its last slot, or by `drain`.
    let frames = this.o.frames.standsFor - 1;
    for (let i = 0; i < n; i++) {
      const s = (slots.ring.rspProdPvt + i) & RX_MASK;
      const complete = this.state[s] === UNPINNING || this.state[s] === DONE;
      // Whether it can be answered as it is does not matter: `complete` has counted it.
      if (!complete || this.refused[s] + this.nicFailed[s] + this.isInfo[s] > 0) continue;
      if (this.standsFor[s] > 0) frames += this.standsFor[s] - 1;
      if (!slots.hasMore(s)) frames++;
    }
    return frames;
  }
}
