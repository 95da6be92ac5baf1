/** When frames are on the wire: the link's rate, and what happens to frames that came while the NIC was not looking.
 *
 *  Everything counts in bytes of wire time since the start, in whole numbers: adding nanoseconds frame by frame to a
 *  clock of 10^15 would lose the fraction of each. */
import * as frames from '@grantline/frames';

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
