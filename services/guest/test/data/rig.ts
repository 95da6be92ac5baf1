/** A guest's memory with a netfront queue on it and, over the same memory, the back end's view: no processes. */
import {
  GRANT_ENTRY_BYTES,
  GTF_PERMIT_ACCESS,
  GTF_READING,
  GTF_WRITING,
  NETRXF_MORE_DATA,
  RX_SLOT_BYTES,
  RX_RING_SIZE,
  GrantTable,
  BackRing,
  FrontRing,
  idxAdd,
  ringIdx,
} from '@grantline/xen';
import { DOMID_DRIVER } from '@grantline/base';
import { CounterBlock, memOver } from '@grantline/machine';
import { NETFRONT_COUNTERS } from '@grantline/observe';
import { NetfrontRx } from '../../src/data/netfront-rx.js';
import { PagePool } from '../../src/data/page-pool.js';
import { RxBuffers } from '../../src/data/rx-buffers.js';

export const PAGES = 1024;

export interface RigOptions {
  start?: number;
  buffers?: number;
  bytes?: number;
  perFrameGrants?: boolean;
  batching?: boolean;
  gso?: boolean;
  /** Of the sink. */
  batch?: number | undefined;
}

/** What the stack was given: one number (the first u32) for each frame, and whether buffers were left alone meanwhile. */
class Sink {
  batch = 64;
  frames: number[] = [];
  lengths: number[] = [];
  private first = -1;
  private length = 0;
  private readonly u32: Uint32Array;
  constructor(u32: Uint32Array) {
    this.u32 = u32;
  }
  private readonly heads: number[] = [];
  fragment(off: number, len: number, more: boolean): void {
    if (this.first < 0) this.first = off;
    this.length += len;
    if (more) return;
    this.heads.push(this.first);
    this.lengths.push(this.length);
    this.first = -1;
    this.length = 0;
  }
  process(): void {}
  deliver(): void {
    for (const at of this.heads) this.frames.push(this.u32[at >> 2]);
    this.heads.length = 0;
  }
}

export function makeRig(o: RigOptions = {}) {
  const mem = memOver(new ArrayBuffer((PAGES + 4) * 4096));
  const pages = new PagePool(mem, 0, PAGES);
  const grants = new GrantTable(mem, 0);
  const before = { pages: pages.free, grants: grants.free };
  const counters = new CounterBlock(mem, PAGES * 4096, NETFRONT_COUNTERS, { vif: 'vif1.0' });
  const buffers = new RxBuffers(pages, grants, DOMID_DRIVER, o.buffers ?? 512, o.bytes ?? 4096);
  const ringPfn = pages.alloc();
  if (ringPfn === -1) throw new Error('no page');
  const start = ringIdx(o.start ?? 0);
  const ring = new FrontRing(mem, pages.offset(ringPfn), RX_RING_SIZE, RX_SLOT_BYTES, start);
  for (let i = 0; i < buffers.capacity; i++) {
    const id = buffers.create();
    if (o.perFrameGrants !== true) buffers.grant(id);
    buffers.admit(id);
  }
  const sink = new Sink(mem.u32);
  sink.batch = o.batch ?? 64;
  const faults: string[] = [];
  let kicks = 0;
  const front = new NetfrontRx({
    mem,
    ring,
    buffers,
    sink,
    laps: { now: 0, lap: () => undefined },
    components: { queue: 0, stack: 1, application: 2 },
    counters,
    peer: { notify: () => kicks++ },
    perFrameGrants: o.perFrameGrants ?? false,
    batching: o.batching ?? false,
    gso: o.gso ?? false,
    onFault: (reason) => faults.push(reason),
  });
  const back = new BackRing(mem, pages.offset(ringPfn), RX_RING_SIZE, RX_SLOT_BYTES);
  const count = (name: keyof typeof NETFRONT_COUNTERS.counters): number =>
    counters.v[NETFRONT_COUNTERS.names.indexOf(name)];

  /** Back end: takes the next request. Its grant must be valid; returns the page's offset in memory, for writing. */
  const request = () => {
    const at = back.slot(back.reqCons);
    back.reqCons = idxAdd(back.reqCons, 1);
    const gref = mem.u32[(at >> 2) + 1];
    const entry = gref * GRANT_ENTRY_BYTES;
    if ((mem.u16[entry >> 1] & GTF_PERMIT_ACCESS) === 0) throw new Error(`gref ${gref} is not granted`);
    if (mem.u16[(entry >> 1) + 1] !== DOMID_DRIVER) throw new Error(`gref ${gref} is for another domain`);
    return { id: mem.u16[at >> 1], offset: mem.u16[(at >> 1) + 1], gref, page: mem.u32[(entry >> 2) + 1] * 4096 };
  };
  const respond = (id: number, offset: number, flags: number, status: number) => {
    const at = back.slot(back.rspProdPvt) >> 1;
    mem.u16[at] = id;
    mem.u16[at + 1] = offset;
    mem.u16[at + 2] = flags;
    mem.i16[at + 3] = status;
    back.rspProdPvt = idxAdd(back.rspProdPvt, 1);
  };
  /** Back end: one good frame of `slotCount` slots whose first word is `mark`. */
  const deliver = (mark: number, slotCount = 1, len = 60) => {
    for (let i = 0; i < slotCount; i++) {
      const r = request();
      mem.u32[(r.page + r.offset) >> 2] = mark;
      respond(r.id, r.offset, i + 1 < slotCount ? NETRXF_MORE_DATA : 0, len);
    }
  };
  /** The hypervisor's in-use bits of an entry. */
  const pin = (gref: number, on: boolean) => {
    const at = (gref * GRANT_ENTRY_BYTES) >> 1;
    const bits = GTF_READING | GTF_WRITING;
    mem.u16[at] = on ? mem.u16[at] | bits : mem.u16[at] & ~bits;
  };
  /** Disconnects: everything must be back. @returns what is missing */
  const missing = () => {
    buffers.destroyAll();
    pages.release(ringPfn);
    return { pages: before.pages - pages.free, grants: before.grants - grants.free };
  };
  return {
    mem,
    pages,
    grants,
    buffers,
    ring,
    back,
    front,
    sink,
    faults,
    counters,
    count,
    request,
    respond,
    deliver,
    pin,
    missing,
    kicks: () => kicks,
  };
}
