/** A ring of bytes in the arena: what a connection has sent and not seen acknowledged, or received and not read.
 *
 *  Takes memory when something is put in, grows by doubling up to its limit, and gives it back on `release`. Data may be
 *  put beyond the end (segments out of order): `put` writes at a distance, `extend` makes it part of the content. */
import type { Mem } from '@grantline/machine';
import { ARENA_SHIFT, Arena } from './arena.js';

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
      this.arena.free(this.base, this.order);
    }
    this.base = base;
    this.order = order;
    this.size = 1 << (order + ARENA_SHIFT);
    this.head = 0;
    return true;
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

  /** Takes up to so many bytes out of the content's beginning. @returns how many that was */
  take(target: Uint8Array, to: number, most: number): number {
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
  }

  /** Forgets what lies beyond the content. */
  cut(): void {
    this.extent = this.used;
  }

  /** Gives back the memory that it does not need; not for half of it, which would soon be wanted again. */
  shrink(): void {
    if (this.extent === 0) this.release();
    else if (Arena.orderOf(this.extent) + 1 < this.order) this.moveTo(Arena.orderOf(this.extent));
  }

  /** Gives the memory back, with what is in it. */
  release(): void {
    if (this.size > 0) this.arena.free(this.base, this.order);
    this.base = -1;
    this.size = 0;
    this.head = 0;
    this.used = 0;
    this.extent = 0;
  }
}
