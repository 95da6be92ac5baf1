/** The writer of the DMA translation table, and the wait for the NIC after entries were cleared. docs/wire/dma-table.md.
 *
 *  Look at an entry from a shell, where N is the descriptor `grantline:dma table`:  xxd -s $((16 * DPN)) -l 16 /proc/PID/fd/N */
import {
  DMA_BURST,
  DMA_CONTEXT,
  DMA_ENTRIES,
  DMA_ENTRY_BYTES,
  DMA_FLAGS,
  DMA_OWNER,
  DMA_PFN,
  DMA_VALID,
  DMA_WRITE,
  dmaOwner,
} from '@grantline/xen';
import { DOMID_DRIVER, DOMID_FIRST_RESERVED, MAX_GUESTS } from '@grantline/base';
import type { Mem } from '@grantline/machine';

/** Entries that one guest's context may hold: one for each page of its memory. */
export const GUEST_DMA_ENTRIES = 1024;
/** Entries that the driver domain's context may hold. Together with all guests' shares this fills the table exactly,
 *  so that no context can take from another. */
export const DRIVER_DMA_ENTRIES = DMA_ENTRIES - 1 - MAX_GUESTS * GUEST_DMA_ENTRIES;

/** Page number of an entry that is not in use: no domain has it, so a reader that sees a half-made entry refuses. */
const NO_PAGE = 0xffffffff;

const FREE = 0;
/** Device half of a grant mapping. */
const GRANT = 1;
/** A page of the context's own domain. */
const SELF = 2;
/** Cleared; its number is not given again before the NIC is known to have let go. */
const CLOSING = 3;
/** Was SELF until the context lost its right to the NIC: leads nowhere, and stays the context's until it is unmapped. A domain that is slow to
 *  leave must be able to tell that the NIC has let go of a page; a number that it gives back late must not be somebody else's by then. */
const REVOKED = 4;

export class DmaTable {
  private readonly u32: Uint32Array;
  private readonly bulk: Mem['bulk'];
  private readonly base: number;
  private readonly state = new Uint8Array(DMA_ENTRIES);
  // Who has the entry, kept privately: what others can see must not decide what is freed.
  private readonly contextOf = new Uint16Array(DMA_ENTRIES);
  private readonly ownerOf = new Uint16Array(DMA_ENTRIES);
  private readonly usedBy = new Uint32Array(DOMID_FIRST_RESERVED);
  private readonly ownedBy = new Uint32Array(DOMID_FIRST_RESERVED);
  /** How many domains have had a number, modulo 2^16. */
  private readonly generations = new Uint16Array(DOMID_FIRST_RESERVED);
  private readonly freeList = new Uint16Array(DMA_ENTRIES);
  private freeCount = 0;
  private readonly guestLimit: number;
  private readonly driverLimit: number;

  /** @param base byte offset of the table, DMA_TABLE_BYTES of zeros, in mem */
  constructor(mem: Mem, base: number, guestLimit = GUEST_DMA_ENTRIES, driverLimit = DRIVER_DMA_ENTRIES) {
    this.u32 = mem.u32;
    this.bulk = mem.bulk;
    this.base = base;
    this.guestLimit = guestLimit;
    this.driverLimit = driverLimit;
    // dpn 0 is never valid, so it never gets onto the list.
    for (let dpn = DMA_ENTRIES - 1; dpn > 0; dpn--) {
      this.freeList[this.freeCount++] = dpn;
      this.u32[this.word(dpn, DMA_PFN)] = NO_PAGE;
    }
  }

  /** Entries in use or closing. */
  get used(): number {
    return DMA_ENTRIES - 1 - this.freeCount;
  }

  /** @returns true when the context may hold one more entry */
  hasRoom(context: number): boolean {
    const limit = context === DOMID_DRIVER ? this.driverLimit : this.guestLimit;
    return this.usedBy[context] < limit && this.freeCount > 0;
  }

  /** Entries, live or closing, that lead to pages of a domain. */
  owned(domid: number): number {
    return this.ownedBy[domid];
  }

  /** A domain is born: entries of those that had its number before it are none of its. */
  newOwner(domid: number): void {
    this.generations[domid] = this.generations[domid] + 1;
  }

  /** Which of the domains that have had the number is the one now. */
  generationOf(domid: number): number {
    return this.generations[domid];
  }

  /** Makes an entry for the device half of a grant mapping. Ask hasRoom() first. @returns its dpn */
  mapGrant(context: number, owner: number, pfn: number, writable: boolean): number {
    return this.map(context, owner, pfn, writable, GRANT);
  }

  /** Makes an entry for a page of the context's own domain. Ask hasRoom() first. @returns its dpn */
  mapSelf(context: number, pfn: number, writable: boolean): number {
    return this.map(context, context, pfn, writable, SELF);
  }

  /** @returns true when dpn is a live entry that `context` made of its own page */
  isSelf(dpn: number, context: number): boolean {
    return dpn < DMA_ENTRIES && this.state[dpn] === SELF && this.contextOf[dpn] === context;
  }

  /** @returns true when dpn is an entry that `context` made of its own page and has not unmapped yet */
  isHeld(dpn: number, context: number): boolean {
    if (dpn >= DMA_ENTRIES || this.contextOf[dpn] !== context) return false;
    return this.state[dpn] === SELF || this.state[dpn] === REVOKED;
  }

  /** The context has no right to the NIC any more: its entries for its own pages lead nowhere. It still unmaps each. */
  revokeSelf(context: number): void {
    for (let dpn = 1; dpn < DMA_ENTRIES; dpn++) {
      if (!this.isSelf(dpn, context)) continue;
      this.bulk.store32(this.byte(dpn, DMA_FLAGS), 0);
      this.state[dpn] = REVOKED;
    }
  }

  /** The NIC starts no transfer by this entry from now on; one may still be under way until DmaQuiesce says settled.
   *  The entry is not free before free(). */
  clear(dpn: number): void {
    this.bulk.store32(this.byte(dpn, DMA_FLAGS), 0);
    this.state[dpn] = CLOSING;
  }

  /** Gives a cleared entry back, once the NIC has let go. */
  free(dpn: number): void {
    const context = this.contextOf[dpn];
    const owner = this.ownerOf[dpn];
    this.usedBy[context] = this.usedBy[context] - 1;
    this.ownedBy[owner] = this.ownedBy[owner] - 1;
    this.state[dpn] = FREE;
    this.u32[this.word(dpn, DMA_PFN)] = NO_PAGE;
    this.freeList[this.freeCount++] = dpn;
  }

  /** The owner is dead: entries of other contexts that lead to its pages stop to be valid. They stay allocated until
   *  their mappers unmap them. @returns how many were cleared */
  revokeOwner(owner: number): number {
    let cleared = 0;
    for (let dpn = 1; dpn < DMA_ENTRIES; dpn++) {
      if (this.state[dpn] !== GRANT || this.ownerOf[dpn] !== owner) continue;
      this.bulk.store32(this.byte(dpn, DMA_FLAGS), 0);
      cleared++;
    }
    return cleared;
  }

  /** First entry from `from` on that a context made of its own pages and has not unmapped. @returns 0 when there is none */
  nextHeld(context: number, from: number): number {
    for (let dpn = from; dpn < DMA_ENTRIES; dpn++) if (this.isHeld(dpn, context)) return dpn;
    return 0;
  }

  private map(context: number, owner: number, pfn: number, writable: boolean, state: number): number {
    const dpn = this.freeList[--this.freeCount];
    this.state[dpn] = state;
    this.contextOf[dpn] = context;
    this.ownerOf[dpn] = owner;
    this.usedBy[context] = this.usedBy[context] + 1;
    this.ownedBy[owner] = this.ownedBy[owner] + 1;
    this.u32[this.word(dpn, DMA_CONTEXT)] = context;
    this.u32[this.word(dpn, DMA_OWNER)] = dmaOwner(owner, this.generations[owner]);
    this.u32[this.word(dpn, DMA_PFN)] = pfn;
    // Flags last: this store publishes the entry.
    this.bulk.store32(this.byte(dpn, DMA_FLAGS), writable ? DMA_VALID | DMA_WRITE : DMA_VALID);
    return dpn;
  }

  private byte(dpn: number, field: number): number {
    return this.base + dpn * DMA_ENTRY_BYTES + field;
  }

  private word(dpn: number, field: number): number {
    return this.byte(dpn, field) >> 2;
  }
}

/** Tells whether the NIC can still be inside a transfer that saw an entry before it was cleared. */
export class DmaQuiesce {
  /** False once the NIC's process has ended, and not before: then nothing transfers, whatever the burst word says. The control
   *  side sets it, and sets it back before it lets a new NIC in. */
  nicPresent = true;
  private readonly i32: Int32Array;
  private readonly at: number;

  /** @param base byte offset of the burst page in mem */
  constructor(mem: Mem, base: number) {
    this.i32 = mem.i32;
    this.at = (base + DMA_BURST) >> 2;
  }

  /** A transfer may be under way now. */
  get inBurst(): boolean {
    return (this.snapshot() & 1) !== 0;
  }

  /** The burst count. Take it after the last clear; give it to settled(). */
  snapshot(): number {
    return Atomics.load(this.i32, this.at);
  }

  /** @returns true when no transfer that could have seen an entry cleared before `snapshot` is under way */
  settled(snapshot: number): boolean {
    return (snapshot & 1) === 0 || !this.nicPresent || Atomics.load(this.i32, this.at) !== snapshot;
  }
}
