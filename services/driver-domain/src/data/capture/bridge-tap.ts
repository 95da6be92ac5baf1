/** Captures what the bridge brings to a vif: frames in the driver domain's buffers, and frames in another guest's pages.
 *  docs/wire/capture.md. */
import { NETBACK_DROP, NOT_DROPPED, INBOUND, NO_TAP, type FrameTap } from '@grantline/observe';
import type { Buffers } from '../bridge/buffers.js';
import { FramePieces } from '../bridge/frame-pieces.js';

/** The frame was not dropped. */
export const ACCEPTED = -1;

export class BridgeTap {
  /** Where to; replaced at connect. */
  tap: FrameTap = NO_TAP;
  private readonly pieces: FramePieces;

  constructor(buffers: Buffers) {
    this.pieces = new FramePieces(buffers);
  }

  get on(): boolean {
    return this.tap.on;
  }

  /** @param buffer first buffer of the frame, or number of a foreign one
   *  @param drop slot of the counter in NETBACK_COUNTERS, or ACCEPTED */
  frame(buffer: number, len: number, drop: number): void {
    const { tap, pieces } = this;
    tap.begin();
    pieces.begin(buffer);
    for (let left = len; left > 0;) {
      const part = pieces.take(left);
      tap.piece(pieces.at, part);
      left -= part;
    }
    tap.end(len, INBOUND, drop === ACCEPTED ? NOT_DROPPED : NETBACK_DROP + drop);
  }
}
