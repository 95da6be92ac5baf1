/** The application of a run without verification: takes payload into private memory and counts it, no more. */
import { slots, type CounterBlock, type PrivateMemory } from '@grantline/machine';
import { APP_COUNTERS } from '@grantline/observe';
import type { FrameApp, PieceList } from './frame-app.js';

const C = slots(APP_COUNTERS);
const RING_BYTES = 128 << 10;

export class CopyApp implements FrameApp {
  readonly wantsRaw = false;
  private readonly u8: Uint8Array;
  private readonly counters: CounterBlock;
  private readonly base: number;
  private used = 0;

  constructor(space: PrivateMemory, counters: CounterBlock) {
    this.u8 = space.mem.u8;
    this.counters = counters;
    this.base = space.mapPrivate(RING_BYTES);
  }

  /** A new run: the counters go to zero. */
  reset(): void {
    this.counters.reset();
  }

  begin(): void {}

  raw(): void {}

  segment(pieces: PieceList, from: number, to: number): void {
    const v = this.counters.v;
    for (let i = from; i < to; i++) {
      const off = pieces.off[i];
      const bytes = pieces.len[i];
      if (this.used + bytes > RING_BYTES) this.used = 0;
      const at = this.base + this.used;
      this.u8.copyWithin(at, off, off + bytes);
      this.used += bytes;
      v[C.copies]++;
      v[C.payloadBytes] += bytes;
      if (pieces.frameBytes[i] !== 0) {
        v[C.frames]++;
        v[C.bytes] += pieces.frameBytes[i];
      }
    }
  }

  end(): void {
    this.counters.commit();
  }
}
