/** The hypervisor's own record of who uses a domain's grants. Source: Xen common/grant_table.c, active_grant_entry,
 *  _set_status_v1, acquire_grant_for_copy. docs/wire/grant-table.md.
 *
 *  The table in the granter's memory says what may be used, this record says what is used: the granter can write
 *  anything into its table while a peer has the page, so nothing that ends a use may depend on it. */
import {
  GNTST,
  GRANT_ENTRIES,
  GRANT_ENTRY_BYTES,
  GRANT_RESERVED_ENTRIES,
  GRANT_TABLE_PFN,
  GTF_PERMIT_ACCESS,
  GTF_READING,
  GTF_READONLY,
  GTF_TYPE_MASK,
  GTF_WRITING,
} from '@grantline/xen';
import { PAGE_SHIFT } from '@grantline/base';
import type { Mem } from '@grantline/machine';

/** Pins of a gref are four 8-bit counters in one word; these are one pin of each kind. */
export const PIN_HOST_WRITE = 1;
export const PIN_HOST_READ = 1 << 8;
export const PIN_DEVICE_WRITE = 1 << 16;
export const PIN_DEVICE_READ = 1 << 24;

const PIN_WRITERS = 0x00ff00ff;
/** A counter with its top bit set stands at GNTPIN_MAX. */
const PIN_FULL = 0x80808080 | 0;
/** A granter can flip its flags between our read and our compare-exchange; it gets this many chances to be calm. */
export const STATUS_ATTEMPTS = 5;

/** Number of pins in an increment such as PIN_HOST_READ | PIN_DEVICE_READ: the sum of its four bytes. */
function pinCount(increment: number): number {
  return Math.imul(increment, 0x01010101) >>> 24;
}

export class ActiveEntries {
  /** Page that an entry named when it was first pinned; valid while pin[gref] is not 0. */
  readonly pfn = new Uint32Array(GRANT_ENTRIES);
  /** Who holds the pins; valid while pin[gref] is not 0. */
  readonly grantee = new Uint16Array(GRANT_ENTRIES);
  /** The four counters of each entry. Signed, so that a full counter stays a small integer for the engine. */
  readonly pin = new Int32Array(GRANT_ENTRIES);
  /** Pins of all entries together. */
  pins = 0;
  private readonly bulk: Mem['bulk'];
  private readonly i32: Int32Array;
  private readonly u32: Uint32Array;
  private readonly table: number;
  private readonly pages: number;

  /** @param base byte offset of the granter's page 0
   *  @param pages size of the granter's memory */
  constructor(mem: Mem, base: number, pages: number) {
    this.bulk = mem.bulk;
    this.i32 = mem.i32;
    this.u32 = mem.u32;
    this.table = base + (GRANT_TABLE_PFN << PAGE_SHIFT);
    this.pages = pages;
  }

  /** Pins the page behind `gref` for `grantee`.
   *  @param increment one or more of PIN_*, all for writing or all for reading
   *  @returns okay (then pfn[gref] is the page), badGntref, generalError or badPage (then nothing has changed) */
  acquire(gref: number, grantee: number, increment: number): number {
    if (gref >= GRANT_ENTRIES || gref < GRANT_RESERVED_ENTRIES) return GNTST.badGntref;
    const pin = this.pin[gref];
    if (pin !== 0 && (this.grantee[gref] !== grantee || (pin & PIN_FULL) !== 0)) return GNTST.generalError;
    const write = (increment & PIN_WRITERS) !== 0;
    if (pin === 0 || (write && (pin & PIN_WRITERS) === 0)) {
      const status = this.setStatus(gref, grantee, write);
      if (status !== GNTST.okay) return status;
    }
    if (pin === 0) {
      // Read once, after the status bits are set: from here on the granter may write what it likes into the entry.
      const pfn = this.u32[(this.table + gref * GRANT_ENTRY_BYTES + 4) >> 2];
      if (pfn >= this.pages) {
        this.clearStatus(gref, 0, write);
        return GNTST.badPage;
      }
      this.pfn[gref] = pfn;
      this.grantee[gref] = grantee;
    }
    this.pin[gref] = (pin + increment) | 0;
    this.pins += pinCount(increment);
    return GNTST.okay;
  }

  /** Drops pins that acquire() gave. Call it only when nothing can reach the page through them any more: clearing the
   *  status bits is what lets the granter use the page for something else. */
  release(gref: number, decrement: number): void {
    const pin = (this.pin[gref] - decrement) | 0;
    this.pin[gref] = pin;
    this.pins -= pinCount(decrement);
    this.clearStatus(gref, pin, (decrement & PIN_WRITERS) !== 0);
  }

  /** Sets GTF_READING, and GTF_WRITING for a writer, if flags and domid allow it at that very moment. */
  private setStatus(gref: number, grantee: number, write: boolean): number {
    const at = this.table + gref * GRANT_ENTRY_BYTES;
    const bits = write ? GTF_READING | GTF_WRITING : GTF_READING;
    for (let attempt = 0; attempt < STATUS_ATTEMPTS; attempt++) {
      // A plain read is enough: the exchange below fails when the word has changed since, or was read out of date.
      const word = this.i32[at >> 2];
      if ((word & GTF_TYPE_MASK) !== GTF_PERMIT_ACCESS || word >>> 16 !== grantee) return GNTST.generalError;
      if (write && (word & GTF_READONLY) !== 0) return GNTST.generalError;
      // Flags and domid in one exchange: a granter cannot swap the domid under a check that has already passed.
      if (this.bulk.cas32(at, word, word | bits) === word) return GNTST.okay;
    }
    return GNTST.generalError;
  }

  private clearStatus(gref: number, pin: number, wrote: boolean): void {
    let gone = 0;
    if (wrote && (pin & PIN_WRITERS) === 0) gone |= GTF_WRITING;
    if (pin === 0) gone |= GTF_READING;
    if (gone !== 0) this.bulk.and32(this.table + gref * GRANT_ENTRY_BYTES, ~gone);
  }
}
