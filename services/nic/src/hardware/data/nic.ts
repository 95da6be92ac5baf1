/** The NIC as a whole: what the wire brings goes through the address filter to a queue. */
import { NICQ_COMP_MULTICAST } from '@grantline/xen';
import { slots, type CounterBlock, type Mem } from '@grantline/machine';
import { NIC_COUNTERS } from '@grantline/observe';
import * as frames from '@grantline/frames';
import type { BurstGuard } from './dma.js';
import { MacFilter } from './mac-filter.js';
import { NO_MAC_PROBE, type MacProbe } from './mac-probe.js';
import { DROPPED, NO_BUFFER, contained, endBurst, moderate, moderateAll } from './queue-types.js';
import type { NicRxQueue } from './rx-queue.js';

// Local, so that the engine folds them into the code: see flow-templates.ts.
const { ETH_MAX_FRAME, ETH_MIN_FRAME } = frames;
const C = slots(NIC_COUNTERS);

/** Frames in a burst at most: some 40 us at 25 Gb/s, so that a driver is told in good time. */
export const BURST_FRAMES = 64;
/** A sender that waits for buffers looks again at least this often. */
export const RETRY_NS = 2e6;
/** Queues at most: a default queue and one for each guest, with room for VLANs. */
export const MAX_QUEUES = 64;

export class Nic {
  readonly guard: BurstGuard;
  readonly counters: CounterBlock;
  /** 802.3x: a frame without a buffer is not dropped at once; `receive` says NO_BUFFER and the sender waits. */
  flowControl = true;
  /** The queue that the frame before was meant for; NO_QUEUE when it had none. */
  lastQueue = -1;
  /** An injector in front of `take`; null: none. */
  faults: { receive(off: number, len: number): number; endBurst(): void } | null = null;
  probe: MacProbe = NO_MAC_PROBE;
  private readonly filter: MacFilter;
  private readonly u8: Uint8Array;
  private readonly queues: (NicRxQueue | null)[] = new Array<NicRxQueue | null>(MAX_QUEUES).fill(null);
  private highest = 0;

  constructor(mem: Mem, guard: BurstGuard, counters: CounterBlock) {
    this.u8 = mem.u8;
    this.guard = guard;
    this.counters = counters;
    this.filter = new MacFilter(mem);
  }

  /** Puts a queue into service for an address (below 2^48; null: the default queue) and VLAN id (null: any).
   *  @returns its number; -1 when the address is taken, -2 when there are too many queues */
  attach(queue: NicRxQueue, mac: number | null, vlan: number | null): number {
    const id = this.queues.indexOf(null);
    if (id < 0) return -2;
    if (!this.filter.add(mac, vlan, id)) return -1;
    this.queues[id] = queue;
    this.highest = Math.max(this.highest, id + 1);
    return id;
  }

  /** Takes a queue out of service. Bursts are synchronous, so between turns none is under way: on return no transfer
   *  touches the queue's buffers, and none will. @returns the queue; null when no queue has that id */
  detach(id: number): NicRxQueue | null {
    const queue = this.queues[id] ?? null;
    if (queue === null) return null;
    this.filter.remove(id);
    this.queues[id] = null;
    queue.counters.commit();
    return queue;
  }

  queue(id: number): NicRxQueue | null {
    return this.queues[id] ?? null;
  }

  /** @param hi, lo the address @returns the queue that has it, with any VLAN; NO_QUEUE: none. For the embedded switch */
  queueOf(hi: number, lo: number): number {
    return this.filter.exact(hi, lo);
  }

  get defaultQueue(): number {
    return this.filter.defaultQueue;
  }

  /** Takes a frame from the wire. Inside a burst only.
   *  @param off byte offset of the frame, a multiple of 4; @param len bytes without FCS
   *  @returns DELIVERED; DROPPED; or NO_BUFFER: nothing was counted, offer it again (flow control only) */
  receive(off: number, len: number): number {
    return this.faults === null ? this.take(off, len) : this.faults.receive(off, len);
  }

  /** As `receive`, past the injector. */
  take(off: number, len: number): number {
    if (len < ETH_MIN_FRAME || len > ETH_MAX_FRAME) return this.dropSize(off, len);
    const id = this.filter.find(off);
    this.lastQueue = id;
    if (id < 0) return this.drop(off, len, C.dropNoQueue);
    const queue = this.queues[id]!;
    const status = this.offer(queue, off, len);
    if (status === NO_BUFFER) return this.noBuffer(queue, off, len);
    if (this.probe.on) this.seen(off, len, status, queue);
    const v = this.counters.v;
    v[C.inFrames]++;
    v[C.inBytes] += len;
    return status;
  }

  /** What a queue throws is that queue's: it stops, and its frames are dropped and counted. */
  private offer(queue: NicRxQueue, off: number, len: number): number {
    try {
      return queue.deliver(off, len, (this.u8[off] & 1) * NICQ_COMP_MULTICAST);
    } catch (err) {
      queue.failed(err);
      return queue.deliver(off, len, 0);
    }
  }

  /** Publishes what the burst brought. Inside the burst, at its end. */
  endBurst(): void {
    if (this.faults !== null) this.faults.endBurst();
    for (let i = 0; i < this.highest; i++) {
      const queue = this.queues[i]!;
      if (queue !== null) contained(queue, endBurst);
    }
  }

  /** Notifies drivers as they asked. After the burst: a doorbell is no transfer.
   *  @param sleeping true: hold nothing back */
  moderate(sleeping: boolean): void {
    for (let i = 0; i < this.highest; i++) {
      const queue = this.queues[i]!;
      if (queue === null) continue;
      contained(queue, sleeping ? moderateAll : moderate);
      queue.counters.commit();
    }
    this.counters.commit();
  }

  /** A new load begins: no queue has kept anybody waiting yet. */
  beginLoad(flowControl: boolean): void {
    this.flowControl = flowControl;
    for (let i = 0; i < this.highest; i++) this.queues[i]?.forgive();
  }

  /** State of the queues, for dumps. */
  describe(): Record<string, string | number | boolean>[] {
    return this.queues.flatMap((q, queue) => (q === null ? [] : [{ queue, ...q.describe() }]));
  }

  /** For captures: a frame that a queue has dealt with. */
  private seen(off: number, len: number, status: number, queue: NicRxQueue): void {
    if (status === DROPPED) this.probe.droppedByQueue(queue.lastDrop);
    this.probe.rx(off, len);
  }

  private noBuffer(queue: NicRxQueue, off: number, len: number): number {
    if (this.flowControl && queue.worthWaiting()) return NO_BUFFER;
    queue.dropNoBuffer();
    if (this.probe.on) this.seen(off, len, DROPPED, queue);
    this.counters.v[C.inFrames]++;
    this.counters.v[C.inBytes] += len;
    return DROPPED;
  }

  private dropSize(off: number, len: number): number {
    return this.drop(off, len, len < ETH_MIN_FRAME ? C.dropRunt : C.dropOversize);
  }

  private drop(off: number, len: number, reason: number): number {
    const v = this.counters.v;
    v[C.inFrames]++;
    v[C.inBytes] += len;
    v[reason]++;
    if (this.probe.on) {
      this.probe.dropped(reason);
      this.probe.rx(off, len);
    }
    return DROPPED;
  }
}
