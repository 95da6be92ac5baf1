/** Whose CPU time the hypervisor spends, and how much a guest may have of it. The sum of all parts is the main thread's CPU time exactly.
 *  docs/measuring.md tells the method.
 *
 *  The loop of the hypercall rings has a meter as every data path has: it knows what of its time was executing, and charges it to
 *  callers by the time that each of them had. What the event loop does between its turns is read off the same clock: handlers of
 *  messages and of JSON operations are timed by it, and the rest (sockets) is charged by number of messages. */
import type { DomId } from '@grantline/base';
import {
  CounterBlock,
  CPU_CONTROL,
  slots,
  threadCpuNs,
  HYPERVISOR_CPU,
  cpuLayout,
  memOver,
  CpuMeter,
} from '@grantline/machine';
import { HYPERCALL_COUNTERS } from '@grantline/observe';

const C = slots(HYPERCALL_COUNTERS);
const CPU = slots(HYPERVISOR_CPU);

/** One domain's share since the last settling. */
export interface Account {
  readonly block: CounterBlock;
  /** Of the hypervisor's time; null: no limit. */
  readonly share: TimeShare | null;
  /** CPU nanoseconds in handlers of its messages, and these messages. */
  handlerNs: number;
  messages: number;
  /** Monotonic nanoseconds in which slots of its ring were executed and answered, and these slots. */
  ringNs: number;
  ringSlots: number;
}

/** The clocks of the main thread. */
export interface HypervisorClock {
  /** CPU nanoseconds so far. */
  threadCpuNs(): number;
  /** Books the event loop's time up to now. */
  settle(): void;
  /** CPU nanoseconds so far, by component, of the loop of the rings; as `control` all between its turns. */
  readonly parts: Float64Array;
}

/** The clock of this thread, with the meter that the loop of the rings is to have. */
export function hypervisorClock(): HypervisorClock & { meter: CpuMeter } {
  const layout = cpuLayout(HYPERVISOR_CPU);
  const block = new CounterBlock(memOver(new ArrayBuffer(4096)), 0, layout);
  const meter = new CpuMeter(block);
  return { meter, threadCpuNs, settle: () => meter.settle(CPU_CONTROL), parts: block.v };
}

export class Accounting {
  /** CPU nanoseconds in handlers of JSON operations since the last settling. */
  private controlNs = 0;
  private readonly cpu: CounterBlock;
  private readonly clock: HypervisorClock;
  private readonly accounts = new Map<DomId, Account>();
  /** The meter's parts at the last settling. */
  private readonly last: Float64Array;

  /** @param cpu block of HYPERVISOR_CPU */
  constructor(cpu: CounterBlock, clock: HypervisorClock) {
    this.cpu = cpu;
    this.clock = clock;
    this.last = Float64Array.from(clock.parts);
  }

  /** @param block of HYPERCALL_COUNTERS */
  open(domid: DomId, block: CounterBlock, share: TimeShare | null = null): Account {
    const account = { block, share, handlerNs: 0, messages: 0, ringNs: 0, ringSlots: 0 };
    this.accounts.set(domid, account);
    return account;
  }

  of(domid: DomId): Account | undefined {
    return this.accounts.get(domid);
  }

  /** The domain is gone; what it has used stays in its counters. */
  close(domid: DomId): void {
    this.settle();
    this.accounts.delete(domid);
  }

  /** Does it in the event loop, on behalf of a domain; null: of the control plane. */
  spend<T>(account: Account | null, work: () => T): T {
    const start = this.clock.threadCpuNs();
    try {
      return work();
    } finally {
      const spent = this.clock.threadCpuNs() - start;
      if (account === null) this.controlNs += spent;
      else account.handlerNs += spent;
    }
  }

  /** A slot of the domain's ring was executed and answered in this stretch of the meter's time.
   *  @returns milliseconds until it may have more; 0: now */
  chargeRing(account: Account, fromNs: number, toNs: number): number {
    account.ringNs += toNs - fromNs;
    account.ringSlots++;
    if (account.share === null) return 0;
    account.share.charge(fromNs, toNs);
    return account.share.waitMs;
  }

  /** Turns what was timed since the last call into counters, and commits them. */
  settle(): void {
    const { clock, last } = this;
    clock.settle();
    const spent = clock.parts.map((ns, i) => ns - last[i]);
    last.set(clock.parts);
    const sum = { handlerNs: 0, messages: 0, ringNs: 0, ringSlots: 0 };
    for (const a of this.accounts.values()) {
      sum.handlerNs += a.handlerNs;
      sum.messages += a.messages;
      sum.ringNs += a.ringNs;
      sum.ringSlots += a.ringSlots;
    }
    // Of a handler that is under way, and asked for this, the clock has a part that it will only charge later.
    const timed = this.controlNs + sum.handlerNs;
    const scale = timed > spent[CPU.control] ? spent[CPU.control] / timed : 1;
    const sockets = spent[CPU.control] - timed * scale;
    const ringTransport = spent[CPU.wakeup] + spent[CPU.transport];
    const part = (share: number, of: number, ns: number): number => (of > 0 ? (ns * share) / of : 0);
    for (const a of this.accounts.values()) {
      a.block.v[C.cpuNs] += a.handlerNs * scale + part(a.ringNs, sum.ringNs, spent[CPU.hypercalls]);
      a.block.v[C.transportNs] +=
        part(a.messages, sum.messages, sockets) + part(a.ringSlots, sum.ringSlots, ringTransport);
      a.handlerNs = a.messages = a.ringNs = a.ringSlots = 0;
      a.block.commit();
    }
    const { v } = this.cpu;
    v[CPU.wakeup] += spent[CPU.wakeup];
    v[CPU.idle] += spent[CPU.idle];
    v[CPU.hypercalls] += spent[CPU.hypercalls] + sum.handlerNs * scale;
    v[CPU.transport] += spent[CPU.transport] + (sum.messages > 0 ? sockets : 0);
    v[CPU.control] += this.controlNs * scale + (sum.messages > 0 ? 0 : sockets);
    this.controlNs = 0;
    this.cpu.commit();
  }
}

/** Part of the time that all guests have together. */
const GUESTS_PART = 0.5;
/** Time that a guest may save up, nanoseconds: a connection takes a tenth. */
export const SAVED_NS = 50e6;

/** How much of the hypervisor's time a guest may have: half of it belongs to all guests in equal parts, the rest to the
 *  driver domain and the nic, which work for all. Who has used up its part is not read until it has some again. */
export class TimeShare {
  private readonly nowNs: () => number;
  private readonly guests: () => number;
  private left = SAVED_NS;
  private lookedNs: number;

  /** @param nowNs any clock that does not go back @param guests how many share now */
  constructor(nowNs: () => number, guests: () => number) {
    this.nowNs = nowNs;
    this.guests = guests;
    this.lookedNs = nowNs();
  }

  /** Runs it and charges for it. */
  spend<T>(work: () => T): T {
    const start = this.nowNs();
    try {
      return work();
    } finally {
      this.charge(start, this.nowNs());
    }
  }

  /** It had this stretch of time. */
  charge(fromNs: number, toNs: number): void {
    this.left = this.saved(toNs) - (toNs - fromNs);
  }

  /** Milliseconds until the guest may go on; 0: now. */
  get waitMs(): number {
    this.left = this.saved(this.nowNs());
    return this.left > 0 ? 0 : Math.ceil(-this.left / this.rate / 1e6) + 1;
  }

  private saved(now: number): number {
    const left = Math.min(SAVED_NS, this.left + (now - this.lookedNs) * this.rate);
    this.lookedNs = now;
    return left;
  }

  private get rate(): number {
    return GUESTS_PART / Math.max(1, this.guests());
  }
}
