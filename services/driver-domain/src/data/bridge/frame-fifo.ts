/** Frames that wait for one vif, in the order of their arrival: the first buffer of each, its length, and since when. */
import type { Buffers } from './buffers.js';

export class FrameFifo {
  /** Frames and bytes that wait, and the driver domain's buffers that they are in. */
  count = 0;
  bytes = 0;
  buffers = 0;
  private readonly owner: Buffers;
  private readonly ids: Int16Array;
  private readonly lens: Uint16Array;
  private readonly times: Float64Array;
  private readonly mask: number;
  private head = 0;

  /** @param frames how many there are: no more can wait */
  constructor(owner: Buffers, frames: number) {
    this.owner = owner;
    const size = 2 ** Math.ceil(Math.log2(frames));
    this.ids = new Int16Array(size);
    this.lens = new Uint16Array(size);
    this.times = new Float64Array(size);
    this.mask = size - 1;
  }

  push(id: number, len: number, nowNs: number): void {
    const at = (this.head + this.count) & this.mask;
    this.ids[at] = id;
    this.lens[at] = len;
    this.times[at] = nowNs;
    this.count++;
    this.bytes += len;
    this.buffers += this.owner.buffersOf(id, len);
  }

  get firstId(): number {
    return this.ids[this.head];
  }

  get firstLen(): number {
    return this.lens[this.head];
  }

  /** When the first frame came. */
  get firstNs(): number {
    return this.times[this.head];
  }

  /** Puts the first frame behind the last: as many times as there are frames, and all are where they were. */
  rotate(): void {
    const { head, mask } = this;
    const at = (head + this.count) & mask;
    this.ids[at] = this.ids[head];
    this.lens[at] = this.lens[head];
    this.times[at] = this.times[head];
    this.head = (head + 1) & mask;
  }

  /** Takes the first frame off. */
  shift(): void {
    const len = this.lens[this.head];
    this.buffers -= this.owner.buffersOf(this.ids[this.head], len);
    this.head = (this.head + 1) & this.mask;
    this.count--;
    this.bytes -= len;
  }
}
