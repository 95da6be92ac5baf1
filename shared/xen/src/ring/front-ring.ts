/** The front end's view of a shared ring: puts requests, takes responses. Source: Xen io/ring.h. docs/wire/ring.md.
 *
 *  Private indices are the authority for what this side did; of the shared words it believes only the peer's, and of
 *  those only what is possible. Slots are read and written by the caller at `slot(idx)`, before push and after
 *  `unconsumed`; control words go through Atomics, slots through plain loads and stores (ADR 0003). */
import { RING_HEADER_BYTES, RING_REQ_EVENT, RING_REQ_PROD, RING_RSP_EVENT, RING_RSP_PROD } from '../abi/ring.js';
import type { Mem } from '@grantline/machine';
import { assertPow2, idxAdd, idxDist, passed, ringIdx, type RingIdx } from './indices.js';

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
