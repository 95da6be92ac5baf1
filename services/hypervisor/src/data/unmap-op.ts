/** GNTTABOP_UNMAP and DMAOP_UNMAP_SELF. Source: Xen common/grant_table.c, unmap_common and unmap_common_complete.
 *
 *  In two phases, as in Xen: first the ways to the page are closed for a group of elements, then one wait (there the TLB
 *  flush, here the NIC's burst), and only then pins and GTF bits are dropped. The granter must not read "not in use"
 *  while the NIC can still write into the page. */
import {
  GNTMAP_DEVICE_MAP,
  GNTMAP_HOST_MAP,
  GNTMAP_READONLY,
  GNTST,
  DMA_UNMAP_BYTES,
  STATUS_RES_BYTES,
  UNMAP_BYTES,
  UNMAP_DEV_BUS_ADDR,
  UNMAP_HANDLE,
  UNMAP_HOST_ADDR,
} from '@grantline/xen';
import { PAGE_SHIFT } from '@grantline/base';
import type { DmaQuiesce, DmaTable } from './dma-table.js';
import type { DomainMemory, DomainTable } from './domain-memory.js';
import { pinsOf } from './map-op.js';
import type { OpBuffers } from './op-buffers.js';
import { PendingUnmap } from './pending-unmap.js';

/** Elements that share one wait (GNTTAB_UNMAP_BATCH_SIZE). */
export const UNMAP_GROUP = 32;
const PENDING_CAPACITY = 512;

export class UnmapOp {
  private readonly domains: DomainTable;
  private readonly dma: DmaTable;
  private readonly quiesce: DmaQuiesce;
  private readonly buf: OpBuffers;
  private readonly spare: PendingUnmap[] = [];
  /** What this batch has ended and not yet given back. */
  private batch = new PendingUnmap(PENDING_CAPACITY);

  constructor(domains: DomainTable, dma: DmaTable, quiesce: DmaQuiesce, buf: OpBuffers) {
    this.domains = domains;
    this.dma = dma;
    this.quiesce = quiesce;
    this.buf = buf;
  }

  /** @returns null when all is done, else what the caller must finish() once it is settled */
  run(caller: DomainMemory, count: number): PendingUnmap | null {
    const res16 = this.buf.res16;
    for (let i = 0; i < count; i++) {
      res16[(i * STATUS_RES_BYTES) >> 1] = this.one(caller, i);
      if ((i + 1) % UNMAP_GROUP === 0) this.settle();
    }
    return this.end();
  }

  /** Takes pages of the caller out of its own DMA context. @returns as run() */
  runSelf(caller: DomainMemory, count: number): PendingUnmap | null {
    const { req32, res16 } = this.buf;
    for (let i = 0; i < count; i++) {
      const dpn = req32[(i * DMA_UNMAP_BYTES) >> 2];
      const mine = this.dma.isHeld(dpn, caller.domid);
      if (mine) this.endDma(dpn);
      res16[(i * STATUS_RES_BYTES) >> 1] = mine ? GNTST.okay : GNTST.badDevAddr;
      if ((i + 1) % UNMAP_GROUP === 0) this.settle();
    }
    return this.end();
  }

  /** The mapper may not use the NIC any more: ends the device halves of what it has mapped; its own pages stay in its DMA context, to be
   *  unmapped by it, and lead nowhere. @returns as run() */
  runDevice(mapper: DomainMemory): PendingUnmap | null {
    const track = mapper.maptrack;
    for (let handle = 0; handle < track.capacity; handle++)
      if ((track.halves(handle) & GNTMAP_DEVICE_MAP) !== 0) this.endHalves(mapper, handle, GNTMAP_DEVICE_MAP);
    this.dma.revokeSelf(mapper.domid);
    return this.end();
  }

  /** A domain is dead: ends all that it had mapped, and all its own pages in its DMA context. @returns as run() */
  runAll(mapper: DomainMemory): PendingUnmap | null {
    const track = mapper.maptrack;
    for (let handle = 0; handle < track.capacity; handle++) {
      const halves = track.halves(handle);
      if (halves !== 0) this.endHalves(mapper, handle, halves & (GNTMAP_HOST_MAP | GNTMAP_DEVICE_MAP));
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

  private one(caller: DomainMemory, i: number): number {
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
    this.batch = this.spare.pop() ?? new PendingUnmap(PENDING_CAPACITY);
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
