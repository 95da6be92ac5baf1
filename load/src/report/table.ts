/** The table at the end of a comparison, and what the paper measured beside it. Pure: records in, text out. */
import Table from 'cli-table3';
import { counted, loadText, loss, micros, small } from '../base/format.js';
import { requestsTitle } from '../runner/compare.js';
import { requestLadders, requestLine, requestRunLine } from './request-table.js';
import { PAPER, PAPER_ORDER } from './paper.js';
import type { Result, Summary } from '../runner/record.js';
import type { CompareSettings } from './results.js';

export interface TableOptions {
  /** Terminal colours. */
  colour: boolean;
}

/** A run as far as the lines below the table tell of it. */
type Run = Pick<
  Result,
  'config' | 'direction' | 'rr' | 'round' | 'conservation' | 'cpuAccounted' | 'cpuAccountedOk' | 'notes'
>;

/** The whole text: what was run, the table, the paper's line, notes.
 *  @param runs all, not the medians alone: no doubt may be hidden by a median */
export function compareTable(
  results: readonly Summary[],
  runs: readonly Run[],
  settings: CompareSettings,
  options: TableOptions,
): string {
  const received = results.filter((r) => r.direction === 'rx');
  const between = results.filter((r) => r.direction === 'guest-to-guest');
  const sent = results.filter((r) => r.direction === 'tx');
  const asked = results.filter((r) => r.rr !== undefined);
  const ladders = [
    ...(received.length > 0 ? [ladder(received, options)] : []),
    ...(sent.length > 0 ? ['transmit: from the guests to the far end of the cable', ladder(sent, options)] : []),
    ...(between.length > 0 ? ['from guest to guest over the bridge', ladder(between, options)] : []),
    ...requestLadders(asked, options),
  ];
  return [
    heading(settings),
    ...ladders,
    asked.length > 0
      ? requestLine(asked)
      : 'driver domain, hypervisor, guest: CPU ns per delivered frame; hypercalls, grant operations, copies: per delivered frame.',
    ...(received.length > 0 ? paperLines(received) : []),
    ...sentLines(received, sent),
    cpuLine(runs),
    ...notes(runs),
  ].join('\n');
}

/** What transmit gains by the ladder, and how it stands to receive. */
function sentLines(received: readonly Summary[], sent: readonly Summary[]): string[] {
  const of = (list: readonly Summary[], name: string): number =>
    list.find((r) => r.config === name)?.delivered.gbps ?? 0;
  const base = of(sent, 'baseline');
  const best = of(sent, 'optimised');
  const rx = of(received, 'optimised');
  if (best === 0) return [];
  const gain = base > 0 ? `, ${(best / base).toFixed(1)} times baseline (${base.toFixed(2)})` : '';
  const beside = rx > 0 ? `; ${((best / rx) * 100).toFixed(0)} % of receive` : '';
  return [`transmit, optimised: ${best.toFixed(1)} Gb/s${gain}${beside}.`];
}

/** One direction's table. */
function ladder(results: readonly Summary[], options: TableOptions): string {
  const repeated = results.some((r) => r.runs > 1);
  const table = new Table({
    head: [
      'configuration',
      repeated ? 'Gb/s (min-max)' : 'Gb/s',
      'Mframe/s',
      'driver\ndomain',
      'hyper-\nvisor',
      'guest',
      'hyper-\ncalls',
      'grant\nops',
      'copies',
      'loss',
      'p50\nus',
      'p99\nus',
    ],
    colAligns: [
      'left',
      'right',
      'right',
      'right',
      'right',
      'right',
      'right',
      'right',
      'right',
      'right',
      'right',
      'right',
    ],
    style: { head: options.colour ? ['bold'] : [], border: options.colour ? ['grey'] : [], compact: true },
  });
  for (const r of results) {
    const spread = r.runs > 1 ? ` (${r.spread.gbps.min.toFixed(1)}-${r.spread.gbps.max.toFixed(1)})` : '';
    table.push([
      r.config,
      `${r.delivered.gbps.toFixed(2)}${spread}`,
      (r.delivered.framesPerSecond / 1e6).toFixed(3),
      Math.round(r.cpuNsPerFrame.driverDomain),
      Math.round(r.cpuNsPerFrame.hypervisor),
      Math.round(r.cpuNsPerFrame.guest),
      small(r.perFrame.hypercalls),
      small(r.perFrame.grantOps),
      small(r.perFrame.copies),
      loss(r.lost, r.sent),
      r.latencyUs ? micros(r.latencyUs.p50) : '-',
      r.latencyUs ? micros(r.latencyUs.p99) : '-',
    ]);
  }
  return table.toString();
}

function heading(s: CompareSettings): string {
  const link = s.linkGbps === null ? 'link unlimited' : `link ${s.linkGbps} Gb/s`;
  const repeat = s.repeat > 1 ? `, median of ${s.repeat} interleaved runs` : '';
  return `${s.guests} guest${s.guests === 1 ? '' : 's'}, ${loadText(s)}, ${link}${s.flowControl ? '' : ' without flow control'}, ${s.seconds} s each${repeat}, seed ${s.seed}`;
}

/** The paper's figures beside ours; says so where the order of results differs from the paper's. */
export function paperLines(results: readonly Summary[]): string[] {
  const gbps = (name: string): number | undefined => results.find((r) => r.config === name)?.delivered.gbps;
  const base = gbps('baseline');
  const best = gbps('optimised');
  const lines: string[] = [];
  if (base !== undefined && best !== undefined) {
    const ratio = base > 0 ? (best / base).toFixed(1) : '-';
    lines.push(
      `optimised over baseline: here ${base.toFixed(1)} to ${best.toFixed(1)} Gb/s, ${ratio} times; ` +
        `the paper's machine ${PAPER.baselineGbps} to ${PAPER.optimisedGbps} Gb/s (the whole link), ${PAPER.ratio} times.`,
    );
  } else {
    lines.push(
      `For comparison, the paper: baseline ${PAPER.baselineGbps} Gb/s, all optimisations ${PAPER.optimisedGbps} Gb/s (the whole link), ${PAPER.ratio} times.`,
    );
  }
  const ladder = PAPER_ORDER.map((name) => ({ name, gbps: gbps(name) })).filter(
    (x): x is { name: string; gbps: number } => x.gbps !== undefined,
  );
  for (let i = 1; i < ladder.length; i++) {
    const lower = ladder[i - 1];
    const upper = ladder[i];
    if (upper.gbps < lower.gbps) {
      lines.push(
        `The order differs from the paper's: ${upper.name} (${upper.gbps.toFixed(2)}) is below ${lower.name} (${lower.gbps.toFixed(2)}) here; docs/measuring.md says why that can be.`,
      );
    }
  }
  return lines;
}

function cpuLine(results: readonly Run[]): string {
  const ratios = results.flatMap((r) => Object.values(r.cpuAccounted).filter((x): x is number => x !== null));
  if (ratios.length === 0) return 'CPU accounting: no process used enough to tell.';
  const low = (Math.min(...ratios) * 100).toFixed(1);
  const high = (Math.max(...ratios) * 100).toFixed(1);
  const ok = results.every((r) => r.cpuAccountedOk);
  const conserved = results.every((r) => r.conservation === 'ok');
  return (
    `CPU accounting: the parts add up to ${low}-${high} % of each process's measured CPU time (${ok ? 'within' : 'NOT within'} 5 %). ` +
    `Conservation at each hop: ${conserved ? 'ok' : 'VIOLATED'}.`
  );
}

/** Notes that are shown: the others stand in the results. */
const MOST_NOTES = 20;

function notes(runs: readonly Run[]): string[] {
  const repeated = runs.some((r) => r.round > 0);
  const lines = runs.flatMap((r) => {
    const kind = r.rr ? requestsTitle(r.rr) : r.direction === 'tx' ? 'transmit' : r.direction;
    const which = `${r.config}${r.direction === 'rx' ? '' : `, ${kind}`}${repeated ? `, run ${r.round + 1}` : ''}`;
    return r.notes.map((n) => `note, ${which}: ${n}`);
  });
  const more = lines.length - MOST_NOTES;
  return more > 0 ? [...lines.slice(0, MOST_NOTES), `and ${counted(more, 'more note')} in the results`] : lines;
}

/** One line for a run that has just been measured. */
export function runLine(r: Summary | Omit<Summary, 'runs' | 'spread'>, round: number, repeat: number): string {
  const nth = repeat > 1 ? ` [${round + 1}/${repeat}]` : '';
  const wrong = r.conservation === 'ok' ? '' : '  CONSERVATION VIOLATED';
  if (r.rr !== undefined) return requestRunLine(r, nth);
  return (
    `  ${r.direction === 'tx' ? 'tx ' : ''}${r.config.padEnd(r.direction === 'tx' ? 9 : 12)}${nth} ${r.delivered.gbps.toFixed(2).padStart(6)} Gb/s  ${(r.delivered.framesPerSecond / 1e6).toFixed(3)} Mframe/s  ` +
    `${Math.round(r.cpuNsPerFrame.total)} ns CPU/frame  loss ${loss(r.lost, r.sent)}${wrong}`
  );
}
