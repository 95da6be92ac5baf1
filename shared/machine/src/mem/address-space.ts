/** One stretch of reserved addresses with everything that a service may touch mapped into it.
 *
 *  The whole stretch is seen through one ArrayBuffer, so that a copy between two mappings is one `copyWithin`: no view
 *  is made per frame. What is not mapped is PROT_NONE: a stray access is a page fault that ends this process and
 *  nothing else. Offsets stay below 2^31, so they are small integers for the engine.
 *
 *  Look at it from a shell:  grep grantline /proc/PID/maps */
import { closeSync } from 'node:fs';
import { PAGE_SIZE } from '@grantline/base';
import {
  MAP_ANONYMOUS,
  MAP_FIXED,
  MAP_NORESERVE,
  MAP_POPULATE,
  MAP_PRIVATE,
  MAP_SHARED,
  PROT_NONE,
  PROT_READ,
  PROT_WRITE,
  addressOf,
  mapPages,
  type Address,
} from './libc.js';
import { plainBulk, wasmMemory, type Bulk } from './bulk.js';

/** Typed arrays over one address space. Byte offset b is u8[b], u16[b >> 1], u32[b >> 2]; dv for what is unaligned. */
export interface Mem {
  readonly u8: Uint8Array;
  readonly u16: Uint16Array;
  readonly i16: Int16Array;
  readonly u32: Uint32Array;
  readonly i32: Int32Array;
  readonly f64: Float64Array;
  readonly dv: DataView;
  readonly bulk: Bulk;
}

/** Views over any buffer; tests use it with a plain ArrayBuffer. */
export function memOver(buffer: ArrayBuffer, bulk?: Bulk): Mem {
  const u8 = new Uint8Array(buffer);
  return {
    u8,
    u16: new Uint16Array(buffer),
    i16: new Int16Array(buffer),
    u32: new Uint32Array(buffer),
    i32: new Int32Array(buffer),
    f64: new Float64Array(buffer),
    dv: new DataView(buffer),
    bulk: bulk ?? plainBulk(u8),
  };
}

/** Part of an AddressSpace that private memory comes from. */
export interface PrivateMemory {
  readonly mem: Mem;
  /** @param populate false: pages come when they are touched, for what may never be; default true
   *  @returns the byte offset of zeroed private memory, page aligned. @throws RangeError when there is no room */
  mapPrivate(bytes: number, populate?: boolean): number;
}

export class AddressSpace implements PrivateMemory {
  readonly bytes: number;
  readonly mem: Mem;
  private readonly at: Address;
  private next = 0;

  /** @param bytes size to reserve, a multiple of the page size below 2 GiB; reserving costs no memory */
  constructor(bytes: number) {
    if (bytes % PAGE_SIZE !== 0 || bytes <= 0 || bytes >= 2 ** 31)
      throw new RangeError(`cannot reserve ${bytes} bytes`);
    this.bytes = bytes;
    // The engine's reservation for a WebAssembly memory, with nothing of its own left in it.
    const { buffer, bulk } = wasmMemory(bytes);
    this.at = addressOf(buffer);
    mapPages(this.at, buffer.byteLength, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
    this.mem = memOver(buffer, bulk);
  }

  /** Where a byte offset lies in this process, for the kernel: exact, since user space ends below 2^47. */
  addressOf(offset: number): number {
    return Number(this.at) + offset;
  }

  /** Sets a part of the reservation aside. @returns its byte offset, page aligned */
  reserve(bytes: number): number {
    const offset = this.next;
    const size = Math.ceil(bytes / PAGE_SIZE) * PAGE_SIZE;
    if (offset + size > this.bytes) throw new RangeError('the address space is full');
    this.next = offset + size;
    return offset;
  }

  /** Maps a part of an open file at a reserved offset.
   *  @param populate false: pages become resident when touched, for who maps much and touches little of it */
  mapFd(offset: number, fd: number, fileOffset: number, bytes: number, writable: boolean, populate = true): void {
    this.check(offset, bytes);
    const prot = writable ? PROT_READ | PROT_WRITE : PROT_READ;
    const flags = MAP_SHARED | MAP_FIXED | (populate ? MAP_POPULATE : 0);
    mapPages(this.at + BigInt(offset), bytes, prot, flags, fd, fileOffset);
  }

  /** Reserves room for what a descriptor leads to, maps it and closes the descriptor. @returns its byte offset */
  mapWhole(fd: number, bytes: number, writable: boolean): number {
    try {
      const offset = this.reserve(bytes);
      this.mapFd(offset, fd, 0, bytes, writable);
      return offset;
    } finally {
      closeSync(fd);
    }
  }

  /** Private zeroed memory inside the same buffer: the application's, or a template's. All of it is there at once, so that the
   *  data path meets no page fault. @param populate false: pages come when they are touched @returns its byte offset */
  mapPrivate(bytes: number, populate = true): number {
    const offset = this.reserve(bytes);
    this.mapPrivateAt(offset, bytes, populate);
    return offset;
  }

  /** As mapPrivate, at an offset that was reserved; for memory that comes and goes. */
  mapPrivateAt(offset: number, bytes: number, populate = true): void {
    this.check(offset, bytes);
    const size = Math.ceil(bytes / PAGE_SIZE) * PAGE_SIZE;
    const flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | (populate ? MAP_POPULATE : 0);
    mapPages(this.at + BigInt(offset), size, PROT_READ | PROT_WRITE, flags, -1, 0);
  }

  /** Makes a range inaccessible again; the range stays reserved and can be mapped anew. */
  unmap(offset: number, bytes: number): void {
    this.check(offset, bytes);
    const flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED;
    mapPages(this.at + BigInt(offset), bytes, PROT_NONE, flags, -1, 0);
  }

  private check(offset: number, bytes: number): void {
    if (offset < 0 || bytes <= 0 || offset % PAGE_SIZE !== 0 || offset + bytes > this.bytes)
      throw new RangeError(`[${offset}, +${bytes}) is outside this address space`);
  }
}
