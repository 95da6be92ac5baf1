/** The NIC's side of a transmit queue: takes descriptors, writes completions. docs/wire/nic-queue.md section 8. The driver
 *  may be a guest (`direct`), so nothing that it wrote is believed: a descriptor is read once, indices are checked. */
import { NICQ_AVAIL_EVENT, NICQ_AVAIL_PROD, NICQ_COMP_EVENT, NICQ_COMP_PROD } from '../abi/nic-queue.js';
import { NICTX_SIZE } from '../abi/nic-tx-queue.js';
import type { Mem } from '@grantline/machine';
import { idxAdd, passed, ringIdx, type RingIdx } from '../ring/indices.js';

const MASK = NICTX_SIZE - 1;

export class TxDeviceQueue {
  /** Descriptors taken; completions are as many. */
  cons: RingIdx;
  private readonly u32: Uint32Array;
  private readonly header: number;
  private readonly avail: number;
  private readonly comp: number;
  private published: RingIdx;

  /** @param header, avail, comp byte offsets of the three pages, each found through the DMA table
   *  @param start first index; 0 except in tests of the wrap */
  constructor(mem: Mem, header: number, avail: number, comp: number, start = ringIdx(0)) {
    this.u32 = mem.u32;
    this.header = header;
    this.avail = avail >> 2;
    this.comp = comp >> 2;
    this.cons = this.published = start;
  }

  /** @returns descriptors to take, 0 to NICTX_SIZE; -1 when the driver's index is impossible */
  available(): number {
    const n = (Atomics.load(this.u32, (this.header + NICQ_AVAIL_PROD) >> 2) - this.cons) >>> 0;
    return n > NICTX_SIZE ? -1 : n;
  }

  /** @returns word offset of the descriptor that is `ahead` after the next one */
  entry(ahead = 0): number {
    return this.avail + (((this.cons + ahead) & MASK) << 2);
  }

  /** Takes `n` descriptors and writes their completions; `publish` makes them visible. */
  complete(n: number, status: number): void {
    let cons: number = this.cons;
    for (let i = 0; i < n; i++) this.u32[this.comp + (cons++ & MASK)] = status;
    this.cons = (cons >>> 0) as RingIdx;
  }

  /** Completions written but not yet visible to the driver. */
  unpublished(): number {
    return (this.cons - this.published) >>> 0;
  }

  /** @returns true when the driver asked to be notified */
  publish(): boolean {
    const old = this.published;
    if (old === this.cons) return false;
    this.published = this.cons;
    Atomics.store(this.u32, (this.header + NICQ_COMP_PROD) >> 2, this.cons);
    return passed(Atomics.load(this.u32, (this.header + NICQ_COMP_EVENT) >> 2) as RingIdx, old, this.cons);
  }

  /** Asks for a notification once `after` more descriptors are there, and looks again. @returns true: do not sleep */
  arm(after = 1): boolean {
    Atomics.store(this.u32, (this.header + NICQ_AVAIL_EVENT) >> 2, idxAdd(this.cons, after));
    return Atomics.load(this.u32, (this.header + NICQ_AVAIL_PROD) >> 2) !== this.cons;
  }
}
