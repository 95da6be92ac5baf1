/** GNTTABOP_MAP and DMAOP_MAP_SELF. Source of the order of checks: Xen common/grant_table.c, map_grant_ref. */
import {
  DMA_WRITE,
  GNTMAP_DEVICE_MAP,
  GNTMAP_HOST_MAP,
  GNTMAP_READONLY,
  GNTST,
  DMA_MAP_BYTES,
  DMA_MAP_FLAGS,
  DMA_MAP_PFN,
  DMA_MAP_RES_BYTES,
  MAP_BYTES,
  MAP_DOM,
  MAP_FLAGS,
  MAP_REF,
  MAP_RES_BYTES,
  MAP_RES_DPN,
  MAP_RES_HANDLE,
  MAP_RES_PFN,
} from '@grantline/xen';
import { PIN_DEVICE_READ, PIN_DEVICE_WRITE, PIN_HOST_READ, PIN_HOST_WRITE } from './active-entries.js';
import type { DmaTable } from './dma-table.js';
import type { DomainMemory, DomainTable } from './domain-memory.js';
import type { OpBuffers } from './op-buffers.js';

const HALVES = GNTMAP_HOST_MAP | GNTMAP_DEVICE_MAP;
const NO_HANDLE = 0xffffffff;

/** The pins that a mapping with these GNTMAP_* flags holds. */
export function pinsOf(flags: number): number {
  const readonly = (flags & GNTMAP_READONLY) !== 0;
  let pins = 0;
  if ((flags & GNTMAP_HOST_MAP) !== 0) pins += readonly ? PIN_HOST_READ : PIN_HOST_WRITE;
  if ((flags & GNTMAP_DEVICE_MAP) !== 0) pins += readonly ? PIN_DEVICE_READ : PIN_DEVICE_WRITE;
  return pins;
}

export class MapOp {
  private readonly domains: DomainTable;
  private readonly dma: DmaTable;
  private readonly buf: OpBuffers;

  constructor(domains: DomainTable, dma: DmaTable, buf: OpBuffers) {
    this.domains = domains;
    this.dma = dma;
    this.buf = buf;
  }

  /** @param mayDma whether the caller has a right to entries of the DMA translation table */
  run(caller: DomainMemory, count: number, mayDma: boolean): void {
    const res16 = this.buf.res16;
    for (let i = 0; i < count; i++) res16[(i * MAP_RES_BYTES) >> 1] = this.one(caller, i, mayDma);
  }

  /** Maps pages of the caller into its own DMA context. */
  runSelf(caller: DomainMemory, count: number, mayDma: boolean): void {
    const { req32, res16, res32 } = this.buf;
    for (let i = 0; i < count; i++) {
      const pfn = req32[(i * DMA_MAP_BYTES + DMA_MAP_PFN) >> 2];
      const writable = (req32[(i * DMA_MAP_BYTES + DMA_MAP_FLAGS) >> 2] & DMA_WRITE) !== 0;
      let status: number = GNTST.okay;
      let dpn = 0;
      if (!mayDma) status = GNTST.permissionDenied;
      else if (!caller.hasPage(pfn)) status = GNTST.badPage;
      else if (!this.dma.hasRoom(caller.domid)) status = GNTST.noDeviceSpace;
      else dpn = this.dma.mapSelf(caller.domid, pfn, writable);
      // The status is a u16 with a zero pad behind it: written as one word.
      res32[(i * DMA_MAP_RES_BYTES) >> 2] = 0;
      res16[(i * DMA_MAP_RES_BYTES) >> 1] = status;
      res32[(i * DMA_MAP_RES_BYTES + 4) >> 2] = dpn;
    }
  }

  private one(caller: DomainMemory, i: number, mayDma: boolean): number {
    const { req16, req32, res32 } = this.buf;
    const out = i * MAP_RES_BYTES;
    res32[out >> 2] = 0;
    res32[(out + MAP_RES_HANDLE) >> 2] = NO_HANDLE;
    res32[(out + MAP_RES_PFN) >> 2] = 0;
    res32[(out + MAP_RES_DPN) >> 2] = 0;
    const flags = req32[(i * MAP_BYTES + MAP_FLAGS) >> 2] & (HALVES | GNTMAP_READONLY);
    const gref = req32[(i * MAP_BYTES + MAP_REF) >> 2];
    const device = (flags & GNTMAP_DEVICE_MAP) !== 0;
    if ((flags & HALVES) === 0) return GNTST.badGntref;
    const granter = this.domains.live(req16[(i * MAP_BYTES + MAP_DOM) >> 1]);
    if (granter === null) return GNTST.badDomain;
    if (device && !mayDma) return GNTST.permissionDenied;
    const handle = caller.maptrack.claim();
    if (handle === -1) return GNTST.noDeviceSpace;
    const status =
      device && !this.dma.hasRoom(caller.domid)
        ? GNTST.noDeviceSpace
        : granter.active.acquire(gref, caller.domid, pinsOf(flags));
    if (status !== GNTST.okay) {
      caller.maptrack.abort(handle);
      return status;
    }
    const pfn = granter.active.pfn[gref];
    const writable = (flags & GNTMAP_READONLY) === 0;
    const dpn = device ? this.dma.mapGrant(caller.domid, granter.domid, pfn, writable) : 0;
    caller.maptrack.insert(handle, granter.domid, gref, flags, dpn);
    res32[(out + MAP_RES_HANDLE) >> 2] = handle;
    res32[(out + MAP_RES_PFN) >> 2] = pfn;
    res32[(out + MAP_RES_DPN) >> 2] = dpn;
    return GNTST.okay;
  }
}
