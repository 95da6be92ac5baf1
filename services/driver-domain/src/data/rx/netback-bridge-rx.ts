/** The receive queue of a vif that the bridge feeds: frames wait here in the driver domain's buffers (waiting-frames.ts),
 *  and are copied into the pages that the guest posted (frame-fill.ts). Responses go strictly in ring order. */
import { NETBACK_BATCH, NETIF_NR_SLOTS_MIN, notifyIf } from '@grantline/xen';
import { slots as counterSlots, DRIVER_DOMAIN_CPU } from '@grantline/machine';
import { NETBACK_COUNTERS } from '@grantline/observe';
import type { BridgePort } from '../bridge/bridge.js';
import { BridgeProbe } from '../bridge/frame-pieces.js';
import type { Buffers, TxSource } from '../bridge/buffers.js';
import { CopyFrames, FrameFill } from './frame-fill.js';
import type { GrantPool, PoolUser } from '../grants/grant-pool.js';
import { VifPart, type QueueOptions } from '../vif-part.js';
import type { RxSlots } from './rx-slots.js';
import { WaitingFrames } from '../bridge/waiting-frames.js';

const C = counterSlots(NETBACK_COUNTERS);
const CPU = counterSlots(DRIVER_DOMAIN_CPU);
/** Frames begun in one poll. */
const BUDGET = 64;

export interface BridgeRxOptions extends QueueOptions {
  slots: RxSlots;
  buffers: Buffers;
  pool: GrantPool;
  /** Buffers have come back: post them. */
  refill: () => void;
  /** The guest takes packets that were not cut into frames. */
  gso: boolean;
}

export class NetbackBridgeRx extends VifPart implements PoolUser, BridgePort {
  readonly probe: BridgeProbe;
  readonly copies: CopyFrames;
  private readonly o: BridgeRxOptions;
  private readonly waiting: WaitingFrames;
  private readonly filler: FrameFill;
  /** Requests that the first frame needs; 0 while a batch is what is missing. */
  private needed = 0;

  constructor(options: BridgeRxOptions) {
    super(options, C.ringFaults);
    const { mem, slots, buffers, pool, counters } = options;
    this.o = options;
    this.probe = new BridgeProbe(buffers);
    this.waiting = new WaitingFrames(buffers, counters, this.probe);
    this.copies = new CopyFrames(options.granter, options, () => this.replied());
    this.filler = new FrameFill({ mem, slots, buffers, pool, counters, copies: this.copies, probe: this.probe });
  }

  /** Frames that wait or are being copied. */
  get inFlight(): number {
    return this.waiting.count + this.copies.frames;
  }

  deliver(buffer: number, len: number): void {
    const { counters, meter, loop } = this.o;
    const v = counters.v;
    const stoodFor = this.o.buffers.framesOf(buffer);
    v[C.bridgeFrames] += stoodFor;
    if (this.stopped) {
      v[C.dropDisabled] += stoodFor;
      if (this.probe.on) this.probe.frame(buffer, len, C.dropDisabled);
      return;
    }
    if (this.waiting.add(buffer, len, meter.now) && !this.scheduled) loop.schedule(this);
  }

  takesBulk(len: number): boolean {
    return this.o.gso && len <= this.o.slots.bufferBytes * NETIF_NR_SLOTS_MIN;
  }

  dropFrom(source: TxSource): void {
    if (!this.waiting.dropFrom(source)) return;
    this.o.counters.commit();
    // The frame that is the first now may need fewer requests.
    this.o.loop.schedule(this);
  }

  poll(): number {
    if (this.stopped) return 0;
    const { meter, counters, slots } = this.o;
    const { filler } = this;
    const before = slots.ring.rspProdPvt;
    let work = filler.settle(false);
    work += this.begin();
    if (this.stopped) return work;
    filler.answer();
    if (slots.ring.rspProdPvt !== before) {
      notifyIf(slots.ring.push(), this.o.guest, counters.v, C.notifications, C.suppressed);
    }
    if (filler.released) {
      filler.released = false;
      this.o.refill();
    }
    meter.lap(CPU.netback);
    this.copies.flush();
    counters.commit();
    return work;
  }

  arm(): boolean {
    if (this.stopped || this.needed === 0) return false;
    // Asks for as many requests as the frame needs: one that never comes is a stall, however many others are there.
    const { ring } = this.o.slots;
    ring.arm(this.needed);
    const available = ring.unconsumed();
    return available < 0 || available >= this.needed;
  }

  /** Drops what a guest has let wait for too long, for frames that come no more because this queue holds all the buffers.
   *  @returns true while frames wait: then it is called several times a second, else once */
  tick(nowNs: number): boolean {
    if (this.stopped) return false;
    if (this.waiting.expire(nowNs)) {
      this.o.counters.commit();
      this.o.refill();
      // The frame that is the first now may need fewer requests.
      this.o.loop.schedule(this);
    }
    return this.waiting.count > 0;
  }

  markInUse(marks: Uint8Array): void {
    this.o.slots.markInUse(marks);
  }

  /** No more polls: what waits is dropped. Frames that are being copied are dropped when their reply comes. */
  stop(): void {
    if (this.stopped) return;
    this.stopped = true;
    this.waiting.dropAll(C.dropDisabled);
    this.filler.abandon();
    this.settleStopped();
  }

  describe(): Record<string, unknown> {
    const { waiting } = this;
    return {
      fedBy: 'bridge',
      stopped: this.stopped,
      waitingFrames: waiting.count,
      waitingBytes: waiting.bytes,
      copyCallsInFlight: this.copies.inFlight,
      ring: this.o.slots.ring.describe(),
    };
  }

  private replied(): void {
    if (this.stopped) this.settleStopped();
    else this.o.loop.schedule(this);
  }

  private settleStopped(): void {
    this.filler.settle(true);
    this.o.counters.commit();
    this.o.refill();
  }

  /** Takes requests for the frames that wait. @returns frames begun */
  private begin(): number {
    const { copies, filler, waiting } = this;
    const { slots, counters, buffers } = this.o;
    this.needed = 0;
    if (waiting.count === 0) return 0;
    let available = slots.ring.unconsumed();
    if (available < 0) {
      this.fault('rx ring: req_prod is further ahead than the ring is long');
      return 0;
    }
    let frames = 0;
    while (waiting.count > 0 && frames < BUDGET) {
      const len = waiting.firstLen;
      const id = waiting.firstId;
      const need = Math.ceil(len / slots.bufferBytes);
      const all = buffers.mssOf(id) > 0 ? need + 1 : need;
      if (all > available) {
        this.needed = all;
        break;
      }
      if (!copies.makeRoom(Math.min(filler.elements(id, len, need), NETBACK_BATCH))) break;
      if (!filler.fill(id, len, need)) {
        counters.v[C.badRequests]++;
        this.fault('rx ring: a buffer reaches over the end of its page');
        return frames;
      }
      available -= all;
      counters.v[C.requests] += all;
      waiting.shift();
      frames++;
    }
    return frames;
  }
}
