/** What the two halves of `compare --compose` say to each other: the outside half (measure.ts) gives a plan to the inside half
 *  (cli/measure.ts), which tells what happens as lines of JSON. */
import type { Configuration } from '@grantline/base';
import type { HttpRun, HttpSettings } from '../http/record.js';
import type { RunRecord } from '../runner/record.js';
import type { RunPlan } from '../runner/run-plan.js';

/** What is to be measured. */
export interface MeasurePlan {
  configs: Configuration[];
  plan: RunPlan;
  guests: number;
  repeat: number;
  /** Somebody sees the live line. */
  live: boolean;
}

/** The same for a load by HTTP. */
export interface HttpPlan {
  kind: 'http';
  configs: Configuration[];
  settings: HttpSettings;
  guests: number;
  live: boolean;
}

/** A line of output. */
export type MeasureLine =
  | { live: string }
  | { line: string }
  | { record: RunRecord | HttpRun }
  | { error: { kind: 'user'; what: string; remedy: string } | { kind: 'run'; what: string } };
