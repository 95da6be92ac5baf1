/** Whether a run measured the server, or the generator; and from all runs to what is told of them. Pure. */
import { RunError } from '../base/errors.js';
import { percent } from '../base/format.js';
import { medianIndex } from '../base/stats.js';
import { errorsOf, type HttpRun, type HttpSummary, type Generated } from './plan.js';
import { LOOPBACK } from '../runner/observer.js';

/** One summary for each scenario, rate and target: the median run that stands, and the ratio to loopback's. */
export function summariseHttp(runs: readonly HttpRun[]): HttpSummary[] {
  const keyOf = (r: HttpRun): string => JSON.stringify([r.scenario, r.rate, r.target]);
  const out: HttpSummary[] = [];
  for (const key of new Set(runs.map(keyOf))) {
    const own = runs.filter((r) => keyOf(r) === key);
    const sound = own.filter((r) => r.refused === null);
    const from = sound.length > 0 ? sound : own;
    const rates = from.map((r) => r.requestsPerSecond);
    const median = from[medianIndex(rates)];
    const spread = { requestsPerSecond: { min: Math.min(...rates), max: Math.max(...rates) } };
    out.push({ ...median, runs: own.length, spread, ratio: null });
  }
  for (const s of out) {
    const base = out.find((o) => o.target === LOOPBACK && o.scenario === s.scenario && o.rate === s.rate);
    if (!base || base.refused !== null || s.refused !== null || base.requestsPerSecond === 0) continue;
    s.ratio = s.requestsPerSecond / base.requestsPerSecond;
  }
  return out;
}

/** What makes the whole fail. @returns null when nothing does */
export function httpVerdict(runs: readonly HttpRun[]): RunError | null {
  const lines = runs.flatMap((r) => {
    const fault = faultOf(r.generated);
    const name = `${r.target}, ${r.scenario}`;
    return [
      ...(fault === null ? [] : [`${name}: ${fault}`]),
      // Loopback is the yardstick: where it outruns the generator its figure is void, and there is no ratio.
      ...(r.refused === null || r.target === LOOPBACK ? [] : [`${name}: void: ${r.refused}`]),
    ];
  });
  return lines.length === 0 ? null : new RunError(lines.join('\n  '));
}

/** A generator, or a server, that used more of a core than this has no more to give. */
export const FULL = 0.93;
/** Share of requests of an open loop that the generator itself may send late. */
const LATE = 0.05;
/** An open loop that reaches less of its rate did not offer it. */
const REACHED = 0.98;

export interface Load {
  generated: Generated;
  rate: number | null;
  /** CPU time over elapsed time of the process that used most of those that serve. */
  serverShare: number;
}

/** Why the run says nothing of the server. @returns null when it does */
export function refusalOf({ generated, rate, serverShare }: Load): string | null {
  const { cpuShare, lateShare } = generated.generator;
  if (generated.answered === 0) return errorsOf(generated.errors) > 0 ? null : 'no request was answered in time';
  if (cpuShare >= FULL && serverShare < FULL)
    return `the generator used ${percent(cpuShare, 0)} of a core, and the busiest process that serves ${percent(serverShare, 0)}: what is measured is the generator`;
  if (rate === null || lateShare <= LATE) return null;
  return `the generator sent ${percent(lateShare, 0)} of the requests late although a connection was free: it cannot keep up with ${rate} requests/s`;
}

/** What a reader should know of a run that stands. */
export function notesOf({ generated, rate }: Load, idleShare: number): string[] {
  const notes: string[] = [];
  if (rate !== null && generated.answered / generated.seconds < REACHED * rate)
    notes.push(
      `${(generated.answered / generated.seconds).toFixed(0)} of ${rate} requests/s were answered: the rate is above the capacity`,
    );
  if (generated.waiting > 0)
    notes.push(
      `${generated.waiting} requests were due and still waited for a connection when time was up: their latency counts as far as it went`,
    );
  if (idleShare < 0.03) notes.push('no core of the machine was idle: generator and servers took time from each other');
  return notes;
}

/** What was lost, mixed up or corrupt. @returns null when all was well */
export function faultOf({ errors, total }: Generated): string | null {
  const parts = [
    [errors.wrong, 'answers were wrong'],
    [errors.status, 'answers had another status than 200'],
    [errors.unanswered, 'requests were not answered'],
    [errors.timeout, 'requests timed out'],
    [errors.connection, 'connections failed or broke'],
  ] as const;
  const said = parts.filter(([n]) => n > 0).map(([n, what]) => `${n} ${what}`);
  return said.length === 0 ? null : `${said.join(', ')} (of ${total.sent} requests)`;
}
