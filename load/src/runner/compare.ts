/** Several configurations, one after another, each several times. */
import type { Configuration } from '@grantline/base';
import type { Progress } from '../base/progress.js';
import { counted } from '../base/format.js';
import { medianIndex } from '../base/stats.js';
import { RunError } from '../base/errors.js';
import { observers } from './observer.js';
import type { RequestPlan } from '../control/load-api.js';
import type { Result, RunRecord, Summary, RunPlan } from './record.js';
import type { Bed } from './bed.js';
import { placeOf, runOnce } from './run.js';

/** The order of runs: A B C, C B A, A B C ... so that a machine that gets slower or faster favours none.
 *  @returns indices of configurations, a row per round */
export function abbaOrder(configurations: number, rounds: number): number[][] {
  const forward = Array.from({ length: configurations }, (_, i) => i);
  return Array.from({ length: rounds }, (_, r) => (r % 2 === 0 ? [...forward] : [...forward].reverse()));
}

const WARM_S = 2;

/** A run that nobody hears of. On a testbed that has just been started the engine still compiles: the first run was 25 to 35 %
 *  below the second, of the same configuration (docs/measuring.md). */
export async function warmUp(bed: Bed, config: Configuration, plan: RunPlan, progress: Progress): Promise<void> {
  const unheard = { ...progress, live: () => progress.live('warming up') };
  await runOnce({ ...bed, observer: observers() }, config, 0, { ...plan, warmup: 0, seconds: WARM_S }, unheard);
}

/** Runs all and gives the records in the order of running. Violations of conservation fail it at the end, so that the
 *  other configurations are still measured. */
export async function compareAll(
  bed: Bed,
  configs: readonly Configuration[],
  plan: RunPlan,
  repeat: number,
  progress: Progress,
  onRecord: (record: RunRecord) => void,
): Promise<RunRecord[]> {
  const records: RunRecord[] = [];
  for (const [round, order] of abbaOrder(configs.length, repeat).entries()) {
    for (const i of order) {
      const record = await runOnce(bed, configs[i], round, plan, progress);
      records.push(record);
      onRecord(record);
    }
  }
  await bed.observer.phase({ ...placeOf(bed, configs[0], repeat - 1, plan), phase: 'idle' });
  return records;
}

/** What makes a comparison fail. @returns null when nothing does */
export function verdict(records: readonly RunRecord[]): RunError | null {
  const lines: string[] = [];
  for (const r of records) {
    const name = runTitle(r);
    if (r.conservation !== 'ok')
      for (const v of r.conservation) lines.push(`${name}: frames are not accounted for: ${v}`);
    if (r.delivered.frames === 0) lines.push(`${name}: no frame was delivered: ${whyNothing(r)}`);
    if (r.corrupt > 0 && r.faults === undefined) lines.push(`${name}: ${r.corrupt} frames arrived corrupt`);
  }
  return lines.length === 0 ? null : new RunError(lines.join('\n  '));
}

/** How many reasons are named. */
const REASONS = 3;

/** What became of the frames of a run that delivered none while it was measured: one line. */
export function whyNothing(r: Pick<RunRecord, 'sent' | 'received' | 'drops' | 'pausedShare'>): string {
  if (r.sent === 0) return 'none was sent';
  const drops = Object.entries(r.drops).sort(([, x], [, y]) => y - x);
  const named = drops.slice(0, REASONS).map(([reason, n]) => `${reason} ${n}`);
  const more = drops.length > REASONS ? [`${counted(drops.length - REASONS, 'reason')} more`] : [];
  const paused = r.pausedShare > 0 ? [`sender paused ${(r.pausedShare * 100).toFixed(0)} % of the time`] : [];
  const late = r.received > 0 ? [`${r.received} arrived outside the measured time`] : [];
  return [`${r.sent} sent`, ...(named.length > 0 ? named : ['no drop was counted']), ...more, ...late, ...paused].join(
    ', ',
  );
}

/** What runs have to have in common to be compared: the direction, and of requests how many and beside what. */
const kindOf = (r: RunRecord): string =>
  r.rr ? `rr, ${requestsTitle(r.rr)}` : `${r.tcp ? 'tcp, ' : ''}${r.direction}`;

/** "optimised", or "optimised, transmit" where it is not frames to the guests. */
export const runTitle = ({ config, direction, rr }: Pick<RunRecord, 'config' | 'direction' | 'rr'>): string =>
  direction === 'rx' ? config : `${config}, ${rr ? requestsTitle(rr) : direction === 'tx' ? 'transmit' : direction}`;

/** "1 in flight, beside bulk". */
export const requestsTitle = (rr: Pick<RequestPlan, 'inFlight' | 'beside' | 'perSecond'>): string =>
  `${rr.perSecond === null ? '' : `${rr.perSecond} a second, at most `}${rr.inFlight} in flight, ${rr.beside === 'bulk' ? 'beside bulk' : 'alone'}`;

/** One summary per configuration, in the given order: its median run and the spread. */
export function summarise(configs: readonly Configuration[], records: readonly RunRecord[]): Summary[] {
  const out: Summary[] = [];
  const kinds = [...new Set(records.map(kindOf))];
  for (const { config, kind } of kinds.flatMap((k) => configs.map((config) => ({ config, kind: k })))) {
    const own = records.filter((r) => r.config === config.name && kindOf(r) === kind);
    const fps = own.map((r) => r.delivered.framesPerSecond);
    const gbps = own.map((r) => r.delivered.gbps);
    const median = own[medianIndex(own.every((r) => r.rr) ? own.map((r) => -(r.rr?.rttUs?.p50 ?? Infinity)) : fps)];
    if (!median) continue;
    // The raw counters stand with the runs.
    const result: Partial<RunRecord> = { ...median };
    delete result.raw;
    out.push({
      ...(result as Result),
      runs: own.length,
      spread: {
        gbps: { min: Math.min(...gbps), max: Math.max(...gbps) },
        framesPerSecond: { min: Math.min(...fps), max: Math.max(...fps) },
      },
    });
  }
  return out;
}
