/** The NIC driver of the driver domain: keeps the default queue full of its own buffers, takes completions, and hands
 *  the frames to the bridge. Frames longer than a page come as a chain of buffers. */
import {
  NICQ_COMP_EOP,
  NICQ_COMP_ERROR,
  NICQ_COMP_LOOPBACK,
  NICQ_SIZE,
  type DriverQueue,
  compFlags,
  compLen,
  notifyIf,
} from '@grantline/xen';
import { PAGE_SIZE } from '@grantline/base';
import { slots, type CounterBlock, type Poller, DRIVER_DOMAIN_CPU, type Laps, type Notify } from '@grantline/machine';
import { DRIVER_COUNTERS } from '@grantline/observe';
import { ETH_BYTES, ETH_MAX_PACKET } from '@grantline/frames';
import type { Buffers } from './buffers.js';
import { UPLINK, type Bridge } from './bridge.js';

const C = slots(DRIVER_COUNTERS);
const CPU = slots(DRIVER_DOMAIN_CPU);
/** Completions taken in one poll. */
const BATCH = 64;

export interface DriverOptions {
  queue: DriverQueue;
  buffers: Buffers;
  /** Page number of each buffer as the NIC sees it. */
  dpn: Uint32Array;
  bridge: Bridge;
  nic: Notify;
  counters: CounterBlock;
  meter: Laps;
  /** The queue's state is impossible. Called once, from inside a poll. */
  onBroken?: (reason: string) => void;
}

export class NicDriver implements Poller {
  scheduled = false;
  /** The queue's state is impossible: nothing is taken from it any more. */
  broken = false;
  private readonly o: DriverOptions;
  private readonly posted = new Int16Array(NICQ_SIZE);
  private readonly ids = new Int16Array(BATCH);
  private readonly lens = new Uint16Array(BATCH);
  /** Not 0: a guest's own queue sent it. */
  private readonly looped = new Uint8Array(BATCH);
  // The frame under assembly: its first and last buffer, and its bytes so far.
  private head = -1;
  private tail = -1;
  private chained = 0;

  constructor(options: DriverOptions) {
    this.o = options;
  }

  poll(): number {
    const { queue, buffers, bridge, counters, meter } = this.o;
    if (this.broken) return 0;
    this.refill();
    let n = queue.completed();
    if (n < 0) {
      this.broken = true;
      counters.v[C.errors]++;
      counters.commit();
      this.o.onBroken?.('the NIC completed more than was posted');
      return 0;
    }
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
    const { queue, buffers, dpn, counters } = this.o;
    if (this.broken) return;
    let room = queue.free();
    if (room > buffers.available) room = buffers.available;
    if (room === 0) return;
    for (; room > 0; room--) {
      const id = buffers.take();
      this.posted[queue.availProd & (NICQ_SIZE - 1)] = id;
      queue.post(dpn[id], 0, PAGE_SIZE);
    }
    notifyIf(queue.publish(), this.o.nic, counters.v, C.notifications, C.suppressed);
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
