/** What a scenario of the benchmark is, and what all of them share. */
import { counted } from '../base/format.js';
import { configurationNamed, type Configuration } from '@grantline/base';
import type { HttpRun } from '../http/plan.js';
import type { Progress } from '../base/progress.js';
import { runLine } from '../report/table.js';
import type { DataTable } from '../report/tables.js';
import type { RunRecord, RunPlan } from '../runner/record.js';
import { OWN_TESTBED } from '../bed/with-bed.js';
import { UserError } from '../base/errors.js';
import type { Bed } from '../runner/bed.js';
import { runOnce } from '../runner/run.js';
import type { BodyRun } from './body-client-main.js';
import { noneOf, type Check } from './checks.js';

export interface BenchSettings {
  runs: number;
  seconds: number;
  linkSeconds: number;
  idleSeconds: number;
}

/** What a scenario came to. */
export interface Measured {
  checks: Check[];
  records: RunRecord[];
  /** What stands below the table of checks. */
  tables?: DataTable[];
  /** Of scenarios that run HTTP. */
  http?: HttpRun[];
  /** Of the one that drives bodies. */
  bodies?: BodyRun[];
}

export interface Scenario {
  name: string;
  guests: number;
  /** The testbed, and all that runs on it, has one core. */
  oneCore?: true;
  /** No unmeasured run first: it runs nothing, or makes one itself. */
  cold?: true;
  run(bed: Bed, s: BenchSettings, progress: Progress): Promise<Measured>;
}

/** A configuration of the ladder. */
export const named = (name: string): Configuration => configurationNamed(name) as Configuration;
/** What all runs of the benchmark share. */
export const plan = (changes: Partial<RunPlan>): RunPlan => ({
  direction: 'rx',
  name: 'bench',
  frameSizes: [1514],
  seconds: 3,
  warmup: 1,
  linkGbps: null,
  flowControl: true,
  protocol: 'auto',
  flows: 4,
  seed: 1,
  ...changes,
});

/** One run, with its line. */
export async function one(bed: Bed, name: string, round: number, p: RunPlan, progress: Progress): Promise<RunRecord> {
  const record = await runOnce(bed, named(name), round, p, progress);
  progress.line(`${runLine(record, round, 1)}  (${record.frameBytes} bytes, ${counted(record.guests, 'guest')})`);
  return record;
}

/** What a run delivered. */
export const gbps = (r: RunRecord): number => r.delivered.gbps;

/** @throws UserError when the scenario needs a testbed of its own, and there is one already: whoever runs has the cores that he was given */
export function mustFit({ name, oneCore }: Pick<Scenario, 'name' | 'oneCore'>, bed: Pick<Bed, 'testbed'>): void {
  if (oneCore === true && bed.testbed !== OWN_TESTBED)
    throw new UserError(`${name} needs a testbed of its own on one core`, 'end the running one: npx grantline down');
}

/** Run by run of the same round. */
export const ratios = (a: readonly RunRecord[], b: readonly RunRecord[]): number[] =>
  a.map((r, i) => gbps(r) / gbps(b[i]));

/** With what makes all figures worthless. */
export const outcome = (records: RunRecord[], checks: readonly Check[]): Measured => ({
  checks: [...checks, ...honesty(records)],
  records,
});

/** No figure counts when frames or CPU time are unaccounted for. */
export function honesty(records: readonly RunRecord[]): Check[] {
  const bad = records.filter((r) => r.conservation !== 'ok' || r.corrupt > 0).length;
  const off = records.filter((r) => !r.cpuAccountedOk).length;
  return [
    noneOf('runs with frames unaccounted for or corrupt', bad),
    noneOf('runs with CPU time unaccounted for by over 5 %', off),
  ];
}
