/** GNTTABOP_COPY. Source: Xen common/grant_table.c, gnttab_copy, gnttab_copy_one, gnttab_copy_claim_buf. */
import {
  GNTCOPY_DEST_GREF,
  GNTCOPY_SOURCE_GREF,
  GNTST,
  COPY_BYTES,
  COPY_DST_DOMID,
  COPY_DST_REF,
  COPY_LEN,
  COPY_SRC_DOMID,
  COPY_SRC_REF,
  copyDomid,
  copyFlags,
  copyLen,
  copyOffset,
  type ReceivedBatch,
} from '@grantline/xen';
import { DOMID_FIRST_RESERVED, PAGE_SIZE } from '@grantline/base';
import type { Mem } from '@grantline/machine';
import { PIN_HOST_READ, PIN_HOST_WRITE } from './active-entries.js';
import type { DomainMemory, DomainTable } from './domain-memory.js';

/** A number that stands for the caller itself. */
export const DOMID_SELF = DOMID_FIRST_RESERVED;

/** The page that one side of a copy has pinned by a gref, kept while consecutive elements name the same one. */
class PinnedPage {
  /** Byte offset of the page; valid while held. */
  at = 0;
  held = false;
  private granter: DomainMemory | null = null;
  private gref = 0;
  private readonly pin: number;

  constructor(pin: number) {
    this.pin = pin;
  }

  /** @returns true when this is the page held */
  is(granter: DomainMemory, gref: number): boolean {
    return this.held && this.gref === gref && this.granter === granter;
  }

  acquire(granter: DomainMemory, gref: number, grantee: number): number {
    const status = granter.active.acquire(gref, grantee, this.pin);
    if (status !== GNTST.okay) return status;
    this.at = granter.pageAt(granter.active.pfn[gref]);
    this.granter = granter;
    this.gref = gref;
    this.held = true;
    return GNTST.okay;
  }

  release(): void {
    this.held = false;
    this.granter!.active.release(this.gref, this.pin);
  }
}

// Positions in 32-bit words.
const WORDS = COPY_BYTES >> 2;
const SRC_REF = COPY_SRC_REF >> 2;
const SRC_SIDE = COPY_SRC_DOMID >> 2;
const DST_REF = COPY_DST_REF >> 2;
const DST_SIDE = COPY_DST_DOMID >> 2;
const WHAT = COPY_LEN >> 2;

export class CopyOp {
  /** Bytes that the last run() copied. */
  copied = 0;
  private readonly u8: Uint8Array;
  private readonly domains: DomainTable;
  private readonly req: Int32Array;
  private readonly res16: Int16Array;
  private readonly source = new PinnedPage(PIN_HOST_READ);
  private readonly dest = new PinnedPage(PIN_HOST_WRITE);

  constructor(mem: Mem, domains: DomainTable, buf: ReceivedBatch) {
    this.u8 = mem.u8;
    this.domains = domains;
    this.req = buf.req32s;
    this.res16 = buf.res16;
  }

  run(caller: DomainMemory, count: number): void {
    this.copied = 0;
    for (let i = 0; i < count; i++) {
      const status = this.one(caller, i * WORDS);
      if (status !== GNTST.okay) this.release();
      this.res16[i] = status;
    }
    this.release();
  }

  /** One element. Domains, then source, then dest, then bounds: so an element reports its first fault in Xen's order.
   *  @param el word offset of the element */
  private one(caller: DomainMemory, el: number): number {
    const req = this.req;
    const src = req[el + SRC_SIDE];
    const dst = req[el + DST_SIDE];
    const what = req[el + WHAT];
    const srcIsGref = (copyFlags(what) & GNTCOPY_SOURCE_GREF) !== 0;
    const dstIsGref = (copyFlags(what) & GNTCOPY_DEST_GREF) !== 0;
    const srcDomain = this.sideDomain(caller, copyDomid(src), srcIsGref);
    if (srcDomain === null) return srcIsGref ? GNTST.badDomain : GNTST.permissionDenied;
    const dstDomain = this.sideDomain(caller, copyDomid(dst), dstIsGref);
    if (dstDomain === null) return dstIsGref ? GNTST.badDomain : GNTST.permissionDenied;

    let from = srcIsGref
      ? this.pinned(this.source, srcDomain, req[el + SRC_REF], caller.domid)
      : this.raw(this.source, srcDomain, req[el + SRC_REF], req[el + SRC_REF + 1]);
    if (from < 0) return from;
    let to = dstIsGref
      ? this.pinned(this.dest, dstDomain, req[el + DST_REF], caller.domid)
      : this.raw(this.dest, dstDomain, req[el + DST_REF], req[el + DST_REF + 1]);
    if (to < 0) return to;

    const len = copyLen(what);
    const srcOffset = copyOffset(src);
    const dstOffset = copyOffset(dst);
    // JavaScript numbers do not wrap at 16 bits, which is what a hostile offset + len counts on.
    if (srcOffset + len > PAGE_SIZE || dstOffset + len > PAGE_SIZE) return GNTST.badCopyArg;
    from += srcOffset;
    to += dstOffset;
    this.u8.copyWithin(to, from, from + len);
    this.copied += len;
    return GNTST.okay;
  }

  /** @returns byte offset of the page behind a gref, or a status below 0 */
  private pinned(side: PinnedPage, granter: DomainMemory, gref: number, grantee: number): number {
    if (side.is(granter, gref)) return side.at;
    if (side.held) side.release();
    const status = side.acquire(granter, gref, grantee);
    return status === GNTST.okay ? side.at : status;
  }

  /** @param high upper half of the page number
   *  @returns byte offset of a page of the caller's own, or a status below 0 */
  private raw(side: PinnedPage, caller: DomainMemory, pfn: number, high: number): number {
    if (side.held) side.release();
    return high === 0 && pfn >= 0 && caller.hasPage(pfn) ? caller.pageAt(pfn) : GNTST.badPage;
  }

  /** @returns the domain of one side; null when it is not there, or may not be named without a gref */
  private sideDomain(caller: DomainMemory, domid: number, isGref: boolean): DomainMemory | null {
    if (domid === caller.domid || domid === DOMID_SELF) return caller;
    return isGref ? this.domains.live(domid) : null;
  }

  private release(): void {
    if (this.source.held) this.source.release();
    if (this.dest.held) this.dest.release();
  }
}
