/** The granter's side of a grant table: issue and revoke, without any call. Source: Xen public/grant_table.h and Linux
 *  drivers/xen/grant-table.c. docs/wire/grant-table.md.
 *
 *  The table lies in the domain's own memory. The hypervisor reads it when a peer maps or copies. */
import {
  GRANT_ENTRIES,
  GRANT_ENTRY_BYTES,
  GRANT_RESERVED_ENTRIES,
  GTF_PERMIT_ACCESS,
  GTF_READING,
  GTF_READONLY,
  GTF_WRITING,
} from '../abi/grant-table.js';
import type { DomId, Gref, Pfn } from '@grantline/base';
import type { Mem } from '@grantline/machine';

export class GrantTable {
  /** Grants issued and revoked since the start. */
  issued = 0;
  revoked = 0;
  private readonly u16: Uint16Array;
  private readonly i32: Int32Array;
  private readonly bulk: Mem['bulk'];
  private readonly base: number;
  private readonly freeList: Uint32Array;
  private freeCount: number;

  /** @param base byte offset of the first page of the table in mem */
  constructor(mem: Mem, base: number, entries: number = GRANT_ENTRIES) {
    this.u16 = mem.u16;
    this.i32 = mem.i32;
    this.bulk = mem.bulk;
    this.base = base;
    this.freeList = new Uint32Array(entries);
    this.freeCount = 0;
    for (let i = entries - 1; i >= GRANT_RESERVED_ENTRIES; i--) this.freeList[this.freeCount++] = i;
  }

  /** Takes an entry off the free list. @returns -1 when there is none */
  claim(): Gref | -1 {
    if (this.freeCount === 0) return -1;
    return this.freeList[--this.freeCount] as Gref;
  }

  /** Gives a revoked entry back. */
  release(gref: Gref): void {
    this.freeList[this.freeCount++] = gref;
  }

  get free(): number {
    return this.freeCount;
  }

  /** Lets `domid` use page `pfn` through entry `gref`. The last store, of flags and domid, publishes it. */
  grantAccess(gref: Gref, domid: DomId, pfn: Pfn, readonly = false): void {
    const at = this.base + gref * GRANT_ENTRY_BYTES;
    this.i32[(at >> 2) + 1] = pfn;
    const flags = readonly ? GTF_PERMIT_ACCESS | GTF_READONLY : GTF_PERMIT_ACCESS;
    this.bulk.store32(at, flags | (domid << 16));
    this.issued++;
  }

  /** Revokes by compare-exchange. Only after true may the page or the entry be used for something else.
   *  @returns false while the page is mapped or pinned by the other side */
  endAccess(gref: Gref): boolean {
    const at = this.base + gref * GRANT_ENTRY_BYTES;
    // A plain read is enough: the exchange fails when the word has changed since, or was read out of date.
    let word = this.i32[at >> 2];
    while ((word & (GTF_READING | GTF_WRITING)) === 0) {
      const was = this.bulk.cas32(at, word, word & ~0xffff);
      if (was === word) {
        this.revoked++;
        return true;
      }
      word = was;
    }
    return false;
  }

  /** @returns true while the other side has the page mapped or pinned */
  inUse(gref: Gref): boolean {
    const flags = Atomics.load(this.u16, (this.base + gref * GRANT_ENTRY_BYTES) >> 1);
    return (flags & (GTF_READING | GTF_WRITING)) !== 0;
  }
}
