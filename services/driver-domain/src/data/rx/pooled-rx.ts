/** Requests whose grants are in the pool: posted at once, and answered at once when the NIC has filled them. This is
 *  all that happens in the steady state of `grant-reuse` and `optimised`; it may only run while no other request is
 *  unanswered (pinned-rx.ts), so that completions, posts and ring slots are in one order. */
import * as xen from '@grantline/xen';
import {
  NICQ_COMP_ERROR,
  GRANT_ENTRIES,
  NETIF_RSP_ERROR,
  NETRXF_CSUM_BLANK,
  NETRXF_EXTRA_INFO,
  NETRXF_MORE_DATA,
  NICQ_COMP_EOP,
  NICQ_COMP_INFO,
  NICQ_COMP_PACKET,
  NICQ_SIZE,
  XEN_NETIF_EXTRA_TYPE_GSO,
  XEN_NETIF_GSO_TYPE_TCPV4,
  extraHead,
  ringIdx,
  type DriverQueue,
} from '@grantline/xen';
import { slots as counterSlots, type CounterBlock, type Mem } from '@grantline/machine';
import { NETBACK_COUNTERS } from '@grantline/observe';
import type { GrantPool } from '../grants/grant-pool.js';
import { RX_MASK, type RxSlots } from './rx-slots.js';

// Local, so that the engine folds them into the code: see shared/frames/src/flow-templates.ts.
const { compFlags, compLen, nicSpan, rxHigh, rxOffset } = xen;

const C = counterSlots(NETBACK_COUNTERS);
const NICQ_MASK = NICQ_SIZE - 1;
const KIND = NICQ_COMP_EOP | NICQ_COMP_ERROR | NICQ_COMP_PACKET | NICQ_COMP_INFO;

/** NETRXF_* of the response whose buffer is a packet's first: the next tells what the packet is. */
export const PACKET_FLAGS = NETRXF_EXTRA_INFO | NETRXF_CSUM_BLANK;

/** Counts what becomes of the frames of the guest's NIC queue, when the last of their buffers is answered. Usually a
 *  frame stands in one buffer; a longer one in several, and so does a packet that stands for many. */
export class NicFrames {
  /** Bytes of the frame whose first buffers are answered already. */
  bytes = 0;
  /** How many frames it stands for: 1, unless it is a packet. */
  standsFor = 1;
  /** Of a frame that is answered request by request (pinned-rx.ts): how many are answered, and whether one of them failed.
   *  Then the guest cannot use that frame. */
  parts = 0;
  failed = false;
  private readonly counters: CounterBlock;

  constructor(counters: CounterBlock) {
    this.counters = counters;
  }

  /** The NIC gave a buffer back without data that can be used: it refused it (then it belongs to no frame), or says a
   *  length that the buffer does not have. @param flags of the completion */
  nicError(flags: number): void {
    const v = this.counters.v;
    if ((flags & NICQ_COMP_ERROR) !== 0) v[C.badRequests]++;
    else v[C.dropNicError]++;
  }

  /** The NIC gave up the frame at hand. */
  abandon(): void {
    this.bytes = 0;
    this.standsFor = 1;
    this.parts = 0;
    this.failed = false;
  }

  /** A frame or packet is answered in full. @param len bytes in its last buffer */
  end(len: number): void {
    const v = this.counters.v;
    if (this.failed) v[C.dropGrantError] += this.standsFor;
    else {
      v[C.outFrames] += this.standsFor;
      v[C.outBytes] += this.bytes + len;
    }
    this.abandon();
  }
}

interface PooledRxOptions {
  mem: Mem;
  slots: RxSlots;
  queue: DriverQueue;
  pool: GrantPool;
  frames: NicFrames;
  /** Ring slot of each buffer on the NIC's queue. */
  postedSlot: Uint8Array;
  counters: CounterBlock;
}

export class PooledRx {
  private readonly o: PooledRxOptions;

  constructor(options: PooledRxOptions) {
    this.o = options;
  }

  /** Posts requests whose grants are in the pool. @returns how many; fewer than n when one is not */
  post(n: number): number {
    const { slots, queue, postedSlot } = this.o;
    const { ring, low, gref, bufferBytes, maxOffset, lowMask } = slots;
    const { availWord } = queue;
    const pooled = this.o.pool.dpn;
    const u32 = this.o.mem.u32;
    const base = ring.slot(ringIdx(0)) >> 2;
    let cons: number = ring.reqCons;
    let prod: number = queue.availProd;
    let i = 0;
    for (; i < n; i++) {
      const s = cons & RX_MASK;
      const at = base + (s << 1);
      // As slots.take and queue.post, in words: each is read once.
      const word = u32[at] & lowMask;
      const ref = u32[at + 1];
      const where = rxOffset(word);
      const dpn = ref < GRANT_ENTRIES ? pooled[ref] : 0;
      // Whatever is not plain stays for the slow loop, which judges it.
      if (dpn === 0 || where > maxOffset) break;
      low[s] = word;
      gref[s] = ref;
      const entry = prod & NICQ_MASK;
      postedSlot[entry] = s;
      const to = availWord + (entry << 1);
      u32[to] = dpn;
      u32[to + 1] = nicSpan(where, bufferBytes);
      cons++;
      prod++;
    }
    ring.reqCons = ringIdx(cons);
    queue.availProd = ringIdx(prod);
    return i;
  }

  /** Answers n completions: the i-th is that of the i-th unanswered request. */
  complete(n: number): void {
    const { slots, queue, frames, counters } = this.o;
    const { low, bufferBytes, ring } = slots;
    const { compWord, compCons } = queue;
    const { i32 } = this.o.mem;
    const base = ring.slot(ringIdx(0)) >> 2;
    let rsp: number = ring.rspProdPvt;
    let whole = 0;
    let bytes = 0;
    for (let i = 0; i < n; i++) {
      const comp = i32[compWord + (((compCons + i) & NICQ_MASK) << 1)];
      const len = compLen(comp);
      const flags = compFlags(comp);
      const s = rsp & RX_MASK;
      const out = base + (s << 1);
      i32[out] = low[s]!;
      if ((flags & KIND) === NICQ_COMP_EOP && len <= bufferBytes && frames.bytes === 0) {
        // The usual case: a frame in one buffer.
        i32[out + 1] = rxHigh(0, len);
        whole++;
        bytes += len;
      } else if ((flags & NICQ_COMP_INFO) !== 0) {
        i32[out] = extraHead(XEN_NETIF_EXTRA_TYPE_GSO, len);
        i32[out + 1] = rxHigh(XEN_NETIF_GSO_TYPE_TCPV4, 0);
      } else {
        if ((flags & NICQ_COMP_PACKET) !== 0) {
          frames.standsFor = queue.frames(i);
          // With its last buffer comes the one that is missing.
          counters.v[C.nicFrames] += frames.standsFor - 1;
        }
        i32[out + 1] = this.part(len, flags);
      }
      rsp++;
    }
    ring.rspProdPvt = ringIdx(rsp);
    const v = counters.v;
    v[C.nicFrames] += whole;
    v[C.outFrames] += whole;
    v[C.outBytes] += bytes;
  }

  /** A buffer that was refused, or that holds a part of a frame or packet. @returns the response's second word */
  private part(len: number, flags: number): number {
    const { frames, slots, counters } = this.o;
    if ((flags & NICQ_COMP_ERROR) !== 0 || len > slots.bufferBytes) {
      frames.nicError(flags);
      frames.abandon();
      return rxHigh(0, NETIF_RSP_ERROR);
    }
    if ((flags & NICQ_COMP_EOP) === 0) {
      frames.bytes += len;
      return rxHigh((flags & NICQ_COMP_PACKET) === 0 ? NETRXF_MORE_DATA : NETRXF_MORE_DATA | PACKET_FLAGS, len);
    }
    counters.v[C.nicFrames]++;
    frames.end(len);
    return rxHigh(0, len);
  }
}
