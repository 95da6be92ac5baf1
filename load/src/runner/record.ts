/** The record of one run, as result files hold it. Fields are added freely; none changes its meaning. */
import type { Factors } from '@grantline/base';
import type { Direction } from './hop.js';
import type { RequestRecord } from './requests.js';
import type { Snapshot } from '../control/snapshot.js';

export interface LatencyUs {
  p50: number;
  p90: number;
  p99: number;
  p999: number;
  max: number;
}

export interface CpuNsPerFrame {
  /** The NIC model and the generator: stands for hardware, not part of total. */
  nic: number;
  driverDomain: number;
  hypervisor: number;
  guest: number;
  /** driverDomain + hypervisor + guest. */
  total: number;
  /** "driverDomain.netback": what each data thread did; "driverDomain.runtime": GC and compiler threads. */
  components: Record<string, number>;
  /** The hypervisor's time by the domain that called; `own` is what nobody called for. */
  hypervisorByCaller: Record<string, number>;
}

export interface PerFrame {
  grantOps: number;
  hypercalls: number;
  copies: number;
  copiedBytes: number;
  notifications: number;
  suppressed: number;
  wakeups: number;
  copiesBy: { hypervisor: number; driverDomain: number; application: number };
}

/** How much of each process's CPU time the measured parts explain, 1 = all; null when it used too little to tell. */
export type CpuAccounted = Record<string, number | null>;

export interface Result {
  config: string;
  /** Which way the frames went, as the guest sees it. */
  direction: Direction;
  /** TCP streams carried the load. */
  tcp?: true;
  factors: Factors;
  round: number;
  guests: number;
  /** Mean of what was sent. */
  frameBytes: number;
  /** Measured seconds. */
  seconds: number;
  offered: { framesPerSecond: number; gbps: number };
  delivered: { frames: number; bytes: number; framesPerSecond: number; gbps: number };
  /** Delivered frames per second of each receiver. */
  deliveredBy: Record<string, number>;
  /** Over the whole run, warm-up and drain included. */
  sent: number;
  /** Distinct frames that arrived whole. */
  received: number;
  lost: number;
  duplicate: number;
  reordered: number;
  corrupt: number;
  drops: Record<string, number>;
  conservation: 'ok' | string[];
  cpuNsPerFrame: CpuNsPerFrame;
  /** CPU seconds per second of each process. */
  cpuShare: Record<string, number>;
  cpuAccounted: CpuAccounted;
  cpuAccountedOk: boolean;
  perFrame: PerFrame;
  latencyUs: LatencyUs | null;
  rssBytes: Record<string, number>;
  /** Share of all cores' time that the host gave to others while it was measured. */
  stealShare: number;
  /** Share of the measured time that flow control held the sender. */
  pausedShare: number;
  /** Of a run of requests: what became of them, and their round trips. `delivered` is of the answers then. */
  rr?: RequestRecord;
  /** What the injector on the cable made, by direction and kind; not given when it was off. */
  faults?: Record<string, number>;
  notes: string[];
}

/** The median run of a configuration. */
export interface Summary extends Result {
  runs: number;
  spread: { gbps: { min: number; max: number }; framesPerSecond: { min: number; max: number } };
}

/** A run with everything needed to work its figures out again. */
export interface RunRecord extends Result {
  raw: { a: Snapshot; b: Snapshot; c: Snapshot };
}
