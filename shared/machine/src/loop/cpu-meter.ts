/** CPU time of a service's data thread, split by component. docs/measuring.md tells the method.
 *
 *  Within a stretch of work (from wake-up to sleep) components are told apart by the monotonic clock, read once per
 *  batch. The stretch as a whole is measured by the thread's CPU clock; when it was preempted, its parts are scaled to
 *  the CPU time that it really got. What happens between stretches is `wakeup` (going to sleep and waking) or
 *  `control` (the event loop: sockets, HTTP, timers). */
import { threadCpuNs } from '../mem/libc.js';
import type { CounterBlock } from '../counters/counter-file.js';
import { counters, named, type Entry, type Layout } from '../counters/declare.js';
import { nowNs } from '@grantline/base';

/** Slot numbers that every meter has; a service's own components follow. */
export const CPU_WAKEUP = 0;
export const CPU_CONTROL = 1;
/** Looking for work before sleep, with none there: CPU time, but no work, and not counted as a frame's cost. */
export const CPU_IDLE = 2;
export const CPU_COMMON = ['wakeup', 'control', 'idle'] as const;

// Components that a service's CPU time goes to, in nanoseconds.
export const NIC_CPU = [...CPU_COMMON, 'generator', 'nic', 'farEnd', 'outer'] as const;
export const DRIVER_DOMAIN_CPU = [
  ...CPU_COMMON,
  'driver',
  'bridge',
  'netback',
  'grantCalls',
  'stack',
  'application',
] as const;
export const GUEST_CPU = [...CPU_COMMON, 'netfront', 'driver', 'stack', 'application'] as const;
export const HYPERVISOR_CPU = [...CPU_COMMON, 'hypercalls', 'transport'] as const;
type Component = (typeof NIC_CPU | typeof DRIVER_DOMAIN_CPU | typeof GUEST_CPU | typeof HYPERVISOR_CPU)[number];

const component = named('grantline_cpu_seconds_total', 'component');
const components = [NIC_CPU, DRIVER_DOMAIN_CPU, GUEST_CPU, HYPERVISOR_CPU].flat().map((name) => [name, component]);
/** One metric with a label, not one for each component. A service's block has those of the lists above that are its own. */
export const CPU_COUNTERS = counters('cpu', Object.fromEntries(components) as Record<Component, Entry>);
/** @param names one of those lists */
export const cpuLayout = (names: readonly string[]): Layout => ({ kind: CPU_COUNTERS.kind, names });

export class CpuMeter {
  /** The time read last, nanoseconds: good enough wherever "now, about" is wanted. */
  now: number;
  private readonly block: CounterBlock;
  private readonly parts: Float64Array;
  private last: number;
  private startWall: number;
  private startCpu: number;

  /** @param block counters named as CPU_COMMON and then the components; values are CPU nanoseconds */
  constructor(block: CounterBlock) {
    this.block = block;
    this.parts = new Float64Array(block.v.length);
    this.now = nowNs();
    this.last = this.now;
    this.startWall = this.now;
    this.startCpu = threadCpuNs();
  }

  /** A stretch begins. The CPU time since the last one ended goes to `between`: CPU_WAKEUP or CPU_CONTROL. */
  begin(between: number): void {
    const cpu = threadCpuNs();
    this.block.v[between] += cpu - this.startCpu;
    this.startCpu = cpu;
    this.now = nowNs();
    this.startWall = this.now;
    this.last = this.now;
  }

  /** Between two stretches: what the thread has used since the last one is booked now. A loop without work has no stretches for
   *  seconds, and a reader of the counters is to find all. */
  settle(between: number): void {
    this.begin(between);
    this.block.commit();
  }

  /** What happened since the last lap was this component's work. */
  lap(component: number): void {
    const now = nowNs();
    this.parts[component] += now - this.last;
    this.last = now;
    this.now = now;
  }

  /** As `lap`, for two components whose work is interwoven too finely for a clock read in between.
   *  @param share of `a`, 0 to 1; the rest is `b`'s */
  lapShared(a: number, b: number, share: number): void {
    const now = nowNs();
    const took = now - this.last;
    this.parts[a] += took * share;
    this.parts[b] += took * (1 - share);
    this.last = now;
    this.now = now;
  }

  /** As `lap`, after giving the core away: what took longer than `ownNs` was others' time on it, and is not charged to this process.
   *  @returns nanoseconds that somebody else had, 0 when nobody did */
  lapAway(component: number, ownNs: number): number {
    const now = nowNs();
    const took = now - this.last;
    const away = took > ownNs;
    this.parts[component] += away ? ownNs : took;
    if (away) this.startWall += took - ownNs;
    this.last = now;
    this.now = now;
    return away ? took - ownNs : 0;
  }

  /** The stretch ends: its parts become counters. */
  end(rest: number): void {
    this.lap(rest);
    const cpu = threadCpuNs();
    const gotCpu = cpu - this.startCpu;
    const wall = this.now - this.startWall;
    // Above 1 only by what giving the core away cost beyond its allowance.
    const scale = wall > 0 ? gotCpu / wall : 0;
    const v = this.block.v;
    for (let i = 0; i < v.length; i++) {
      v[i] += this.parts[i] * scale;
      this.parts[i] = 0;
    }
    this.startCpu = cpu;
    this.block.commit();
  }
}
