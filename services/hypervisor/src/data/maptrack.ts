/** Which grants of others a domain has mapped. Source: Xen common/grant_table.c, grant_mapping. */
import { GNTMAP_DEVICE_MAP, GNTMAP_HOST_MAP } from '@grantline/xen';

/** The two halves of a mapping. */
const HALVES = GNTMAP_HOST_MAP | GNTMAP_DEVICE_MAP;

/** Handle table of one grantee. A handle is a small number that means something to its owner only. */
export class Maptrack {
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
