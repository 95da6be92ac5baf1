/** The cable into the NIC: what every sender does around its frames. One burst is: `arrived`, `open`, frames,
 *  `close`. When frames are on the wire, by the link's rate, Pacer says. */
import * as frames from '@grantline/frames';
import { slots, NIC_CPU, type CounterBlock, type Poller, type CpuMeter } from '@grantline/machine';
import { CABLE_COUNTERS } from '@grantline/observe';
import type { Nic } from '../../hardware/data/nic.js';

// Local, so that the engine folds it into the code: see flow-templates.ts.
const { WIRE_OVERHEAD_BYTES } = frames;
/** Frames that arrive while nobody looks are kept here: what a NIC has as packet memory. */
export const PACKET_MEMORY_BYTES = 1 << 20;
/** Least frames and least time between two wake-ups for a paced link; most buffers, a quarter of a queue. */
const WAKE_FRAMES = 64;
const WAKE_NS = 100e3;
const WAKE_BUFFERS = 128;
const SMALLEST_BUFFER = 2048;

/** How a link behaves. */
export interface LinkSettings {
  /** Gb/s; null: unlimited. */
  readonly gbps: number | null;
  /** 802.3x flow control: the sender is held rather than a frame lost. */
  readonly pause: boolean;
  readonly packetMemoryBytes: number;
}

/** When frames are on the wire: the link's rate, and what happens to frames that came while the NIC was not looking.
 *
 *  Everything counts in bytes of wire time since the start, in whole numbers: adding nanoseconds frame by frame to a
 *  clock of 10^15 would lose the fraction of each. */
export class Pacer {
  /** Time that the sender was held, nanoseconds: what fell due while the packet memory was full. */
  pausedNs = 0;
  private readonly bytesPerNs: number;
  private readonly pause: boolean;
  private readonly memory: number;
  private readonly startNs: number;
  private nowNs: number;
  /** Wire bytes that have gone by at `nowNs`, and those that were used. */
  private arrived = 0;
  private used = 0;
  private excess = 0;

  constructor(link: LinkSettings, nowNs: number) {
    this.bytesPerNs = link.gbps === null ? Infinity : link.gbps / 8;
    this.pause = link.pause;
    this.memory = link.packetMemoryBytes;
    this.startNs = nowNs;
    this.nowNs = nowNs;
  }

  /** The link has no rate: every frame is on the wire at once, in the burst's time. */
  get unlimited(): boolean {
    return this.bytesPerNs === Infinity;
  }

  /** A burst begins: sees what has arrived. With flow control the sender stopped while the packet memory was full; what
   *  it held back comes late, with its intended time as send time (docs/adr/0008). */
  begin(nowNs: number): void {
    this.nowNs = nowNs;
    if (this.bytesPerNs === Infinity) return;
    this.arrived = (nowNs - this.startNs) * this.bytesPerNs;
    const excess = Math.max(0, this.arrived - this.used - this.memory);
    if (this.pause && excess > this.excess) this.pausedNs += (excess - this.excess) / this.bytesPerNs;
    this.excess = excess;
  }

  /** @returns true when a frame of `len` bytes has arrived as a whole */
  ready(len: number): boolean {
    return this.bytesPerNs === Infinity || this.used + len + WIRE_OVERHEAD_BYTES <= this.arrived;
  }

  /** @returns true when the next frame found the packet memory full: it is lost. Only without flow control */
  overrun(): boolean {
    return this.bytesPerNs !== Infinity && !this.pause && this.arrived - this.used > this.memory;
  }

  /** The frame is taken. */
  take(len: number): void {
    this.used += len + WIRE_OVERHEAD_BYTES;
  }

  /** When the next frame's first bit is due on the wire, nanoseconds: its send time. Unlimited: the burst's time. */
  sendNs(): number {
    return this.bytesPerNs === Infinity ? this.nowNs : this.startNs + this.used / this.bytesPerNs;
  }

  /** Nanoseconds from `nowNs` until it is worth waking for frames of `len` bytes: 64 of them or 100 us, whichever is
   *  later, but never more than a quarter of a queue's buffers. */
  dueNs(nowNs: number, len: number): number {
    if (this.bytesPerNs === Infinity) return 0;
    const wire = len + WIRE_OVERHEAD_BYTES;
    const most = Math.max(1, Math.floor(WAKE_BUFFERS / Math.ceil(len / SMALLEST_BUFFER)));
    const bytes = Math.min(Math.max(WAKE_FRAMES * wire, WAKE_NS * this.bytesPerNs), most * wire);
    return (this.used + bytes) / this.bytesPerNs - (nowNs - this.startNs);
  }
}

const C = slots(CABLE_COUNTERS);
const CPU = slots(NIC_CPU);

/** What a station may make up for when nobody looked at the wire for a moment. */
const STATION_SLACK_NS = 100e3;

/** A test gives its own time. */
export type CableMeter = Pick<CpuMeter, 'now' | 'lapShared'>;

/** Something at the far end of the cable. */
export interface Sender extends Poller {
  /** True when all was sent, or `stop` was called. */
  readonly done: boolean;
  /** When it must be polled although no event comes, on the clock of `CableMeter.now`; Infinity: never. */
  readonly dueAtNs: number;
  /** Sends nothing more. */
  stop(): void;
}

export class Cable {
  readonly nic: Nic;
  readonly counters: CounterBlock;
  pacer: Pacer;
  /** True when the link has no rate: the sender is held by nothing but the queues. */
  unlimited = true;
  private readonly meter: CableMeter;
  /** As it was set last. */
  link: Readonly<LinkSettings> = { gbps: null, pause: true, packetMemoryBytes: 0 };
  private started = false;
  private heldSince = 0;
  private pausedBefore = 0;
  /** Whether a load uses the pacer now; without one, stations have the wire for themselves. */
  loadIsOn: () => boolean = () => false;
  private freeAtNs = 0;

  constructor(nic: Nic, meter: CableMeter, counters: CounterBlock) {
    this.nic = nic;
    this.meter = meter;
    this.counters = counters;
    this.pacer = new Pacer(this.link, meter.now);
  }

  get now(): number {
    return this.meter.now;
  }

  /** Speed of the link of the load, Gb/s; null: unlimited. */
  get gbps(): number | null {
    return this.link.gbps;
  }

  /** A new load: the link starts with the first burst. Callers do so between the loop's turns, where the
   *  meter's time may be seconds old. */
  start(link: Readonly<LinkSettings>): void {
    this.link = link;
    this.started = false;
    this.unlimited = link.gbps === null;
    this.heldSince = 0;
    this.pausedBefore = 0;
    this.nic.beginLoad(link.pause);
  }

  /** The link as it was, without a load. */
  restore(link: Readonly<LinkSettings>): void {
    this.start(link);
    this.freeAtNs = 0;
  }

  /** Speed of the link for stations, until a load says otherwise. @param gbps null: unlimited */
  setSpeed(gbps: number | null): void {
    this.link = { ...this.link, gbps };
    this.unlimited = gbps === null;
    this.freeAtNs = 0;
  }

  /** Sees what has arrived by now. */
  arrived(): void {
    if (!this.started) {
      this.started = true;
      this.pacer = new Pacer(this.link, this.meter.now);
    }
    this.pacer.begin(this.meter.now);
  }

  open(): void {
    this.nic.guard.begin(this.meter.now);
  }

  /** Before a sender sleeps: a queue shall tell of its next buffers. @returns true when it has some already, or is gone */
  awaitBuffers(queueNumber: number): boolean {
    const queue = this.nic.queue(queueNumber);
    this.open();
    const room = queue === null || queue.arm();
    this.nic.guard.end();
    return room;
  }

  /** Publishes, ends the burst, notifies, counts.
   *  @param progress true when a frame was taken
   *  @param share of the time since the last lap that the sender itself took, 0 to 1 */
  close(progress: boolean, share: number): void {
    const { nic, pacer } = this;
    const v = this.counters.v;
    v[C.pausedNs] += pacer.pausedNs - this.pausedBefore;
    this.pausedBefore = pacer.pausedNs;
    if (progress && this.heldSince !== 0) {
      // A link with a rate counts in the pacer, once its packet memory is full.
      if (this.unlimited) v[C.pausedNs] += nic.guard.nowNs - this.heldSince;
      this.heldSince = 0;
    }
    this.endBurst(CPU.generator, share);
  }

  /** For a station, beside any load: @returns true when the wire takes a frame of `len` bytes now */
  wireFree(len: number): boolean {
    if (this.unlimited) return true;
    if (!this.loadIsOn()) return this.freeAtNs <= this.meter.now;
    this.pacer.begin(this.meter.now);
    return this.pacer.ready(len);
  }

  /** A station's frame goes out. */
  take(len: number): void {
    if (this.unlimited) return;
    if (this.loadIsOn()) this.pacer.take(len);
    else
      this.freeAtNs =
        Math.max(this.freeAtNs, this.meter.now - STATION_SLACK_NS) +
        ((len + WIRE_OVERHEAD_BYTES) * 8) / this.link.gbps!;
  }

  /** @returns nanoseconds until the wire takes a station's frame of `len` bytes */
  wireNs(len: number): number {
    if (this.unlimited) return 0;
    return this.loadIsOn() ? this.pacer.dueNs(this.meter.now, len) : Math.max(0, this.freeAtNs - this.meter.now);
  }

  /** Ends a station's burst. @param share of the time since the last lap that the station took itself, 0 to 1 */
  closeStation(share: number): void {
    this.endBurst(CPU.outer, share);
  }

  /** @param sender component that its share is charged to */
  private endBurst(sender: number, share: number): void {
    const { nic } = this;
    nic.endBurst();
    nic.guard.end();
    nic.moderate(false);
    this.counters.commit();
    this.meter.lapShared(sender, CPU.nic, share);
  }

  /** The NIC has taken frames, or dropped them. @param bytes of all of them */
  sent(bytes: number, frames = 1): void {
    const v = this.counters.v;
    v[C.sentFrames] += frames;
    v[C.sentBytes] += bytes;
  }

  /** A frame was sent and found the packet memory full. */
  lost(len: number): void {
    this.sent(len);
    this.counters.v[C.dropOverrun]++;
  }

  /** Nothing can be sent before buffers come back. */
  held(): void {
    if (this.heldSince === 0) this.heldSince = this.meter.now;
  }
}
