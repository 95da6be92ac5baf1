/** The two views of a shared ring. Source: Xen io/ring.h. docs/wire/ring.md.
 *
 *  Private indices are the authority for what a side did; of the shared words it believes only the peer's, and of
 *  those only what is possible. Slots are read and written by the caller at `slot(idx)`, before push and after
 *  `unconsumed`; control words go through Atomics, slots through plain loads and stores (ADR 0003). */
import type { Mem } from '@grantline/machine';
import { RING_HEADER_BYTES, RING_REQ_EVENT, RING_REQ_PROD, RING_RSP_EVENT, RING_RSP_PROD } from '../abi/ring.js';
import { assertPow2, idxAdd, idxDist, passed, ringIdx, type RingIdx } from './indices.js';

/** The front end's view: puts requests, takes responses. */
export class FrontRing {
  readonly base: number;
  readonly size: number;
  readonly slotBytes: number;
  reqProdPvt: RingIdx;
  rspCons: RingIdx;
  private readonly u32: Uint32Array;
  private readonly slots: number;
  private readonly mask: number;
  private readonly reqProd: number;
  private readonly reqEvent: number;
  private readonly rspProd: number;
  private readonly rspEvent: number;

  /** @param base byte offset of the ring page in mem
   *  @param start first index; 0 except in tests of the wrap */
  constructor(mem: Mem, base: number, size: number, slotBytes: number, start: RingIdx = ringIdx(0)) {
    assertPow2(size);
    this.base = base;
    this.size = size;
    this.slotBytes = slotBytes;
    this.u32 = mem.u32;
    this.slots = base + RING_HEADER_BYTES;
    this.mask = size - 1;
    this.reqProd = (base + RING_REQ_PROD) >> 2;
    this.reqEvent = (base + RING_REQ_EVENT) >> 2;
    this.rspProd = (base + RING_RSP_PROD) >> 2;
    this.rspEvent = (base + RING_RSP_EVENT) >> 2;
    this.reqProdPvt = start;
    this.rspCons = start;
    mem.u8.fill(0, base, base + RING_HEADER_BYTES);
    Atomics.store(this.u32, this.reqProd, start);
    Atomics.store(this.u32, this.rspProd, start);
    Atomics.store(this.u32, this.reqEvent, idxAdd(start, 1));
    Atomics.store(this.u32, this.rspEvent, idxAdd(start, 1));
  }

  /** @returns byte offset of the slot that index i uses */
  slot(i: RingIdx): number {
    return this.slots + (i & this.mask) * this.slotBytes;
  }

  /** @returns requests that may still be put, 0 to size */
  free(): number {
    return this.size - idxDist(this.rspCons, this.reqProdPvt);
  }

  /** @returns responses to take, 0 to size; -1 when the back end claims more than there are requests: it is broken */
  unconsumed(): number {
    const n = (Atomics.load(this.u32, this.rspProd) - this.rspCons) >>> 0;
    return n > (this.reqProdPvt - this.rspCons) >>> 0 ? -1 : n;
  }

  /** How far the back end has published, as an index: moves on only with real responses. */
  get seen(): number {
    return (this.rspCons + Math.max(0, this.unconsumed())) >>> 0;
  }

  /** Publishes the requests put so far. @returns true when the back end asked to be notified */
  push(): boolean {
    const old = Atomics.load(this.u32, this.reqProd) as RingIdx;
    const now = this.reqProdPvt;
    Atomics.store(this.u32, this.reqProd, now);
    return passed(Atomics.load(this.u32, this.reqEvent) as RingIdx, old, now);
  }

  /** Asks to be notified once `after` more responses are there, and looks again.
   *  @returns true when there are responses already (or the back end is broken): do not sleep */
  arm(after = 1): boolean {
    Atomics.store(this.u32, this.rspEvent, idxAdd(this.rspCons, after));
    return Atomics.load(this.u32, this.rspProd) !== this.rspCons;
  }

  /** Raw indices and what follows from them, for dumps. */
  describe(): Record<string, number> {
    return {
      reqProdPvt: this.reqProdPvt,
      rspCons: this.rspCons,
      reqProd: Atomics.load(this.u32, this.reqProd),
      reqEvent: Atomics.load(this.u32, this.reqEvent),
      rspProd: Atomics.load(this.u32, this.rspProd),
      rspEvent: Atomics.load(this.u32, this.rspEvent),
      free: this.free(),
      unconsumed: this.unconsumed(),
    };
  }
}

/** The back end's view: takes requests, puts responses. The front end owns the page and may write anything at any time: a slot is
 *  copied out once and the copy judged, and a producer index that jumped too far marks the ring broken. */
export class BackRing {
  readonly base: number;
  readonly size: number;
  readonly slotBytes: number;
  reqCons: RingIdx;
  rspProdPvt: RingIdx;
  private readonly u32: Uint32Array;
  private readonly slots: number;
  private readonly mask: number;
  private readonly reqProd: number;
  private readonly reqEvent: number;
  private readonly rspProd: number;
  private readonly rspEvent: number;
  private published: RingIdx;

  /** Attaches to a ring that the front end has set up; starts at its rsp_prod, so that a restarted back end continues.
   *  @throws RangeError when req_prod is impossibly far ahead */
  constructor(mem: Mem, base: number, size: number, slotBytes: number) {
    assertPow2(size);
    this.base = base;
    this.size = size;
    this.slotBytes = slotBytes;
    this.u32 = mem.u32;
    this.slots = base + RING_HEADER_BYTES;
    this.mask = size - 1;
    this.reqProd = (base + RING_REQ_PROD) >> 2;
    this.reqEvent = (base + RING_REQ_EVENT) >> 2;
    this.rspProd = (base + RING_RSP_PROD) >> 2;
    this.rspEvent = (base + RING_RSP_EVENT) >> 2;
    const start = Atomics.load(this.u32, this.rspProd) as RingIdx;
    this.rspProdPvt = start;
    this.published = start;
    this.reqCons = start;
    const ahead = idxDist(start, Atomics.load(this.u32, this.reqProd) as RingIdx);
    if (ahead > size) throw new RangeError(`req_prod is ${ahead} ahead of rsp_prod, the ring has ${size} slots`);
  }

  /** @returns byte offset of the slot that index i uses */
  slot(i: RingIdx): number {
    return this.slots + (i & this.mask) * this.slotBytes;
  }

  /** @returns requests to take, 0 to size; -1 when the front end published more than it has slots for: it is broken */
  unconsumed(): number {
    const prod = Atomics.load(this.u32, this.reqProd);
    if ((prod - this.rspProdPvt) >>> 0 > this.size) return -1;
    const n = (prod - this.reqCons) >>> 0;
    return n > this.size ? -1 : n;
  }

  /** How far the front end has published, as an index: moves on only with real slots. */
  get seen(): number {
    return (this.reqCons + Math.max(0, this.unconsumed())) >>> 0;
  }

  /** Publishes the responses put so far. @returns true when the front end asked to be notified */
  push(): boolean {
    const old = this.published;
    const now = this.rspProdPvt;
    this.published = now;
    Atomics.store(this.u32, this.rspProd, now);
    return passed(Atomics.load(this.u32, this.rspEvent) as RingIdx, old, now);
  }

  /** Asks to be notified once `after` more requests are there, and looks again.
   *  @returns true when there are requests already (or the front end is broken): do not sleep */
  arm(after = 1): boolean {
    Atomics.store(this.u32, this.reqEvent, idxAdd(this.reqCons, after));
    return Atomics.load(this.u32, this.reqProd) !== this.reqCons;
  }

  /** Raw indices and what follows from them, for dumps. */
  describe(): Record<string, number> {
    return {
      rspProdPvt: this.rspProdPvt,
      reqCons: this.reqCons,
      reqProd: Atomics.load(this.u32, this.reqProd),
      reqEvent: Atomics.load(this.u32, this.reqEvent),
      rspProd: Atomics.load(this.u32, this.rspProd),
      rspEvent: Atomics.load(this.u32, this.rspEvent),
      unconsumed: this.unconsumed(),
      unanswered: idxDist(this.rspProdPvt, this.reqCons),
    };
  }
}
