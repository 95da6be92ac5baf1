/** What the hypervisor knows of each domain: where its memory lies, its active entries, its maptrack. */
import { GNTMAP_DEVICE_MAP, GNTMAP_HOST_MAP } from '@grantline/xen';
import { DOMID_DRIVER, DOMID_FIRST_RESERVED, MAX_GUESTS, PAGE_SHIFT } from '@grantline/base';
import type { CounterBlock, Mem } from '@grantline/machine';
import { ActiveEntries } from './active-entries.js';

/** Mappings that a guest may hold at a time. */
export const GUEST_MAPTRACK_ENTRIES = 4096;
/** Mappings that the driver domain may hold: rings and standing grants of all guests. */
const DRIVER_MAPTRACK_ENTRIES = MAX_GUESTS * 1024;

/** What there is of a domain at its birth. */
interface DomainPlace {
  domid: number;
  /** Byte offset in the hypervisor's address space where its memory file is mapped. */
  base: number;
  pages: number;
  /** A block of HYPERCALL_COUNTERS. */
  counters: CounterBlock;
  /** Size of the maptrack; the default depends on the kind of domain. */
  handles?: number | undefined;
}

/** One domain. Its memory file is mapped into the hypervisor's address space as a whole. */
export class DomainMemory {
  readonly domid: number;
  /** Byte offset of page 0 in the hypervisor's address space. */
  readonly base: number;
  /** Number of pages. */
  readonly pages: number;
  /** Who uses this domain's grants. */
  readonly active: ActiveEntries;
  /** Which grants of others this domain has mapped. */
  readonly maptrack: Maptrack;
  /** A block of HYPERCALL_COUNTERS. GrantOps adds to it and leaves the commit to its caller. */
  readonly counters: CounterBlock;
  /** Dead: grants nothing more, calls nothing more. Its pages stay while others have them mapped. */
  dying = false;

  constructor(mem: Mem, { domid, base, pages, counters, handles = handlesOf(domid) }: DomainPlace) {
    this.domid = domid;
    this.base = base;
    this.pages = pages;
    this.active = new ActiveEntries(mem, base, pages);
    this.maptrack = new Maptrack(handles);
    this.counters = counters;
  }

  /** @returns true when the byte offset of page `pfn` may be used */
  hasPage(pfn: number): boolean {
    return pfn < this.pages;
  }

  /** Byte offset of page `pfn` in the hypervisor's address space. */
  pageAt(pfn: number): number {
    return this.base + (pfn << PAGE_SHIFT);
  }
}

/** All domains by number. A domain stays in the table after its death until nobody uses its pages any more. */
export class DomainTable {
  private readonly mem: Mem;
  // An array with a place for each possible number: a lookup is one load, and a hostile number costs nothing more.
  private readonly byDomid: (DomainMemory | null)[] = new Array<DomainMemory | null>(DOMID_FIRST_RESERVED).fill(null);

  constructor(mem: Mem) {
    this.mem = mem;
  }

  /** @throws RangeError when the number is taken or none */
  add(place: DomainPlace): DomainMemory {
    const { domid } = place;
    if (!Number.isInteger(domid) || domid < 0 || domid >= DOMID_FIRST_RESERVED)
      throw new RangeError(`${domid} is not a domain number`);
    if (this.byDomid[domid] !== null) throw new RangeError(`domain ${domid} exists`);
    const domain = new DomainMemory(this.mem, place);
    this.byDomid[domid] = domain;
    return domain;
  }

  /** @returns null when there is no such domain; a dead one that still has users is found */
  get(domid: number): DomainMemory | null {
    return domid < DOMID_FIRST_RESERVED ? this.byDomid[domid] : null;
  }

  /** @returns null when there is no such domain or when it is dead */
  live(domid: number): DomainMemory | null {
    const domain = this.get(domid);
    return domain === null || domain.dying ? null : domain;
  }

  /** Forgets a domain; from then on its memory may be unmapped and its number given again.
   *  @throws Error while a page of it is pinned (wait until GrantOps.pinned() is 0) or it has mappings itself */
  remove(domid: number): void {
    const domain = this.get(domid);
    if (domain === null) return;
    if (domain.active.pins !== 0) throw new Error(`domain ${domid} still has ${domain.active.pins} pins`);
    if (domain.maptrack.used !== 0) throw new Error(`domain ${domid} still has ${domain.maptrack.used} mappings`);
    this.byDomid[domid] = null;
  }
}

const handlesOf = (domid: number): number =>
  domid === DOMID_DRIVER ? DRIVER_MAPTRACK_ENTRIES : GUEST_MAPTRACK_ENTRIES;

/** The two halves of a mapping. */
const HALVES = GNTMAP_HOST_MAP | GNTMAP_DEVICE_MAP;

/** Which grants of others a domain has mapped: the handle table of one grantee. A handle is a small number that means something to
 *  its owner only. Source: Xen common/grant_table.c, grant_mapping. */
class Maptrack {
  readonly capacity: number;
  readonly granter: Uint16Array;
  readonly gref: Uint16Array;
  /** GNTMAP_* of the halves that are still there, with GNTMAP_READONLY; 0: the handle is free. */
  readonly flags: Uint8Array;
  /** Entry in the DMA translation table; 0: no device half. */
  readonly dpn: Uint32Array;
  private readonly freeList: Uint16Array;
  private freeCount: number;

  /** @param capacity mappings at a time, at most 65536 */
  constructor(capacity: number) {
    this.capacity = capacity;
    this.granter = new Uint16Array(capacity);
    this.gref = new Uint16Array(capacity);
    this.flags = new Uint8Array(capacity);
    this.dpn = new Uint32Array(capacity);
    this.freeList = new Uint16Array(capacity);
    // Last freed, first used: the few handles in turn stay in the cache.
    for (let i = 0; i < capacity; i++) this.freeList[i] = capacity - 1 - i;
    this.freeCount = capacity;
  }

  /** Handles in use. */
  get used(): number {
    return this.capacity - this.freeCount;
  }

  /** Takes a handle; it is live once insert() has filled it. @returns -1 when there is none */
  claim(): number {
    if (this.freeCount === 0) return -1;
    return this.freeList[--this.freeCount];
  }

  /** Gives back a handle that was claimed and not filled. */
  abort(handle: number): void {
    this.freeList[this.freeCount++] = handle;
  }

  /** @param flags GNTMAP_HOST_MAP or GNTMAP_DEVICE_MAP or both, and GNTMAP_READONLY */
  insert(handle: number, granter: number, gref: number, flags: number, dpn: number): void {
    this.granter[handle] = granter;
    this.gref[handle] = gref;
    this.dpn[handle] = dpn;
    this.flags[handle] = flags;
  }

  /** @returns GNTMAP_* of what is mapped, 0 when the handle is free or was never one */
  halves(handle: number): number {
    return handle < this.capacity ? this.flags[handle] : 0;
  }

  /** Marks halves as gone; with the last one the handle is free. */
  drop(handle: number, halves: number): void {
    const left = this.flags[handle] & ~halves;
    if ((left & HALVES) !== 0) {
      this.flags[handle] = left;
      return;
    }
    this.flags[handle] = 0;
    this.dpn[handle] = 0;
    this.freeList[this.freeCount++] = handle;
  }
}
