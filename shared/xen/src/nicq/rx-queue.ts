/** Both ends of a NIC receive queue: the driver posts buffers and takes completions, the NIC takes buffers and writes completions.
 *  docs/wire/nic-queue.md. The driver's end is used by the domain that drives the queue: the driver domain, or in `direct` the guest
 *  itself. So the NIC believes nothing that the driver wrote: entries are read once, indices are checked. */
import * as abi from '../abi/nic-queue.js';
import { NICQ_COMP_PACKET, NICQ_ENTRY_BYTES, NICQ_SIZE } from '../abi/nic-queue.js';
import { PAGE_SIZE } from '@grantline/base';
import type { Mem } from '@grantline/machine';
import { ringIdx, type RingIdx } from '../ring/indices.js';
import { DeviceEnd, DriverEnd } from './queue-ends.js';

// Local, so that the engine folds them into the code: see shared/frames/src/flow-templates.ts.
const { nicComp, nicSpan } = abi;

export class DriverQueue extends DriverEnd {
  /** Word offsets of the first entry of either page, for who posts and takes many in one go: an index's entry is two words long, at
   *  its remainder by NICQ_SIZE. */
  readonly availWord: number;
  readonly compWord: number;

  /** @param base byte offset of three zeroed pages: header, avail, comp
   *  @param start first index; 0 except in tests of the wrap */
  constructor(mem: Mem, base: number, start = ringIdx(0)) {
    super(mem, base, NICQ_SIZE, start);
    this.availWord = (base + PAGE_SIZE) >> 2;
    this.compWord = (base + 2 * PAGE_SIZE) >> 2;
  }

  /** Puts a buffer; `publish` makes it visible. The caller has checked `free`. */
  post(dpn: number, offset: number, len: number): void {
    const at = this.availWord + ((this.availProd & (NICQ_SIZE - 1)) << 1);
    this.u32[at] = dpn;
    this.u32[at + 1] = nicSpan(offset, len);
    this.availProd = ((this.availProd + 1) >>> 0) as RingIdx;
  }

  /** @returns the completion that is `ahead` after the next one to take: `compLen` and `compFlags` take it apart. The page is
   *  shared: to be read once */
  completion(ahead: number): number {
    return this.u32[this.compWord + (((this.compCons + ahead) & (NICQ_SIZE - 1)) << 1)];
  }

  /** @returns how many frames the packet stands for whose first buffer that completion is (NICQ_COMP_PACKET); 1 to 255,
   *  whatever stands there */
  frames(ahead: number): number {
    return this.u32[this.compWord + (((this.compCons + ahead) & (NICQ_SIZE - 1)) << 1) + 1] & 0xff || 1;
  }
}

export class DeviceQueue extends DeviceEnd {
  private readonly avail: number;
  private readonly comp: number;

  /** @param header, avail, comp byte offsets of the three pages, each found through the DMA table
   *  @param start first index; 0 except in tests of the wrap */
  constructor(mem: Mem, header: number, avail: number, comp: number, start = ringIdx(0)) {
    super(mem, header, NICQ_SIZE, start);
    this.avail = avail;
    this.comp = comp;
  }

  /** @returns byte offset of the entry of the buffer that is `ahead` after the next one */
  entry(ahead = 0): number {
    return this.avail + ((this.cons + ahead) & (NICQ_SIZE - 1)) * NICQ_ENTRY_BYTES;
  }

  /** Takes the next buffer and writes its completion; `publish` makes it visible. */
  complete(len: number, flags: number): void {
    const at = this.comp + (this.cons & (NICQ_SIZE - 1)) * NICQ_ENTRY_BYTES;
    this.u32[at >> 2] = nicComp(len, flags);
    this.cons = ((this.cons + 1) >>> 0) as RingIdx;
  }

  /** As `complete`, of the first buffer of a packet. @param frames that it stands for, at most 255 */
  completePacket(len: number, flags: number, frames: number): void {
    this.u32[(this.comp + (this.cons & (NICQ_SIZE - 1)) * NICQ_ENTRY_BYTES + 4) >> 2] = frames;
    this.complete(len, flags | NICQ_COMP_PACKET);
  }
}
