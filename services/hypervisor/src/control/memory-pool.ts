/** Makes what domains share, and maps it here: memory without a name whose size nobody can change (docs/adr/0020). Places in
 *  the address space are used again for what has the same size, so that domains can come and go for ever. */
import { closeSync } from 'node:fs';
import { type AddressSpace, makeMemory, sealSeals, sealWrites } from '@grantline/machine';
import { UsageError, availableMemory } from '@grantline/base';

/** There is not enough memory for what domains share: one line that says how much is missing. */
export class MemoryError extends UsageError {
  readonly code = 'ENOMEM';
}

/** A stretch of shared memory; gone once it is released. */
export interface Piece {
  /** -1: released. */
  fd: number;
  /** Byte offset in the address space; -1: not mapped here. */
  readonly at: number;
  readonly bytes: number;
}

/** `both`: the hypervisor and others write it; `here`: only the hypervisor does; `there`: it is not mapped here. */
export type Writers = 'both' | 'here' | 'there';

export class MemoryPool {
  readonly space: AddressSpace;
  private readonly available: () => number;
  private readonly free = new Map<number, number[]>();

  /** @param available bytes of memory that may still be taken; replaced in tests */
  constructor(space: AddressSpace, available = availableMemory) {
    this.space = space;
    this.available = available;
  }

  /** All of it is there at once. Where the hypervisor maps it, pages become resident as they are touched: of a domain's
   *  memory that is only what its peers copy, and the hypervisor has the memory of all domains.
   *  @param name what it is, for messages and /proc/PID/maps
   *  @throws MemoryError when memory is short; whatever it throws, nothing is left */
  make(name: string, bytes: number, writers: Writers): Piece {
    const fd = this.file(name, bytes);
    let at = -1;
    try {
      if (writers !== 'there') at = this.map(fd, bytes);
      if (writers === 'here') sealWrites(fd);
      else sealSeals(fd);
    } catch (error) {
      this.release({ fd, at, bytes });
      throw error;
    }
    return { fd, at, bytes };
  }

  /** From now on a stray access to the place is a page fault. What others have mapped stays theirs. */
  release(piece: Piece): void {
    if (piece.fd < 0) return;
    if (piece.at >= 0) {
      this.space.unmap(piece.at, piece.bytes);
      this.keep(piece.at, piece.bytes);
    }
    closeSync(piece.fd);
    piece.fd = -1;
  }

  private file(name: string, bytes: number): number {
    const free = this.available();
    if (bytes > free) throw tooLittle(name, bytes, free);
    try {
      return makeMemory(name, bytes);
    } catch (error) {
      throw (error as Error).message.startsWith('ENOSPC') ? tooLittle(name, bytes, this.available()) : error;
    }
  }

  private map(fd: number, bytes: number): number {
    const at = this.free.get(bytes)?.pop() ?? this.space.reserve(bytes);
    try {
      this.space.mapFd(at, fd, 0, bytes, true, false);
    } catch (error) {
      this.keep(at, bytes);
      throw error;
    }
    return at;
  }

  private keep(at: number, bytes: number): void {
    const places = this.free.get(bytes) ?? [];
    places.push(at);
    this.free.set(bytes, places);
  }
}

function tooLittle(name: string, bytes: number, free: number): MemoryError {
  const kib = (n: number): string => `${Math.floor(n / 1024)} KiB`;
  return new MemoryError(
    `too little shared memory: ${name} needs ${kib(bytes)}, ${kib(free)} are available; free some, or raise the limit (docker run --memory)`,
  );
}
