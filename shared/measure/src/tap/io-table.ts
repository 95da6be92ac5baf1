/** A table of struct iovec (u64 address, u64 length) for readv and writev, with offsets into our address space for
 *  addresses. */
import type { AddressSpace } from '@grantline/machine';

/** Entries that the kernel takes at most (UIO_MAXIOV). */
export const IO_MAX = 1024;
const ENTRY_BYTES = 16;
const LOW = 2 ** 32;

export class IoTable {
  /** Its own address. */
  readonly address: number;
  readonly size: number;
  private readonly word: number;
  private readonly u32: Uint32Array;
  private readonly low: number;
  private readonly high: number;

  constructor(space: AddressSpace, entries: number) {
    this.size = entries;
    const at = space.mapPrivate(entries * ENTRY_BYTES);
    this.address = space.addressOf(at);
    this.word = at >> 2;
    this.u32 = space.mem.u32;
    const base = space.addressOf(0);
    this.low = base % LOW;
    this.high = Math.floor(base / LOW);
  }

  set(entry: number, offset: number, bytes: number): void {
    const { u32 } = this;
    const w = this.word + (entry << 2);
    const low = this.low + offset;
    // Stored modulo 2^32.
    u32[w] = low;
    u32[w + 1] = low >= LOW ? this.high + 1 : this.high;
    u32[w + 2] = bytes;
    u32[w + 3] = 0;
  }
}
