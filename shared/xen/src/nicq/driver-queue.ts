/** The driver's side of a NIC receive queue: posts buffers, takes completions. docs/wire/nic-queue.md.
 *  Used by the domain that drives the queue: the driver domain, or in `direct` the guest itself. */
import * as abi from '../abi/nic-queue.js';
import {
  NICQ_AVAIL_EVENT,
  NICQ_AVAIL_PROD,
  NICQ_COMP_EVENT,
  NICQ_COMP_PROD,
  NICQ_ENTRY_BYTES,
  NICQ_SIZE,
} from '../abi/nic-queue.js';
import { PAGE_SIZE } from '@grantline/base';
import type { Mem } from '@grantline/machine';
import { idxAdd, passed, type RingIdx } from '../ring/indices.js';

// Local, so that the engine folds it into the code: see shared/frames/src/flow-templates.ts.
const { nicSpan } = abi;

export class DriverQueue {
  /** Buffers posted (private) and completions taken: free-running. */
  availProd = 0 as RingIdx;
  compCons = 0 as RingIdx;
  private readonly u32: Uint32Array;
  private readonly header: number;
  private readonly avail: number;
  private readonly comp: number;
  private published = 0 as RingIdx;

  /** @param base byte offset of three zeroed pages: header, avail, comp */
  constructor(mem: Mem, base: number) {
    this.u32 = mem.u32;
    this.header = base;
    this.avail = base + PAGE_SIZE;
    this.comp = base + 2 * PAGE_SIZE;
    mem.u8.fill(0, base, base + PAGE_SIZE);
    Atomics.store(this.u32, (base + NICQ_AVAIL_EVENT) >> 2, 1);
    Atomics.store(this.u32, (base + NICQ_COMP_EVENT) >> 2, 1);
  }

  /** @returns buffers that may still be posted, 0 to NICQ_SIZE */
  free(): number {
    return NICQ_SIZE - ((this.availProd - this.compCons) >>> 0);
  }

  /** Puts a buffer; `publish` makes it visible. The caller has checked `free`. */
  post(dpn: number, offset: number, len: number): void {
    const at = this.avail + (this.availProd & (NICQ_SIZE - 1)) * NICQ_ENTRY_BYTES;
    this.u32[at >> 2] = dpn;
    this.u32[(at >> 2) + 1] = nicSpan(offset, len);
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

  /** @returns completions to take, 0 to NICQ_SIZE; -1 when the NIC claims more than was posted */
  completed(): number {
    const n = (Atomics.load(this.u32, (this.header + NICQ_COMP_PROD) >> 2) - this.compCons) >>> 0;
    return n > (this.published - this.compCons) >>> 0 ? -1 : n;
  }

  /** @returns the completion that is `ahead` after the next one to take: `compLen` and `compFlags` take it apart. The page is
   *  shared: to be read once */
  completion(ahead: number): number {
    return this.u32[(this.comp + ((this.compCons + ahead) & (NICQ_SIZE - 1)) * NICQ_ENTRY_BYTES) >> 2];
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
      posted: (this.availProd - this.compCons) >>> 0,
    };
  }
}
