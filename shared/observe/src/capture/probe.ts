/** A place on the path where frames can be captured: one hop of one vif. While nobody captures, `on` is false, and that is all
 *  that the data path looks at. docs/wire/capture.md. */
import { NOT_DROPPED } from './drop-reasons.js';
import { INBOUND } from './pcapng-blocks.js';
import type { CaptureRing } from './capture-ring.js';

/** Where frames are captured. */
export const HOPS = ['nic', 'bridge', 'guest'] as const;
export type Hop = (typeof HOPS)[number];

/** Frames and pieces of one batch at most: as many as a queue takes in one go. */
const FRAMES = 512;
/** Pieces that one frame may lie in. */
const PIECES = 64;

export class FrameProbe {
  /** Somebody captures: the only thing that the path asks. */
  on = false;
  /** Called when `on` has changed. */
  onChange: () => void = () => {};
  private readonly rings: CaptureRing[] = [];
  private readonly at = new Int32Array(PIECES);
  private readonly len = new Int32Array(PIECES);
  private n = 0;

  add(ring: CaptureRing): void {
    this.rings.push(ring);
    this.changed();
  }

  remove(ring: CaptureRing): void {
    const i = this.rings.indexOf(ring);
    if (i >= 0) this.rings.splice(i, 1);
    this.changed();
  }

  /** Monotonic time for a frame. */
  now(): number {
    return this.rings[0]?.now() ?? 0;
  }

  /** A frame in one piece. @param at byte offset @param direction INBOUND or OUTBOUND @param reason of drop-reasons.ts */
  frame(at: number, bytes: number, direction: number, reason: number): void {
    this.begin();
    this.piece(at, bytes);
    this.end(bytes, direction, reason);
  }

  /** A frame in several pieces, or in none that can be read, follows. */
  begin(): void {
    this.n = 0;
  }

  /** A piece of a frame; `end` follows. What does not fit into the list is cut off. */
  piece(at: number, bytes: number): void {
    if (this.n === PIECES || bytes <= 0) return;
    this.at[this.n] = at;
    this.len[this.n++] = bytes;
  }

  /** The frame's pieces have been named. @param length of the frame, of which the pieces may hold less */
  end(length: number, direction: number, reason: number): void {
    this.put(this.at, this.len, 0, this.n, length, this.now(), direction, reason);
    this.n = 0;
  }

  /** A frame whose pieces stand in lists of the caller's. */
  put(
    at: Int32Array,
    len: Int32Array,
    first: number,
    n: number,
    length: number,
    timeNs: number,
    direction: number,
    reason: number,
  ): void {
    for (let i = 0; i < this.rings.length; i++) this.rings[i].put(at, len, first, n, length, timeNs, direction, reason);
  }

  private changed(): void {
    this.n = 0;
    this.on = this.rings.length > 0;
    this.onChange();
  }
}

/** For a part that has not been given one: never on. */
export const NO_PROBE = new FrameProbe();

/** The probe of a receive path that works in batches: frames are named by the queue, judged by the stack, and only then written,
 *  so that a frame which the stack drops has its reason with it. The buffers are the queue's until `settle` has returned. */
export class RxProbe {
  readonly probe: FrameProbe;
  private readonly at = new Int32Array(FRAMES);
  private readonly len = new Int32Array(FRAMES);
  // By frame: its first piece, bytes, time, reason.
  private readonly first = new Int32Array(FRAMES + 1);
  private readonly bytes = new Int32Array(FRAMES);
  private readonly time = new Float64Array(FRAMES);
  private readonly reason = new Int16Array(FRAMES);
  private pieces = 0;
  private frames = 0;
  private open = false;

  constructor(probe: FrameProbe) {
    this.probe = probe;
  }

  get on(): boolean {
    return this.probe.on;
  }

  /** A piece of a frame, as the stack is told of it. */
  fragment(at: number, bytes: number, more: boolean): void {
    if (this.pieces === FRAMES) return;
    const f = this.frames;
    if (!this.open) {
      this.first[f] = this.pieces;
      this.bytes[f] = 0;
      this.reason[f] = NOT_DROPPED;
      this.time[f] = this.probe.now();
    }
    this.at[this.pieces] = at;
    this.len[this.pieces++] = bytes;
    this.bytes[f] += bytes;
    this.open = more;
    if (!more) this.first[++this.frames] = this.pieces;
  }

  /** A stack dropped a frame. @param at where its first piece lies @param reason of drop-reasons.ts */
  dropped(at: number, reason: number): void {
    for (let f = 0; f < this.frames; f++) {
      if (this.at[this.first[f]] !== at) continue;
      this.reason[f] = reason;
      return;
    }
  }

  /** A frame was lost before its bytes could be seen. @param reason of drop-reasons.ts */
  lost(reason: number): void {
    const { probe } = this;
    probe.put(this.at, this.len, 0, 0, 0, probe.now(), INBOUND, reason);
  }

  /** Writes the batch. */
  settle(): void {
    const { probe, first } = this;
    for (let f = 0; f < this.frames; f++)
      probe.put(
        this.at,
        this.len,
        first[f],
        first[f + 1] - first[f],
        this.bytes[f],
        this.time[f],
        INBOUND,
        this.reason[f],
      );
    this.frames = this.pieces = 0;
    this.open = false;
  }
}

/** For a part that has not been given one: never on. */
export const NO_RX_PROBE = new RxProbe(NO_PROBE);
