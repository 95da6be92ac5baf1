/** What the hypervisor has mapped: the memory of every domain, event-channel pages, the DMA table. Places in the address
 *  space are used again for what has the same size, so that domains can come and go for ever. */
import type { AddressSpace } from '@grantline/shared/mem/address-space.js';
import { closeSync, openSync } from 'node:fs';

export class MappedFiles {
  readonly space: AddressSpace;
  private readonly free = new Map<number, number[]>();

  constructor(space: AddressSpace) {
    this.space = space;
  }

  /** Maps a whole file. Its pages become resident as they are touched: of a domain's memory that is only what its peers
   *  copy, and the hypervisor has the memory of all domains. @returns its byte offset in the space */
  map(path: string, bytes: number, writable: boolean): number {
    const offset = this.free.get(bytes)?.pop() ?? this.space.reserve(bytes);
    const fd = openSync(path, writable ? 'r+' : 'r');
    try {
      this.space.mapFd(offset, fd, 0, bytes, writable, false);
    } catch (error) {
      this.keep(offset, bytes);
      throw error;
    } finally {
      closeSync(fd);
    }
    return offset;
  }

  /** From now on a stray access to the place is a page fault. */
  unmap(offset: number, bytes: number): void {
    this.space.unmap(offset, bytes);
    this.keep(offset, bytes);
  }

  private keep(offset: number, bytes: number): void {
    const places = this.free.get(bytes) ?? [];
    places.push(offset);
    this.free.set(bytes, places);
  }
}
