/** The receive queue of a vif that the NIC feeds: the guest's posted buffers go to the guest's NIC queue, and what the
 *  NIC completes is answered. The driver domain touches no byte of a frame.
 *
 *  A request whose grant is in the pool is posted at once and answered at once (pooled-rx.ts). Any other is pinned first
 *  and unpinned before its answer (pinned-rx.ts); while there are such, the quick loops pause. */
import {
  NICQ_COMP_EOP,
  NICQ_SIZE,
  RX_RING_SIZE,
  type DriverQueue,
  NICQ_COMP_ERROR,
  NICQ_COMP_INFO,
  NICQ_COMP_PACKET,
  compFlags,
  compLen,
  notifyIf,
} from '@grantline/xen';
import { NO_PROBE, type FrameProbe, NETBACK_COUNTERS, INBOUND, UNSEEN } from '@grantline/observe';
import { DRIVER_DOMAIN_CPU, slots as counterSlots, type Notify } from '@grantline/machine';
import { NicFrames, PooledRx } from './pooled-rx.js';
import { PinnedRx } from './pinned-rx.js';
import type { GrantPool, PoolUser } from '../grants/grant-pool.js';
import { VifPart, type QueueOptions } from '../vif-part.js';
import type { RxSlots } from './rx-slots.js';

const C = counterSlots(NETBACK_COUNTERS);
const CPU = counterSlots(DRIVER_DOMAIN_CPU);
/** Buffers with the NIC that let the guest's next ones wait, up to as many: half of the ring. */
const PLENTY = RX_RING_SIZE / 2;

export interface NicRxOptions extends QueueOptions {
  slots: RxSlots;
  queue: DriverQueue;
  pool: GrantPool;
  nic: Notify;
}

export class NetbackNicRx extends VifPart implements PoolUser {
  probe: FrameProbe = NO_PROBE;
  /** For requests whose grants are not in the pool. */
  readonly slowLoop: PinnedRx;
  private readonly o: NicRxOptions;
  private readonly pooled: PooledRx;
  /** Of captures: bytes of the frame whose last buffer has not come. */
  private seenBytes = 0;

  constructor(options: NicRxOptions) {
    super(options, C.ringFaults);
    const { mem, slots, queue, pool, granter, counters, meter } = options;
    this.o = options;
    const frames = new NicFrames(counters);
    const shared = { mem, slots, queue, pool, counters, frames, postedSlot: new Uint8Array(NICQ_SIZE) };
    this.pooled = new PooledRx(shared);
    this.slowLoop = new PinnedRx({ ...shared, granter, meter, onReply: () => this.replied() });
  }

  poll(): number {
    if (this.stopped) return 0;
    const { slowLoop } = this;
    const { slots, counters, meter, queue } = this.o;
    const rspBefore = slots.ring.rspProdPvt;
    slowLoop.blocked = false;
    let work = this.slowLoop.settle();
    work += this.takeCompletions();
    if (!this.stopped) work += this.takeRequests();
    if (this.stopped) return work;
    // Where others have all the work, looking is all that this vif costs.
    if (work === 0 && slowLoop.slow === 0) return 0;
    if (slowLoop.slow > 0) {
      slowLoop.post();
      slowLoop.answer();
    }
    if (slots.ring.rspProdPvt !== rspBefore) {
      notifyIf(slots.ring.push(), this.o.guest, counters.v, C.notifications, C.suppressed);
    }
    if (queue.publish()) this.o.nic.notify();
    meter.lap(CPU.netback);
    if (slowLoop.slow > 0) this.slowLoop.flush();
    if (work > 0) counters.commit();
    return work;
  }

  arm(): boolean {
    if (this.stopped) return false;
    const { slots, queue } = this.o;
    // While the NIC has plenty of buffers, more of them can wait: what it completes wakes us anyway.
    const requests = slots.ring.arm(slots.unanswered() >= PLENTY ? PLENTY : 1);
    const completions = queue.arm();
    return (requests || completions) && !this.slowLoop.blocked;
  }

  markInUse(marks: Uint8Array): void {
    this.o.slots.markInUse(marks);
  }

  /** No more polls: what the NIC delivered and is not answered yet is dropped. Pins stay until `takePins`. */
  stop(): void {
    if (this.stopped) return;
    this.stopped = true;
    this.o.counters.v[C.dropDisabled] += this.slowLoop.unansweredFrames();
    // Replies that came since the last poll: nobody else will look at them.
    this.slowLoop.settle();
    this.o.counters.commit();
  }

  /** After stop, once the NIC is off the queue: counts what it had still delivered. */
  drain(): void {
    const { queue, counters } = this.o;
    const n = Math.max(0, queue.completed());
    for (let i = 0; i < n; i++) {
      const flags = compFlags(queue.completion(i));
      let frames = (flags & NICQ_COMP_EOP) === 0 ? 0 : 1;
      // With its last buffer comes the one that is missing.
      if ((flags & NICQ_COMP_PACKET) !== 0) frames += queue.frames(i) - 1;
      counters.v[C.nicFrames] += frames;
      counters.v[C.dropDisabled] += frames;
    }
    queue.consume(n);
    counters.commit();
  }

  /** After stop: see PinnedRx. */
  takePins(each: (handle: number, dpn: number) => void): void {
    this.slowLoop.takePins(each);
  }

  describe(): Record<string, unknown> {
    const { slots, queue } = this.o;
    return {
      fedBy: 'nic',
      stopped: this.stopped,
      slow: this.slowLoop.slow,
      pinCallsInFlight: this.slowLoop.inFlight,
      ring: slots.ring.describe(),
      queue: queue.describe(),
    };
  }

  private replied(): void {
    if (this.stopped) this.slowLoop.settle();
    else this.o.loop.schedule(this);
  }

  private takeCompletions(): number {
    const { queue } = this.o;
    const n = queue.completed();
    if (n < 0) {
      this.fault('the NIC queue completed more than was posted');
      return 0;
    }
    if (n === 0) return 0;
    let taken = n;
    if (this.slowLoop.slow === 0) this.pooled.complete(n);
    else taken = this.slowLoop.complete(n);
    if (this.probe.on) this.capture(taken);
    queue.consume(taken);
    return taken;
  }

  /** Captures what the NIC put straight into the guest's pages: the driver domain sees that a frame came and how long it is, and
   *  none of its bytes. docs/wire/capture.md. @param n completions that were just dealt with, and not yet given back */
  private capture(n: number): void {
    const { probe } = this;
    const { queue } = this.o;
    for (let i = 0; i < n; i++) {
      const comp = queue.completion(i);
      const flags = compFlags(comp);
      // A buffer that the NIC refused belongs to no frame.
      if ((flags & NICQ_COMP_ERROR) !== 0) {
        this.seenBytes = 0;
        continue;
      }
      if ((flags & NICQ_COMP_INFO) !== 0) continue;
      this.seenBytes += compLen(comp);
      if ((flags & NICQ_COMP_EOP) === 0) continue;
      probe.begin();
      probe.end(this.seenBytes, INBOUND, UNSEEN);
      this.seenBytes = 0;
    }
  }

  private takeRequests(): number {
    const { slowLoop } = this;
    const { slots, counters } = this.o;
    const n = slots.ring.unconsumed();
    if (n < 0) {
      this.fault('rx ring: req_prod is further ahead than the ring is long');
      return 0;
    }
    if (n === 0) return 0;
    let taken = slowLoop.slow === 0 ? this.pooled.post(n) : 0;
    if (taken < n) taken += slowLoop.take(n - taken);
    counters.v[C.requests] += taken;
    if (slowLoop.impossible) {
      counters.v[C.badRequests]++;
      this.fault('rx ring: a buffer reaches over the end of its page');
    }
    return taken;
  }
}
