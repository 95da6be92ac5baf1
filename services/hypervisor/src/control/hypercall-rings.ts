/** The hypercall rings of all domains, and the loop that serves them. */
import {
  type AddressSpace,
  type CounterFile,
  type CpuMeter,
  DataLoop,
  Doorbell,
  HYPERVISOR_CPU,
  LOOP_COUNTERS,
  slots,
} from '@grantline/machine';
import { hypercallSlotsOf } from '@grantline/xen';
import type { DomId } from '@grantline/base';
import { RingCaller } from '../data/ring-caller.js';
import type { GrantOps } from '../data/grant-ops.js';
import type { Accounting } from './accounting.js';
import type { HypercallRunner } from './hypercall-runner.js';
import type { Shares } from './shares.js';

const CPU = slots(HYPERVISOR_CPU);
/** The control plane of all domains waits for no longer while rings are busy. */
const SLICE_NS = 1e6;

/** Those of the hypervisor's parts that rings have to do with. */
interface RingParts {
  readonly shares: Shares;
  readonly space: AddressSpace;
  readonly accounting: Accounting;
  readonly runner: HypercallRunner;
  readonly grants: GrantOps;
  readonly counterFile: CounterFile;
}

export class HypercallRings {
  private readonly meter: CpuMeter;
  private readonly parts: RingParts;
  private readonly broken: (domid: DomId) => void;
  private readonly loop: DataLoop;
  private readonly bell: Doorbell;
  private readonly callers = new Map<DomId, RingCaller>();
  /** The same, to be gone through in each round. */
  private list: RingCaller[] = [];

  /** @param bell pipe by which domains wake the hypervisor @param broken ends a domain that broke its ring */
  constructor(parts: RingParts, meter: CpuMeter, bell: number, broken: (domid: DomId) => void) {
    this.parts = parts;
    this.meter = meter;
    this.broken = broken;
    this.bell = new Doorbell(bell);
    this.loop = new DataLoop({
      doorbell: this.bell,
      meter,
      counters: parts.counterFile.block(LOOP_COUNTERS),
      dispatch: () => {
        this.look();
        return 0;
      },
      waiting: () => this.parts.runner.waiting > 0,
      rest: CPU.transport,
      sliceNs: SLICE_NS,
    });
  }

  /** A new domain's, once it has an account. */
  open(domid: DomId): void {
    const { shares, space, accounting, runner, grants } = this.parts;
    const account = accounting.of(domid)!;
    const caller: RingCaller = new RingCaller(
      space.mem,
      shares.hypercallsAt(domid),
      hypercallSlotsOf(domid),
      grants,
      this.meter,
      {
        domid,
        charge: (fromNs, toNs) => accounting.chargeRing(account, fromNs, toNs),
        ring: () => shares.ring(domid),
        // Its end takes the ring out of the loop, in the middle of whose round we are.
        broken: () => void setImmediate(() => this.broken(domid)),
        wait: (pending, done) => runner.wait(pending, domid, done),
        later: (ms, then) => void setTimeout(then, ms).unref(),
        wake: () => this.loop.schedule(caller),
      },
    );
    this.callers.set(domid, caller);
    this.list = [...this.callers.values()];
    this.loop.add(caller);
  }

  /** The domain is dead. */
  close(domid: DomId): void {
    const caller = this.callers.get(domid);
    if (caller === undefined) return;
    this.callers.delete(domid);
    this.list = [...this.callers.values()];
    this.loop.remove(caller);
    caller.end();
  }

  describe(): Record<string, unknown> {
    return Object.fromEntries([...this.callers].map(([domid, caller]) => [domid, caller.describe()]));
  }

  stop(): void {
    this.loop.stop();
    this.bell.close();
  }

  private look(): void {
    const { list } = this;
    for (let i = 0; i < list.length; i++) if (list[i].hasWork) list[i].scheduled = true;
  }
}
