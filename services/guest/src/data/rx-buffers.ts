/** Memory that is granted: the domain's free pages, and the receive buffers of a queue made of them. */
import { GRANT_TABLE_PAGES, type GrantTable } from '@grantline/xen';
import { PAGE_SHIFT, PAGE_SIZE, type Pfn, type DomId, type Gref } from '@grantline/base';
import type { Mem } from '@grantline/machine';

/** The free pages of this domain's memory. The grant table lies in the first pages; all others are handed out here.
 *
 *  A page is cleared when it is handed out: what it held before must not be readable for whom it is granted to next. */
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

const ABSENT = 0;
const USED = 1;
const WITHHELD = 2;
const QUARANTINED = 3;

/** The receive buffers of one queue: full pages, or halves of pages. Buffer `id` lies at `at[id]`.
 *
 *  A buffer is absent, or free (on the stack), or out (posted, or with the stack and the application), or withheld
 *  (taken out of circulation, revocation under way), or quarantined. Two half-page buffers share a page: ids 2k and 2k+1.
 *  Each buffer has a grant entry of its own, so that each can be revoked alone. */
export class RxBuffers {
  /** Bytes of a buffer: 4096 or 2048. */
  readonly bytes: number;
  readonly capacity: number;
  /** By id: byte offset in mem, offset inside its page, page, grant entry (-1: none), whether the entry grants now. */
  readonly at: Int32Array;
  readonly pageOffset: Int32Array;
  readonly pfn: Int32Array;
  readonly gref: Int32Array;
  readonly granted: Uint8Array;
  /** Free ids, a stack: the buffer used last is the one most likely still in the cache. */
  readonly freeIds: Int32Array;
  freeCount = 0;
  /** Ids taken out of circulation, in order. */
  readonly withheld: Int32Array;
  withheldCount = 0;
  /** How many of those that come back shall be withheld. */
  withholdWanted = 0;
  /** Buffers in circulation: free or out. */
  count = 0;
  quarantined = 0;
  private readonly pages: PagePool;
  private readonly grants: GrantTable | null;
  private readonly peer: DomId;
  private readonly perPage: number;
  private readonly state: Uint8Array;

  /** @param grants null when the buffers are for a device of this domain's own: nothing is granted */
  constructor(pages: PagePool, grants: GrantTable | null, peer: DomId, capacity: number, bytes: number) {
    if (bytes !== PAGE_SIZE && bytes !== PAGE_SIZE / 2) throw new RangeError(`a buffer of ${bytes} bytes`);
    this.pages = pages;
    this.grants = grants;
    this.peer = peer;
    this.capacity = capacity;
    this.bytes = bytes;
    this.perPage = PAGE_SIZE / bytes;
    this.at = new Int32Array(capacity);
    this.pageOffset = new Int32Array(capacity);
    this.pfn = new Int32Array(capacity);
    this.gref = new Int32Array(capacity).fill(-1);
    this.granted = new Uint8Array(capacity);
    this.freeIds = new Int32Array(capacity);
    this.withheld = new Int32Array(capacity);
    this.state = new Uint8Array(capacity);
  }

  /** Makes a buffer; it stays out of circulation until `admit`. @returns its id, -1 when there is no room, page or entry */
  create(): number {
    const id = this.state.indexOf(ABSENT);
    if (id < 0) return -1;
    const gref = this.grants === null ? 0 : this.grants.claim();
    if (gref < 0) return -1;
    const sibling = this.sibling(id);
    const pfn = sibling >= 0 ? (this.pfn[sibling] as Pfn) : this.pages.alloc();
    if (pfn < 0) {
      this.grants?.release(gref as Gref);
      return -1;
    }
    const pageOffset = (id % this.perPage) * this.bytes;
    this.pfn[id] = pfn;
    this.pageOffset[id] = pageOffset;
    this.at[id] = this.pages.offset(pfn as Pfn) + pageOffset;
    this.gref[id] = this.grants === null ? -1 : gref;
    this.state[id] = WITHHELD;
    return id;
  }

  /** Lets the peer use the buffer. */
  grant(id: number): void {
    if (this.grants === null) return;
    this.grants.grantAccess(this.gref[id] as Gref, this.peer, this.pfn[id] as Pfn);
    this.granted[id] = 1;
  }

  /** Ends the peer's access. @returns false when the peer still uses the page */
  end(id: number): boolean {
    if (this.grants === null || this.granted[id] === 0) return true;
    if (!this.grants.endAccess(this.gref[id] as Gref)) return false;
    this.granted[id] = 0;
    return true;
  }

  /** Puts a new buffer into circulation. */
  admit(id: number): void {
    this.state[id] = USED;
    this.count++;
    this.freeIds[this.freeCount++] = id;
  }

  /** Buffers come back from the application: to the free ones, or out of circulation when that was asked for. */
  recycle(ids: Int32Array, n: number): void {
    let i = 0;
    for (; i < n && this.withholdWanted > 0; i++) {
      this.withholdWanted--;
      this.withhold(ids[i]);
    }
    const { freeIds } = this;
    let free = this.freeCount;
    for (; i < n; i++) freeIds[free++] = ids[i]!;
    this.freeCount = free;
  }

  /** Takes up to `n` free buffers out of circulation now, and asks that the rest be withheld as they come back.
   *  @returns how many are still to come */
  requestWithhold(n: number): number {
    while (n > 0 && this.freeCount > 0) {
      this.withhold(this.freeIds[--this.freeCount]);
      n--;
    }
    this.withholdWanted = n;
    return n;
  }

  /** A withheld buffer is no more: access ended, page free. @returns false when the peer still uses it: quarantined */
  destroy(id: number): boolean {
    if (!this.end(id)) {
      this.quarantine(id);
      return false;
    }
    this.grants?.release(this.gref[id] as Gref);
    this.gref[id] = -1;
    const alone = this.sibling(id) < 0;
    this.state[id] = ABSENT;
    if (alone) this.pages.release(this.pfn[id] as Pfn);
    return true;
  }

  /** A peer would not let go of it: page and entry are never used again. The other half of a page stays in use. */
  quarantine(id: number): void {
    if (this.state[id] === QUARANTINED) return;
    this.state[id] = QUARANTINED;
    this.quarantined++;
    this.pages.quarantine(this.pfn[id] as Pfn);
  }

  /** Ends everything, wherever the buffers are; the queue must be stopped. @returns buffers that had to be quarantined */
  destroyAll(): number {
    let kept = 0;
    for (let id = 0; id < this.capacity; id++) {
      if (this.state[id] === ABSENT) continue;
      // Refused once: the door is shut when that is possible now, but the page is not trusted again.
      if (this.state[id] === QUARANTINED) this.end(id);
      else if (!this.destroy(id)) kept++;
    }
    this.count = this.freeCount = this.withheldCount = this.withholdWanted = 0;
    return kept;
  }

  describe(): Record<string, number> {
    const { bytes, capacity, count, freeCount, withheldCount, quarantined } = this;
    return { bytes, capacity, count, free: freeCount, withheld: withheldCount, quarantined };
  }

  private withhold(id: number): void {
    this.state[id] = WITHHELD;
    this.withheld[this.withheldCount++] = id;
    this.count--;
  }

  /** @returns the buffer that shares id's page and exists, -1 when none does */
  private sibling(id: number): number {
    if (this.perPage === 1) return -1;
    const other = id ^ 1;
    return other < this.capacity && this.state[other] !== ABSENT ? other : -1;
  }
}
