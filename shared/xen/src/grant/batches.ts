/** The kinds of hypercall batches, built in place: no allocation per element. Layouts: abi/hypercall.ts; how a batch is
 *  used: batch.ts. */
import {
  COPY_BYTES,
  COPY_DST_DOMID,
  COPY_DST_OFFSET,
  COPY_DST_REF,
  COPY_FLAGS,
  COPY_LEN,
  COPY_SRC_DOMID,
  COPY_SRC_OFFSET,
  COPY_SRC_REF,
  DMAOP_MAP_SELF,
  DMAOP_UNMAP_SELF,
  DMA_MAP_BYTES,
  DMA_MAP_FLAGS,
  DMA_MAP_PFN,
  DMA_MAP_RES_BYTES,
  DMA_UNMAP_BYTES,
  GNTTABOP_COPY,
  GNTTABOP_MAP,
  GNTTABOP_UNMAP,
  HYPERCALL_HEADER_BYTES,
  MAP_BYTES,
  MAP_DOM,
  MAP_FLAGS,
  MAP_HOST_ADDR,
  MAP_REF,
  MAP_RES_BYTES,
  MAP_RES_DPN,
  MAP_RES_HANDLE,
  MAP_RES_PFN,
  MAP_RES_STATUS,
  STATUS_RES_BYTES,
  UNMAP_BYTES,
  UNMAP_DEV_BUS_ADDR,
  UNMAP_HANDLE,
  UNMAP_HOST_ADDR,
} from '../abi/hypercall.js';
import { GNTCOPY_DEST_GREF, GNTCOPY_SOURCE_GREF, GNTST } from '../abi/grant-table.js';
import { PAGE_SHIFT, type DomId, type Dpn, type GrantHandle, type Gref, type Pfn } from '@grantline/base';
import { Batch } from './batch.js';

const DMA_RES_DPN = 4;

/** GNTTABOP_copy: the hypervisor copies between pages that both sides granted or own. */
export class CopyBatch extends Batch {
  constructor(capacity: number) {
    super(GNTTABOP_COPY, capacity, COPY_BYTES, STATUS_RES_BYTES);
  }

  /** @param srcRefOrPfn a gref of srcDomid when srcIsGref, else a pfn of the caller's own memory
   *  @param len bytes; with each offset it must stay inside one page
   *  @returns the element's number */
  add(
    srcRefOrPfn: Gref | Pfn,
    srcDomid: DomId,
    srcOffset: number,
    srcIsGref: boolean,
    dstRef: Gref,
    dstDomid: DomId,
    dstOffset: number,
    len: number,
  ): number {
    const at = this.next();
    const { u16, u32 } = this;
    const w = at >> 2;
    const h = at >> 1;
    u32[w + (COPY_SRC_REF >> 2)] = srcRefOrPfn;
    u32[w + (COPY_SRC_REF >> 2) + 1] = 0;
    u16[h + (COPY_SRC_DOMID >> 1)] = srcDomid;
    u16[h + (COPY_SRC_OFFSET >> 1)] = srcOffset;
    u32[w + 3] = 0;
    u32[w + (COPY_DST_REF >> 2)] = dstRef;
    u32[w + (COPY_DST_REF >> 2) + 1] = 0;
    u16[h + (COPY_DST_DOMID >> 1)] = dstDomid;
    u16[h + (COPY_DST_OFFSET >> 1)] = dstOffset;
    u32[w + 7] = 0;
    u16[h + (COPY_LEN >> 1)] = len;
    u16[h + (COPY_FLAGS >> 1)] = srcIsGref ? GNTCOPY_SOURCE_GREF | GNTCOPY_DEST_GREF : GNTCOPY_DEST_GREF;
    u32[w + 9] = 0;
    return this.count - 1;
  }

  /** As `add`, the other way: from a gref into a page of the caller's own memory. */
  addFrom(
    srcRef: Gref,
    srcDomid: DomId,
    srcOffset: number,
    dstPfn: Pfn,
    self: DomId,
    dstOffset: number,
    len: number,
  ): number {
    const at = this.count;
    this.add(srcRef, srcDomid, srcOffset, true, dstPfn as unknown as Gref, self, dstOffset, len);
    this.u16[(HYPERCALL_HEADER_BYTES + at * COPY_BYTES + COPY_FLAGS) >> 1] = GNTCOPY_SOURCE_GREF;
    return at;
  }
}

/** GNTTABOP_map_grant_ref: host_map to map a page here, device_map to let the NIC use it. */
export class MapBatch extends Batch {
  constructor(capacity: number) {
    super(GNTTABOP_MAP, capacity, MAP_BYTES, MAP_RES_BYTES);
  }

  /** @param flags GNTMAP_*
   *  @param hostAddr where the page will be mapped: the caller's own name for it, below 2^32
   *  @returns the element's number */
  add(flags: number, ref: Gref, dom: DomId, hostAddr = 0): number {
    const at = this.next();
    const w = at >> 2;
    const { u32 } = this;
    u32[w + (MAP_HOST_ADDR >> 2)] = hostAddr;
    u32[w + (MAP_HOST_ADDR >> 2) + 1] = 0;
    u32[w + (MAP_FLAGS >> 2)] = flags;
    u32[w + (MAP_REF >> 2)] = ref;
    u32[w + (MAP_DOM >> 2)] = dom;
    u32[w + 5] = 0;
    u32[w + 6] = 0;
    u32[w + 7] = 0;
    return this.count - 1;
  }

  override status(i: number): number {
    if (this.rc !== 0 || i >= this.count) return GNTST.generalError;
    return this.result.getInt16(this.resultAt(i) + MAP_RES_STATUS, true);
  }

  /** Names the mapping in the unmap. Only where status is 0. */
  handle(i: number): GrantHandle {
    return this.result.getUint32(this.resultAt(i) + MAP_RES_HANDLE, true) as GrantHandle;
  }

  /** host_map: the page of the granter's memory to map. */
  pfn(i: number): Pfn {
    return this.result.getUint32(this.resultAt(i) + MAP_RES_PFN, true) as Pfn;
  }

  /** device_map: the page's number for the NIC. */
  dpn(i: number): Dpn {
    return this.result.getUint32(this.resultAt(i) + MAP_RES_DPN, true) as Dpn;
  }
}

/** GNTTABOP_unmap_grant_ref. */
export class UnmapBatch extends Batch {
  constructor(capacity: number) {
    super(GNTTABOP_UNMAP, capacity, UNMAP_BYTES, STATUS_RES_BYTES);
  }

  /** @param dpn 0: leave the device mapping
   *  @param hostAddr as given at the mapping; 0: leave the host mapping
   *  @returns the element's number */
  add(handle: GrantHandle, dpn: Dpn | 0, hostAddr = 0): number {
    const at = this.next();
    const w = at >> 2;
    const { u32 } = this;
    u32[w + (UNMAP_HOST_ADDR >> 2)] = hostAddr;
    u32[w + (UNMAP_HOST_ADDR >> 2) + 1] = 0;
    u32[w + (UNMAP_DEV_BUS_ADDR >> 2)] = dpn << PAGE_SHIFT;
    u32[w + (UNMAP_DEV_BUS_ADDR >> 2) + 1] = dpn >>> (32 - PAGE_SHIFT);
    u32[w + (UNMAP_HANDLE >> 2)] = handle;
    u32[w + 5] = 0;
    return this.count - 1;
  }
}

/** dma map_self: pages of the caller's own memory for its own NIC queues. */
export class DmaMapBatch extends Batch {
  constructor(capacity: number) {
    super(DMAOP_MAP_SELF, capacity, DMA_MAP_BYTES, DMA_MAP_RES_BYTES);
  }

  /** @param flags DMA_WRITE when the NIC may write. @returns the element's number */
  add(pfn: Pfn, flags: number): number {
    const w = this.next() >> 2;
    this.u32[w + (DMA_MAP_PFN >> 2)] = pfn;
    this.u32[w + (DMA_MAP_FLAGS >> 2)] = flags;
    return this.count - 1;
  }

  /** The page's number for the NIC. Only where status is 0. */
  dpn(i: number): Dpn {
    return this.result.getUint32(this.resultAt(i) + DMA_RES_DPN, true) as Dpn;
  }
}

/** dma unmap_self. */
export class DmaUnmapBatch extends Batch {
  constructor(capacity: number) {
    super(DMAOP_UNMAP_SELF, capacity, DMA_UNMAP_BYTES, STATUS_RES_BYTES);
  }

  /** @returns the element's number */
  add(dpn: Dpn): number {
    this.u32[this.next() >> 2] = dpn;
    return this.count - 1;
  }
}
