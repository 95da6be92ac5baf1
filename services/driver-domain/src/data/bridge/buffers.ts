/** The driver domain's own receive buffers: pages of its memory that the NIC's default queue writes.
 *
 *  A frame is named by its first buffer; a frame longer than a page goes on in `next`. Each user of a frame holds a
 *  reference (flooding makes several holders); with the last one the buffers are free to be posted again. Frames in guests'
 *  pages have numbers from FOREIGN on: what a frame's number means is asked here, and where its bytes are of FramePieces. */
import { PAGE_SHIFT, PAGE_SIZE } from '@grantline/base';
import { FOREIGN, type ForeignFrames, type TxSource } from './foreign-frames.js';

export class Buffers {
  /** How many there are. */
  readonly count: number;
  /** Byte offset of buffer 0 in the address space, and the number of its page; buffer i lies i pages further. */
  readonly base: number;
  readonly firstPfn: number;
  /** The buffer that continues this one's frame, or -1. */
  readonly next: Int16Array;
  /** Buffers that frames hold: neither free nor posted. */
  held = 0;
  /** Frames in guests' pages, which have numbers above ours; null: there are none. */
  foreign: ForeignFrames | null = null;
  private readonly refs: Uint16Array;
  private readonly free: Int16Array;
  private freeCount: number;

  constructor(base: number, firstPfn: number, count: number) {
    this.count = count;
    this.base = base;
    this.firstPfn = firstPfn;
    this.next = new Int16Array(count).fill(-1);
    this.refs = new Uint16Array(count);
    this.free = new Int16Array(count);
    this.freeCount = count;
    // The stack gives the lowest buffer first, so that a dump reads in order.
    for (let i = 0; i < count; i++) this.free[i] = count - 1 - i;
  }

  /** Buffers that may be posted. */
  get available(): number {
    return this.freeCount;
  }

  /** Takes a free buffer for posting. @returns -1 when there is none */
  take(): number {
    return this.freeCount === 0 ? -1 : this.free[--this.freeCount];
  }

  /** Gives back a buffer that was posted and never filled. */
  give(id: number): void {
    this.free[this.freeCount++] = id;
  }

  /** The NIC has filled a buffer: it is held from now on. */
  filled(id: number): void {
    this.held++;
    this.next[id] = -1;
    this.refs[id] = 1;
  }

  /** One more holder of the frame that begins in buffer `id`. */
  retain(id: number): void {
    if (id >= FOREIGN) return this.foreign!.retain(id - FOREIGN);
    this.refs[id]++;
  }

  /** One holder less; the last one frees the frame's buffers. */
  release(id: number): void {
    if (id >= FOREIGN) return this.foreign!.release(id - FOREIGN);
    if (--this.refs[id] > 0) return;
    let b = id;
    while (b >= 0) {
      const following = this.next[b];
      this.next[b] = -1;
      this.refs[b] = 0;
      this.free[this.freeCount++] = b;
      this.held--;
      b = following;
    }
  }

  /** How many frames it is, or stands for. */
  framesOf(id: number): number {
    return id >= FOREIGN ? this.foreign!.stands[id - FOREIGN] : 1;
  }

  /** The guest whose pages it lies in; null: it is in our buffers. */
  sourceOf(id: number): TxSource | null {
    return id >= FOREIGN ? this.foreign!.source[id - FOREIGN] : null;
  }

  /** How many of our buffers it is in. */
  buffersOf(id: number, len: number): number {
    return id >= FOREIGN ? 0 : (len + PAGE_SIZE - 1) >> PAGE_SHIFT;
  }

  /** Payload of each frame of a packet that is passed on uncut, else 0. */
  mssOf(id: number): number {
    return id >= FOREIGN ? this.foreign!.mss[id - FOREIGN] : 0;
  }

  /** NETRXF_* of its first slot, besides those that tell what follows. */
  flagsOf(id: number): number {
    return id >= FOREIGN ? this.foreign!.flags[id - FOREIGN] : 0;
  }

  /** @returns byte offset of a buffer */
  offset(id: number): number {
    return this.base + (id << PAGE_SHIFT);
  }

  describe(): Record<string, number> {
    return {
      count: this.count,
      free: this.freeCount,
      held: this.held,
      posted: this.count - this.freeCount - this.held,
    };
  }
}
