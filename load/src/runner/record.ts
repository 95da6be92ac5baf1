/** What a run is to be, and its record as result files hold it. Fields are added freely; none changes its meaning. */
import type { CableFaults, Factors } from '@grantline/base';
import type { CpuNs, Measured } from '../../page/messages.js';
import type { Protocol, RequestPlan, RequestRecord } from '../control/load-api.js';
import type { Snapshot } from '../control/snapshot.js';

/** Which way frames go, as a guest sees it; rr: requests to it, and its answers. */
export type Direction = 'rx' | 'tx' | 'guest-to-guest' | 'rr';

export interface RunPlan {
  direction: Direction;
  /** TCP streams to each guest carry the load, between the outer stack and its applications; not given: frames do. */
  streams?: number;
  /** Name of the comparison that the run is part of: its results folder. */
  name: string;
  frameSizes: number[];
  seconds: number;
  warmup: number;
  linkGbps: number | null;
  flowControl: boolean;
  protocol: Protocol;
  flows: number;
  seed: number;
  /** Given where the direction is rr; frameSizes[0] is the size of requests. */
  rr?: RequestPlan;
  /** Faults on the cable for as long as the run goes. */
  faults?: CableFaults | null;
  /** Aborted: no load is started any more, and one that runs is stopped. */
  signal?: AbortSignal;
}

/** By component: "driverDomain.netback" is what a data thread did; "driverDomain.runtime": GC and compiler threads. */
export interface CpuNsPerFrame extends CpuNs {
  /** The hypervisor's time by the domain that called; `own` is what nobody called for. */
  hypervisorByCaller: Record<string, number>;
}

export type PerFrame = Measured['perFrame'] & {
  copiesBy: { hypervisor: number; driverDomain: number; application: number };
};

/** How much of each process's CPU time the measured parts explain, 1 = all; null when it used too little to tell. */
export type CpuAccounted = Record<string, number | null>;

export interface Result extends Measured {
  direction: Direction;
  /** TCP streams carried the load. */
  tcp?: true;
  factors: Factors;
  /** Measured seconds. */
  seconds: number;
  /** Delivered frames per second of each receiver. */
  deliveredBy: Record<string, number>;
  /** Distinct frames that arrived whole. */
  received: number;
  cpuNsPerFrame: CpuNsPerFrame;
  /** CPU seconds per second of each process. */
  cpuShare: Record<string, number>;
  cpuAccounted: CpuAccounted;
  cpuAccountedOk: boolean;
  perFrame: PerFrame;
  rssBytes: Record<string, number>;
  /** Share of all cores' time that the host gave to others while it was measured. */
  stealShare: number;
  /** Share of the measured time that flow control held the sender. */
  pausedShare: number;
  /** Of a run of requests: what became of them, and their round trips. `delivered` is of the answers then. */
  rr?: RequestRecord;
  /** What the injector on the cable made, by direction and kind; not given when it was off. */
  faults?: Record<string, number>;
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
