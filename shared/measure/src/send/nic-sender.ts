/** Sends through a NIC transmit queue of one's own: the guest's in `direct`, the driver domain's in `native`. Buffers are in
 *  the DMA table for as long as the queue lives; nothing is granted, and nobody is in between. */
import {
  NICTX_COMP_SENT,
  NICTX_CSUM_TCP,
  NICTX_CSUM_UDP,
  NICTX_EOP,
  NICTX_MAX_CHAIN,
  NICTX_SIZE,
  NICTX_TSO,
  type TxDriverQueue,
  notifyIf,
} from '@grantline/xen';
import { PAGE_SIZE } from '@grantline/base';
import { NOT_DROPPED, OUTBOUND, NO_PROBE, type FrameProbe, NETFRONT_TX_COUNTERS } from '@grantline/observe';
import { slots, type CounterBlock, type Mem, type Notify } from '@grantline/machine';
import { UDP_CHECK, ETH_MAX_PACKET } from '@grantline/frames';
import type { SendBuffers } from './send-buffers.js';
import type { LendingTxDevice } from './tx-device.js';

const C = slots(NETFRONT_TX_COUNTERS);

export interface NicSenderOptions {
  mem: Mem;
  queue: TxDriverQueue;
  buffers: SendBuffers;
  /** By buffer page: its number in the DMA table. */
  dpn: Int32Array;
  nic: Notify;
  counters: CounterBlock;
  /** The NIC did what cannot be. Called once. */
  onFault: (reason: string) => void;
}

export class NicSender implements LendingTxDevice {
  readonly maxBytes = Math.min((NICTX_MAX_CHAIN - 2) * PAGE_SIZE, ETH_MAX_PACKET);
  broken = false;
  probe: FrameProbe = NO_PROBE;
  private readonly o: NicSenderOptions;
  /** Buffer of each descriptor, and whether it ends a packet. */
  private readonly posted = new Int32Array(NICTX_SIZE);
  private readonly isLast = new Uint8Array(NICTX_SIZE);

  constructor(options: NicSenderOptions) {
    this.o = options;
  }

  room(bytes: number): boolean {
    const { queue, buffers } = this.o;
    return !this.broken && queue.free() >= NICTX_MAX_CHAIN && buffers.canHold(bytes);
  }

  stage(src: number, bytes: number, mss: number, csumStart: number, headerBytes: number, csumOffset = 0): number {
    const { buffers, mem } = this.o;
    if (this.probe.on) this.probe.frame(src, bytes, OUTBOUND, NOT_DROPPED);
    let left = bytes;
    let from = src;
    let flags = flagsOf(mss, csumStart, csumOffset);
    let copies = 0;
    while (left > 0) {
      const id = buffers.take(bytes);
      const part = left < buffers.size[id] ? left : buffers.size[id];
      mem.u8.copyWithin(buffers.at[id], from, from + part);
      from += part;
      left -= part;
      this.post(id, part, left === 0, flags, mss, csumStart, headerBytes);
      flags = 0;
      copies++;
    }
    this.count(copies);
    return copies;
  }

  lend(): number {
    return this.o.buffers.takePage();
  }

  placeOf(id: number): number {
    return this.o.buffers.at[id];
  }

  giveBack(id: number): void {
    this.o.buffers.give(id);
  }

  roomForLent(): boolean {
    return !this.broken && this.o.queue.free() >= NICTX_MAX_CHAIN;
  }

  stageLent(
    ids: Int32Array,
    bytes: number,
    mss: number,
    csumStart: number,
    headerBytes: number,
    csumOffset: number,
  ): void {
    if (this.probe.on) {
      this.probe.begin();
      for (let i = 0; i * PAGE_SIZE < bytes; i++)
        this.probe.piece(this.o.buffers.at[ids[i]], Math.min(PAGE_SIZE, bytes - i * PAGE_SIZE));
      this.probe.end(bytes, OUTBOUND, NOT_DROPPED);
    }
    let flags = flagsOf(mss, csumStart, csumOffset);
    let n = 0;
    for (let left = bytes; left > 0; left -= PAGE_SIZE) {
      this.post(ids[n++], Math.min(left, PAGE_SIZE), left <= PAGE_SIZE, flags, mss, csumStart, headerBytes);
      flags = 0;
    }
    this.count(n);
  }

  private post(
    id: number,
    bytes: number,
    last: boolean,
    flags: number,
    mss: number,
    csumStart: number,
    headerBytes: number,
  ): void {
    const { queue, buffers, dpn } = this.o;
    const slot = queue.availProd & (NICTX_SIZE - 1);
    this.posted[slot] = id;
    this.isLast[slot] = last ? 1 : 0;
    const all = last ? flags | NICTX_EOP : flags;
    queue.post(dpn[buffers.page[id]], buffers.pageOffset[id], bytes, all, mss, csumStart, headerBytes);
  }

  private count(descriptors: number): void {
    const v = this.o.counters.v;
    v[C.packets]++;
    v[C.slots] += descriptors;
  }

  push(): void {
    const { queue, nic, counters } = this.o;
    notifyIf(queue.publish(), nic, counters.v, C.notifications, C.suppressed);
    counters.commit();
  }

  reclaim(): number {
    const { queue, buffers, counters } = this.o;
    const n = this.broken ? 0 : queue.completed();
    if (n === 0) return 0;
    if (n < 0) {
      this.broken = true;
      this.o.onFault('the NIC completed more than was posted');
      return 0;
    }
    const v = counters.v;
    let packets = 0;
    for (let i = 0; i < n; i++) {
      const slot = (queue.compCons + i) & (NICTX_SIZE - 1);
      buffers.give(this.posted[slot]);
      if (this.isLast[slot] === 0) continue;
      packets++;
      if (queue.status(i) === NICTX_COMP_SENT) v[C.sent]++;
      else v[C.dropError]++;
    }
    queue.consume(n);
    counters.commit();
    return packets;
  }

  arm(): boolean {
    const { queue } = this.o;
    if (this.broken || queue.outstanding() === 0) return false;
    return queue.arm((queue.outstanding() >> 1) + 1) && queue.completed() > 0;
  }

  describe(): Record<string, unknown> {
    return { broken: this.broken, queue: this.o.queue.describe(), freeBuffers: this.o.buffers.free };
  }
}

function flagsOf(mss: number, csumStart: number, csumOffset: number): number {
  if (mss > 0) return NICTX_TSO | NICTX_CSUM_TCP;
  if (csumStart === 0) return 0;
  return csumOffset === UDP_CHECK ? NICTX_CSUM_UDP : NICTX_CSUM_TCP;
}
