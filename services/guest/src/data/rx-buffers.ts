/** The receive buffers of one queue: full pages, or halves of pages. Buffer `id` lies at `at[id]`.
 *
 *  A buffer is absent, or free (on the stack), or out (posted, or with the stack and the application), or withheld
 *  (taken out of circulation, revocation under way), or quarantined. Two half-page buffers share a page: ids 2k and 2k+1.
 *  Each buffer has a grant entry of its own, so that each can be revoked alone. */
import type { GrantTable } from '@grantline/xen';
import { PAGE_SIZE, type Pfn, type DomId, type Gref } from '@grantline/base';
import type { PagePool } from './page-pool.js';

const ABSENT = 0;
const USED = 1;
const WITHHELD = 2;
const QUARANTINED = 3;

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
