/** What a run is to be. */
import type { CableFaults } from '@grantline/base';
import type { Protocol } from '../control/nic-load.js';
import type { Direction } from './hop.js';
import type { RequestPlan } from './requests.js';

export interface RunPlan {
  /** Which way frames go, as the guest sees it; rx when not given. */
  direction?: Direction;
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
