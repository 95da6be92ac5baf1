/** Receive without virtualisation (`native`): the NIC's default queue feeds the driver domain's own network stack, out
 *  of half-page buffers that are in the DMA table for good. No bridge, no netback, no grants. */
import {
  NICQ_COMP_EOP,
  NICQ_COMP_ERROR,
  NICQ_SIZE,
  NETIF_NR_SLOTS_MIN,
  type DriverQueue,
  compFlags,
  compLen,
  notifyIf,
} from '@grantline/xen';
import { slots, type CounterBlock, type Poller, DRIVER_DOMAIN_CPU, type Laps, type Notify } from '@grantline/machine';
import { DRIVER_COUNTERS } from '@grantline/observe';

const C = slots(DRIVER_COUNTERS);
const CPU = slots(DRIVER_DOMAIN_CPU);
/** Half a page: a buffer of 2048 bytes takes every frame of the usual size. */
export const NATIVE_BUFFER_BYTES = 2048;
const BATCH = 64;
/** Buffers given back before they are posted: one doorbell for many. */
const REFILL = NICQ_SIZE / 8;

/** The stack, as RxStack is one. */
export interface FrameSink {
  fragment(off: number, len: number, more: boolean): void;
  process(): unknown;
  deliver(nowNs: number): unknown;
}

export interface NativeRxOptions {
  queue: DriverQueue;
  /** Byte offset of buffer 0; buffer i lies i half pages further. There are NICQ_SIZE of them. */
  base: number;
  /** By page: its number as the NIC sees it. */
  dpn: Uint32Array;
  stack: FrameSink;
  nic: Notify;
  counters: CounterBlock;
  meter: Laps;
  /** The queue's state is impossible. Called once, from inside a poll. */
  onBroken?: (reason: string) => void;
}

export class NativeRx implements Poller {
  scheduled = false;
  /** The queue's state is impossible: nothing is taken from it any more. */
  broken = false;
  private readonly o: NativeRxOptions;
  // As many buffers as queue entries, posted in order for ever: entry i is always buffer i.
  private given = NICQ_SIZE;
  /** Completions seen whose frame is not whole yet. */
  private partial = 0;
  /** Of the frame in progress: bytes of each of its buffers. */
  private readonly lens = new Uint16Array(NETIF_NR_SLOTS_MIN);

  constructor(options: NativeRxOptions) {
    this.o = options;
  }

  poll(): number {
    const { queue, counters, meter, stack } = this.o;
    if (this.broken) return 0;
    const there = queue.completed();
    if (there === this.partial) return 0;
    const taken = there < 0 ? this.fail() : this.take(there < BATCH ? there : BATCH);
    meter.lap(CPU.driver);
    if (taken > 0) {
      stack.process();
      meter.lap(CPU.stack);
      stack.deliver(meter.now);
      meter.lap(CPU.application);
      queue.consume(taken);
      this.given += taken;
      if (this.given >= REFILL) this.refill();
    }
    counters.commit();
    return taken;
  }

  arm(): boolean {
    if (this.broken) return false;
    this.o.queue.arm(this.partial + 1);
    return this.o.queue.completed() !== this.partial;
  }

  /** Posts the buffers that were given back. */
  refill(): void {
    const { queue, dpn, counters, nic } = this.o;
    for (; this.given > 0; this.given--) {
      const id = queue.availProd & (NICQ_SIZE - 1);
      queue.post(dpn[id >> 1], (id & 1) * NATIVE_BUFFER_BYTES, NATIVE_BUFFER_BYTES);
    }
    notifyIf(queue.publish(), nic, counters.v, C.notifications, C.suppressed);
  }

  /** Names the whole frames among n completions to the stack. @returns completions of whole frames */
  private take(n: number): number {
    const { lens } = this;
    const { queue, base, stack } = this.o;
    const v = this.o.counters.v;
    let whole = 0;
    let bytes = 0;
    this.partial = 0;
    for (let i = 0; i < n; i++) {
      const comp = queue.completion(i);
      const flags = compFlags(comp);
      const len = compLen(comp);
      if (len > NATIVE_BUFFER_BYTES || i - whole >= NETIF_NR_SLOTS_MIN) return this.fail();
      // Read once: what was judged is what is used.
      lens[i - whole] = len;
      bytes += len;
      if ((flags & NICQ_COMP_ERROR) !== 0) v[C.errors]++;
      else if ((flags & NICQ_COMP_EOP) === 0) continue;
      else {
        for (let k = whole; k <= i; k++) {
          const id = (queue.compCons + k) & (NICQ_SIZE - 1);
          stack.fragment(base + id * NATIVE_BUFFER_BYTES, lens[k - whole], k < i);
        }
        v[C.frames]++;
        v[C.bytes] += bytes;
      }
      whole = i + 1;
      bytes = 0;
    }
    this.partial = n - whole;
    return whole;
  }

  private fail(): number {
    this.broken = true;
    this.o.counters.v[C.errors]++;
    this.o.onBroken?.('the NIC completed what cannot be');
    return 0;
  }
}
