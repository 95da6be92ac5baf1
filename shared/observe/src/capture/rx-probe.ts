/** The probe of a receive path that works in batches: frames are named by the queue, judged by the stack, and only then written,
 *  so that a frame which the stack drops has its reason with it. The buffers are the queue's until `settle` has returned. */
import { NOT_DROPPED } from './drop-reasons.js';
import { INBOUND } from './pcapng-blocks.js';
import { type FrameProbe, NO_PROBE } from './probe.js';

/** Frames and pieces of one batch at most: as many as a queue takes in one go. */
const FRAMES = 512;

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
