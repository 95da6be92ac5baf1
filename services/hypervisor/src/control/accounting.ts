/** Whose CPU time the hypervisor spends. Handlers of hypercalls are timed with two clock reads per message and charged to
 *  the calling domain; what the main thread's CPU clock shows beyond them (sockets, the event loop) is charged by number
 *  of messages. The sum of all parts is the thread's CPU time exactly. docs/measuring.md tells the method. */
import { performance } from 'node:perf_hooks';
import type { DomId } from '@grantline/base';
import { type CounterBlock, slots, threadCpuNs, HYPERVISOR_CPU } from '@grantline/machine';
import { HYPERCALL_COUNTERS } from '@grantline/observe';

const C = slots(HYPERCALL_COUNTERS);
const CPU = slots(HYPERVISOR_CPU);

/** One domain's share since the last settling. */
export interface Account {
  readonly block: CounterBlock;
  /** Monotonic nanoseconds in hypercall handlers. */
  handlerNs: number;
  /** Hypercall messages. */
  messages: number;
}

interface CpuClocks {
  /** CPU time of the main thread, nanoseconds. */
  threadCpuNs(): number;
  /** Time in which the event loop was not waiting, nanoseconds, from any origin. */
  activeNs(): number;
}

const systemClocks: CpuClocks = {
  threadCpuNs,
  activeNs: () => performance.eventLoopUtilization().active * 1e6,
};

export class Accounting {
  /** Monotonic nanoseconds in handlers of JSON operations since the last settling. */
  controlNs = 0;
  private readonly cpu: CounterBlock;
  private readonly clocks: CpuClocks;
  private readonly accounts = new Map<DomId, Account>();
  private lastCpu: number;
  private lastActive: number;

  /** @param cpu block of HYPERVISOR_CPU */
  constructor(cpu: CounterBlock, clocks: CpuClocks = systemClocks) {
    this.cpu = cpu;
    this.clocks = clocks;
    this.lastCpu = clocks.threadCpuNs();
    this.lastActive = clocks.activeNs();
  }

  /** @param block of HYPERCALL_COUNTERS */
  open(domid: DomId, block: CounterBlock): Account {
    const account = { block, handlerNs: 0, messages: 0 };
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

  /** Turns what was timed since the last call into counters, and commits them. */
  settle(): void {
    const cpu = this.clocks.threadCpuNs();
    const active = this.clocks.activeNs();
    const spent = cpu - this.lastCpu;
    const scale = this.scale(spent, active - this.lastActive);
    this.lastCpu = cpu;
    this.lastActive = active;
    let messages = 0;
    let unassigned = spent - this.controlNs * scale;
    for (const a of this.accounts.values()) {
      messages += a.messages;
      unassigned -= a.handlerNs * scale;
    }
    this.cpu.v[CPU.control] += this.controlNs * scale;
    this.controlNs = 0;
    if (messages > 0) this.cpu.v[CPU.transport] += unassigned;
    else this.cpu.v[CPU.control] += unassigned;
    for (const a of this.accounts.values()) {
      this.cpu.v[CPU.hypercalls] += a.handlerNs * scale;
      a.block.v[C.cpuNs] += a.handlerNs * scale;
      if (messages > 0) a.block.v[C.transportNs] += (unassigned * a.messages) / messages;
      a.handlerNs = 0;
      a.messages = 0;
      a.block.commit();
    }
    this.cpu.commit();
  }

  /** Handlers are timed by the monotonic clock, which runs on while other processes have the core. Being put aside hits
   *  all that the loop does alike, so all is scaled by the share of the core that the loop got while it was active. */
  private scale(spent: number, active: number): number {
    let timed = this.controlNs;
    for (const a of this.accounts.values()) timed += a.handlerNs;
    if (timed <= 0) return 0;
    const share = active > 0 ? Math.min(1, spent / active) : 1;
    return Math.min(share, spent / timed);
  }
}
