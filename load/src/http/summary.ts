/** From all runs to what is told of them. Pure. */
import { RunError } from '../base/errors.js';
import { medianIndex } from '../base/stats.js';
import { LOOPBACK, type HttpRun, type HttpSummary } from './record.js';
import { faultOf } from './verdict.js';

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
