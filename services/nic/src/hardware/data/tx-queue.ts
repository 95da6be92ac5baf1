/** One transmit queue of the NIC: reads packets where they lie and sends them. docs/wire/nic-queue.md section 8.
 *
 *  The driver may be a guest (`direct`), so nothing that it wrote is believed: a descriptor is read once and the copy is
 *  judged, each page goes through the DMA table, and the queue's own pages are looked up again in each burst. A packet is
 *  completed when it has been read as a whole: from then on nothing looks at the driver's pages. */
import {
  NICTX_COMP_BAD,
  NICTX_COMP_REFUSED,
  NICTX_COMP_SENT,
  NICTX_CSUM_TCP,
  NICTX_CSUM_UDP,
  NICTX_TSO,
  TxDeviceQueue,
  headersBytes,
  headersCsumStart,
  orderFlags,
  orderMss,
  type RingIdx,
} from '@grantline/xen';
import { slots, type CounterBlock, type Mem, type Notify } from '@grantline/machine';
import { NIC_TX_COUNTERS } from '@grantline/observe';
import { ETH_MAX_FRAME, ETH_MIN_FRAME, SPOOFED, STORM, TO_ALL } from '@grantline/frames';
import { MAX_BULK_FRAMES } from '@grantline/measure';
import type { BurstGuard, DmaReader } from './dma.js';
import { Moderation } from './moderation.js';
import type { TxLine } from './tx-line.js';
import { QueuePages } from './queue-pages.js';
import type { QueueFault, QueueSettings } from './queue-types.js';
import { type FunctionPort, TO_CABLE } from './tx-switch.js';
import { TxGather } from './tx-gather.js';

const C = slots(NIC_TX_COUNTERS);

/** What `transmit` returns when it sent no frames. */
export const NOTHING = 0;
export const WIRE_BUSY = -1;
export const MEMORY_FULL = -2;
/** The receiver in this machine has no buffers. */
export const HELD = -3;
/** No more than one at a time: a driver may post such as fast as they are read. */
export const REFUSED = -4;

export class NicTxQueue {
  readonly settings: QueueSettings;
  readonly counters: CounterBlock;
  fault: QueueFault = 'none';
  private readonly mem: Mem;
  private readonly guard: BurstGuard;
  private readonly ring: TxDeviceQueue;
  private readonly moderation: Moderation;
  private readonly line: TxLine;
  private readonly pages: QueuePages;
  /** Descriptors known to be there in this burst. */
  private left = 0;
  private readonly packet: TxGather;
  private readonly port: FunctionPort | null;
  /** The queue whose buffers the next packet waits for; -1: none. */
  private heldBy = -1;

  /** @throws RangeError when one of the three pages is not the driver's own to write */
  constructor(
    mem: Mem,
    dma: DmaReader,
    guard: BurstGuard,
    settings: QueueSettings,
    channel: Notify,
    counters: CounterBlock,
    line: TxLine,
    start?: RingIdx,
  ) {
    this.mem = mem;
    this.guard = guard;
    this.settings = settings;
    this.counters = counters;
    this.line = line;
    this.moderation = new Moderation(settings, channel);
    this.pages = new QueuePages(dma, guard, settings);
    const { header, avail, comp } = this.pages;
    this.ring = new TxDeviceQueue(mem, header, avail, comp, start);
    this.port = typeof settings.mac === 'number' ? line.local.functionOf(settings.mac) : null;
    this.packet = new TxGather(mem, this.ring, dma, settings);
  }

  /** Sends the next packet. Inside a burst only.
   *  @returns frames sent, at least 1; REFUSED: the packet is over; NOTHING, or WIRE_BUSY, MEMORY_FULL, HELD: it stays where it is */
  transmit(): number {
    if (this.left === 0 && !this.look()) return NOTHING;
    if (this.line.out.waitNs(this.guard.nowNs) > 0) return WIRE_BUSY;
    if (!this.packet.next(this.left)) {
      this.stop('index');
      return NOTHING;
    }
    if (this.packet.status !== NICTX_COMP_SENT) {
      this.refuse();
      return REFUSED;
    }
    const { order, headers } = this.packet;
    const frames = this.send(orderFlags(order), orderMss(order), headersCsumStart(headers), headersBytes(headers));
    return frames === 0 ? REFUSED : frames;
  }

  /** Asks the driver to notify, and looks again. Inside a burst only. @returns true: do not sleep */
  arm(): boolean {
    const waitsFor = this.heldBy < 0 ? null : this.line.local.nic.queue(this.heldBy);
    if (waitsFor !== null) return this.enter() && waitsFor.arm();
    return this.enter() && this.ring.arm();
  }

  /** Makes this burst's completions visible. Inside the burst, at its end. */
  endBurst(): void {
    this.left = 0;
    const n = this.ring.unpublished();
    if (n === 0 || !this.enter()) return;
    if (!this.moderation.published(n, this.ring.publish(), this.guard.nowNs)) this.counters.v[C.suppressed]++;
  }

  /** Notifies the driver if it asked and enough is done or it has waited. @param sleeping hold nothing back */
  moderate(sleeping: boolean): void {
    if (this.moderation.due(sleeping, this.guard.nowNs)) this.counters.v[C.notifications]++;
  }

  /** How far the driver has published, as an index. Outside a burst. */
  published(): number {
    const { guard, ring } = this;
    guard.begin(guard.nowNs);
    const there = this.enter() ? ring.available() : 0;
    guard.end();
    return (ring.cons + Math.max(0, there)) >>> 0;
  }

  /** It threw, and its state may be anything: nothing is sent from it any more. */
  failed(err: unknown): void {
    this.counters.v[C.exceptions]++;
    this.stop('failed', err);
  }

  describe(): Record<string, string | number | boolean> {
    const { name, context, target } = this.settings;
    return {
      name,
      direction: 'tx',
      context,
      target,
      fault: this.fault,
      cons: this.ring.cons,
      owed: this.moderation.owed,
    };
  }

  /** Once in each burst that uses the queue: its pages must still be where they were. @returns false: it has stopped */
  private enter(): boolean {
    if (this.fault !== 'none') return false;
    if (this.pages.stand()) return true;
    this.stop('revoked');
    return false;
  }

  private look(): boolean {
    if (!this.enter()) return false;
    const n = this.ring.available();
    if (n < 0) this.stop('index');
    this.left = n < 0 ? 0 : n;
    return n > 0;
  }

  private stop(fault: QueueFault, err?: unknown): void {
    this.left = 0;
    if (this.fault !== 'none') return;
    this.fault = fault;
    this.counters.v[C.faults]++;
    this.settings.onStop?.(fault, err);
  }

  private refuse(): void {
    const v = this.counters.v;
    v[C.packets]++;
    const reason = this.packet.status === NICTX_COMP_REFUSED ? C.dropDmaRefused : C.dropBadDescriptor;
    v[reason]++;
    this.captureDrop(reason);
    this.finish(this.packet.status);
  }

  private finish(status: number): void {
    const { chain } = this.packet;
    this.counters.v[C.descriptors] += chain;
    this.ring.complete(chain, status);
    this.left -= chain;
  }

  /** @returns frames sent; 0 when the packet was refused; MEMORY_FULL, HELD */
  private send(flags: number, mss: number, csumStart: number, header: number): number {
    const { line } = this;
    const { bytes } = this.packet;
    const v = this.counters.v;
    const cut = (flags & NICTX_TSO) !== 0 && bytes > header + mss;
    const segments = cut ? Math.ceil((bytes - header) / mss) : 1;
    if (segments > MAX_BULK_FRAMES) return this.bad(C.dropBadDescriptor);
    if ((cut ? header + mss : bytes) > ETH_MAX_FRAME) return this.bad(C.dropOversize);
    if (!line.memory.fits(bytes, segments) || segments > line.out.farEnd.room) return MEMORY_FULL;
    const at = this.packet.read(line.memory);
    const to = this.port === null ? TO_CABLE : line.local.judge(at, bytes, this.port, this.guard.nowNs, segments);
    if (to <= SPOOFED) return this.refuseQuietly(to);
    this.heldBy = -1;
    if (to >= 0 && !line.local.open(to, segments, cut ? header + mss : bytes)) {
      this.packet.unread(line.memory);
      this.heldBy = to;
      return HELD;
    }
    const out = to >= 0 ? line.local : to === TO_ALL ? line.local.toAll : line.out;
    if (cut) {
      const place = line.segmenter.placeOf(at, bytes, csumStart, header);
      if (place < 0) return this.bad(C.dropBadDescriptor);
      this.finish(NICTX_COMP_SENT);
      const { slackNs } = line;
      const { nowNs } = this.guard;
      const n =
        to === TO_CABLE && line.out.takesPackets(at)
          ? line.out.sendWhole(at, bytes, csumStart, header, mss, nowNs, slackNs)
          : line.segmenter.segment(out, at, bytes, place, mss, nowNs, slackNs);
      v[C.segmented]++;
      return this.count(n, bytes + (n - 1) * header, to);
    }
    // A packet that asks to be cut and is short enough wants its checksum all the same.
    const tcp = (flags & (NICTX_CSUM_TCP | NICTX_TSO)) !== 0;
    if (tcp || (flags & NICTX_CSUM_UDP) !== 0) {
      if (!line.segmenter.insertChecksum(at, bytes, csumStart, !tcp)) return this.bad(C.dropBadDescriptor);
      v[C.checksums]++;
    }
    this.finish(NICTX_COMP_SENT);
    let len = bytes;
    if (len < ETH_MIN_FRAME) {
      this.mem.u8.fill(0, at + len, at + ETH_MIN_FRAME);
      len = ETH_MIN_FRAME;
    }
    out.send(at, len, 0, 0, this.guard.nowNs, line.slackNs);
    return this.count(1, len, to);
  }

  private count(frames: number, bytes: number, to: number): number {
    const v = this.counters.v;
    if (to >= 0) v[C.toQueues] += frames;
    else if (to === TO_ALL) {
      const { toAll } = this.line.local;
      v[C.floodFrames] += toAll.handed;
      toAll.handed = 0;
    }
    v[C.packets]++;
    v[C.sentPackets]++;
    v[C.frames] += frames;
    v[C.bytes] += bytes;
    return frames;
  }

  /** The driver is not told, as by hardware. */
  private refuseQuietly(verdict: number): number {
    const v = this.counters.v;
    const reason = verdict === SPOOFED ? C.dropSpoofed : verdict === STORM ? C.dropStorm : C.dropHairpin;
    v[C.packets]++;
    v[reason]++;
    this.captureDrop(reason);
    this.packet.unread(this.line.memory);
    this.finish(NICTX_COMP_SENT);
    return 0;
  }

  private captureDrop(reason: number): void {
    const { probe } = this.line.out;
    if (probe.on) probe.refused(this.settings.name, this.packet.bytes, reason);
  }

  private bad(reason: number): number {
    const v = this.counters.v;
    v[C.packets]++;
    v[reason]++;
    this.captureDrop(reason);
    this.finish(NICTX_COMP_BAD);
    return 0;
  }
}
