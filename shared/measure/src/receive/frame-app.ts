/** What stands at the end of the receive path: something that takes payload out of the buffers into its own memory.
 *
 *  Called by RxStack.deliver, on the data thread: begin, then segment (or raw) for each, then end. Nothing may be kept
 *  of the batch after end: its buffers go back to the ring.
 *  CopyApp is the least that there is. */
import { slots, type CounterBlock, type PrivateMemory } from '@grantline/machine';
import { APP_COUNTERS } from '@grantline/observe';

const C = slots(APP_COUNTERS);
const RING_BYTES = 128 << 10;

/** Most pieces in one batch, as the driver gives them. */
export const MAX_PIECES = 256;
/** Most parts that they are listed as: a bulk packet is listed by the frames that it stands for. */
export const MAX_LISTED = 8192;

/** Parts of buffers, in order. One object for the life of a stack; its contents change from batch to batch. */
export interface PieceList {
  /** Byte offset in the address space. */
  readonly off: Int32Array;
  /** Bytes. */
  readonly len: Int32Array;
  /** At the last piece of each Ethernet frame: the frame's length, header included; 0 at the pieces before. */
  readonly frameBytes: Int32Array;
}

export interface FrameApp {
  /** True: wants whole frames as they arrived, before the stack looks into them (`raw`). False: payload (`segment`). */
  readonly wantsRaw: boolean;
  /** @param nowNs time at which the batch is delivered */
  begin(nowNs: number): void;
  /** Transport payload of one segment: the pieces from..to-1, of one frame or of several that were coalesced. A frame
   *  without payload is one piece of length 0.
   *  @param socket the number given to RxStack.listen */
  segment(pieces: PieceList, from: number, to: number, socket: number): void;
  /** One frame, Ethernet header first: the pieces from..to-1. */
  raw(pieces: PieceList, from: number, to: number): void;
  /** The batch is over; counters are committed. */
  end(): void;
}

/** The application of a run without verification: takes payload into private memory and counts it, no more. */
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
