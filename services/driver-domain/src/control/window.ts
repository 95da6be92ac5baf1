/** A window of inaccessible addresses into which pages that peers granted are mapped, one slot each. Xen's grant map is
 *  a real mapping, and so is this: what is not mapped faults. docs/adr/0006.
 *
 *  The hypervisor decides; this only does what it said yes to. */
import { closeSync } from 'node:fs';
import { PAGE_SHIFT, PAGE_SIZE, type DomId, type GrantHandle, type Gref, type Pfn } from '@grantline/base';
import {
  GNTMAP_HOST_MAP,
  GNTST,
  GNTST_NAMES,
  MapBatch,
  UnmapBatch,
  type HypervisorPort,
  type HypercallPort,
} from '@grantline/xen';
import type { AddressSpace } from '@grantline/machine';

/** Descriptors of the memory of other domains. The hypervisor gives them only to those who may have them: driver domain and
 *  nic. */
export class PeerMemory {
  private readonly client: Pick<HypervisorPort, 'descriptor'>;
  private readonly fds = new Map<DomId, number>();
  private readonly coming = new Map<DomId, Promise<void>>();

  constructor(client: Pick<HypervisorPort, 'descriptor'>) {
    this.client = client;
  }

  /** Resolves when the domain's memory can be mapped. @throws HypervisorError when there is no such domain */
  open(domid: DomId): Promise<void> {
    if (this.fds.has(domid)) return Promise.resolve();
    const coming = this.coming.get(domid) ?? this.fetch(domid);
    this.coming.set(domid, coming);
    return coming;
  }

  /** @throws Error when it is not open */
  fdOf(domid: DomId): number {
    const fd = this.fds.get(domid);
    if (fd === undefined) throw new Error(`the memory of domain ${domid} is not open`);
    return fd;
  }

  /** The domain is gone: a new one of that number has other memory. */
  forget(domid: DomId): void {
    this.coming.delete(domid);
    const fd = this.fds.get(domid);
    if (fd === undefined) return;
    this.fds.delete(domid);
    closeSync(fd);
  }

  private fetch(domid: DomId): Promise<void> {
    const fetched = this.client.descriptor('memory', domid).then(
      (fd) => {
        if (this.coming.get(domid) !== fetched) {
          closeSync(fd);
          throw new Error(`domain ${domid} has gone`);
        }
        this.coming.delete(domid);
        this.fds.set(domid, fd);
      },
      (err: unknown) => {
        if (this.coming.get(domid) === fetched) this.coming.delete(domid);
        throw err;
      },
    );
    return fetched;
  }
}

/** A grant mapped by mapGrant. */
export interface MappedGrant {
  /** Byte offset of the page in the address space. */
  offset: number;
  handle: GrantHandle;
}

/** A grant operation that the hypervisor refused; status is its GNTST_* value. */
export class GrantError extends Error {
  override readonly name = 'GrantError';
  readonly status: number;
  constructor(what: string, status: number) {
    super(`${what}: ${GNTST_NAMES[-status] ?? status}`);
    this.status = status;
  }
}

export class GrantWindow {
  readonly slots: number;
  private readonly space: AddressSpace;
  private readonly memory: PeerMemory;
  private readonly base: number;
  private readonly freeList: Uint32Array;
  private freeCount: number;
  private readonly used: Uint8Array;

  /** @param slots pages that can be mapped at a time */
  constructor(space: AddressSpace, memory: PeerMemory, slots: number) {
    this.space = space;
    this.memory = memory;
    this.slots = slots;
    // A page in front stays unmapped. It also keeps offset 0, "no host address" in an unmap, from being a slot.
    this.base = space.reserve((slots + 1) * PAGE_SIZE) + PAGE_SIZE;
    this.freeList = new Uint32Array(slots);
    this.used = new Uint8Array(slots);
    this.freeCount = 0;
    for (let i = slots - 1; i >= 0; i--) this.freeList[this.freeCount++] = i;
  }

  /** Slots not taken. */
  get free(): number {
    return this.freeCount;
  }

  /** Takes a slot without mapping anything into it. @returns its byte offset, or -1 when the window is full */
  take(): number {
    if (this.freeCount === 0) return -1;
    const slot = this.freeList[--this.freeCount];
    this.used[slot] = 1;
    return this.base + slot * PAGE_SIZE;
  }

  /** Maps page `pfn` of a domain's memory, which is open since its first grant was mapped, at a slot that was taken.
   *  @throws Error when the operating system does not let us have the page */
  mapAt(offset: number, domid: DomId, pfn: Pfn, writable: boolean): void {
    this.slotOf(offset);
    this.space.mapFd(offset, this.memory.fdOf(domid), pfn * PAGE_SIZE, PAGE_SIZE, writable);
  }

  /** Makes the page inaccessible again and gives the slot back. To be done before the hypervisor is told. */
  unmap(offset: number): void {
    this.slotOf(offset);
    this.space.unmap(offset, PAGE_SIZE);
    this.give(offset);
  }

  /** Asks the hypervisor for a host mapping of a grant and maps it. For rings, not for the data path.
   *  @throws GrantError when the hypervisor refuses, RangeError when the window is full */
  async mapGrant(client: HypercallPort, domid: DomId, gref: Gref): Promise<MappedGrant> {
    const offset = this.take();
    if (offset < 0) throw new RangeError('the grant window is full');
    try {
      await this.memory.open(domid);
      const batch = new MapBatch(client, domid, GNTMAP_HOST_MAP, 1);
      batch.put(gref, offset);
      await batch.sendAsync();
      if (batch.status(0) !== GNTST.okay)
        throw new GrantError(`map of gref ${gref} of domain ${domid}`, batch.status(0));
      const mapped = { offset, handle: batch.handle(0) };
      await this.mapOrLetGo(client, domid, batch.pfn(0), mapped);
      return mapped;
    } catch (err) {
      this.give(offset);
      throw err;
    }
  }

  /** What the operating system does not let us have the hypervisor must not hold for us: the granter could never take it
   *  back. @throws what the operating system said */
  private async mapOrLetGo(
    client: HypercallPort,
    domid: DomId,
    pfn: Pfn,
    { offset, handle }: MappedGrant,
  ): Promise<void> {
    try {
      this.mapAt(offset, domid, pfn, true);
    } catch (err) {
      const batch = new UnmapBatch(client, 1);
      batch.put(handle, 0, offset);
      await batch.sendAsync();
      throw err;
    }
  }

  /** Undoes mapGrant: inaccessible first, then the hypervisor lets go of it. @throws GrantError when it refuses */
  async unmapGrant(client: HypercallPort, mapped: MappedGrant): Promise<void> {
    this.unmap(mapped.offset);
    const batch = new UnmapBatch(client, 1);
    batch.put(mapped.handle, 0, mapped.offset);
    await batch.sendAsync();
    if (batch.status(0) !== GNTST.okay) throw new GrantError(`unmap of handle ${mapped.handle}`, batch.status(0));
  }

  /** Forgets a domain that is gone, so that a new one of that number is opened anew. Its mappings stay until unmapped. */
  forget(domid: DomId): void {
    this.memory.forget(domid);
  }

  private give(offset: number): void {
    const slot = this.slotOf(offset);
    this.used[slot] = 0;
    this.freeList[this.freeCount++] = slot;
  }

  private slotOf(offset: number): number {
    const slot = (offset - this.base) >> PAGE_SHIFT;
    if (slot < 0 || slot >= this.slots || offset % PAGE_SIZE !== 0 || this.used[slot] === 0)
      throw new RangeError(`${offset} is no slot in use of this window`);
    return slot;
  }
}
