/** Memory of the socket buffers: a buddy allocator over one stretch, blocks of 4 KiB to 1 MiB and more by powers of two.
 *
 *  A connection that waits holds nothing; one with little under way holds little; all together cannot hold more than the
 *  stretch. Ten thousand connections with rings of full size set aside would need 20 GiB. */

/** Log 2 of the smallest block. */
export const ARENA_SHIFT = 12;
const NONE = -1;

export class Arena {
  /** Bytes handed out. */
  used = 0;
  /** What one ring may hold now, a power of two: the free bytes times the square of their part of all. */
  share: number;
  readonly bytes: number;
  private readonly base: number;
  private readonly orders: number;
  /** Per smallest block: order of the free block that starts there, or -1. */
  private readonly freeOrder: Int8Array;
  private readonly next: Int32Array;
  private readonly prev: Int32Array;
  /** First free block by order. */
  private readonly heads: Int32Array;

  /** @param base byte offset of the stretch @param bytes a power of two */
  constructor(base: number, bytes: number) {
    this.base = base;
    this.bytes = bytes;
    this.share = bytes;
    const blocks = bytes >> ARENA_SHIFT;
    this.orders = Math.log2(blocks) + 1;
    this.freeOrder = new Int8Array(blocks).fill(NONE);
    this.next = new Int32Array(blocks).fill(NONE);
    this.prev = new Int32Array(blocks).fill(NONE);
    this.heads = new Int32Array(this.orders).fill(NONE);
    this.push(0, this.orders - 1);
  }

  /** Less than an eighth is left. */
  get isLow(): boolean {
    return this.bytes - this.used < this.bytes >> 3;
  }

  /** The order of the smallest block that holds so many bytes. */
  static orderOf(bytes: number): number {
    return bytes <= 1 << ARENA_SHIFT ? 0 : 32 - Math.clz32((bytes - 1) >>> ARENA_SHIFT);
  }

  /** @returns the byte offset of a block of 4096 * 2^order bytes, or -1 when there is none */
  alloc(order: number): number {
    let have = order;
    while (have < this.orders && this.heads[have] === NONE) have++;
    if (have >= this.orders) return -1;
    const block = this.heads[have];
    this.unlink(block, have);
    while (have > order) {
      have--;
      this.push(block + (1 << have), have);
    }
    this.moved(1 << (order + ARENA_SHIFT));
    return this.base + (block << ARENA_SHIFT);
  }

  /** Gives back what alloc gave, with the same order. */
  free(at: number, order: number): void {
    this.moved(-1 << (order + ARENA_SHIFT));
    let block = (at - this.base) >> ARENA_SHIFT;
    let size = order;
    while (size < this.orders - 1) {
      const buddy = block ^ (1 << size);
      if (this.freeOrder[buddy] !== size) break;
      this.unlink(buddy, size);
      block &= ~(1 << size);
      size++;
    }
    this.push(block, size);
  }

  private moved(bytes: number): void {
    this.used += bytes;
    const part = 1 - this.used / this.bytes;
    const share = this.bytes * part * part * part;
    this.share = 1 << Math.max(ARENA_SHIFT, 31 - Math.clz32(share));
  }

  private push(block: number, order: number): void {
    const head = this.heads[order];
    this.freeOrder[block] = order;
    this.next[block] = head;
    this.prev[block] = NONE;
    if (head !== NONE) this.prev[head] = block;
    this.heads[order] = block;
  }

  private unlink(block: number, order: number): void {
    const next = this.next[block];
    const prev = this.prev[block];
    if (prev === NONE) this.heads[order] = next;
    else this.next[prev] = next;
    if (next !== NONE) this.prev[next] = prev;
    this.freeOrder[block] = NONE;
  }
}
