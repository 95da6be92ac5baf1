/** What every service counts of itself: its data loop, and its CPU time by component. */
import { CPU_COMMON } from './cpu-meter.js';
import { counters, hidden, named, shown, type Entry, type Layout } from '../counters/declare.js';

/** The data loop. */
export const LOOP_COUNTERS = counters('loop', {
  wakeups: shown('grantline_wakeups_total'),
  timeouts: hidden('sleeps that ended by themselves: how the loop waits, not what it does'),
  deepSleeps: hidden('which of two ways the loop sleeps'),
  turns: hidden('how often the event loop gives the data loop a turn'),
  polls: shown('grantline_polls_total'),
  /** Times that a port was masked because its peer rang without reason. */
  damped: shown('grantline_damped_ports_total'),
});

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
