/** The free pages of this domain's memory. The grant table lies in the first pages; all others are handed out here.
 *
 *  A page is cleared when it is handed out: what it held before must not be readable for whom it is granted to next. */
import { GRANT_TABLE_PAGES } from '@grantline/xen';
import { PAGE_SHIFT, PAGE_SIZE, type Pfn } from '@grantline/base';
import type { Mem } from '@grantline/machine';

export class PagePool {
  /** Pages that will never be used again, because a peer may still reach them. */
  quarantined = 0;
  private readonly mem: Mem;
  private readonly base: number;
  private readonly taken: Uint8Array;
  private freeCount: number;

  /** @param base byte offset of the domain's memory in mem
   *  @param pages size of the domain's memory */
  constructor(mem: Mem, base: number, pages: number) {
    this.mem = mem;
    this.base = base;
    this.taken = new Uint8Array(pages).fill(1, 0, GRANT_TABLE_PAGES);
    this.freeCount = pages - GRANT_TABLE_PAGES;
  }

  get free(): number {
    return this.freeCount;
  }

  /** Takes `count` pages that lie side by side, zeroed. @returns the first one, -1 when there is no such run */
  alloc(count = 1): Pfn | -1 {
    let run = 0;
    for (let pfn = GRANT_TABLE_PAGES; pfn < this.taken.length; pfn++) {
      run = this.taken[pfn] === 0 ? run + 1 : 0;
      if (run < count) continue;
      const first = pfn - count + 1;
      this.taken.fill(1, first, pfn + 1);
      this.freeCount -= count;
      this.mem.u8.fill(0, this.offset(first as Pfn), this.offset(first as Pfn) + count * PAGE_SIZE);
      return first as Pfn;
    }
    return -1;
  }

  /** Gives a page back. Only for pages that nobody else can reach any more; a quarantined one stays where it is.
   *  @throws RangeError when the page was not taken: our own bug */
  release(pfn: Pfn): void {
    if (this.taken[pfn] === 2) return;
    if (pfn < GRANT_TABLE_PAGES || this.taken[pfn] !== 1) throw new RangeError(`page ${pfn} is not taken`);
    this.taken[pfn] = 0;
    this.freeCount++;
  }

  /** Takes a page out of use for good. */
  quarantine(pfn: Pfn): void {
    if (this.taken[pfn] !== 1) return;
    this.taken[pfn] = 2;
    this.quarantined++;
  }

  /** @returns byte offset of a page in mem */
  offset(pfn: Pfn): number {
    return this.base + (pfn << PAGE_SHIFT);
  }
}
