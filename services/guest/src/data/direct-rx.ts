/** The guest's own NIC receive queue, without a driver domain in the path (`direct`). docs/wire/nic-queue.md.
 *
 *  The NIC stands for hardware, but it may be shared with others and its pages are only pages: indices and lengths are
 *  checked all the same. Buffers are in the DMA table for as long as the queue lives; nothing is granted. */
import {
  NICQ_COMP_EOP,
  NICQ_COMP_ERROR,
  NICQ_SIZE,
  NETIF_NR_SLOTS_MIN,
  type DriverQueue,
  notifyIf,
  compFlags,
  compLen,
} from '@grantline/xen';
import { NO_RX_PROBE, type RxProbe, DRIVER_COUNTERS, NETFRONT_COUNTERS } from '@grantline/observe';
import { type CounterBlock, slots, type Poller, type Laps, type Notify } from '@grantline/machine';
import type { RxBuffers } from './rx-buffers.js';
import type { RxSink } from '@grantline/measure';
import { RX_BATCH, type RxComponents } from './netfront-rx.js';

const C = slots(DRIVER_COUNTERS);
const TO_STACK = slots(NETFRONT_COUNTERS).toStack;

export const DIRECT_FAULTS = [
  'none',
  'the NIC completed more than was posted',
  'a completion is longer than its buffer',
  'a frame has more buffers than any frame may have',
] as const;

export interface DirectRxOptions {
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
  private readonly chainLen = new Int32Array(NETIF_NR_SLOTS_MIN);
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

  private take(n: number): number {
    const { queue, buffers } = this.o;
    const v = this.o.counters.v;
    const cons = queue.compCons;
    let taken = 0;
    let chain = 0;
    let failed = false;
    const before = v[C.frames];
    for (let i = 0; i < n; i++) {
      const comp = queue.completion(i);
      const len = compLen(comp);
      const flags = compFlags(comp);
      if (len > buffers.bytes) {
        this.fault = 2;
        break;
      }
      if ((flags & NICQ_COMP_ERROR) !== 0) failed = true;
      this.chainLen[chain++] = len;
      // A refused buffer belongs to no frame: the NIC tries the next one.
      if ((flags & (NICQ_COMP_EOP | NICQ_COMP_ERROR)) === 0) {
        if (chain < NETIF_NR_SLOTS_MIN) continue;
        this.fault = 3;
        break;
      }
      if (failed) v[C.errors]++;
      else v[C.frames]++;
      for (let k = 0; k < chain; k++) {
        const id = this.posted[(cons + taken + k) & (NICQ_SIZE - 1)];
        this.batch[this.batchCount++] = id;
        if (failed) continue;
        v[C.bytes] += this.chainLen[k];
        this.o.sink.fragment(buffers.at[id], this.chainLen[k], k + 1 < chain);
        if (this.probe.on) this.probe.fragment(buffers.at[id], this.chainLen[k], k + 1 < chain);
      }
      taken += chain;
      chain = 0;
      failed = false;
    }
    if (this.fault !== 0) v[C.errors]++;
    this.o.netfront.v[TO_STACK] += v[C.frames] - before;
    this.partial = chain;
    queue.consume(taken);
    return taken;
  }
}
