/** Netfront's receive side of one queue. Source: Linux xen-netfront.c (xennet_poll). docs/wire/netif.md, docs/wire/ring.md.
 *
 *  A request's id is its slot, and its response comes in the same slot, so `slotBuffer` alone says which buffer that is.
 *  Netback is not trusted: each response is copied once and judged; the first one that is impossible breaks the queue for
 *  good, until the vif reconnects. */
import { slots, type CounterBlock, type Mem, type Notify, type Poller, type Laps } from '@grantline/machine';
import { NETFRONT_COUNTERS, NETFRONT_DROP, NO_RX_PROBE, type RxProbe } from '@grantline/observe';
import * as xen from '@grantline/xen';
import {
  idxAdd,
  ringIdx,
  notifyIf,
  NETIF_NR_SLOTS_MIN,
  XEN_NETIF_EXTRA_FLAG_MORE,
  XEN_NETIF_EXTRA_TYPE_GSO,
  XEN_NETIF_GSO_TYPE_TCPV4,
  extraFlags,
  extraType,
  gsoMss,
  gsoType,
  type FrontRing,
} from '@grantline/xen';
import { RX_CSUM_BLANK, RX_FRAMES_SHIFT, bulkFrames, framesOf, type RxSink } from '@grantline/measure';
import type { RxBuffers } from './rx-buffers.js';

// Local, so that the engine folds them into the code: see shared/frames/src/flow-templates.ts. Imported one by one, the
// functions took 1.5 of 20 ns a frame.
const { NETRXF_CSUM_BLANK, NETRXF_EXTRA_INFO, NETRXF_MORE_DATA, rxFlags, rxId, rxLow, rxOffset, rxStatus } = xen;

const C = slots(NETFRONT_COUNTERS);

/** Slots of the CPU meter that a queue charges. */
export interface RxComponents {
  /** The queue itself: netfront, or the NIC driver. */
  queue: number;
  stack: number;
  application: number;
}

/** Responses or completions that a queue takes in one go. */
export const RX_BATCH = 64;
/** Most that any sink may ask for. */
export const MOST_RX_BATCH = 192;

/** Why a queue is broken, until the vif reconnects: the first thing that netback may not do. Index into NETFRONT_FAULTS. */
const BAD_INDEX = 1;
const BAD_ID = 2;
const BAD_SPAN = 3;
const BAD_FLAGS = 4;
const ENDLESS_CHAIN = 5;
const STILL_IN_USE = 6;
const BAD_EXTRA = 7;
export const NETFRONT_FAULTS = [
  'none',
  'rsp_prod is ahead of the requests',
  'response id is not the one of its slot',
  'response lies outside its buffer',
  'response has an extra-info flag that nobody asked for',
  'frame has more slots than any frame may have',
  'grant is still in use although answered',
  'extra info is not of a packet that can be cut',
] as const;

interface NetfrontRxOptions {
  mem: Mem;
  ring: FrontRing;
  buffers: RxBuffers;
  sink: RxSink;
  laps: Laps;
  components: RxComponents;
  counters: CounterBlock;
  peer: Notify;
  /** True: each response ends its grant, each request gets a fresh one. False: grants stand as long as the buffers. */
  perFrameGrants: boolean;
  /** True: refill once a quarter of the buffers is missing. False: after each batch. */
  batching: boolean;
  /** Netback was told that packets which were not cut into frames are taken (feature-gso-tcpv4). */
  gso: boolean;
  /** Called once, from inside poll, when netback did something impossible. */
  onFault: (reason: string) => void;
}

export class NetfrontRx implements Poller {
  scheduled = false;
  fault = 0;
  probe: RxProbe = NO_RX_PROBE;
  private readonly o: NetfrontRxOptions;
  private readonly ring: FrontRing;
  private readonly buffers: RxBuffers;
  private readonly i32: Int32Array;
  private readonly v: Float64Array;
  private readonly peer: Notify;
  private readonly batching: boolean;
  /** Where slot 0 lies, in words of four bytes, and what makes a ring index a slot. */
  private readonly slot0: number;
  private readonly mask: number;
  /** By slot: the buffer whose request stands there unanswered, -1 when none does. */
  private readonly slotBuffer: Int32Array;
  /** Buffers of this batch, with the stack and the application until `deliver` returns. */
  private readonly batch = new Int32Array(MOST_RX_BATCH);
  private batchCount = 0;
  private readonly most: number;
  private readonly chainAt = new Int32Array(NETIF_NR_SLOTS_MIN);
  private readonly chainLen = new Int32Array(NETIF_NR_SLOTS_MIN);
  /** Published responses that are the beginning of a frame whose end is not there yet. */
  private partial = 0;
  /** How many frames the packet stands for that `accept` took; 0: it was dropped. */
  private acceptedFrames = 0;

  constructor(options: NetfrontRxOptions) {
    this.o = options;
    this.ring = options.ring;
    this.buffers = options.buffers;
    this.i32 = options.mem.i32;
    this.v = options.counters.v;
    this.most = Math.min(options.sink.batch ?? RX_BATCH, MOST_RX_BATCH);
    this.peer = options.peer;
    this.batching = options.batching;
    this.mask = options.ring.size - 1;
    this.slot0 = options.ring.slot(ringIdx(0)) >> 2;
    this.slotBuffer = new Int32Array(options.ring.size).fill(-1);
  }

  /** Takes a batch of responses, posts buffers, lets stack and application run. @returns responses taken */
  poll(): number {
    if (this.fault !== 0) return 0;
    const { ring, o, buffers, most, v } = this;
    const published = ring.unconsumed();
    if (published === this.partial) return 0;
    if (published < 0) this.fail(BAD_INDEX);
    const taken = published < 0 ? 0 : this.take(published < most ? published : most);
    // With buffers to spare, netback gets its refill before the batch is worked on.
    if (this.fault === 0) this.refill();
    o.laps.lap(o.components.queue);
    if (taken > 0) {
      o.sink.process();
      if (this.probe.on) this.probe.settle();
      o.laps.lap(o.components.stack);
      o.sink.deliver(o.laps.now);
      o.laps.lap(o.components.application);
      buffers.recycle(this.batch, this.batchCount);
      this.batchCount = 0;
      if (this.fault === 0) this.refill();
      v[C.responses] += taken;
    }
    o.counters.commit();
    if (this.fault !== 0) o.onFault(NETFRONT_FAULTS[this.fault]);
    return taken;
  }

  arm(): boolean {
    if (this.fault !== 0) return false;
    this.ring.arm(this.partial + 1);
    return this.ring.unconsumed() !== this.partial;
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

  describe(): Record<string, unknown> {
    return { fault: NETFRONT_FAULTS[this.fault], ring: this.ring.describe(), buffers: this.buffers.describe() };
  }

  /** Judges up to n responses. Only whole frames are taken: the rest of a frame may come with the next batch.
   *  @returns responses taken */
  private take(n: number): number {
    const { ring, buffers, i32, batch, chainAt, chainLen, mask, slot0, slotBuffer, v } = this;
    const { at, pageOffset, bytes: size } = buffers;
    const { sink, perFrameGrants } = this.o;
    const { probe } = this;
    const isProbed = probe.on;
    const cons = ring.rspCons;
    let taken = 0;
    let chain = 0;
    let flags = 0;
    let mss = 0;
    let failed = false;
    let frames = 0;
    let bytes = 0;
    let revoked = 0;
    let fault = 0;
    for (let i = 0; i < n; i++) {
      const slot = (cons + i) & mask;
      const word = slot0 + (slot << 1);
      const low = i32[word];
      const high = i32[word + 1];
      const id = slotBuffer[slot];
      const len = rxStatus(high);
      const flag = rxFlags(high);
      const inBuffer = rxOffset(low) - pageOffset[id];
      if (rxId(low) !== slot || id < 0) {
        fault = BAD_ID;
        break;
      }
      if (len >= 0 && (inBuffer < 0 || inBuffer + len > size)) {
        fault = BAD_SPAN;
        break;
      }
      if ((flag & (NETRXF_MORE_DATA | NETRXF_EXTRA_INFO)) === 0 && chain === 0 && len >= 0) {
        // The usual case: a frame in one slot.
        if (perFrameGrants) {
          // Before the data is looked at: while the grant is in use, it may still change.
          if (!buffers.end(id)) {
            fault = STILL_IN_USE;
            break;
          }
          revoked++;
        }
        slotBuffer[slot] = -1;
        batch[this.batchCount++] = id;
        sink.fragment(at[id] + inBuffer, len, false, (flag & NETRXF_CSUM_BLANK) === 0 ? 0 : RX_CSUM_BLANK);
        if (isProbed) probe.fragment(at[id] + inBuffer, len, false);
        frames++;
        bytes += len;
        taken++;
        continue;
      }
      if ((flag & NETRXF_EXTRA_INFO) !== 0) {
        // The extra info stands in the next slot; it may come with the next batch.
        fault = !this.o.gso || chain !== 0 ? BAD_FLAGS : 0;
        if (fault !== 0 || i + 1 === n) {
          if (fault === 0) chain = 1;
          break;
        }
        i++;
        const extra = slot0 + (((cons + i) & mask) << 1);
        mss = readGso(i32[extra], i32[extra + 1]);
        if (mss === 0) {
          fault = BAD_EXTRA;
          break;
        }
      }
      if (chain === 0) flags = flag;
      failed ||= len < 0;
      chainAt[chain] = at[id] + inBuffer;
      chainLen[chain] = len;
      chain++;
      if ((flag & NETRXF_MORE_DATA) !== 0) {
        if (chain < NETIF_NR_SLOTS_MIN) continue;
        fault = ENDLESS_CHAIN;
        break;
      }
      const got = this.accept(cons + taken, chain, failed, flags, mss);
      if (got < 0) {
        fault = STILL_IN_USE;
        break;
      }
      if (!failed) {
        frames += this.acceptedFrames;
        bytes += got;
      }
      taken += mss > 0 ? chain + 1 : chain;
      chain = mss = 0;
      failed = false;
    }
    this.partial = mss > 0 ? chain + 1 : chain;
    ring.rspCons = idxAdd(cons, taken);
    v[C.frames] += frames;
    v[C.toStack] += frames;
    v[C.bytes] += bytes;
    v[C.grantsRevoked] += revoked;
    if (fault !== 0) this.fail(fault);
    return taken;
  }

  /** Takes a whole packet of `count` responses with data from index `first` on; where it has an mss, extra info stands behind
   *  the first. A packet that netback could not fill goes back as it is, with its grants.
   *  @returns its bytes; -1 when a grant could not be ended: the data may still change */
  private accept(first: number, count: number, failed: boolean, flags: number, mss: number): number {
    const { buffers, o, v, chainAt, chainLen, mask, slotBuffer } = this;
    const skip = mss > 0 ? 1 : 0;
    if (o.perFrameGrants && !failed) {
      for (let i = 0; i < count; i++) {
        if (!buffers.end(slotBuffer[(first + (i > 0 ? i + skip : 0)) & mask])) return -1;
      }
      v[C.grantsRevoked] += count;
    }
    let bytes = 0;
    for (let i = 0; i < count + skip; i++) {
      const slot = (first + i) & mask;
      this.batch[this.batchCount++] = slotBuffer[slot]!;
      slotBuffer[slot] = -1;
    }
    this.acceptedFrames = 0;
    if (failed) {
      v[C.frames]++;
      v[C.dropError]++;
      if (this.probe.on) this.probe.lost(NETFRONT_DROP + C.dropError);
      return 0;
    }
    for (let i = 0; i < count; i++) bytes += chainLen[i];
    const info = rxInfo(o.mem, flags, mss, chainAt[0], chainLen[0], bytes);
    if (info < 0) {
      v[C.frames]++;
      v[C.dropMalformed]++;
      if (this.probe.on) this.probe.lost(NETFRONT_DROP + C.dropMalformed);
      return 0;
    }
    this.acceptedFrames = framesOf(info);
    for (let i = 0; i < count; i++) {
      o.sink.fragment(chainAt[i], chainLen[i], i + 1 < count, i === 0 ? info : 0);
      if (this.probe.on) this.probe.fragment(chainAt[i], chainLen[i], i + 1 < count);
    }
    return bytes;
  }

  /** The queue is broken. A frame that was at hand is dropped; those before it are good. */
  private fail(reason: number): void {
    this.fault = reason;
    if (reason === BAD_INDEX) return;
    this.v[C.frames]++;
    this.v[C.dropMalformed]++;
    if (this.probe.on) this.probe.lost(NETFRONT_DROP + C.dropMalformed);
  }
}

/** The extra-info slot as netback writes it behind the first slot of a packet that was not cut into frames. Sources: Xen
 *  public/io/netif.h; Linux xen-netfront.c (xennet_get_extras, xennet_set_skb_gso). @param low, high the slot's two words
 *  @returns payload of each frame; 0 when the slot holds anything else than the one kind that there is */
function readGso(low: number, high: number): number {
  if (extraType(low) !== XEN_NETIF_EXTRA_TYPE_GSO || (extraFlags(low) & XEN_NETIF_EXTRA_FLAG_MORE) !== 0) return 0;
  return gsoType(high) === XEN_NETIF_GSO_TYPE_TCPV4 ? gsoMss(low) : 0;
}

/** What the stack is told of a packet. @param flags NETRXF_* of its first slot @param mss 0: a frame
 *  @returns the word, or -1: netback says that the packet can be cut, its headers say no */
function rxInfo(mem: Mem, flags: number, mss: number, at: number, linear: number, bytes: number): number {
  const blank = (flags & NETRXF_CSUM_BLANK) === 0 ? 0 : RX_CSUM_BLANK;
  if (mss === 0) return blank;
  const frames = bulkFrames(mem, at, linear, bytes, mss);
  return frames === 0 ? -1 : blank | (frames << RX_FRAMES_SHIFT) | mss;
}
