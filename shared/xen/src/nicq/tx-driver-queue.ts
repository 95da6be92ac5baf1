/** The driver's side of a NIC transmit queue: posts packets, takes completions. docs/wire/nic-queue.md section 8.
 *  Used by the domain that drives the queue: the driver domain, or in `direct` the guest itself. */
import { NICQ_AVAIL_EVENT, NICQ_AVAIL_PROD, NICQ_COMP_EVENT, NICQ_COMP_PROD, nicSpan } from '../abi/nic-queue.js';
import { NICTX_SIZE, txHeaders, txOrder } from '../abi/nic-tx-queue.js';
import { PAGE_SIZE } from '@grantline/base';
import type { Mem } from '@grantline/machine';
import { idxAdd, passed, ringIdx, type RingIdx } from '../ring/indices.js';

const MASK = NICTX_SIZE - 1;

export class TxDriverQueue {
  /** Descriptors posted (private) and completions taken: free-running. */
  availProd: RingIdx;
  compCons: RingIdx;
  private readonly u32: Uint32Array;
  private readonly header: number;
  private readonly avail: number;
  private readonly comp: number;
  private published: RingIdx;

  /** @param base byte offset of three zeroed pages: header, avail, comp
   *  @param start first index; 0 except in tests of the wrap */
  constructor(mem: Mem, base: number, start = ringIdx(0)) {
    this.u32 = mem.u32;
    this.header = base;
    this.avail = (base + PAGE_SIZE) >> 2;
    this.comp = (base + 2 * PAGE_SIZE) >> 2;
    this.availProd = this.compCons = this.published = start;
    mem.u8.fill(0, base, base + PAGE_SIZE);
    Atomics.store(this.u32, (base + NICQ_AVAIL_PROD) >> 2, start);
    Atomics.store(this.u32, (base + NICQ_COMP_PROD) >> 2, start);
    Atomics.store(this.u32, (base + NICQ_AVAIL_EVENT) >> 2, idxAdd(start, 1));
    Atomics.store(this.u32, (base + NICQ_COMP_EVENT) >> 2, idxAdd(start, 1));
  }

  /** @returns descriptors that may still be posted, 0 to NICTX_SIZE */
  free(): number {
    return NICTX_SIZE - ((this.availProd - this.compCons) >>> 0);
  }

  /** Descriptors whose completions have not been taken. */
  outstanding(): number {
    return (this.availProd - this.compCons) >>> 0;
  }

  /** Puts one descriptor; `publish` makes it visible, to be called after whole packets only. The caller has checked `free`.
   *  @param flags NICTX_*; all but EOP count in a packet's first descriptor only, as do mss, csumStart, headerBytes */
  post(dpn: number, offset: number, len: number, flags: number, mss = 0, csumStart = 0, headerBytes = 0): void {
    const at = this.avail + ((this.availProd & MASK) << 2);
    const u32 = this.u32;
    u32[at] = dpn;
    u32[at + 1] = nicSpan(offset, len);
    u32[at + 2] = txOrder(flags, mss);
    u32[at + 3] = txHeaders(csumStart, headerBytes);
    this.availProd = ((this.availProd + 1) >>> 0) as RingIdx;
  }

  /** @returns true when the NIC asked to be notified */
  publish(): boolean {
    const old = this.published;
    if (old === this.availProd) return false;
    this.published = this.availProd;
    Atomics.store(this.u32, (this.header + NICQ_AVAIL_PROD) >> 2, this.availProd);
    return passed(Atomics.load(this.u32, (this.header + NICQ_AVAIL_EVENT) >> 2) as RingIdx, old, this.availProd);
  }

  /** @returns completions to take, 0 to NICTX_SIZE; -1 when the NIC claims more than was posted */
  completed(): number {
    const n = (Atomics.load(this.u32, (this.header + NICQ_COMP_PROD) >> 2) - this.compCons) >>> 0;
    return n > (this.published - this.compCons) >>> 0 ? -1 : n;
  }

  /** @returns NICTX_COMP_* of the completion that is `ahead` after the next one to take */
  status(ahead: number): number {
    return this.u32[this.comp + ((this.compCons + ahead) & MASK)];
  }

  /** Gives back `n` completions that were read. */
  consume(n: number): void {
    this.compCons = idxAdd(this.compCons, n);
  }

  /** Asks for a notification once `after` more completions are there, and looks again. @returns true: do not sleep */
  arm(after = 1): boolean {
    Atomics.store(this.u32, (this.header + NICQ_COMP_EVENT) >> 2, idxAdd(this.compCons, after));
    return Atomics.load(this.u32, (this.header + NICQ_COMP_PROD) >> 2) !== this.compCons;
  }

  describe(): Record<string, number> {
    return {
      availProd: this.availProd,
      availEvent: Atomics.load(this.u32, (this.header + NICQ_AVAIL_EVENT) >> 2),
      compCons: this.compCons,
      compProd: Atomics.load(this.u32, (this.header + NICQ_COMP_PROD) >> 2),
      compEvent: Atomics.load(this.u32, (this.header + NICQ_COMP_EVENT) >> 2),
      posted: this.outstanding(),
    };
  }
}
