/** The NIC's side of a receive queue: takes buffers, writes completions. docs/wire/nic-queue.md. The driver may be a
 *  guest (`direct`), so nothing that it wrote is believed: entries are read once, indices are checked. */
import * as abi from '../abi/nic-queue.js';
import {
  NICQ_AVAIL_EVENT,
  NICQ_AVAIL_PROD,
  NICQ_COMP_EVENT,
  NICQ_COMP_PROD,
  NICQ_ENTRY_BYTES,
  NICQ_SIZE,
} from '../abi/nic-queue.js';
import { idxAdd, passed, type RingIdx } from '../ring/indices.js';
import type { Mem } from '@grantline/machine';

// Local, so that the engine folds it into the code: see shared/frames/src/flow-templates.ts.
const { nicComp } = abi;

export class DeviceQueue {
  availCons = 0 as RingIdx;
  compProd = 0 as RingIdx;
  private readonly u32: Uint32Array;
  private readonly header: number;
  private readonly avail: number;
  private readonly comp: number;
  private published = 0 as RingIdx;

  /** @param header, avail, comp byte offsets of the three pages, each found through the DMA table */
  constructor(mem: Mem, header: number, avail: number, comp: number) {
    this.u32 = mem.u32;
    this.header = header;
    this.avail = avail;
    this.comp = comp;
  }

  /** @returns buffers to use, 0 to NICQ_SIZE; -1 when the driver's index is impossible */
  available(): number {
    const n = (Atomics.load(this.u32, (this.header + NICQ_AVAIL_PROD) >> 2) - this.availCons) >>> 0;
    return n > NICQ_SIZE ? -1 : n;
  }

  /** @returns byte offset of the entry of the buffer that is `ahead` after the next one */
  entry(ahead = 0): number {
    return this.avail + ((this.availCons + ahead) & (NICQ_SIZE - 1)) * NICQ_ENTRY_BYTES;
  }

  /** Takes the next buffer and writes its completion; `publish` makes it visible. */
  complete(len: number, flags: number): void {
    const at = this.comp + (this.compProd & (NICQ_SIZE - 1)) * NICQ_ENTRY_BYTES;
    this.u32[at >> 2] = nicComp(len, flags);
    this.availCons = ((this.availCons + 1) >>> 0) as RingIdx;
    this.compProd = ((this.compProd + 1) >>> 0) as RingIdx;
  }

  /** Completions written but not yet visible to the driver. */
  unpublished(): number {
    return (this.compProd - this.published) >>> 0;
  }

  /** @returns true when the driver asked to be notified */
  publish(): boolean {
    const old = this.published;
    if (old === this.compProd) return false;
    this.published = this.compProd;
    Atomics.store(this.u32, (this.header + NICQ_COMP_PROD) >> 2, this.compProd);
    return passed(Atomics.load(this.u32, (this.header + NICQ_COMP_EVENT) >> 2) as RingIdx, old, this.compProd);
  }

  /** Asks for a notification once `after` more buffers are there, and looks again. @returns true: do not sleep */
  arm(after = 1): boolean {
    Atomics.store(this.u32, (this.header + NICQ_AVAIL_EVENT) >> 2, idxAdd(this.availCons, after));
    return Atomics.load(this.u32, (this.header + NICQ_AVAIL_PROD) >> 2) !== this.availCons;
  }
}
