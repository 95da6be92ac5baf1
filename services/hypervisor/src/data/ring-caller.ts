/** The hypervisor's end of a domain's hypercall ring: docs/wire/hypercall.md section 1.1. The caller is hostile: what a slot says is
 *  copied once and the copy judged (grant-ops.ts), a producer index that jumps ends the ring, and a poll does one slot, so
 *  that everybody's turn comes. */
import { HYPERVISOR_CPU, slots, type CpuMeter, type Mem, type Poller } from '@grantline/machine';
import { BackRing, HCRING_SLOT_BYTES, idxAdd } from '@grantline/xen';
import type { GrantOps } from './grant-ops.js';
import type { PendingUnmap } from './map-ops.js';

const CPU = slots(HYPERVISOR_CPU);
/** A burst of the NIC takes microseconds. One that lasts for so many looks is waited for elsewhere, where it is noticed when the NIC
 *  stands still. */
const EAGER_LOOKS = 1000;

/** What the rest of the hypervisor does for the caller of a ring. */
export interface RingOwner {
  readonly domid: number;
  /** Charges for a slot, by the meter's clock, and for waking the caller. @returns milliseconds until the caller may have more; 0: now */
  charge(fromNs: number, toNs: number): number;
  /** Wakes the caller. */
  ring(): void;
  /** The caller has broken its ring, which is over: it is to be ended, not at once. */
  broken(): void;
  /** Finishes what the NIC has not let go of, whenever it does, and then calls `done`. */
  wait(pending: PendingUnmap, done: () => void): void;
  later(ms: number, then: () => void): void;
  /** The ring is to be polled soon. */
  wake(): void;
}

export class RingCaller implements Poller {
  scheduled = false;
  private readonly back: BackRing;
  private readonly ops: GrantOps;
  private readonly meter: Pick<CpuMeter, 'lap' | 'now'>;
  private readonly owner: RingOwner;
  /** What the last slot has unmapped, and the NIC has not let go of: the answer is there and not published. */
  private pending: PendingUnmap | null = null;
  private looks = 0;
  /** Somebody will say when to go on. */
  private parked = false;
  private ended = false;

  /** @param at byte offset of the ring in mem, all zero or as its owner has made it */
  constructor(mem: Mem, at: number, size: number, ops: GrantOps, meter: RingCaller['meter'], owner: RingOwner) {
    this.back = new BackRing(mem, at, size, HCRING_SLOT_BYTES);
    this.ops = ops;
    this.meter = meter;
    this.owner = owner;
  }

  /** One look at one word: a round over all domains costs little. */
  get hasWork(): boolean {
    return !this.parked && (this.pending !== null || this.back.unconsumed() !== 0);
  }

  /** @returns slots executed, at most 1; 0: there was none, or it has to wait */
  poll(): number {
    if (this.parked) return 0;
    if (this.pending !== null && !this.finish()) return 0;
    const waiting = this.back.unconsumed();
    if (waiting === 0) return 0;
    if (waiting > 0) return this.execute();
    this.end();
    this.owner.broken();
    return 0;
  }

  arm(): boolean {
    if (this.parked) return false;
    if (this.pending === null) return this.back.arm();
    this.waitElsewhere(this.pending);
    return false;
  }

  /** The caller is dead: its ring is neither read nor written from now on. What the NIC still has is finished all the same. */
  end(): void {
    if (this.ended) return;
    this.ended = true;
    if (this.pending !== null && !this.parked) this.waitElsewhere(this.pending);
    this.parked = true;
  }

  describe(): Record<string, unknown> {
    return { parked: this.parked, waitsForNic: this.pending !== null, ring: this.back.describe() };
  }

  private execute(): number {
    const { back, meter, owner } = this;
    meter.lap(CPU.transport);
    const from = meter.now;
    const at = back.slot(back.reqCons);
    back.reqCons = idxAdd(back.reqCons, 1);
    this.pending = this.ops.executeSlot(owner.domid, at).pending;
    meter.lap(CPU.hypercalls);
    // Waking is a system call, and more than executing a slot with nothing in it: whoever asks for it pays.
    if (this.pending === null && this.publish()) meter.lap(CPU.transport);
    const waitMs = owner.charge(from, meter.now);
    if (waitMs > 0) {
      // What is pending hangs on others' pages: it is not to wait for the caller's time.
      if (this.pending !== null) this.waitElsewhere(this.pending, waitMs);
      else this.pause(waitMs);
    }
    return 1;
  }

  /** @returns false: the NIC has not let go */
  private finish(): boolean {
    const pending = this.pending!;
    if (!this.ops.settled(pending)) {
      if (++this.looks === EAGER_LOOKS) this.waitElsewhere(pending);
      return false;
    }
    this.meter.lap(CPU.transport);
    this.ops.finishUnmap(pending);
    this.meter.lap(CPU.hypercalls);
    this.release();
    return true;
  }

  private waitElsewhere(pending: PendingUnmap, thenMs = 0): void {
    this.parked = true;
    this.owner.wait(pending, () => {
      if (this.ended) return;
      this.release();
      if (thenMs > 0) this.pause(thenMs);
      else this.resume();
    });
  }

  private pause(ms: number): void {
    this.parked = true;
    this.owner.later(ms, () => this.resume());
  }

  private resume(): void {
    if (this.ended) return;
    this.parked = false;
    this.owner.wake();
  }

  private release(): void {
    this.pending = null;
    this.looks = 0;
    this.publish();
  }

  /** @returns true when the caller had to be woken */
  private publish(): boolean {
    const { back } = this;
    back.rspProdPvt = back.reqCons;
    const wakes = back.push();
    if (wakes) this.owner.ring();
    return wakes;
  }
}
