/** A place on the path where frames can be captured: one hop of one vif. While nobody captures, `on` is false, and that is all
 *  that the data path looks at. docs/wire/capture.md. */
import type { CaptureRing } from './capture-ring.js';

/** Where frames are captured. */
export const HOPS = ['nic', 'bridge', 'guest'] as const;
export type Hop = (typeof HOPS)[number];

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
