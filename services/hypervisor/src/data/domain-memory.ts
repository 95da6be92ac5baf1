/** What the hypervisor knows of each domain: where its memory lies, its active entries, its maptrack. */
import { DOMID_DRIVER, DOMID_FIRST_RESERVED, MAX_GUESTS, PAGE_SHIFT } from '@grantline/base';
import type { CounterBlock, Mem } from '@grantline/machine';
import { ActiveEntries } from './active-entries.js';
import { Maptrack } from './maptrack.js';

/** Mappings that a guest may hold at a time. */
export const GUEST_MAPTRACK_ENTRIES = 4096;
/** Mappings that the driver domain may hold: rings and standing grants of all guests. */
export const DRIVER_MAPTRACK_ENTRIES = MAX_GUESTS * 1024;

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

  constructor(mem: Mem, domid: number, base: number, pages: number, counters: CounterBlock, handles: number) {
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

  /** @param base byte offset in the address space where the domain's memory file is mapped
   *  @param counters a block of HYPERCALL_COUNTERS
   *  @param handles size of the maptrack; the default depends on the kind of domain
   *  @throws RangeError when the number is taken or none */
  add(
    domid: number,
    base: number,
    pages: number,
    counters: CounterBlock,
    handles = defaultHandles(domid),
  ): DomainMemory {
    if (!Number.isInteger(domid) || domid < 0 || domid >= DOMID_FIRST_RESERVED)
      throw new RangeError(`${domid} is not a domain number`);
    if (this.byDomid[domid] !== null) throw new RangeError(`domain ${domid} exists`);
    const domain = new DomainMemory(this.mem, domid, base, pages, counters, handles);
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
   *  @throws Error while a page of it is pinned (wait until DomainDeath.pinned() is 0) or it has mappings itself */
  remove(domid: number): void {
    const domain = this.get(domid);
    if (domain === null) return;
    if (domain.active.pins !== 0) throw new Error(`domain ${domid} still has ${domain.active.pins} pins`);
    if (domain.maptrack.used !== 0) throw new Error(`domain ${domid} still has ${domain.maptrack.used} mappings`);
    this.byDomid[domid] = null;
  }
}

function defaultHandles(domid: number): number {
  return domid === DOMID_DRIVER ? DRIVER_MAPTRACK_ENTRIES : GUEST_MAPTRACK_ENTRIES;
}
