/** Netback's end of a vif's control ring: takes one request at a time, and answers it when its work is done.
 *  docs/wire/grant-pool.md. The work itself is asynchronous and lives in control/pool-control.ts. */
import { type BackRing, idxAdd, ctrlType } from '@grantline/xen';
import { slots } from '@grantline/machine';
import { NETBACK_COUNTERS } from '@grantline/observe';
import { VifPart, type PartOptions } from './vif-part.js';

const C = slots(NETBACK_COUNTERS);

/** The private copy of a request; all fields are the guest's words. */
export interface CtrlRequest {
  type: number;
  /** Queue, gref of the list's page, entries in the list. */
  queue: number;
  gref: number;
  count: number;
}

export interface CtrlBackOptions extends PartOptions {
  ring: BackRing;
  /** Begins the work; must end with one call of `answer`. */
  handle: (request: CtrlRequest) => void;
}

export class CtrlBack extends VifPart {
  private readonly o: CtrlBackOptions;
  private head = 0;
  private busy = false;

  constructor(options: CtrlBackOptions) {
    super(options, C.ringFaults);
    this.o = options;
  }

  poll(): number {
    if (this.stopped || this.busy) return 0;
    const { ring, mem, handle } = this.o;
    const n = ring.unconsumed();
    if (n < 0) {
      this.fault('control ring: req_prod is further ahead than the ring is long');
      return 0;
    }
    if (n === 0) return 0;
    const at = ring.slot(ring.reqCons) >> 2;
    this.head = mem.u32[at];
    const queue = mem.u32[at + 1];
    const gref = mem.u32[at + 2];
    const count = mem.u32[at + 3];
    ring.reqCons = idxAdd(ring.reqCons, 1);
    this.busy = true;
    handle({ type: ctrlType(this.head), queue, gref, count });
    return 1;
  }

  arm(): boolean {
    return !this.stopped && !this.busy && this.o.ring.arm();
  }

  /** The request under way is done. */
  answer(status: number, data: number): void {
    this.busy = false;
    if (this.stopped) return;
    const { ring, mem, guest, loop } = this.o;
    const at = ring.slot(ring.rspProdPvt) >> 2;
    mem.u32[at] = this.head;
    mem.u32[at + 1] = status;
    mem.u32[at + 2] = data;
    ring.rspProdPvt = idxAdd(ring.rspProdPvt, 1);
    if (ring.push()) guest.notify();
    loop.schedule(this);
  }

  stop(): void {
    this.stopped = true;
  }

  describe(): Record<string, unknown> {
    return { stopped: this.stopped, busy: this.busy, ring: this.o.ring.describe() };
  }
}
