/** Faults of both directions, between the far end and the NIC. Off, the NIC and the far end know nothing of it. */
import type { CounterBlock, PrivateMemory, Poller } from '@grantline/machine';
import type { CableFaults } from '@grantline/base';
import type { Cable } from './cable.js';
import type { CableOut, FarEnd } from '../../hardware/data/cable-out.js';
import { Faults, NOT_TAKEN } from './faults.js';
import { NO_BUFFER } from '../../hardware/data/nic-queue.js';

/** A far end behind an injector. What it may add to what it is given fits, since it shows half the room. */
export class FaultyFarEnd implements FarEnd {
  readonly faults: Faults;
  private readonly inner: FarEnd;
  private readonly clock: { readonly now: number };

  constructor(inner: FarEnd, space: PrivateMemory, counters: CounterBlock, clock: { readonly now: number }) {
    this.inner = inner;
    this.clock = clock;
    const carry = (head: number, headBytes: number, body: number, bodyBytes: number): number => {
      if (inner.room < 1) return NOT_TAKEN;
      inner.frame(head, headBytes, body, bodyBytes);
      return 1;
    };
    this.faults = new Faults({ space, counters, carry, lends: true });
  }

  get room(): number {
    return this.inner.room / 2;
  }

  frame(head: number, headBytes: number, body: number, bodyBytes: number): void {
    this.faults.offer(head, headBytes, body, bodyBytes, this.clock.now);
  }

  settle(nowNs: number): void {
    // Here and not only when polled: under load the loop never sleeps, and only before sleep is the injector asked.
    this.faults.release(nowNs);
    this.inner.settle(nowNs);
    this.faults.settled();
    this.faults.commit();
  }

  /** Gives on what is due. @returns how many frames */
  release(nowNs: number): number {
    const n = this.faults.release(nowNs);
    if (n > 0) this.settle(nowNs);
    return n;
  }
}

export interface CableFaultsOptions {
  space: PrivateMemory;
  cable: Cable;
  out: CableOut;
  counters: { in: CounterBlock; out: CounterBlock };
}

export class CableInjector implements Poller {
  scheduled = false;
  /** What it was set to. */
  settings: CableFaults = { in: null, out: null };
  /** When something that is held is due, on the meter's clock; Infinity: never. */
  dueAtNs = Infinity;
  private readonly o: CableFaultsOptions;
  private inward: Faults | null = null;
  private outward: FaultyFarEnd | null = null;
  private plain: FarEnd | null = null;

  constructor(options: CableFaultsOptions) {
    this.o = options;
  }

  /** It sleeps by the clock. */
  get patient(): boolean {
    return false;
  }

  set(settings: CableFaults): void {
    const { space, cable, out, counters } = this.o;
    this.settings = settings;
    const { nic } = cable;
    if (settings.in !== null && this.inward === null) {
      const carry = (head: number, bytes: number): number => {
        const status = nic.take(head, bytes);
        return status === NO_BUFFER ? NOT_TAKEN : status;
      };
      this.inward = new Faults({ space, counters: counters.in, carry, lends: false });
    }
    if (settings.out !== null && this.outward === null)
      this.outward = new FaultyFarEnd(out.farEnd, space, counters.out, cable);
    this.inward?.set(settings.in);
    this.outward?.faults.set(settings.out);
    const { inward } = this;
    if (settings.in !== null && inward !== null)
      nic.faults = {
        receive(off, len) {
          const status = inward.offer(off, len, 0, 0, cable.now);
          return status === NOT_TAKEN ? NO_BUFFER : status;
        },
        // What is due goes on at the end of each burst: see settle.
        endBurst() {
          if (inward.held.count > 0) inward.release(cable.now);
          inward.commit();
        },
      };
    if (settings.out !== null && this.outward !== null && out.farEnd !== this.outward) {
      this.plain = out.farEnd;
      out.farEnd = this.outward;
    }
  }

  poll(): number {
    const { inward, outward } = this;
    const { cable, out } = this.o;
    let n = 0;
    if (inward !== null) {
      if (inward.held.count > 0) {
        cable.open();
        n += inward.release(cable.now);
        cable.close(n > 0, 0);
        // Their sender may be gone, and nothing else would tell the driver.
        if (n > 0) cable.nic.moderate(true);
      }
      inward.commit();
      if (this.settings.in === null && inward.held.count === 0) cable.nic.faults = null;
    }
    if (outward !== null) {
      n += outward.release(cable.now);
      if (this.settings.out === null && outward.faults.held.count === 0 && this.plain !== null) {
        out.farEnd = this.plain;
        this.plain = null;
      }
    }
    return n;
  }

  arm(): boolean {
    const held = (f: Faults | undefined): number => f?.held.firstDueNs() ?? Infinity;
    this.dueAtNs = Math.min(held(this.inward ?? undefined), held(this.outward?.faults));
    return false;
  }

  /** Microseconds until something is due. Asked right before the loop sleeps: whatever ends the sleep, it looks. */
  dueUs(): number {
    if (this.inward === null && this.outward === null) return Infinity;
    this.arm();
    this.scheduled = true;
    return Math.max(0, (this.dueAtNs - this.o.cable.now) / 1000);
  }
}
