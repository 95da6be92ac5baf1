/** The cable out of the NIC: paced like the one into it, and at its far end somebody who takes the frames. */
import { slots, type CounterBlock } from '@grantline/machine';
import { EGRESS_COUNTERS } from '@grantline/observe';
import { WIRE_OVERHEAD_BYTES } from '@grantline/frames';
import { NO_MAC_PROBE, type MacProbe } from './mac-probe.js';

const C = slots(EGRESS_COUNTERS);

/** What stands at the far end. A frame lies in the NIC's packet memory in one or two pieces: its headers, and what
 *  follows them (0 bytes: all is in the first piece). It stays there until `settle` has returned. */
export interface FarEnd {
  /** Takes a frame. @param head, body byte offsets */
  frame(head: number, headBytes: number, body: number, bodyBytes: number): void;
  /** Frames that it still takes before `settle`. */
  readonly room: number;
  /** True when it would rather have a packet whole than as the frames that it is cut into: it would only join them. Asked
   *  with the packet's place, for who takes it may depend on its destination. */
  takesPackets?(at: number): boolean;
  /** Takes such a packet, in one piece, its checksum not filled in.
   *  @param l4, header where its TCP header begins, and bytes of all headers */
  wholePacket?(at: number, bytes: number, l4: number, header: number, mss: number): void;
  /** Deals with what it was given; afterwards packet memory is used again. */
  settle(nowNs: number): void;
}

/** Nobody is there: frames are counted and gone. */
export const NOBODY: FarEnd = { frame() {}, room: Infinity, settle() {} };

/** Whatever frames are sent by: the cable, or the embedded switch. */
export interface FrameOut {
  send(head: number, headBytes: number, body: number, bodyBytes: number, nowNs: number, slackNs: number): void;
}

export class CableOut implements FrameOut {
  farEnd: FarEnd = NOBODY;
  probe: MacProbe = NO_MAC_PROBE;
  readonly counters: CounterBlock;
  /** Speed, Gb/s; null: unlimited. */
  gbps: number | null = null;
  private bytesPerNs = Infinity;
  /** When the wire is free again, on the clock of `free`. */
  private freeAtNs = 0;

  constructor(counters: CounterBlock) {
    this.counters = counters;
  }

  /** @param gbps null: unlimited */
  setSpeed(gbps: number | null): void {
    this.gbps = gbps;
    this.bytesPerNs = gbps === null ? Infinity : gbps / 8;
    this.freeAtNs = 0;
  }

  /** @returns nanoseconds until the wire takes the next frame; 0: it is free */
  waitNs(nowNs: number): number {
    return this.freeAtNs > nowNs ? this.freeAtNs - nowNs : 0;
  }

  /** A frame goes out. What was due while nobody looked does not make up for itself: an idle wire is idle.
   *  @param slackNs how long ago the wire may have begun: the time between two looks */
  send(head: number, headBytes: number, body: number, bodyBytes: number, nowNs: number, slackNs: number): void {
    this.count(1, headBytes + bodyBytes, nowNs, slackNs);
    if (this.probe.on) this.probe.tx(head, headBytes, body, bodyBytes);
    this.farEnd.frame(head, headBytes, body, bodyBytes);
  }

  /** @returns true when the packet there may go out whole. A capture shall see frames: while one runs, none may. */
  takesPackets(at: number): boolean {
    return !this.probe.on && this.farEnd.takesPackets?.(at) === true;
  }

  /** A packet goes out whole, to a far end that takes it so: it counts as its frames. @returns how many they are */
  sendWhole(
    at: number,
    bytes: number,
    l4: number,
    header: number,
    mss: number,
    nowNs: number,
    slackNs: number,
  ): number {
    const frames = Math.ceil((bytes - header) / mss);
    this.count(frames, bytes + (frames - 1) * header, nowNs, slackNs);
    this.farEnd.wholePacket?.(at, bytes, l4, header, mss);
    return frames;
  }

  private count(frames: number, bytes: number, nowNs: number, slackNs: number): void {
    if (this.bytesPerNs !== Infinity) {
      const begin = this.freeAtNs > nowNs - slackNs ? this.freeAtNs : nowNs - slackNs;
      this.freeAtNs = begin + (bytes + frames * WIRE_OVERHEAD_BYTES) / this.bytesPerNs;
    }
    const v = this.counters.v;
    v[C.frames] += frames;
    v[C.bytes] += bytes;
  }
}
