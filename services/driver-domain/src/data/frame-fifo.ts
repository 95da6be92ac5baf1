/** Frames that wait for one vif, in the order of their arrival: the first buffer of each and its length. */

export class FrameFifo {
  /** Frames, bytes and buffers that wait. */
  count = 0;
  bytes = 0;
  buffers = 0;
  private readonly ids: Int16Array;
  private readonly lens: Uint16Array;
  private readonly mask: number;
  private head = 0;

  /** @param buffers how many buffers there are: no more frames than that can wait */
  constructor(buffers: number) {
    const size = 2 ** Math.ceil(Math.log2(buffers));
    this.ids = new Int16Array(size);
    this.lens = new Uint16Array(size);
    this.mask = size - 1;
  }

  push(id: number, len: number): void {
    const at = (this.head + this.count) & this.mask;
    this.ids[at] = id;
    this.lens[at] = len;
    this.count++;
    this.bytes += len;
    this.buffers += pagesOf(len);
  }

  get firstId(): number {
    return this.ids[this.head];
  }

  get firstLen(): number {
    return this.lens[this.head];
  }

  /** Takes the first frame off. */
  shift(): void {
    const len = this.lens[this.head];
    this.head = (this.head + 1) & this.mask;
    this.count--;
    this.bytes -= len;
    this.buffers -= pagesOf(len);
  }
}

const pagesOf = (len: number): number => (len + 4095) >> 12;
