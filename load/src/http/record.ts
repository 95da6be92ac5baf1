/** A run by HTTP, and the file of all of them. */
import type { Factors } from '@grantline/base';
import { LOOPBACK_CONFIG } from '../runner/labels.js';
import type { HostInfo } from '../testbed/host.js';
import type { CpuNsPerFrame } from '../runner/record.js';
import type { Generated, LoadMode, Scenario } from './plan.js';

/** The name that stands for the application on plain loopback. */
export const LOOPBACK = LOOPBACK_CONFIG;

export interface HttpRun {
  /** A configuration, or `loopback`. */
  target: string;
  factors: Factors | null;
  scenario: string;
  mode: LoadMode;
  /** Requests per second asked for; null: closed loop. */
  rate: number | null;
  round: number;
  connections: number;
  guests: number;
  requestsPerSecond: number;
  /** Of bodies. */
  gbps: number;
  generated: Generated;
  /** CPU time by service and component, nanoseconds for each request; as of a frame in comparisons. null: loopback. */
  cpuNsPerRequest: CpuNsPerFrame | null;
  /** CPU time of all that serves, nanoseconds for each request. */
  serverNsPerRequest: number;
  /** CPU time over elapsed time by process. */
  cpuShare: Record<string, number>;
  /** Of the machine's cores. */
  idleShare: number;
  stealShare: number;
  /** Why the figures are void; null: they are not. */
  refused: string | null;
  notes: string[];
}

/** The median run of a target in a scenario. */
export interface HttpSummary extends HttpRun {
  runs: number;
  spread: { requestsPerSecond: { min: number; max: number } };
  /** Requests per second over those on loopback, by medians; null where there is no sound loopback run. */
  ratio: number | null;
}

export interface HttpSettings {
  scenarios: Scenario[];
  /** Open-loop rates; empty: none. */
  rates: number[];
  /** Closed-loop runs were made. */
  capacity: boolean;
  connections: number;
  guests: number;
  seconds: number;
  warmup: number;
  repeat: number;
}

export interface HttpFile {
  schema: 'grantline.http/1';
  date: string;
  commandLine: string[];
  host: HostInfo;
  settings: HttpSettings;
  /** Closed loop: what can be served. */
  capacity: HttpSummary[];
  /** Open loop: latency at a rate. */
  atRate: HttpSummary[];
  /** All runs, in their order. */
  runs: HttpRun[];
}
