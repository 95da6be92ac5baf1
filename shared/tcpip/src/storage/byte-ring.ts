/** Memory of the socket buffers: rings of bytes, and the arena that all of a stack take theirs from. */
import type { Mem } from '@grantline/machine';

/** Log 2 of the smallest block. */
const ARENA_SHIFT = 12;
const NONE = -1;

/** A buddy allocator over one stretch, blocks of 4 KiB to 1 MiB and more by powers of two.
 *
 *  A connection that waits holds nothing; one with little under way holds little; all together cannot hold more than the
 *  stretch. Ten thousand connections with rings of full size set aside would need 20 GiB. */
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

/** A ring of bytes in the arena: what a connection has sent and not seen acknowledged, or received and not read.
 *
 *  Takes memory when something is put in, grows by doubling up to its limit, and gives it back on `release`. Data may be
 *  put beyond the end (segments out of order): `put` writes at a distance, `extend` makes it part of the content. */
export class ByteRing {
  /** Bytes of content. */
  used = 0;
  private readonly mem: Mem;
  private readonly arena: Arena;
  /** Most bytes. */
  readonly limit: number;
  private base = -1;
  private order = 0;
  private size = 0;
  /** Place of the first byte. */
  private head = 0;
  /** Bytes from the first one on that growing must take along; not less than used. */
  private extent = 0;
  /** Bytes at the beginning of the content that somebody reads where they lie. */
  private lent = 0;
  /** A block that is no longer the ring's, but in which lent bytes lie; -1: none. */
  private keptBase = -1;
  private keptOrder = 0;

  /** @param limit most bytes, a power of two */
  constructor(mem: Mem, arena: Arena, limit: number) {
    this.mem = mem;
    this.arena = arena;
    this.limit = limit;
  }

  /** Bytes that it holds memory for. */
  get capacity(): number {
    return this.size;
  }

  /** Makes room. @returns false when it would exceed the limit or the arena has no room */
  ensure(bytes: number): boolean {
    if (bytes <= this.size) return true;
    if (bytes > this.limit) return false;
    return this.moveTo(Arena.orderOf(bytes));
  }

  private moveTo(order: number): boolean {
    const base = this.arena.alloc(order);
    if (base < 0) return false;
    if (this.size > 0) {
      this.copyOut(0, base, this.extent);
      this.leaveBlock();
    }
    this.base = base;
    this.order = order;
    this.size = 1 << (order + ARENA_SHIFT);
    this.head = 0;
    return true;
  }

  /** The block goes back, or stays for as long as somebody reads in it. */
  private leaveBlock(): void {
    if (this.lent > 0 && this.keptBase < 0) {
      this.keptBase = this.base;
      this.keptOrder = this.order;
    } else {
      this.arena.free(this.base, this.order);
    }
  }

  /** Copies from the shared memory to `ahead` bytes beyond the first byte; there must be room. */
  put(ahead: number, from: number, bytes: number): void {
    const u8 = this.mem.u8;
    const at = (this.head + ahead) & (this.size - 1);
    const first = this.size - at;
    if (bytes <= first) {
      u8.copyWithin(this.base + at, from, from + bytes);
    } else {
      u8.copyWithin(this.base + at, from, from + first);
      u8.copyWithin(this.base, from + first, from + bytes);
    }
    if (ahead + bytes > this.extent) this.extent = ahead + bytes;
  }

  /** Appends bytes of an application's; there must be room. */
  append(source: Uint8Array, from: number, bytes: number): void {
    const u8 = this.mem.u8;
    const at = (this.head + this.used) & (this.size - 1);
    const first = Math.min(bytes, this.size - at);
    if (from === 0 && bytes === source.length && first === bytes) {
      u8.set(source, this.base + at);
    } else {
      u8.set(source.subarray(from, from + first), this.base + at);
      if (first < bytes) u8.set(source.subarray(from + first, from + bytes), this.base);
    }
    this.extend(bytes);
  }

  /** What was put behind the content becomes content. */
  extend(bytes: number): void {
    this.used += bytes;
    if (this.used > this.extent) this.extent = this.used;
  }

  /** Copies content, from a distance of the first byte, to another place in the shared memory. */
  copyOut(ahead: number, to: number, bytes: number): void {
    const u8 = this.mem.u8;
    const at = this.base + ((this.head + ahead) & (this.size - 1));
    const first = this.base + this.size - at;
    if (bytes <= first) {
      u8.copyWithin(to, at, at + bytes);
    } else {
      u8.copyWithin(to, at, this.base + this.size);
      u8.copyWithin(to + first, this.base, this.base + bytes - first);
    }
  }

  /** Lends up to so many bytes of the content's beginning, in one piece: they stay where they are, and unchanged, until `endLoan`,
   *  also when the ring is moved or released meanwhile. One loan at a time, and nothing is taken during it.
   *  @returns a view of them, or null when there are none */
  lend(most: number): Uint8Array | null {
    const bytes = Math.min(most, this.used, this.size - this.head);
    if (this.isLent || bytes <= 0) return null;
    this.lent = bytes;
    const at = this.base + this.head;
    return this.mem.u8.subarray(at, at + bytes);
  }

  get isLent(): boolean {
    return this.lent > 0 || this.keptBase >= 0;
  }

  /** What was lent is done with, and forgotten. */
  endLoan(): void {
    const { lent } = this;
    this.lent = 0;
    if (this.keptBase >= 0) this.arena.free(this.keptBase, this.keptOrder);
    this.keptBase = -1;
    if (lent > 0) this.drop(lent);
  }

  /** Takes up to so many bytes out of the content's beginning. @returns how many that was */
  take(target: Uint8Array, to: number, most: number): number {
    if (this.isLent) throw new Error('bytes of this ring are lent');
    const bytes = Math.min(most, this.used, target.length - to);
    if (bytes <= 0) return 0;
    const u8 = this.mem.u8;
    const at = this.base + this.head;
    const first = Math.min(bytes, this.size - this.head);
    target.set(u8.subarray(at, at + first), to);
    if (first < bytes) target.set(u8.subarray(this.base, this.base + bytes - first), to + first);
    this.drop(bytes);
    return bytes;
  }

  /** Forgets bytes at the content's beginning. */
  drop(bytes: number): void {
    this.head = (this.head + bytes) & (this.size - 1);
    this.used -= bytes;
    this.extent -= bytes;
    // An empty ring begins at its beginning: the same memory stays in the cache, and more of it is one piece.
    if (this.extent === 0) this.head = 0;
  }

  /** Forgets what lies beyond the content. */
  cut(): void {
    this.extent = this.used;
  }

  /** Gives back the memory that it does not need; not for half of it, which would soon be wanted again. */
  shrink(): void {
    // What is lent stays where it is: a smaller block beside it would be more memory, not less.
    if (this.lent > 0) return;
    if (this.extent === 0) this.release();
    else if (Arena.orderOf(this.extent) + 1 < this.order) this.moveTo(Arena.orderOf(this.extent));
  }

  /** Gives the memory back, with what is in it. */
  release(): void {
    if (this.size > 0) this.leaveBlock();
    this.lent = 0;
    this.base = -1;
    this.size = 0;
    this.head = 0;
    this.used = 0;
    this.extent = 0;
  }
}
