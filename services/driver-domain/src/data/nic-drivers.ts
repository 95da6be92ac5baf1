/** The two drivers of the NIC's default queue, of which one has it at a time: the bridge's, or in `native` that of the driver domain's own
 *  stack. */
import {
  NICQ_COMP_EOP,
  NICQ_COMP_ERROR,
  NICQ_COMP_LOOPBACK,
  NICQ_SIZE,
  NETIF_NR_SLOTS_MIN,
  type DriverQueue,
  compFlags,
  compLen,
  notifyIf,
} from '@grantline/xen';
import { PAGE_SIZE } from '@grantline/base';
import { slots, type CounterBlock, type Poller, DRIVER_DOMAIN_CPU, type Laps, type Notify } from '@grantline/machine';
import { DRIVER_COUNTERS } from '@grantline/observe';
import { ETH_BYTES, ETH_MAX_PACKET } from '@grantline/frames';
import type { RxStack } from '@grantline/measure';
import { UPLINK, type Bridge } from './bridge/bridge.js';
import type { Buffers } from './bridge/buffers.js';

const C = slots(DRIVER_COUNTERS);
const CPU = slots(DRIVER_DOMAIN_CPU);
/** Completions taken in one poll. */
const BATCH = 64;
/** Half a page: a buffer of 2048 bytes takes every frame of the usual size. */
export const NATIVE_BUFFER_BYTES = 2048;
/** Buffers of `native` given back before they are posted: one doorbell for many. */
const REFILL = NICQ_SIZE / 8;

interface DriverOptions {
  queue: DriverQueue;
  /** By page: its number as the NIC sees it. */
  dpn: Uint32Array;
  nic: Notify;
  counters: CounterBlock;
  meter: Laps;
  /** The queue's state is impossible. Called once, from inside a poll. */
  onBroken?: (reason: string) => void;
}

abstract class QueueDriver<O extends DriverOptions> implements Poller {
  scheduled = false;
  /** The queue's state is impossible: nothing is taken from it any more. */
  broken = false;
  protected readonly o: O;

  constructor(options: O) {
    this.o = options;
  }

  abstract poll(): number;
  abstract arm(): boolean;
  /** Posts the buffers that are free. */
  abstract refill(): void;

  protected publish(): void {
    const { queue, nic, counters } = this.o;
    notifyIf(queue.publish(), nic, counters.v, C.notifications, C.suppressed);
  }

  /** @returns 0: what was taken */
  protected breaks(reason: string): number {
    this.broken = true;
    this.o.counters.v[C.errors]++;
    this.o.counters.commit();
    this.o.onBroken?.(reason);
    return 0;
  }
}

interface BridgeDriverOptions extends DriverOptions {
  buffers: Buffers;
  bridge: Bridge;
}

/** Keeps the queue full of the driver domain's own buffers, takes completions, and hands the frames to the bridge. Frames longer than
 *  a page come as a chain of buffers. */
export class NicDriver extends QueueDriver<BridgeDriverOptions> {
  private readonly posted = new Int16Array(NICQ_SIZE);
  private readonly ids = new Int16Array(BATCH);
  private readonly lens = new Uint16Array(BATCH);
  /** Not 0: a guest's own queue sent it. */
  private readonly looped = new Uint8Array(BATCH);
  // The frame under assembly: its first and last buffer, and its bytes so far.
  private head = -1;
  private tail = -1;
  private chained = 0;

  poll(): number {
    const { queue, buffers, bridge, counters, meter } = this.o;
    if (this.broken) return 0;
    this.refill();
    let n = queue.completed();
    if (n < 0) return this.breaks('the NIC completed more than was posted');
    if (n > BATCH) n = BATCH;
    if (n === 0) return 0;
    const frames = this.take(n);
    meter.lap(CPU.driver);
    if (frames > 0) {
      bridge.forward(this.ids, this.lens, frames, UPLINK, meter.now, this.looped);
      for (let i = 0; i < frames; i++) buffers.release(this.ids[i]);
      meter.lap(CPU.bridge);
    }
    this.refill();
    counters.commit();
    return n;
  }

  arm(): boolean {
    if (this.broken) return false;
    return this.o.queue.arm();
  }

  /** Posts every free buffer; called by the vif that gave buffers back. */
  refill(): void {
    const { queue, buffers, dpn } = this.o;
    if (this.broken) return;
    let room = queue.free();
    if (room > buffers.available) room = buffers.available;
    if (room === 0) return;
    for (; room > 0; room--) {
      const id = buffers.take();
      this.posted[queue.availProd & (NICQ_SIZE - 1)] = id;
      queue.post(dpn[id], 0, PAGE_SIZE);
    }
    this.publish();
  }

  /** The queue is off the NIC: its posted buffers are free again, and nothing is posted any more. */
  reclaim(): void {
    const { queue, buffers } = this.o;
    this.broken = true;
    if (this.head >= 0) buffers.release(this.head);
    this.head = -1;
    const n = (queue.availProd - queue.compCons) >>> 0;
    for (let i = 0; i < n; i++) buffers.give(this.posted[(queue.compCons + i) & (NICQ_SIZE - 1)]);
    queue.consume(n);
  }

  /** Reads n completions. @returns frames found, in ids and lens */
  private take(n: number): number {
    const { queue, buffers, counters } = this.o;
    const v = counters.v;
    let frames = 0;
    for (let i = 0; i < n; i++) {
      const comp = queue.completion(i);
      const len = compLen(comp);
      const flags = compFlags(comp);
      const id = this.posted[(queue.compCons + i) & (NICQ_SIZE - 1)];
      buffers.filled(id);
      if (this.head < 0) this.head = id;
      else buffers.next[this.tail] = id;
      this.tail = id;
      this.chained += len;
      const bad = (flags & NICQ_COMP_ERROR) !== 0 || len > PAGE_SIZE || this.chained > ETH_MAX_PACKET;
      if (!bad && (flags & NICQ_COMP_EOP) === 0) continue;
      if (bad || this.chained < ETH_BYTES) {
        v[C.errors]++;
        buffers.release(this.head);
      } else {
        this.ids[frames] = this.head;
        this.lens[frames] = this.chained;
        this.looped[frames] = flags & NICQ_COMP_LOOPBACK;
        v[C.bytes] += this.chained;
        frames++;
      }
      this.head = -1;
      this.chained = 0;
    }
    queue.consume(n);
    v[C.frames] += frames;
    return frames;
  }
}

interface NativeRxOptions extends DriverOptions {
  /** Byte offset of buffer 0; buffer i lies i half pages further. There are NICQ_SIZE of them. */
  base: number;
  stack: Pick<RxStack, 'fragment' | 'process' | 'deliver'>;
}

/** Receive without virtualisation (`native`): the queue feeds the driver domain's own network stack, out of half-page buffers that are
 *  in the DMA table for good. No bridge, no netback, no grants. */
export class NativeRx extends QueueDriver<NativeRxOptions> {
  // As many buffers as queue entries, posted in order for ever: entry i is always buffer i.
  private given = NICQ_SIZE;
  /** Completions seen whose frame is not whole yet. */
  private partial = 0;
  /** Of the frame in progress: bytes of each of its buffers. */
  private readonly lens = new Uint16Array(NETIF_NR_SLOTS_MIN);

  poll(): number {
    const { queue, counters, meter, stack } = this.o;
    if (this.broken) return 0;
    const n = queue.completed();
    if (n === this.partial) return 0;
    const taken = n < 0 ? this.fail() : this.take(n < BATCH ? n : BATCH);
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
    const { queue, dpn } = this.o;
    for (; this.given > 0; this.given--) {
      const id = queue.availProd & (NICQ_SIZE - 1);
      queue.post(dpn[id >> 1], (id & 1) * NATIVE_BUFFER_BYTES, NATIVE_BUFFER_BYTES);
    }
    this.publish();
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
    return this.breaks('the NIC completed what cannot be');
  }
}
