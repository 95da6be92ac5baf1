/** One receive queue of the NIC: scatters frames into the buffers that its driver posted. docs/wire/nic-queue.md. */
import * as xen from '@grantline/xen';
import { NICQ_COMP_EOP, NICQ_COMP_ERROR, NICQ_COMP_INFO, NICQ_SIZE, DeviceQueue } from '@grantline/xen';
import { PAGE_SIZE } from '@grantline/base';
import { slots, type Mem } from '@grantline/machine';
import { NIC_QUEUE_COUNTERS } from '@grantline/observe';
import { DELIVERED, DROPPED, NO_BUFFER, UNFIT, NicQueue, type QueueFault, type QueueParts } from './nic-queue.js';

// Local, so that the engine folds them into the code: see shared/frames/src/flow-templates.ts.
const { spanLen, spanOffset } = xen;

const C = slots(NIC_QUEUE_COUNTERS);

/** Buffers that one frame may be scattered over: as many as the slots that netif has to accept. */
export const MAX_CHAIN = 18;
/** Bad buffers that one frame puts up with. */
export const MAX_REFUSALS = 32;
/** A queue that has had no buffer for so long is not waited for any more. */
export const STARVED_NS = 1e9;
/** The same of a packet that could go as frames. */
export const PACKET_STARVED_NS = 10e6;
/** Most buffers that a wake-up is put off for: a quarter of the ring. */
const ARM_BUFFERS = NICQ_SIZE / 4;

export class NicRxQueue extends NicQueue {
  /** Why the last frame that was dropped was: slot of its counter. */
  lastDrop = 0;
  /** Longest TCP packet that the driver takes uncut; 0: frames only. */
  readonly packetBytes: number;
  protected readonly ring: DeviceQueue;
  private readonly bulk: Mem['bulk'];
  private readonly u32: Uint32Array;
  private readonly context: number;
  private readonly target: number;
  /** Most buffers ever seen at once: what the driver can post. */
  private peak = 1;
  /** Buffers that the frame which did not fit asked for. */
  private need = 1;
  private framesBefore = 0;
  /** Since when frames find no buffer; 0 when they do. */
  private starvedSince = 0;
  private readonly places = new Int32Array(MAX_CHAIN);
  private readonly rooms = new Int32Array(MAX_CHAIN);

  /** @throws RangeError when one of the three pages is not the driver's own to write */
  constructor(parts: QueueParts) {
    super(parts, C);
    const { mem, settings, counters } = parts;
    this.bulk = mem.bulk;
    this.u32 = mem.u32;
    this.context = settings.context;
    this.target = settings.target;
    this.packetBytes = settings.packetBytes ?? 0;
    this.framesBefore = counters.v[C.frames];
    this.ring = new DeviceQueue(mem, this.header, this.avail, this.comp);
  }

  /** Transfers a frame. Inside a burst only.
   *  @param src byte offset of the frame in private memory, @param len its bytes, @param flags for the completions
   *  @returns DELIVERED, NO_BUFFER or DROPPED */
  deliver(src: number, len: number, flags: number): number {
    if (this.left === 0 && !this.look()) return this.starve(1);
    const at = this.ring.entry() >> 2;
    const dpn = this.u32[at];
    const span = this.u32[at + 1];
    const offset = spanOffset(span);
    const room = spanLen(span);
    // The plain case: the first buffer takes the whole frame. All else is judged anew by the slow path.
    if (room < len || offset + room > PAGE_SIZE) return this.deliverSlow(src, len, flags);
    const page = this.dma.lookup(dpn, this.context, this.target);
    if (page < 0) return this.deliverSlow(src, len, flags);
    this.bulk.copy(page + offset, src, len);
    this.ring.complete(len, flags | NICQ_COMP_EOP);
    this.left--;
    const v = this.counters.v;
    v[C.frames]++;
    v[C.bytes] += len;
    v[C.buffers]++;
    return DELIVERED;
  }

  /** Transfers a TCP packet that stands for several frames and whose checksum is not filled in: the second of its buffers takes no
   *  data, its completion tells the mss. Inside a burst only.
   *  @param mss payload of each of its frames but the last @param frames 2 to 255
   *  @returns DELIVERED, NO_BUFFER, DROPPED; UNFIT: it has no place in the buffers that this driver posts */
  deliverPacket(src: number, len: number, mss: number, frames: number): number {
    return len > this.packetBytes ? UNFIT : this.deliverSlow(src, len, 0, mss, frames);
  }

  /** @returns false when there are fewer buffers than that, and more are worth waiting for. Inside a burst only */
  ready(buffers: number): boolean {
    if (this.left >= buffers) return true;
    if (this.look() && this.left >= Math.min(buffers, this.peak >> 1)) return true;
    if (this.fault !== 'none') return true;
    this.starve(buffers);
    return !this.worthWaiting();
  }

  /** Whether the frame that found no buffer would find none again: a look that costs less than offering it, for senders with many
   *  guests that wait. Inside a burst only. */
  get isStillStarved(): boolean {
    if (this.starvedSince === 0 || this.fault !== 'none' || !this.worthWaiting()) return false;
    // What is wrong with the queue, `deliver` finds.
    if (this.pageOf(this.settings.headerDpn) !== this.header) return false;
    const n = this.ring.available();
    return n >= 0 && n < this.need;
  }

  /** The frame could not be delivered and is not waited with. */
  dropNoBuffer(): void {
    this.counters.v[C.dropNoBuffer]++;
    this.lastDrop = C.dropNoBuffer;
  }

  /** A new load begins: what the queue lacked before does not count. */
  forgive(): void {
    this.starvedSince = 0;
  }

  /** @returns true while the sender may be held for this queue: it lacked buffers only for a short time */
  worthWaiting(): boolean {
    return this.guard.nowNs - this.starvedSince < STARVED_NS;
  }

  /** @returns true while a packet may be held until there are buffers for all of it. After that what the driver has now is the most that
   *  is hoped for, until it posts more: longer packets go as frames at once */
  isPacketWorthWaiting(): boolean {
    if (this.guard.nowNs - this.starvedSince < PACKET_STARVED_NS) return true;
    this.peak = Math.max(1, this.left);
    return false;
  }

  /** Asks the driver to notify once buffers are back, and looks again. Inside a burst only.
   *  @returns true when there are enough by now: do not sleep */
  arm(): boolean {
    if (!this.enter()) return false;
    // Waking for each buffer would cost a wake-up per frame; waiting for more than the driver has would last for ever.
    this.ring.arm(Math.max(this.need, Math.min(ARM_BUFFERS, this.peak >> 1)));
    const n = this.ring.available();
    return n < 0 || n >= this.need;
  }

  override endBurst(): void {
    // Only in a burst that completed something: a counter that was reset meanwhile is no frame.
    if (this.ring.unpublished() > 0 && this.enter()) {
      const frames = this.counters.v[C.frames];
      if (frames !== this.framesBefore) this.starvedSince = 0;
      this.framesBefore = frames;
    }
    super.endBurst();
  }

  /** State for dumps. */
  describe(): Record<string, string | number | boolean> {
    const { name, context, target, moderationFrames, moderationUs } = this.settings;
    const { fault, peak, ring, owed } = this;
    return {
      ...{ name, context, target, fault, peak, moderationFrames, moderationUs },
      ...{ availCons: ring.cons, compProd: ring.cons, owed },
    };
  }

  protected override look(): boolean {
    const found = super.look();
    if (this.left > this.peak) this.peak = this.left;
    return found;
  }

  protected override countStop(fault: QueueFault): void {
    if (fault === 'revoked') this.counters.v[C.dmaRefused]++;
    else if (fault === 'index') this.counters.v[C.badDescriptors]++;
  }

  /** What needs `need` buffers finds fewer. @param frames that it stands for */
  private starve(need: number, frames = 1): number {
    if (this.fault === 'failed') return this.drop(C.dropFailed, frames);
    if (this.fault !== 'none')
      return this.drop(this.fault === 'index' ? C.dropBadDescriptor : C.dropDmaRefused, frames);
    this.need = need;
    if (this.starvedSince === 0) this.starvedSince = this.guard.nowNs;
    return NO_BUFFER;
  }

  private drop(reason: number, frames: number): number {
    this.counters.v[reason] += frames;
    this.lastDrop = reason;
    return DROPPED;
  }

  /** Several buffers, or bad ones. First finds all that the frame needs, then writes. @param mss 0: it is one frame */
  private deliverSlow(src: number, len: number, flags: number, mss = 0, frames = 1): number {
    if (!this.look()) return this.starve(1, frames);
    let refusals = 0;
    let room = 0;
    let n = 0;
    while (room < len) {
      if (n === MAX_CHAIN) return mss > 0 ? UNFIT : this.drop(C.dropTooLong, 1);
      const ahead = mss > 0 && n > 0 ? n + 1 : n;
      if (ahead >= this.left) return mss > 0 && ahead >= this.peak ? UNFIT : this.starve(ahead + 1, frames);
      const at = this.ring.entry(ahead) >> 2;
      const dpn = this.u32[at];
      const span = this.u32[at + 1];
      const offset = spanOffset(span);
      const size = spanLen(span);
      const possible = size > 0 && offset + size <= PAGE_SIZE;
      const page = possible ? this.dma.lookup(dpn, this.context, this.target) : -1;
      if (page >= 0) {
        this.places[n] = page + offset;
        this.rooms[n] = size;
        room += size;
        n++;
        continue;
      }
      const reason = possible ? C.dropDmaRefused : C.dropBadDescriptor;
      this.counters.v[possible ? C.dmaRefused : C.badDescriptors]++;
      // These go back without data.
      for (let i = 0; i <= ahead; i++) this.ring.complete(0, NICQ_COMP_ERROR);
      this.left -= ahead + 1;
      if (++refusals === MAX_REFUSALS) return this.drop(reason, frames);
      room = 0;
      n = 0;
    }
    // A packet's info stands between its buffers, so it needs two.
    if (mss > 0 && n === 1) return UNFIT;
    let from = src;
    if (mss > 0) {
      const part = this.rooms[0];
      this.bulk.copy(this.places[0], from, part);
      from += part;
      this.ring.completePacket(part, flags, frames);
      this.ring.complete(mss, NICQ_COMP_INFO);
      this.left--;
    }
    this.scatter(from, src + len, flags, mss > 0 ? 1 : 0, n);
    this.left -= n;
    const v = this.counters.v;
    v[C.frames] += frames;
    v[C.bytes] += len;
    v[C.buffers] += mss > 0 ? n + 1 : n;
    return DELIVERED;
  }

  /** @param begin, end bytes that go to the buffers from `first` on, below `n` */
  private scatter(begin: number, end: number, flags: number, first: number, n: number): void {
    let from = begin;
    for (let i = first; i < n; i++) {
      const part = Math.min(end - from, this.rooms[i]);
      this.bulk.copy(this.places[i], from, part);
      from += part;
      this.ring.complete(part, i === n - 1 ? flags | NICQ_COMP_EOP : flags);
    }
  }
}
