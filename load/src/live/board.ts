/** What the live page knows of the experiment: phases, finished runs, and the throughput of the last minutes. It is told
 *  by an observer, in the same process or over HTTP (remotePage), and by the sampler. */
import { createHmac } from 'node:crypto';
import { configurationNames } from '@grantline/base';
import { Party } from '../base/http.js';
import { directionLabel, type Observer } from '../runner/observer.js';
import type { Experiment, Finished, PhaseName, Point, Sample, Progression } from '../../page/messages.js';
import { requestsTitle, summarise } from '../runner/compare.js';
import type { Result, RunRecord, Summary } from '../runner/record.js';

/** What the page knows a reporter by. Made of the operator's token, which the reporter and the page's server both have: the token
 *  itself does not go there, since something else may have taken the page's port. '': there is no token. */
export const observerKey = (token: string): string =>
  token === '' ? '' : createHmac('sha256', token).update('observer of the live page').digest('hex');

/** A page that does not answer is no reason to wait. */
const LIMIT_MS = 1000;

/** Tells the live page of a testbed that another process runs (`grantline up`) how an experiment goes.
 *  @param page http://host:port/, from testbed.json @param token the operator's */
export function remotePage(page: string, token: string): Observer {
  const party = new Party('the live page', page, observerKey(token));
  const post = async (path: string, body: unknown): Promise<void> => {
    await party.call(path, { method: 'POST', body, timeoutMs: LIMIT_MS });
  };
  return {
    phase: (at) => post('/observer/phase', at),
    finished: (run, record) => post('/observer/finished', { run, record: withoutRaw(record) }),
    answered: (run, requests) => post('/observer/answered', { run, ...requests }),
  };
}

/** A quarter of an hour at two points a second. */
const HISTORY_POINTS = 1800;
/** Of a comparison that repeats for hours the last so many runs are kept: more than --repeat can ask for. */
const RUNS_KEPT = 1000;

export class Board implements Observer {
  experiment: Experiment | null = null;
  last: Sample | null = null;
  readonly history: Point[] = [];
  /** Called after a change that browsers should hear of at once. */
  onChange: () => void = () => {};
  private readonly remote: boolean;
  private run = '';
  private results: Result[] = [];
  private shown: Finished[] = [];

  /** @param remote experiments are run by other processes */
  constructor(remote: boolean) {
    this.remote = remote;
  }

  phase(at: Progression): Promise<void> {
    this.begin(at.run);
    this.experiment = { ...at, sinceMs: Date.now() };
    this.onChange();
    return Promise.resolve();
  }

  finished(run: string, record: RunRecord | Result): Promise<void> {
    this.begin(run);
    this.results = [...this.results, withoutRaw(record)].slice(-RUNS_KEPT);
    this.shown = finishedOf(this.results);
    this.onChange();
    return Promise.resolve();
  }

  /** Nobody measures on the testbed: an experimenter that has not said that it is done was interrupted.
   *  Only where experimenters are other processes. */
  released(): void {
    if (!this.remote || this.experiment === null || this.experiment.phase === 'idle') return;
    this.experiment = { ...this.experiment, phase: 'idle', sinceMs: Date.now() };
    this.onChange();
  }

  get phaseName(): PhaseName {
    return this.experiment?.phase ?? 'idle';
  }

  /** One per configuration: its median run. */
  get summaries(): readonly Finished[] {
    return this.shown;
  }

  add(sample: Sample): void {
    this.last = sample;
    this.history.push(sample.point);
    if (this.history.length > HISTORY_POINTS) this.history.shift();
  }

  /** A new comparison forgets the results of the one before. */
  private begin(run: string): void {
    if (run === this.run) return;
    this.run = run;
    this.results = [];
    this.shown = [];
  }
}

/** The raw counters stay in the results file. */
function withoutRaw(record: RunRecord | Result): Result {
  const out: Partial<RunRecord> = { ...record };
  delete out.raw;
  return out as Result;
}

/** The median run of each configuration, chosen by the same code as the results file's, in the order of the ladder. */
export function finishedOf(results: readonly Result[]): Finished[] {
  const names = [...new Set(results.map((r) => r.config))].sort((a, b) => rank(a) - rank(b));
  const configs = names.flatMap((name) => results.find((r) => r.config === name) ?? []);
  return summarise(
    configs.map((r) => ({ name: r.config, factors: r.factors })),
    results as RunRecord[],
  ).map(figuresOf);
}

const rank = (name: string): number => {
  const at = (configurationNames as readonly string[]).indexOf(name);
  return at < 0 ? configurationNames.length : at;
};

/** "optimised", or "optimised, tx" where it is not frames to the guests. */
function titleOf({ config, direction, tcp, rr }: Summary): string {
  if (rr) return `${config}, ${requestsTitle(rr)}`;
  const what = directionLabel(direction, tcp === true);
  return what === 'rx' ? config : `${config}, ${what}`;
}

function figuresOf(s: Summary): Finished {
  const { nic, driverDomain, hypervisor, guest, total, components } = s.cpuNsPerFrame;
  const { grantOps, hypercalls, copies, copiedBytes, notifications, suppressed, wakeups } = s.perFrame;
  const { runs, round, guests, frameBytes, offered, delivered, spread } = s;
  const { sent, lost, duplicate, reordered, corrupt, drops, conservation, latencyUs, notes } = s;
  return {
    ...{ config: titleOf(s), runs, round, guests, frameBytes, offered, delivered, spread: { gbps: spread.gbps } },
    ...{ sent, lost, duplicate, reordered, corrupt, drops, conservation, latencyUs, notes },
    cpuNsPerFrame: { nic, driverDomain, hypervisor, guest, total, components },
    perFrame: { grantOps, hypercalls, copies, copiedBytes, notifications, suppressed, wakeups },
  };
}
