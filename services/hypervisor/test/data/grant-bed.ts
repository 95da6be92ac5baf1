/** A hypervisor's data path over plain memory, with guests that grant and callers that send real batches. */
import {
  DMA_ENTRY_BYTES,
  DMA_TABLE_BYTES,
  GNTCOPY_DEST_GREF,
  GNTCOPY_SOURCE_GREF,
  GNTMAP_DEVICE_MAP,
  GNTMAP_HOST_MAP,
  GNTST,
  GRANT_ENTRIES,
  GRANT_ENTRY_BYTES,
  HCRING_GUEST_SLOTS,
  HYPERCALL_HEADER_BYTES,
  HYPERCALL_REPLY_MAX_BYTES,
  type Batch,
  CopyBatch,
  DmaMapBatch,
  DmaUnmapBatch,
  MapBatch,
  UnmapBatch,
  GrantTable,
  HypercallRing,
  type HypercallPort,
  type RingIdx,
  answerByMessage,
  callMessage,
  hypercallRingBytes,
} from '@grantline/xen';
import { DOMID_DRIVER, PAGE_SIZE, type DomId, type GrantHandle, type Dpn, type Pfn } from '@grantline/base';
import { CounterBlock, memOver, type Mem } from '@grantline/machine';
import { HYPERCALL_COUNTERS } from '@grantline/observe';
import { DmaQuiesce, DmaTable } from '../../src/data/dma-table.js';
import { DomainTable, type DomainMemory } from '../../src/data/domain-memory.js';
import { GrantOps } from '../../src/data/grant-ops.js';
import type { PendingUnmap } from '../../src/data/map-ops.js';
import { RingCaller } from '../../src/data/ring-caller.js';

export const DRIVER = DOMID_DRIVER;
export const G1 = 1 as DomId;
export const G2 = 2 as DomId;
export const HOST = GNTMAP_HOST_MAP;
export const DEVICE = GNTMAP_DEVICE_MAP;
export const PAGES = 16;

export interface BedOptions {
  handles?: number;
  guestDma?: number;
  driverDma?: number;
  memory?: Mem;
  /** How callers reach the hypervisor. */
  way?: 'messages' | 'ring';
  /** First index of the rings. */
  start?: RingIdx;
}

export interface Domain {
  domid: DomId;
  memory: DomainMemory;
  grants: GrantTable;
  port: HypercallPort;
}

export class Bed {
  readonly mem: Mem;
  readonly domains: DomainTable;
  readonly dma: DmaTable;
  readonly quiesce: DmaQuiesce;
  readonly ops: GrantOps;
  readonly attachable = new Set<number>();
  readonly rings = new Map<DomId, RingPair>();
  /** Batches that wait for the NIC, with what is to be done then. */
  waiting: { pending: PendingUnmap; reply: () => void }[] = [];
  private readonly burst: number;
  readonly dmaBase: number;
  private next: number;
  private readonly options: BedOptions;

  constructor(options: BedOptions = {}) {
    this.options = options;
    this.burst = 0;
    this.dmaBase = PAGE_SIZE;
    this.next = PAGE_SIZE + DMA_TABLE_BYTES;
    this.mem = options.memory ?? memOver(new ArrayBuffer(this.next + 16 * PAGES * PAGE_SIZE));
    this.domains = new DomainTable(this.mem);
    this.dma = new DmaTable(this.mem, this.dmaBase, options.guestDma, options.driverDma);
    this.quiesce = new DmaQuiesce(this.mem, this.burst);
    const { mem, domains, dma, quiesce } = this;
    this.ops = new GrantOps({ mem, domains, dma, quiesce, mayAttach: (d) => this.attachable.has(d) });
  }

  add(domid: DomId): Domain {
    const base = this.next;
    this.next += PAGES * PAGE_SIZE;
    const counters = new CounterBlock(memOver(new ArrayBuffer(512)), 0, HYPERCALL_COUNTERS);
    const memory = this.domains.add({ domid, base, pages: PAGES, counters, handles: this.options.handles });
    return { domid, memory, grants: new GrantTable(this.mem, base), port: this.port(domid) };
  }

  /** The NIC begins or ends a burst. */
  burstEdge(): void {
    Atomics.add(this.mem.u32, this.burst >> 2, 1);
  }

  /** A call of the domain waits for the NIC, and those behind it do. */
  isHeld(domid: DomId): boolean {
    return (this.rings.get(domid)?.front.inFlight ?? 0) > 0;
  }

  /** Finishes all waiting batches that are settled. */
  poll(): void {
    const ready = this.waiting.filter((w) => this.ops.settled(w.pending));
    this.waiting = this.waiting.filter((w) => !ready.includes(w));
    for (const w of ready) {
      this.ops.finishUnmap(w.pending);
      w.reply();
    }
  }

  /** flags, domid, frame of a grant entry. */
  entry(domain: Domain, gref: number): [number, number, number] {
    const at = domain.memory.base + gref * GRANT_ENTRY_BYTES;
    return [this.mem.u16[at >> 1], this.mem.u16[(at >> 1) + 1], this.mem.u32[(at >> 2) + 1]];
  }

  flags(domain: Domain, gref: number): number {
    return this.entry(domain, gref)[0];
  }

  /** The guest overwrites its entry, as it can at any time. */
  scribble(domain: Domain, gref: number, flags: number, domid: number, frame: number): void {
    const at = domain.memory.base + gref * GRANT_ENTRY_BYTES;
    this.mem.u16[at >> 1] = flags;
    this.mem.u16[(at >> 1) + 1] = domid;
    this.mem.u32[(at >> 2) + 1] = frame;
  }

  /** flags, context, owner, pfn of a DMA entry, as the NIC reads them. */
  dmaEntry(dpn: number): number[] {
    const at = (this.dmaBase + dpn * DMA_ENTRY_BYTES) >> 2;
    return Array.from(this.mem.u32.subarray(at, at + 4));
  }

  page(domain: Domain, pfn: number): Uint8Array {
    const at = domain.memory.pageAt(pfn);
    return this.mem.u8.subarray(at, at + PAGE_SIZE);
  }

  /** No pin, no handle, no DMA entry, no status bit anywhere. */
  atRest(...all: Domain[]): boolean {
    return all.every((d) => {
      const a = d.memory.active;
      if (a.pins !== 0 || !a.pin.every((p) => p === 0) || d.memory.maptrack.used !== 0) return false;
      for (let g = 0; g < GRANT_ENTRIES; g++) if ((this.flags(d, g) & 0x18) !== 0) return false;
      return this.dma.owned(d.domid) === 0;
    });
  }

  private port(domid: DomId): HypercallPort {
    if (this.options.way === 'ring') return this.ring(domid).front;
    return {
      hypercall: (call) => {
        const reply = Buffer.alloc(HYPERCALL_REPLY_MAX_BYTES, 0xee);
        const { replyBytes, pending } = this.ops.executeMessage(domid, Buffer.from(callMessage(call, 0)), reply);
        const done = (): void => answerByMessage(call, reply.subarray(0, replyBytes));
        if (pending === null) done();
        else this.waiting.push({ pending, reply: done });
      },
    };
  }

  /** @returns byte offset of so much memory that is nobody's */
  reserve(bytes: number): number {
    const at = this.next;
    this.next += Math.ceil(bytes / PAGE_SIZE) * PAGE_SIZE;
    return at;
  }

  /** Both ends of a ring. Each call is executed as soon as it is made, but for what the NIC has not let go of. */
  ring(domid: DomId, slots = HCRING_GUEST_SLOTS): RingPair {
    const at = this.reserve(hypercallRingBytes(slots));
    const pair: RingPair = { at, bells: 0, charged: 0, waitMs: 0, broken: 0, later: [], front: null!, back: null! };
    const run = (): void => {
      while (pair.back.poll() > 0);
      if (!pair.back.arm()) pair.front.poll();
    };
    pair.front = new HypercallRing(
      this.mem,
      at,
      slots,
      { ring: run, kick: () => {}, leave: () => {} },
      this.options.start,
    );
    pair.back = new RingCaller(
      this.mem,
      at,
      slots,
      this.ops,
      { now: 0, lap: () => {} },
      {
        domid,
        charge: () => {
          pair.charged++;
          return pair.waitMs;
        },
        ring: () => void pair.bells++,
        broken: () => void pair.broken++,
        wait: (pending, done) => void this.waiting.push({ pending, reply: done }),
        later: (_ms, then) => void pair.later.push(then),
        wake: run,
      },
    );
    pair.back.arm();
    this.rings.set(domid, pair);
    return pair;
  }
}

/** Both ends of a hypercall ring, and what happened beside it. */
export interface RingPair {
  /** Byte offset of the ring. */
  readonly at: number;
  front: HypercallRing;
  back: RingCaller;
  /** Times that the caller was woken, and slots that it was charged for. */
  bells: number;
  charged: number;
  /** What the next charge says. */
  waitMs: number;
  broken: number;
  /** What is to be done when the caller has time again. */
  later: (() => void)[];
}

export interface Mapped {
  status: number;
  handle: GrantHandle;
  pfn: Pfn;
  dpn: Dpn;
}

export type MapElement = [flags: number, ref: number, granter: number];
export function map(caller: Domain, ...elements: MapElement[]): Mapped[] {
  const out: Mapped[] = [];
  const batch = new MapBatch(caller.port, G1, 0, 512, () => {
    for (let i = 0; i < batch.count; i++)
      out.push({ status: batch.status(i), handle: batch.handle(i), pfn: batch.pfn(i), dpn: batch.dpn(i) });
  });
  for (const [flags, ref, granter] of elements) batch.add(flags, ref, granter, 0x1000);
  batch.send();
  return out;
}

const statuses = (batch: Batch): number[] => Array.from({ length: batch.count }, (_, i) => batch.status(i));

/** Statuses are filled in when the reply comes. */
export function unmap(caller: Domain, ...elements: { handle: number; dpn?: number; host?: boolean }[]): number[] {
  const out: number[] = [];
  const batch = new UnmapBatch(caller.port, 512, () => out.push(...statuses(batch)));
  for (const e of elements) batch.put(e.handle, e.dpn ?? 0, e.host === true ? 0x1000 : 0);
  batch.send();
  return out;
}

export interface CopyElement {
  src: number;
  srcDomid?: number;
  srcGref?: boolean;
  srcOffset?: number;
  dst: number;
  dstDomid?: number;
  dstOffset?: number;
  len: number;
}
/** Source: a page of the caller's unless srcGref. Destination: a gref of G1 unless told. */
export function copy(caller: Domain, ...elements: CopyElement[]): number[] {
  const out: number[] = [];
  const batch = new CopyBatch(caller.port, caller.domid, G1, 512, () => out.push(...statuses(batch)));
  for (const e of elements) {
    batch.add(
      e.srcDomid ?? caller.domid,
      e.src,
      e.srcOffset ?? 0,
      e.dstDomid ?? G1,
      e.dst,
      e.dstOffset ?? 0,
      e.len,
      e.srcGref === true ? GNTCOPY_SOURCE_GREF | GNTCOPY_DEST_GREF : GNTCOPY_DEST_GREF,
    );
  }
  batch.send();
  return out;
}

export function mapSelf(
  caller: Domain,
  ...elements: [pfn: number, flags: number][]
): { status: number; dpn: number }[] {
  const batch = new DmaMapBatch(caller.port, 512);
  for (const [pfn, flags] of elements) batch.put(pfn, flags);
  batch.send();
  return elements.map((_, i) => ({ status: batch.status(i), dpn: batch.dpn(i) }));
}

export function unmapSelf(caller: Domain, ...dpns: number[]): number[] {
  const batch = new DmaUnmapBatch(caller.port, 512);
  for (const dpn of dpns) batch.put(dpn);
  batch.send();
  return statuses(batch);
}

/** Grants a page and says which gref it became. */
export function grant(granter: Domain, grantee: number, pfn: number, readonly = false): number {
  const gref = granter.grants.claim();
  if (gref === -1) throw new Error('no free entry');
  granter.grants.grantAccess(gref, grantee as DomId, pfn as Pfn, readonly);
  return gref;
}

/** A raw message, for what the batch builders refuse to build. */
export function message(cmd: number, count: number, elements: Buffer): Buffer {
  const head = Buffer.alloc(HYPERCALL_HEADER_BYTES);
  head.writeUInt32LE(7, 0);
  head.writeUInt16LE(cmd, 4);
  head.writeUInt16LE(count, 6);
  return Buffer.concat([head, elements]);
}

export const OK = GNTST.okay;
