/** One transmit queue of the NIC: reads packets where they lie and sends them. docs/wire/nic-queue.md section 8. A packet is completed
 *  when it has been read as a whole: from then on nothing looks at the driver's pages. */
import {
  NICTX_COMP_BAD,
  NICTX_COMP_REFUSED,
  NICTX_COMP_SENT,
  NICTX_CSUM_TCP,
  NICTX_CSUM_UDP,
  NICTX_EOP,
  NICTX_MAX_CHAIN,
  NICTX_TSO,
  TxDeviceQueue,
  headersBytes,
  headersCsumStart,
  orderFlags,
  orderMss,
  spanLen,
  spanOffset,
  type RingIdx,
} from '@grantline/xen';
import { PAGE_SIZE } from '@grantline/base';
import { slots, type Mem } from '@grantline/machine';
import { NIC_TX_COUNTERS } from '@grantline/observe';
import { ETH_BYTES, ETH_MAX_FRAME, ETH_MAX_PACKET, ETH_MIN_FRAME, SPOOFED, STORM, TO_ALL } from '@grantline/frames';
import { MAX_BULK_FRAMES } from '@grantline/measure';
import type { CableOut } from './cable-out.js';
import type { DmaReader } from './dma.js';
import { NicQueue, type QueueParts, type QueueSettings } from './nic-queue.js';
import type { PacketMemory, Segmenter } from './segmenter.js';
import { type FunctionPort, TO_CABLE, type TxSwitch } from './tx-switch.js';

const C = slots(NIC_TX_COUNTERS);

/** What `transmit` returns when it sent no frames. */
export const NOTHING = 0;
export const WIRE_BUSY = -1;
export const MEMORY_FULL = -2;
/** The receiver in this machine has no buffers. */
export const HELD = -3;
/** No more than one at a time: a driver may post such as fast as they are read. */
export const REFUSED = -4;

/** Where packets of transmit queues go: what all of these share. */
export interface TxLine {
  readonly out: CableOut;
  readonly memory: PacketMemory;
  readonly segmenter: Segmenter;
  readonly local: TxSwitch;
  /** The wire was free, with packets waiting, for so long before this burst: they may count as sent then. */
  slackNs: number;
}

/** The packet that a transmit queue is at: its descriptors, each read once, where its pages are, and the transfer of it. */
class TxGather {
  /** Descriptors, bytes, and NICTX_COMP_*: whether the packet may be read at all. */
  chain = 0;
  bytes = 0;
  status = NICTX_COMP_SENT;
  /** Words of the first descriptor: flags and mss; where the checksum begins and the bytes of all headers. */
  order = 0;
  headers = 0;
  private readonly mem: Mem;
  private readonly ring: TxDeviceQueue;
  private readonly dma: DmaReader;
  private readonly settings: QueueSettings;
  private readonly places = new Int32Array(NICTX_MAX_CHAIN);
  private readonly sizes = new Int32Array(NICTX_MAX_CHAIN);

  constructor(mem: Mem, ring: TxDeviceQueue, dma: DmaReader, settings: QueueSettings) {
    this.mem = mem;
    this.ring = ring;
    this.dma = dma;
    this.settings = settings;
  }

  /** Reads the descriptors of the next packet. Inside a burst only. @param left descriptors that there are
   *  @returns false when the driver published half a packet, or one that has no end */
  next(left: number): boolean {
    const { mem, ring, dma, settings } = this;
    this.status = NICTX_COMP_SENT;
    this.bytes = 0;
    let n = 0;
    for (let last = false; !last; n++) {
      if (n === left || n === NICTX_MAX_CHAIN) return false;
      const at = ring.entry(n);
      const span = mem.u32[at + 1];
      const offset = spanOffset(span);
      const len = spanLen(span);
      const order = mem.u32[at + 2];
      last = (orderFlags(order) & NICTX_EOP) !== 0;
      if (n === 0) {
        this.order = order;
        this.headers = mem.u32[at + 3];
      }
      this.bytes += len;
      this.sizes[n] = len;
      if (len === 0 || offset + len > PAGE_SIZE) this.status = NICTX_COMP_BAD;
      if (this.status !== NICTX_COMP_SENT) continue;
      const page = dma.lookupRead(mem.u32[at], settings.context, settings.target);
      if (page < 0) this.status = NICTX_COMP_REFUSED;
      this.places[n] = page + offset;
    }
    this.chain = n;
    if (this.bytes < ETH_BYTES || this.bytes > ETH_MAX_PACKET) this.status = NICTX_COMP_BAD;
    return true;
  }

  /** As if it had not been read. */
  unread(memory: PacketMemory): void {
    memory.giveBack(Math.max(this.bytes, ETH_MIN_FRAME));
  }

  /** The transfer: all pieces into packet memory. @returns where the packet lies now */
  read(memory: PacketMemory): number {
    const { bulk } = this.mem;
    const at = memory.packet(Math.max(this.bytes, ETH_MIN_FRAME));
    let to = at;
    for (let i = 0; i < this.chain; i++) {
      const from = this.places[i];
      bulk.copy(to, from, this.sizes[i]);
      to += this.sizes[i];
    }
    return at;
  }
}

export class NicTxQueue extends NicQueue {
  protected readonly ring: TxDeviceQueue;
  private readonly mem: Mem;
  private readonly line: TxLine;
  private readonly packet: TxGather;
  private readonly port: FunctionPort | null;
  /** The queue whose buffers the next packet waits for; -1: none. */
  private heldBy = -1;

  /** @param start first index; 0 except in tests of the wrap
   *  @throws RangeError when one of the three pages is not the driver's own to write */
  constructor(parts: QueueParts, line: TxLine, start?: RingIdx) {
    super(parts, C);
    const { mem, dma, settings } = parts;
    this.mem = mem;
    this.line = line;
    this.ring = new TxDeviceQueue(mem, this.header, this.avail, this.comp, start);
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

  describe(): Record<string, string | number | boolean> {
    const { name, context, target } = this.settings;
    const { fault, ring, owed } = this;
    return { name, direction: 'tx', context, target, fault, cons: ring.cons, owed };
  }

  protected override countStop(): void {
    this.counters.v[C.faults]++;
  }

  private refuse(): void {
    const { status } = this.packet;
    this.drop(status === NICTX_COMP_REFUSED ? C.dropDmaRefused : C.dropBadDescriptor, status);
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
    this.packet.unread(this.line.memory);
    return this.drop(
      verdict === SPOOFED ? C.dropSpoofed : verdict === STORM ? C.dropStorm : C.dropHairpin,
      NICTX_COMP_SENT,
    );
  }

  private bad(reason: number): number {
    return this.drop(reason, NICTX_COMP_BAD);
  }

  /** The packet is over, and nothing of it sent. @param reason slot of its counter @param status for the driver */
  private drop(reason: number, status: number): number {
    const v = this.counters.v;
    v[C.packets]++;
    v[reason]++;
    const { probe } = this.line.out;
    if (probe.on) probe.refused(this.settings.name, this.packet.bytes, reason);
    this.finish(status);
    return 0;
  }
}
