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
import { NETFRONT_TX_COUNTERS } from '@grantline/observe';
import { slots, type CounterBlock, type Mem, type Notify } from '@grantline/machine';
import { UDP_CHECK, ETH_MAX_PACKET } from '@grantline/frames';
import type { SendBuffers } from './send-buffers.js';
import { BufferedDevice, type LendingTxDevice } from './tx-device.js';

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

export class NicSender extends BufferedDevice implements LendingTxDevice {
  readonly maxBytes = Math.min((NICTX_MAX_CHAIN - 2) * PAGE_SIZE, ETH_MAX_PACKET);
  broken = false;
  private readonly o: NicSenderOptions;
  /** Buffer of each descriptor, and whether it ends a packet. */
  private readonly posted = new Int32Array(NICTX_SIZE);
  private readonly isLast = new Uint8Array(NICTX_SIZE);

  constructor(options: NicSenderOptions) {
    super(options.mem, options.buffers);
    this.o = options;
  }

  room(bytes: number): boolean {
    return this.roomForLent() && this.buffers.canHold(bytes);
  }

  roomForLent(): boolean {
    return !this.broken && this.o.queue.free() >= NICTX_MAX_CHAIN;
  }

  stage(src: number, bytes: number, mss: number, csumStart: number, headerBytes: number, csumOffset = 0): number {
    const n = this.copyIn(src, bytes);
    this.post(n, mss, csumStart, headerBytes, csumOffset);
    return n;
  }

  stageLent(
    ids: Int32Array,
    bytes: number,
    mss: number,
    csumStart: number,
    headerBytes: number,
    csumOffset: number,
  ): void {
    this.post(this.takeLent(ids, bytes), mss, csumStart, headerBytes, csumOffset);
  }

  /** A descriptor for each of the packet's n pieces. */
  private post(n: number, mss: number, csumStart: number, headerBytes: number, csumOffset: number): void {
    const { queue, dpn, counters } = this.o;
    const { ids, parts, posted, isLast } = this;
    const { page, pageOffset } = this.buffers;
    const last = n - 1;
    let flags = flagsOf(mss, csumStart, csumOffset);
    for (let i = 0; i < n; i++) {
      const id = ids[i];
      const slot = queue.availProd & (NICTX_SIZE - 1);
      posted[slot] = id;
      isLast[slot] = i === last ? 1 : 0;
      const all = i === last ? flags | NICTX_EOP : flags;
      queue.post(dpn[page[id]], pageOffset[id], parts[i], all, mss, csumStart, headerBytes);
      flags = 0;
    }
    const v = counters.v;
    v[C.packets]++;
    v[C.slots] += n;
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
