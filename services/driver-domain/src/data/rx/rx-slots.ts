/** Requests that netback has taken from a receive ring and not yet answered, by ring slot. A slot is copied once into
 *  these arrays; from then on only the copy counts, whatever the guest writes into the page. */
import {
  GRANT_ENTRIES,
  NETRXF_MORE_DATA,
  XEN_NETIF_EXTRA_TYPE_GSO,
  XEN_NETIF_GSO_TYPE_TCPV4,
  RX_RING_SIZE,
  type BackRing,
  extraHead,
  idxAdd,
  idxDist,
  rxHigh,
  rxLow,
  rxOffset,
} from '@grantline/xen';
import { PAGE_SIZE } from '@grantline/base';
import type { Mem } from '@grantline/machine';

export const RX_MASK = RX_RING_SIZE - 1;

export class RxSlots {
  readonly ring: BackRing;
  /** Bytes of each buffer, and the highest offset in its page that a request may name. */
  readonly bufferBytes: number;
  readonly maxOffset: number;
  /** What of a request's first word counts: all, or its id alone while feature-rx-offset was not agreed on. */
  readonly lowMask: number;
  /** Id, and the buffer's offset in its page: the first word of request and response (rxLow). */
  readonly low = new Int32Array(RX_RING_SIZE);
  readonly gref = new Uint32Array(RX_RING_SIZE);
  /** Of the response to be: NETRXF_* and bytes, or a negative status. */
  readonly flags = new Uint16Array(RX_RING_SIZE);
  readonly status = new Int16Array(RX_RING_SIZE);
  private readonly u32: Uint32Array;

  /** @param usesOffset both ends agreed on feature-rx-offset: the request's pad is the buffer's offset in its page */
  constructor(mem: Mem, ring: BackRing, bufferBytes: number, usesOffset: boolean) {
    this.u32 = mem.u32;
    this.ring = ring;
    this.bufferBytes = bufferBytes;
    this.maxOffset = PAGE_SIZE - bufferBytes;
    this.lowMask = rxLow(0xffff, usesOffset ? 0xffff : 0);
  }

  /** Copies the next request. The caller has asked the ring how many there are.
   *  @returns its slot number; -1 when its buffer cannot lie where it says */
  take(): number {
    const ring = this.ring;
    const s = ring.reqCons & RX_MASK;
    const at = ring.slot(ring.reqCons) >> 2;
    const low = this.u32[at] & this.lowMask;
    this.low[s] = low;
    this.gref[s] = this.u32[at + 1];
    if (rxOffset(low) > this.maxOffset) return -1;
    ring.reqCons = idxAdd(ring.reqCons, 1);
    return s;
  }

  /** Takes the next request for the extra info of a packet that is not cut: what it names is not used. The caller has
   *  asked the ring. @returns its slot number; -1 as `take` */
  takeGso(mss: number): number {
    const s = this.take();
    if (s < 0) return s;
    this.low[s] = extraHead(XEN_NETIF_EXTRA_TYPE_GSO, mss);
    this.flags[s] = XEN_NETIF_GSO_TYPE_TCPV4;
    this.status[s] = 0;
    return s;
  }

  /** Writes the response of slot `s`, which is the next in ring order, from the arrays. */
  answer(s: number): void {
    const ring = this.ring;
    const at = ring.slot(ring.rspProdPvt) >> 2;
    this.u32[at] = this.low[s]!;
    this.u32[at + 1] = rxHigh(this.flags[s], this.status[s]);
    ring.rspProdPvt = idxAdd(ring.rspProdPvt, 1);
  }

  /** @returns slot number of the oldest request without a response; -1 when there is none */
  oldest(): number {
    return this.ring.rspProdPvt === this.ring.reqCons ? -1 : this.ring.rspProdPvt & RX_MASK;
  }

  /** Requests taken and not answered. */
  unanswered(): number {
    return idxDist(this.ring.rspProdPvt, this.ring.reqCons);
  }

  /** Marks the grefs of all unanswered requests. */
  markInUse(marks: Uint8Array): void {
    const n = this.unanswered();
    for (let i = 0; i < n; i++) {
      const gref = this.gref[(this.ring.rspProdPvt + i) & RX_MASK];
      if (gref < GRANT_ENTRIES) marks[gref] = 1;
    }
  }

  /** @returns true when the slot's frame goes on in the next slot */
  hasMore(s: number): boolean {
    return (this.flags[s] & NETRXF_MORE_DATA) !== 0;
  }
}
