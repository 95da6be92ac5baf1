/** Mapping and unmapping, in pairs: GNTTABOP_MAP and GNTTABOP_UNMAP, DMAOP_MAP_SELF and DMAOP_UNMAP_SELF. Source, also of the order of
 *  checks: Xen common/grant_table.c, map_grant_ref, unmap_common and unmap_common_complete.
 *
 *  An unmap has two phases, as in Xen: first the ways to the page are closed for a group of elements, then one wait (there the
 *  TLB flush, here the NIC's burst), and only then pins and GTF bits are dropped. The granter must not read "not in use"
 *  while the NIC can still write into the page. */
import {
  DMA_MAP_BYTES,
  DMA_MAP_FLAGS,
  DMA_MAP_PFN,
  DMA_MAP_RES_BYTES,
  DMA_MAP_RES_DPN,
  DMA_UNMAP_BYTES,
  DMA_WRITE,
  GNTMAP_DEVICE_MAP,
  GNTMAP_HOST_MAP,
  GNTMAP_READONLY,
  GNTST,
  MAP_BYTES,
  MAP_DOM,
  MAP_FLAGS,
  MAP_REF,
  MAP_RES_BYTES,
  MAP_RES_DPN,
  MAP_RES_HANDLE,
  MAP_RES_PFN,
  UNMAP_BYTES,
  UNMAP_DEV_BUS_ADDR,
  UNMAP_HANDLE,
  UNMAP_HOST_ADDR,
  mapDom,
  type ReceivedBatch,
} from '@grantline/xen';
import { PAGE_SHIFT } from '@grantline/base';
import { PIN_DEVICE_READ, PIN_DEVICE_WRITE, PIN_HOST_READ, PIN_HOST_WRITE } from './active-entries.js';
import type { DmaQuiesce, DmaTable } from './dma-table.js';
import type { DomainMemory, DomainTable } from './domain-memory.js';

const HALVES = GNTMAP_HOST_MAP | GNTMAP_DEVICE_MAP;
const NO_HANDLE = 0xffffffff;
/** Elements of an unmap that share one wait (GNTTAB_UNMAP_BATCH_SIZE). */
const UNMAP_GROUP = 32;
const PENDING_CAPACITY = 512;

/** The pins that a mapping with these GNTMAP_* flags holds. */
function pinsOf(flags: number): number {
  const readonly = (flags & GNTMAP_READONLY) !== 0;
  let pins = 0;
  if ((flags & GNTMAP_HOST_MAP) !== 0) pins += readonly ? PIN_HOST_READ : PIN_HOST_WRITE;
  if ((flags & GNTMAP_DEVICE_MAP) !== 0) pins += readonly ? PIN_DEVICE_READ : PIN_DEVICE_WRITE;
  return pins;
}

/** Uses of pages that have been ended but not yet given back: the NIC may still be inside a transfer. */
export class PendingUnmap {
  /** Burst count after the last entry was cleared (DmaQuiesce). */
  snapshot = 0;
  count = 0;
  /** True when the NIC could have seen something that this ended. */
  dma = false;
  granter: Uint16Array;
  gref: Uint16Array;
  /** Pins to drop, as PIN_* sums; 0: none. */
  pins: Int32Array;
  /** Entry of the DMA translation table to give back; 0: none. */
  dpn: Uint32Array;

  /** @param capacity places to begin with; it grows */
  constructor(capacity = PENDING_CAPACITY) {
    this.granter = new Uint16Array(capacity);
    this.gref = new Uint16Array(capacity);
    this.pins = new Int32Array(capacity);
    this.dpn = new Uint32Array(capacity);
  }

  add(granter: number, gref: number, pins: number, dpn: number): void {
    if (this.count === this.granter.length) this.grow();
    const i = this.count++;
    this.granter[i] = granter;
    this.gref[i] = gref;
    this.pins[i] = pins;
    this.dpn[i] = dpn;
    if (dpn !== 0) this.dma = true;
  }

  clear(): void {
    this.count = 0;
    this.dma = false;
  }

  /** Makes it wait although nothing is to be given back. */
  waitForNic(snapshot: number): void {
    this.dma = true;
    this.snapshot = snapshot;
  }

  /** Only the death of a domain with many mappings gets here. */
  private grow(): void {
    const { granter, gref, pins, dpn } = this;
    const size = granter.length * 2;
    this.granter = new Uint16Array(size);
    this.gref = new Uint16Array(size);
    this.pins = new Int32Array(size);
    this.dpn = new Uint32Array(size);
    this.granter.set(granter);
    this.gref.set(gref);
    this.pins.set(pins);
    this.dpn.set(dpn);
  }
}

export class MapOps {
  private readonly domains: DomainTable;
  private readonly dma: DmaTable;
  private readonly quiesce: DmaQuiesce;
  private readonly buf: ReceivedBatch;
  private readonly spare: PendingUnmap[] = [];
  /** What this batch has ended and not yet given back. */
  private batch = new PendingUnmap();

  constructor(domains: DomainTable, dma: DmaTable, quiesce: DmaQuiesce, buf: ReceivedBatch) {
    this.domains = domains;
    this.dma = dma;
    this.quiesce = quiesce;
    this.buf = buf;
  }

  /** @param mayDma whether the caller has a right to entries of the DMA translation table */
  map(caller: DomainMemory, count: number, mayDma: boolean): void {
    // The status is followed by a zero pad: written as one word.
    for (let i = 0; i < count; i++) this.buf.res32[(i * MAP_RES_BYTES) >> 2] = this.mapOne(caller, i, mayDma) & 0xffff;
  }

  /** Maps pages of the caller into its own DMA context. */
  mapSelf(caller: DomainMemory, count: number, mayDma: boolean): void {
    const { req32, res32 } = this.buf;
    for (let i = 0; i < count; i++) {
      const pfn = req32[(i * DMA_MAP_BYTES + DMA_MAP_PFN) >> 2];
      const writable = (req32[(i * DMA_MAP_BYTES + DMA_MAP_FLAGS) >> 2] & DMA_WRITE) !== 0;
      let status: number = GNTST.okay;
      let dpn = 0;
      if (!mayDma) status = GNTST.permissionDenied;
      else if (!caller.hasPage(pfn)) status = GNTST.badPage;
      else if (!this.dma.hasRoom(caller.domid)) status = GNTST.noDeviceSpace;
      else dpn = this.dma.mapSelf(caller.domid, pfn, writable);
      res32[(i * DMA_MAP_RES_BYTES) >> 2] = status & 0xffff;
      res32[(i * DMA_MAP_RES_BYTES + DMA_MAP_RES_DPN) >> 2] = dpn;
    }
  }

  /** @returns null when all is done, else what the caller must finish() once it is settled */
  unmap(caller: DomainMemory, count: number): PendingUnmap | null {
    const res16 = this.buf.res16;
    for (let i = 0; i < count; i++) {
      res16[i] = this.unmapOne(caller, i);
      if ((i + 1) % UNMAP_GROUP === 0) this.settle();
    }
    return this.end();
  }

  /** Takes pages of the caller out of its own DMA context. @returns as unmap() */
  unmapSelf(caller: DomainMemory, count: number): PendingUnmap | null {
    const { req32, res16 } = this.buf;
    for (let i = 0; i < count; i++) {
      const dpn = req32[(i * DMA_UNMAP_BYTES) >> 2];
      const held = this.dma.isHeld(dpn, caller.domid);
      if (held) this.endDma(dpn);
      res16[i] = held ? GNTST.okay : GNTST.badDevAddr;
      if ((i + 1) % UNMAP_GROUP === 0) this.settle();
    }
    return this.end();
  }

  /** The mapper may not use the NIC any more: ends the device halves of what it has mapped; its own pages stay in its DMA context, to be
   *  unmapped by it, and lead nowhere. @returns as unmap() */
  unmapDevice(mapper: DomainMemory): PendingUnmap | null {
    const track = mapper.maptrack;
    for (let handle = 0; handle < track.capacity; handle++)
      if ((track.halves(handle) & GNTMAP_DEVICE_MAP) !== 0) this.endHalves(mapper, handle, GNTMAP_DEVICE_MAP);
    this.dma.revokeSelf(mapper.domid);
    return this.end();
  }

  /** A domain is dead: ends all that it had mapped, and all its own pages in its DMA context. @returns as unmap() */
  unmapAll(mapper: DomainMemory): PendingUnmap | null {
    const track = mapper.maptrack;
    for (let handle = 0; handle < track.capacity; handle++) {
      const halves = track.halves(handle);
      if (halves !== 0) this.endHalves(mapper, handle, halves & HALVES);
    }
    for (let dpn = this.dma.nextHeld(mapper.domid, 1); dpn !== 0; dpn = this.dma.nextHeld(mapper.domid, dpn + 1))
      this.endDma(dpn);
    return this.end();
  }

  /** @returns true when finish() may be called */
  settled(pending: PendingUnmap): boolean {
    return !pending.dma || this.quiesce.settled(pending.snapshot);
  }

  /** Second phase: drops pins and GTF bits, gives entries back. @throws Error when it is not settled */
  finish(pending: PendingUnmap): void {
    if (!this.settled(pending)) throw new Error('the NIC may still be inside a transfer');
    this.giveBack(pending);
    this.spare.push(pending);
  }

  private mapOne(caller: DomainMemory, i: number, mayDma: boolean): number {
    const { req32, res32 } = this.buf;
    const out = i * MAP_RES_BYTES;
    res32[(out + MAP_RES_HANDLE) >> 2] = NO_HANDLE;
    res32[(out + MAP_RES_PFN) >> 2] = 0;
    res32[(out + MAP_RES_DPN) >> 2] = 0;
    const flags = req32[(i * MAP_BYTES + MAP_FLAGS) >> 2] & (HALVES | GNTMAP_READONLY);
    const gref = req32[(i * MAP_BYTES + MAP_REF) >> 2];
    const device = (flags & GNTMAP_DEVICE_MAP) !== 0;
    if ((flags & HALVES) === 0) return GNTST.badGntref;
    const granter = this.domains.live(mapDom(req32[(i * MAP_BYTES + MAP_DOM) >> 2]));
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

  private unmapOne(caller: DomainMemory, i: number): number {
    const req32 = this.buf.req32;
    const at = i * UNMAP_BYTES;
    const handle = req32[(at + UNMAP_HANDLE) >> 2];
    const halves = caller.maptrack.halves(handle);
    if (halves === 0) return GNTST.badHandle;
    let gone = 0;
    if (req32[(at + UNMAP_HOST_ADDR) >> 2] !== 0 || req32[(at + UNMAP_HOST_ADDR + 4) >> 2] !== 0) {
      if ((halves & GNTMAP_HOST_MAP) === 0) return GNTST.badVirtAddr;
      gone |= GNTMAP_HOST_MAP;
    }
    const devLow = req32[(at + UNMAP_DEV_BUS_ADDR) >> 2];
    const devHigh = req32[(at + UNMAP_DEV_BUS_ADDR + 4) >> 2];
    if (devLow !== 0 || devHigh !== 0) {
      if ((halves & GNTMAP_DEVICE_MAP) === 0) return GNTST.badDevAddr;
      if (devHigh !== 0 || devLow !== caller.maptrack.dpn[handle] << PAGE_SHIFT) return GNTST.generalError;
      gone |= GNTMAP_DEVICE_MAP;
    }
    if (gone !== 0) this.endHalves(caller, handle, gone);
    return GNTST.okay;
  }

  /** First phase for one handle. */
  private endHalves(mapper: DomainMemory, handle: number, gone: number): void {
    const track = mapper.maptrack;
    const dpn = (gone & GNTMAP_DEVICE_MAP) !== 0 ? track.dpn[handle] : 0;
    if (dpn !== 0) this.dma.clear(dpn);
    const pins = pinsOf(gone | (track.flags[handle] & GNTMAP_READONLY));
    this.batch.add(track.granter[handle], track.gref[handle], pins, dpn);
    track.drop(handle, gone);
  }

  private endDma(dpn: number): void {
    this.dma.clear(dpn);
    this.batch.add(0, 0, 0, dpn);
  }

  /** After a group: all that this batch has cleared so far is given back, if the NIC has let go of it. */
  private settle(): void {
    const batch = this.batch;
    if (batch.count === 0) return;
    batch.snapshot = this.quiesce.snapshot();
    if (this.settled(batch)) this.giveBack(batch);
  }

  private end(): PendingUnmap | null {
    this.settle();
    const batch = this.batch;
    if (batch.count === 0) return null;
    this.batch = this.spare.pop() ?? new PendingUnmap();
    return batch;
  }

  private giveBack(pending: PendingUnmap): void {
    for (let i = 0; i < pending.count; i++) {
      const dpn = pending.dpn[i];
      if (dpn !== 0) this.dma.free(dpn);
      const pins = pending.pins[i];
      // A granter with pins is never removed from the table, so it is found.
      if (pins !== 0) this.domains.get(pending.granter[i])!.active.release(pending.gref[i], pins);
    }
    pending.clear();
  }
}
