/** The back end's view of a shared ring: takes requests, puts responses. Source: Xen io/ring.h. docs/wire/ring.md.
 *
 *  The front end owns the page and may write anything at any time: only private indices are believed, a slot is copied
 *  out once and the copy judged, and a producer index that jumped too far marks the ring broken. */
import { RING_HEADER_BYTES, RING_REQ_EVENT, RING_REQ_PROD, RING_RSP_EVENT, RING_RSP_PROD } from '../abi/ring.js';
import type { Mem } from '@grantline/machine';
import { assertPow2, idxAdd, idxDist, passed, type RingIdx } from './indices.js';

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
