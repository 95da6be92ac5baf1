/** Where a DMA page number leads: the NIC's look-ups in the translation table, and the burst word beside it.
 *  docs/wire/dma-table.md. The table is mapped read-only; only the hypervisor writes it. */
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
  DMA_OWNER_DOMID,
  dmaOwner,
} from '@grantline/xen';
import { DOMID_DRIVER, DOMID_FIRST_RESERVED, PAGE_SHIFT, type DomId } from '@grantline/base';
import type { Mem } from '@grantline/machine';

const ENTRY_WORDS = DMA_ENTRY_BYTES >> 2;
/** What it receives the NIC writes into a buffer: the page must be there and be writable. */
const NEEDED = DMA_VALID | DMA_WRITE;

export class DmaReader {
  private readonly u32: Uint32Array;
  private readonly table: number;
  /** By domid: byte offset of the domain's memory in this process, and its pages; 0 pages when it is not mapped. */
  private readonly base = new Int32Array(DOMID_FIRST_RESERVED);
  private readonly pages = new Uint32Array(DOMID_FIRST_RESERVED);
  /** By domid: what entries of the domain whose memory that is have as their owner. */
  private readonly owners = new Uint32Array(DOMID_FIRST_RESERVED);

  /** @param table byte offset of the mapped table */
  constructor(mem: Mem, table: number) {
    this.u32 = mem.u32;
    this.table = table >> 2;
  }

  /** The domain's memory is mapped here, from byte offset `base` on. @param generation see dmaOwner */
  addDomain(domid: DomId, generation: number, base: number, pages: number): void {
    this.owners[domid] = dmaOwner(domid, generation);
    this.base[domid] = base;
    this.pages[domid] = pages;
  }

  /** @returns true when the domain's memory was known */
  removeDomain(domid: DomId): boolean {
    const known = this.pages[domid] !== 0;
    this.pages[domid] = 0;
    return known;
  }

  /** Byte offset of the page, or -1 when the table does not allow to write it: no valid entry, read-only, made for
   *  another driver (`context`), or a page of another domain than the queue's target (`owner`), also of one that had its
   *  number before or will have it next. Only inside a burst. */
  lookup(dpn: number, context: number, owner: number): number {
    if (dpn >= DMA_ENTRIES || dpn === 0) return -1;
    const u32 = this.u32;
    const at = this.table + dpn * ENTRY_WORDS;
    if ((u32[at + (DMA_FLAGS >> 2)] & NEEDED) !== NEEDED) return -1;
    if (u32[at + (DMA_CONTEXT >> 2)] !== context || u32[at + (DMA_OWNER >> 2)] !== this.owners[owner]) return -1;
    const pfn = u32[at + (DMA_PFN >> 2)];
    if (pfn >= this.pages[owner]) return -1;
    return this.base[owner] + (pfn << PAGE_SHIFT);
  }

  /** As `lookup`, for reading: the page may be the driver's own or the target's. The driver domain's
   *  queue for itself sends for all: any page that the hypervisor let it have. Only inside a burst. */
  lookupRead(dpn: number, context: number, target: number): number {
    if (dpn >= DMA_ENTRIES || dpn === 0) return -1;
    const u32 = this.u32;
    const at = this.table + dpn * ENTRY_WORDS;
    if ((u32[at + (DMA_FLAGS >> 2)] & DMA_VALID) === 0 || u32[at + (DMA_CONTEXT >> 2)] !== context) return -1;
    const word = u32[at + (DMA_OWNER >> 2)];
    const owner = word & DMA_OWNER_DOMID;
    const forAll = target === DOMID_DRIVER && context === DOMID_DRIVER;
    if (owner !== context && owner !== target && !forAll) return -1;
    const pfn = u32[at + (DMA_PFN >> 2)];
    if (owner >= DOMID_FIRST_RESERVED || word !== this.owners[owner] || pfn >= this.pages[owner]) return -1;
    return this.base[owner] + (pfn << PAGE_SHIFT);
  }
}

/** Tells the hypervisor when transfers are under way: the word is odd from `begin` to `end`. No transfer, and no
 *  look-up that a transfer rests on, happens outside. */
export class BurstGuard {
  private readonly i32: Int32Array;
  private readonly word: number;
  /** Counts bursts; a queue compares it to see that it has been checked in this one. */
  id = 0;
  /** Time of the burst, nanoseconds. */
  nowNs = 0;

  /** @param base byte offset of the mapped burst page */
  constructor(mem: Mem, base: number) {
    this.i32 = mem.i32;
    this.word = (base + DMA_BURST) >> 2;
    // A nic that was killed inside a burst left the word odd; nothing is under way now.
    if ((Atomics.load(this.i32, this.word) & 1) !== 0) Atomics.add(this.i32, this.word, 1);
  }

  begin(nowNs: number): void {
    this.nowNs = nowNs;
    this.id = (this.id + 1) | 0;
    Atomics.add(this.i32, this.word, 1);
    // The add alone would let an arm64 core read table entries before its own store is seen by others; an ordered load
    // after an ordered store does not pass it, and plain reads do not pass the load. docs/wire/dma-table.md
    Atomics.load(this.i32, this.word);
  }

  end(): void {
    Atomics.add(this.i32, this.word, 1);
  }

  /** @returns true between `begin` and `end` */
  underWay(): boolean {
    return (Atomics.load(this.i32, this.word) & 1) !== 0;
  }
}
