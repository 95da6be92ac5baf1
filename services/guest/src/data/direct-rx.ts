/** The guest's own NIC receive queue, without a driver domain in the path (`direct`). docs/wire/nic-queue.md.
 *
 *  The NIC stands for hardware, but it may be shared with others and its pages are only pages: indices and lengths are
 *  checked all the same. Buffers are in the DMA table for as long as the queue lives; nothing is granted. */
import {
  NICQ_COMP_EOP,
  NICQ_COMP_ERROR,
  NICQ_COMP_INFO,
  NICQ_SIZE,
  NETIF_NR_SLOTS_MIN,
  type DriverQueue,
  notifyIf,
  compFlags,
  compLen,
} from '@grantline/xen';
import { NO_RX_PROBE, type RxProbe, DRIVER_COUNTERS, NETFRONT_COUNTERS } from '@grantline/observe';
import { type CounterBlock, slots, type Mem, type Poller, type Laps, type Notify } from '@grantline/machine';
import type { RxBuffers } from './rx-buffers.js';
import { RX_CSUM_BLANK, RX_FRAMES_SHIFT, bulkFrames, type RxSink } from '@grantline/measure';
import { RX_BATCH, type RxComponents } from './netfront-rx.js';

const C = slots(DRIVER_COUNTERS);
const TO_STACK = slots(NETFRONT_COUNTERS).toStack;

const NO_DATA = -1;

export const DIRECT_FAULTS = [
  'none',
  'the NIC completed more than was posted',
  'a completion is longer than its buffer',
  'a frame has more buffers than any frame may have',
] as const;

export interface DirectRxOptions {
  mem: Mem;
  queue: DriverQueue;
  buffers: RxBuffers;
  /** By buffer id: number of its page in the DMA table. */
  dpn: Int32Array;
  sink: RxSink;
  laps: Laps;
  components: RxComponents;
  counters: CounterBlock;
  /** Its toStack counts these frames too: what the stack gets is counted in one place. */
  netfront: CounterBlock;
  nic: Notify;
  batching: boolean;
  onFault: (reason: string) => void;
}

export class DirectRx implements Poller {
  scheduled = false;
  fault = 0;
  probe: RxProbe = NO_RX_PROBE;
  private readonly o: DirectRxOptions;
  private readonly posted = new Int32Array(NICQ_SIZE);
  private readonly batch = new Int32Array(RX_BATCH);
  private batchCount = 0;
  /** Bytes in each buffer of the frame or packet at hand; NO_DATA: the one that tells what a packet is. */
  private readonly chainLen = new Int32Array(NETIF_NR_SLOTS_MIN + 1);
  private partial = 0;

  constructor(options: DirectRxOptions) {
    this.o = options;
  }

  /** @returns completions taken */
  poll(): number {
    if (this.fault !== 0) return 0;
    const { queue, laps, components, sink, buffers, counters } = this.o;
    const completed = queue.completed();
    if (completed === this.partial) return 0;
    if (completed < 0) this.fault = 1;
    const taken = completed < 0 ? 0 : this.take(completed < RX_BATCH ? completed : RX_BATCH);
    if (this.fault === 0) this.refill();
    laps.lap(components.queue);
    if (taken > 0) {
      sink.process();
      if (this.probe.on) this.probe.settle();
      laps.lap(components.stack);
      sink.deliver(laps.now);
      laps.lap(components.application);
      buffers.recycle(this.batch, this.batchCount);
      this.batchCount = 0;
      if (this.fault === 0) this.refill();
    }
    counters.commit();
    this.o.netfront.commit();
    if (this.fault !== 0) this.o.onFault(DIRECT_FAULTS[this.fault]);
    return taken;
  }

  arm(): boolean {
    if (this.fault !== 0) return false;
    this.o.queue.arm(this.partial + 1);
    return this.o.queue.completed() !== this.partial;
  }

  /** Posts what is free; all but a batch of the buffers are out when nothing comes. */
  refill(): void {
    const { queue, buffers, dpn, batching, nic, counters } = this.o;
    const most = buffers.count < NICQ_SIZE ? buffers.count : NICQ_SIZE;
    let want = queue.free() - (NICQ_SIZE - most);
    if (batching && want < most >> 2 && want < RX_BATCH) return;
    if (want > buffers.freeCount) want = buffers.freeCount;
    if (want <= 0) return;
    for (let i = 0; i < want; i++) {
      const id = buffers.freeIds[--buffers.freeCount];
      this.posted[queue.availProd & (NICQ_SIZE - 1)] = id;
      queue.post(dpn[id], buffers.pageOffset[id], buffers.bytes);
    }
    notifyIf(queue.publish(), nic, counters.v, C.notifications, C.suppressed);
  }

  describe(): Record<string, unknown> {
    return { fault: DIRECT_FAULTS[this.fault], queue: this.o.queue.describe(), buffers: this.o.buffers.describe() };
  }

  /** @param first its first completion, of `chain` @returns how many frames the packet stands for; 0: its headers say that it cannot be
   *  one of so long frames */
  private packetFrames(first: number, chain: number, mss: number): number {
    const { mem, buffers } = this.o;
    let bytes = 0;
    for (let k = 0; k < chain; k++) if (this.chainLen[k] !== NO_DATA) bytes += this.chainLen[k];
    return bulkFrames(mem, buffers.at[this.posted[first & (NICQ_SIZE - 1)]], this.chainLen[0], bytes, mss);
  }

  private take(n: number): number {
    const { queue, buffers } = this.o;
    const v = this.o.counters.v;
    const cons = queue.compCons;
    let taken = 0;
    let chain = 0;
    let mss = 0;
    let failed = false;
    const before = v[C.frames];
    for (let i = 0; i < n; i++) {
      const comp = queue.completion(i);
      const len = compLen(comp);
      const flags = compFlags(comp);
      // The second of a packet's buffers. Anywhere else it is judged as any other.
      if ((flags & NICQ_COMP_INFO) !== 0 && chain === 1) {
        mss = len;
        this.chainLen[chain++] = NO_DATA;
        continue;
      }
      if (len > buffers.bytes) {
        this.fault = 2;
        break;
      }
      if ((flags & NICQ_COMP_ERROR) !== 0) failed = true;
      this.chainLen[chain++] = len;
      // A refused buffer belongs to no frame: the NIC tries the next one.
      if ((flags & (NICQ_COMP_EOP | NICQ_COMP_ERROR)) === 0) {
        if (chain < (mss > 0 ? NETIF_NR_SLOTS_MIN + 1 : NETIF_NR_SLOTS_MIN)) continue;
        this.fault = 3;
        break;
      }
      const frames = failed ? 0 : mss > 0 ? this.packetFrames(cons + taken, chain, mss) : 1;
      if (frames === 0) v[C.errors]++;
      else v[C.frames] += frames;
      let info = mss > 0 ? RX_CSUM_BLANK | (frames << RX_FRAMES_SHIFT) | mss : 0;
      for (let k = 0; k < chain; k++) {
        const id = this.posted[(cons + taken + k) & (NICQ_SIZE - 1)];
        this.batch[this.batchCount++] = id;
        const part = this.chainLen[k];
        if (frames === 0 || part === NO_DATA) continue;
        v[C.bytes] += part;
        this.o.sink.fragment(buffers.at[id], part, k + 1 < chain, info);
        if (this.probe.on) this.probe.fragment(buffers.at[id], part, k + 1 < chain);
        info = 0;
      }
      taken += chain;
      chain = mss = 0;
      failed = false;
    }
    if (this.fault !== 0) v[C.errors]++;
    this.o.netfront.v[TO_STACK] += v[C.frames] - before;
    this.partial = chain;
    queue.consume(taken);
    return taken;
  }
}
