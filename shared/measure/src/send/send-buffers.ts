/** Transmit buffers: pages, and halves of pages where small frames are to have them. By id: the small ones first. */
import { PAGE_SIZE } from '@grantline/base';

/** Pages of transmit buffers of one queue: as many as its ring has slots. */
export const SEND_PAGES = 256;
const HALF = PAGE_SIZE / 2;

export class SendBuffers {
  readonly count: number;
  /** By id: byte offset, page (an index into the pages given), offset in the page, bytes. */
  readonly at: Int32Array;
  readonly page: Int32Array;
  readonly pageOffset: Int32Array;
  readonly size: Int32Array;
  readonly smallCount: number;
  private readonly small: Int32Array;
  private readonly large: Int32Array;
  private smallFree = 0;
  private largeFree = 0;

  /** @param pages byte offset of each page
   *  @param halves true: half of the pages are split in two */
  constructor(pages: Int32Array, halves: boolean) {
    const split = halves ? pages.length >> 1 : 0;
    this.smallCount = split * 2;
    this.count = this.smallCount + pages.length - split;
    const table = (): Int32Array => new Int32Array(this.count);
    this.at = table();
    this.page = table();
    this.pageOffset = table();
    this.size = table();
    this.small = new Int32Array(this.smallCount);
    this.large = new Int32Array(this.count - this.smallCount);
    for (let id = this.count - 1; id >= 0; id--) {
      const isSmall = id < this.smallCount;
      this.page[id] = isSmall ? id >> 1 : id - split;
      this.pageOffset[id] = isSmall ? (id & 1) * HALF : 0;
      this.size[id] = isSmall ? HALF : PAGE_SIZE;
      this.at[id] = pages[this.page[id]] + this.pageOffset[id];
      this.give(id);
    }
  }

  get free(): number {
    return this.smallFree + this.largeFree;
  }

  /** @returns true when there are buffers for a packet of so many bytes */
  canHold(bytes: number): boolean {
    if (bytes <= HALF) return this.smallFree > 0 || this.largeFree > 0;
    return bytes <= this.largeFree * PAGE_SIZE;
  }

  /** Takes a buffer for the rest of a packet that `canHold` has said yes to. */
  take(packetBytes: number): number {
    if (packetBytes <= HALF && this.smallFree > 0) return this.small[--this.smallFree];
    return this.large[--this.largeFree];
  }

  /** Takes a whole page. @returns -1 when none is free */
  takePage(): number {
    return this.largeFree > 0 ? this.large[--this.largeFree] : -1;
  }

  give(id: number): void {
    if (id < this.smallCount) this.small[this.smallFree++] = id;
    else this.large[this.largeFree++] = id;
  }
}
