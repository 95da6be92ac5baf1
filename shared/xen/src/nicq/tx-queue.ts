/** Both ends of a NIC transmit queue: the driver posts packets and takes completions, the NIC takes descriptors and writes completions.
 *  docs/wire/nic-queue.md section 8. Who drives it, and what is believed: as of a receive queue (rx-queue.ts). */
import { nicSpan } from '../abi/nic-queue.js';
import { NICTX_SIZE, txHeaders, txOrder } from '../abi/nic-tx-queue.js';
import { PAGE_SIZE } from '@grantline/base';
import type { Mem } from '@grantline/machine';
import { ringIdx, type RingIdx } from '../ring/indices.js';
import { DeviceEnd, DriverEnd } from './queue-ends.js';

const MASK = NICTX_SIZE - 1;

export class TxDriverQueue extends DriverEnd {
  private readonly avail: number;
  private readonly comp: number;

  /** @param base byte offset of three zeroed pages: header, avail, comp
   *  @param start first index; 0 except in tests of the wrap */
  constructor(mem: Mem, base: number, start = ringIdx(0)) {
    super(mem, base, NICTX_SIZE, start);
    this.avail = (base + PAGE_SIZE) >> 2;
    this.comp = (base + 2 * PAGE_SIZE) >> 2;
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

  /** @returns NICTX_COMP_* of the completion that is `ahead` after the next one to take */
  status(ahead: number): number {
    return this.u32[this.comp + ((this.compCons + ahead) & MASK)];
  }
}

export class TxDeviceQueue extends DeviceEnd {
  private readonly avail: number;
  private readonly comp: number;

  /** @param header, avail, comp byte offsets of the three pages, each found through the DMA table
   *  @param start first index; 0 except in tests of the wrap */
  constructor(mem: Mem, header: number, avail: number, comp: number, start = ringIdx(0)) {
    super(mem, header, NICTX_SIZE, start);
    this.avail = avail >> 2;
    this.comp = comp >> 2;
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
}
