/** Captures what the bridge brings to a vif: frames in the driver domain's buffers, and frames in another guest's pages.
 *  docs/wire/capture.md. */
import { NETBACK_DROP, NOT_DROPPED, INBOUND, NO_PROBE, type FrameProbe } from '@grantline/observe';
import type { Buffers } from '../bridge/buffers.js';
import { FramePieces } from '../bridge/frame-pieces.js';

/** The frame was not dropped. */
export const ACCEPTED = -1;

export class BridgeProbe {
  /** Where to; replaced at connect. */
  probe: FrameProbe = NO_PROBE;
  private readonly pieces: FramePieces;

  constructor(buffers: Buffers) {
    this.pieces = new FramePieces(buffers);
  }

  get on(): boolean {
    return this.probe.on;
  }

  /** @param buffer first buffer of the frame, or number of a foreign one
   *  @param drop slot of the counter in NETBACK_COUNTERS, or ACCEPTED */
  frame(buffer: number, len: number, drop: number): void {
    const { probe, pieces } = this;
    probe.begin();
    pieces.begin(buffer);
    for (let left = len; left > 0;) {
      const part = pieces.take(left);
      probe.piece(pieces.at, part);
      left -= part;
    }
    probe.end(len, INBOUND, drop === ACCEPTED ? NOT_DROPPED : NETBACK_DROP + drop);
  }
}
