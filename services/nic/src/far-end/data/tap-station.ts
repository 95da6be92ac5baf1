/** The far end of the cable as a TAP device: behind it is a kernel's stack, and whatever talks through it.
 *
 *  Into the NIC: packets are read as the kernel hands them over, checksums filled in and long ones cut, as its NIC's
 *  segmentation offload would, so that frames are what goes over the wire; but for a receiver that would only join these, who gets
 *  them in pieces as long as it takes. Out of it: frames are joined again (tap-writer.ts), as
 *  its NIC's LRO would. A packet that the NIC at this end would have to cut only for the far end to join it again stays
 *  whole: it counts, and is paced, as the frames that it stands for. docs/adr/0019 */
import {
  slots,
  type CounterBlock,
  type AddressSpace,
  type Mem,
  type WakeSource,
  TAP_PACKET_BYTES,
  VNET_BYTES,
  type TapDevice,
  NIC_CPU,
  type Laps,
} from '@grantline/machine';
import { TAP_COUNTERS } from '@grantline/observe';
import { ETH_MIN_FRAME, PacketCutter } from '@grantline/frames';
import { PACKET_BLANK, PACKET_GSO, PACKET_MALFORMED, VnetHeader, TapWriter } from '@grantline/measure';
import type { Cable } from './cable.js';
import { BURST_FRAMES } from '../../hardware/data/nic.js';
import { OFFER_WAITS, StationPort, type Station } from './station.js';

// Local, so that the engine folds them into the code: see shared/frames/src/flow-templates.ts.
const WAITS = OFFER_WAITS;

const T = slots(TAP_COUNTERS);
const CPU = slots(NIC_CPU);
/** Frames, or packets, between two settles. */
const ROOM = 256;
/** Longest that a frame waits for a buffer, and those behind it with it: when all of a window is lost, a kernel sends again
 *  after 200 ms at the earliest, so until then waiting costs less. On two cores with many processes beside ours a guest's
 *  turn was seen to take more than 100 ms. */
const KERNEL_HOLD_NS = 200e6;
/** What cutting and summing a frame takes of it and its transfer together: 0.21 of 0.5 us. */
const CUT_SHARE = 0.4;
/** A read finds its packet here, 4-byte aligned, with the vnet header right before it. */
const PACKET_AT = 64;

export interface TapStationOptions {
  space: AddressSpace;
  cable: Cable;
  tap: TapDevice;
  counters: CounterBlock;
  meter: Laps;
  source: WakeSource;
}

export class TapStation implements Station {
  readonly name = 'tap';
  readonly waiting = false;
  scheduled = false;
  room = ROOM;
  private readonly o: TapStationOptions;
  private readonly mem: Mem;
  private readonly v: Float64Array;
  private readonly writer: TapWriter;
  private readonly vnet: VnetHeader;
  private readonly cutter: PacketCutter;
  private readonly packet: number;
  private readonly readTo: number;
  private readonly vnetBytes: number;
  /** The frame at hand, 0 bytes: none; while a packet is cut, the cutter's. */
  private at = 0;
  private bytes = 0;
  private cutting = false;
  private readonly port: StationPort;
  // What came out of the cable since the last settle; mss 0: a frame in up to two pieces, else a packet in one.
  private readonly head = new Int32Array(ROOM);
  private readonly headBytes = new Int32Array(ROOM);
  private readonly body = new Int32Array(ROOM);
  private readonly bodyBytes = new Int32Array(ROOM);
  private readonly mss = new Int32Array(ROOM);
  private readonly l4 = new Int32Array(ROOM);

  constructor(options: TapStationOptions) {
    const { space, tap } = options;
    this.o = options;
    this.mem = space.mem;
    this.v = options.counters.v;
    this.writer = new TapWriter(space, tap, options.counters);
    this.vnet = new VnetHeader(space.mem);
    this.port = new StationPort(options.cable, KERNEL_HOLD_NS);
    this.cutter = new PacketCutter(space);
    this.packet = space.mapPrivate(PACKET_AT + TAP_PACKET_BYTES) + PACKET_AT;
    this.vnetBytes = tap.vnet ? VNET_BYTES : 0;
    this.readTo = space.addressOf(this.packet - this.vnetBytes);
  }

  /** Whole packets are taken where the kernel takes them. */
  takesPackets(): boolean {
    return this.o.tap.vnet;
  }

  frame(head: number, headBytes: number, body: number, bodyBytes: number): void {
    this.note(head, headBytes, body, bodyBytes, 0, 0);
  }

  /** Takes a packet that was not cut. @param header bytes of its headers @param l4 where its TCP header begins */
  wholePacket(at: number, bytes: number, l4: number, header: number, mss: number): void {
    this.note(at, header, 0, bytes - header, mss, l4);
  }

  settle(): void {
    const { writer } = this;
    const n = ROOM - this.room;
    for (let i = 0; i < n; i++) {
      const rest = this.bodyBytes[i];
      const mss = this.mss[i];
      if (mss > 0) {
        const header = this.headBytes[i];
        writer.packet(this.head[i], header + rest, this.l4[i], header, mss, Math.ceil(rest / mss));
        continue;
      }
      writer.piece(this.head[i], this.headBytes[i], rest > 0, false);
      if (rest > 0) writer.piece(this.body[i], rest, false, false);
    }
    writer.flush();
    this.room = ROOM;
    this.o.counters.commit();
  }

  poll(): number {
    const { cable, meter } = this.o;
    let frames = 0;
    let cut = 0;
    let isOpen = false;
    for (;;) {
      // A burst ends with a packet, so that a receiver that joins its frames again has all of them.
      if (frames >= BURST_FRAMES && !(this.cutting && this.cutter.more)) break;
      if (this.bytes === 0 && !this.nextFrame()) break;
      if (!isOpen) {
        meter.lap(CPU.outer);
        cable.open();
        isOpen = true;
      }
      const taken = this.offer();
      if (taken === 0) break;
      frames += taken;
      // One that stands for itself was cut and summed.
      if (this.cutting && taken === 1) cut++;
    }
    if (isOpen) cable.closeStation(frames > 0 ? (CUT_SHARE * cut) / frames : 0);
    this.o.counters.commit();
    return frames;
  }

  arm(): boolean {
    this.o.source.want(this.bytes === 0);
    const { cutter } = this;
    return this.port.arm(this.cutting ? Math.min(this.bytes, cutter.header + cutter.mss) : this.bytes);
  }

  dueAtNs(): number {
    if (this.bytes > 0) this.scheduled = true;
    return this.port.dueAtNs;
  }

  describe(): Record<string, unknown> {
    const { tap } = this.o;
    return { device: tap.name, vnet: tap.vnet, held: this.bytes > 0 };
  }

  close(): void {
    this.o.source.close();
    this.o.tap.close();
  }

  private note(head: number, headBytes: number, body: number, bodyBytes: number, mss: number, l4: number): void {
    const i = ROOM - this.room--;
    this.head[i] = head;
    this.headBytes[i] = headBytes;
    this.body[i] = body;
    this.bodyBytes[i] = bodyBytes;
    this.mss[i] = mss;
    this.l4[i] = l4;
  }

  /** @returns false when the kernel has nothing more */
  private nextFrame(): boolean {
    const { cutter, v } = this;
    for (;;) {
      if (this.cutting && this.port.next(cutter)) {
        this.bytes = cutter.bytes;
        return true;
      }
      this.cutting = false;
      const n = this.o.tap.read(this.readTo, this.vnetBytes + TAP_PACKET_BYTES);
      if (n <= this.vnetBytes) return false;
      const bytes = n - this.vnetBytes;
      v[T.fromPackets]++;
      v[T.fromBytes] += bytes;
      if (this.take(bytes)) return true;
    }
  }

  /** @returns true when the packet that was read is the frame at hand now */
  private take(bytes: number): boolean {
    const { vnet, packet, v } = this;
    const kind = this.vnetBytes === 0 ? 0 : vnet.read(packet - VNET_BYTES, packet, bytes, bytes);
    if (kind === PACKET_MALFORMED) {
      v[T.dropMalformed]++;
      return false;
    }
    if (kind === PACKET_GSO) {
      this.cutter.begin(packet, bytes, vnet.place, vnet.gsoSize);
      this.cutting = true;
      return false;
    }
    if (kind === PACKET_BLANK) vnet.fill(packet, bytes);
    if (bytes < ETH_MIN_FRAME) this.mem.u8.fill(0, packet + bytes, packet + ETH_MIN_FRAME);
    this.at = packet;
    this.bytes = bytes < ETH_MIN_FRAME ? ETH_MIN_FRAME : bytes;
    return true;
  }

  /** Gives the frame or piece at hand to the NIC. @returns frames that it stands for; 0: it has to wait */
  private offer(): number {
    const { cutting, cutter, port } = this;
    if ((cutting ? port.offerPiece(cutter) : port.offer(this.at, this.bytes)) === WAITS) return 0;
    const frames = cutting ? cutter.frames : 1;
    this.v[T.fromFrames] += frames;
    this.bytes = 0;
    return frames;
  }
}
