/** The tables on the screen: at the end of a comparison, with what the paper measured beside it, and of a load by HTTP. Pure:
 *  records in, text out. */
import Table from 'cli-table3';
import { counted, loadText, loss, micros, percent, small } from '../base/format.js';
import { errorsOf, type HttpFile, type HttpSummary } from '../http/plan.js';
import { requestsTitle, runTitle } from '../runner/compare.js';
import { LOOPBACK } from '../runner/observer.js';
import type { Result, Summary } from '../runner/record.js';
import { PAPER, PAPER_ORDER } from './paper.js';
import type { CompareSettings } from './results.js';

/** A table as text. @param left columns of words: by their number the first ones, or which */
export function textTable(
  head: readonly string[],
  rows: readonly (readonly (string | number)[])[],
  left: number | readonly number[] = 1,
  colour = false,
): string {
  const isLeft = (i: number): boolean => (typeof left === 'number' ? i < left : left.includes(i));
  const table = new Table({
    head: [...head],
    colAligns: head.map((_, i) => (isLeft(i) ? 'left' : 'right')),
    style: { head: colour ? ['bold'] : [], border: colour ? ['grey'] : [], compact: true },
  });
  for (const row of rows) table.push([...row]);
  return table.toString();
}

/** Percentiles in microseconds, or as many dashes. */
const microsOf = (us: readonly number[] | null, count: number): string[] =>
  us === null ? new Array<string>(count).fill('-') : us.map(micros);

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
  { colour }: { colour: boolean },
): string {
  const received = results.filter((r) => r.direction === 'rx');
  const betweenGuests = results.filter((r) => r.direction === 'guest-to-guest');
  const sent = results.filter((r) => r.direction === 'tx');
  const asked = results.filter((r) => r.rr !== undefined);
  return [
    heading(settings),
    ...(received.length > 0 ? [ladder(received, colour)] : []),
    ...(sent.length > 0 ? ['transmit: from the guests to the far end of the cable', ladder(sent, colour)] : []),
    ...(betweenGuests.length > 0 ? ['from guest to guest over the bridge', ladder(betweenGuests, colour)] : []),
    ...requestLadders(asked, colour),
    asked.length > 0
      ? requestLine(asked)
      : 'driver domain, hypervisor, guest: CPU ns per delivered frame; hypercalls, grant operations, copies: per delivered frame.',
    ...(received.length > 0 ? paperLines(received) : []),
    ...sentLines(received, sent),
    cpuLine(runs),
    ...notes(runs),
  ].join('\n');
}

function heading(s: CompareSettings): string {
  const link = s.linkGbps === null ? 'link unlimited' : `link ${s.linkGbps} Gb/s`;
  const repeat = s.repeat > 1 ? `, median of ${s.repeat} interleaved runs` : '';
  return `${counted(s.guests, 'guest')}, ${loadText(s)}, ${link}${s.flowControl ? '' : ' without flow control'}, ${s.seconds} s each${repeat}, seed ${s.seed}`;
}

/** One direction's table. */
function ladder(results: readonly Summary[], colour: boolean): string {
  const rate = results.some((r) => r.runs > 1) ? 'Gb/s (min-max)' : 'Gb/s';
  const costs = ['driver\ndomain', 'hyper-\nvisor', 'guest', 'hyper-\ncalls', 'grant\nops', 'copies'];
  const rows = results.map(({ config, runs, spread, delivered, cpuNsPerFrame: cpu, perFrame, latencyUs, ...r }) => [
    config,
    `${delivered.gbps.toFixed(2)}${runs > 1 ? ` (${spread.gbps.min.toFixed(1)}-${spread.gbps.max.toFixed(1)})` : ''}`,
    (delivered.framesPerSecond / 1e6).toFixed(3),
    ...[cpu.driverDomain, cpu.hypervisor, cpu.guest].map(Math.round),
    ...[perFrame.hypercalls, perFrame.grantOps, perFrame.copies].map(small),
    loss(r.lost, r.sent),
    ...microsOf(latencyUs && [latencyUs.p50, latencyUs.p99], 2),
  ]);
  return textTable(['configuration', rate, 'Mframe/s', ...costs, 'loss', 'p50\nus', 'p99\nus'], rows, 1, colour);
}

const gbpsOf = (results: readonly Summary[], name: string): number | undefined =>
  results.find((r) => r.config === name)?.delivered.gbps;

/** What transmit gains by the ladder, and how it stands to receive. */
function sentLines(received: readonly Summary[], sent: readonly Summary[]): string[] {
  const base = gbpsOf(sent, 'baseline') ?? 0;
  const best = gbpsOf(sent, 'optimised') ?? 0;
  const rx = gbpsOf(received, 'optimised') ?? 0;
  if (best === 0) return [];
  const gain = base > 0 ? `, ${(best / base).toFixed(1)} times baseline (${base.toFixed(2)})` : '';
  const beside = rx > 0 ? `; ${percent(best / rx, 0)} of receive` : '';
  return [`transmit, optimised: ${best.toFixed(1)} Gb/s${gain}${beside}.`];
}

/** The paper's figures beside ours; says so where the order of results differs from the paper's. */
export function paperLines(results: readonly Summary[]): string[] {
  const base = gbpsOf(results, 'baseline');
  const best = gbpsOf(results, 'optimised');
  const { baselineGbps, optimisedGbps, ratio } = PAPER;
  const lines: string[] = [];
  if (base !== undefined && best !== undefined)
    lines.push(
      `optimised over baseline: here ${base.toFixed(1)} to ${best.toFixed(1)} Gb/s, ${base > 0 ? (best / base).toFixed(1) : '-'} times; ` +
        `the paper's machine ${baselineGbps} to ${optimisedGbps} Gb/s (the whole link), ${ratio} times.`,
    );
  else
    lines.push(
      `For comparison, the paper: baseline ${baselineGbps} Gb/s, all optimisations ${optimisedGbps} Gb/s (the whole link), ${ratio} times.`,
    );
  const steps = PAPER_ORDER.flatMap((name) => {
    const gbps = gbpsOf(results, name);
    return gbps === undefined ? [] : [{ name, gbps }];
  });
  for (const [i, upper] of steps.entries()) {
    const lower = steps[i - 1];
    if (lower !== undefined && upper.gbps < lower.gbps)
      lines.push(
        `The order differs from the paper's: ${upper.name} (${upper.gbps.toFixed(2)}) is below ${lower.name} (${lower.gbps.toFixed(2)}) here; docs/measuring.md says why that can be.`,
      );
  }
  return lines;
}

function cpuLine(results: readonly Run[]): string {
  const ratios = results.flatMap((r) => Object.values(r.cpuAccounted).filter((x): x is number => x !== null));
  if (ratios.length === 0) return 'CPU accounting: no process used enough to tell.';
  const [low, high] = [Math.min(...ratios), Math.max(...ratios)].map((x) => (x * 100).toFixed(1));
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
  const lines = runs.flatMap((r) =>
    r.notes.map((n) => `note, ${runTitle(r)}${repeated ? `, run ${r.round + 1}` : ''}: ${n}`),
  );
  const more = lines.length - MOST_NOTES;
  return more > 0 ? [...lines.slice(0, MOST_NOTES), `and ${counted(more, 'more note')} in the results`] : lines;
}

/** One line for a run that has just been measured. */
export function runLine(r: Result, round: number, repeat: number): string {
  const nth = repeat > 1 ? ` [${round + 1}/${repeat}]` : '';
  const wrong = r.conservation === 'ok' ? '' : '  CONSERVATION VIOLATED';
  const { rr } = r;
  if (rr !== undefined) {
    const t = rr.rttUs;
    const times = t ? `median ${micros(t.p50)} us, 99 % ${micros(t.p99)} us` : 'no answer';
    return `  ${r.config.padEnd(12)}${nth} ${requestsTitle(rr)}: ${times}, ${Math.round(rr.perSecondAnswered)} a second${wrong}`;
  }
  const name = r.direction === 'tx' ? `tx ${r.config.padEnd(9)}` : r.config.padEnd(12);
  return (
    `  ${name}${nth} ${r.delivered.gbps.toFixed(2).padStart(6)} Gb/s  ${(r.delivered.framesPerSecond / 1e6).toFixed(3)} Mframe/s  ` +
    `${Math.round(r.cpuNsPerFrame.total)} ns CPU/frame  loss ${loss(r.lost, r.sent)}${wrong}`
  );
}

/** A table of round trips for each number in flight and each company, under a line that says which. */
function requestLadders(results: readonly Summary[], colour: boolean): string[] {
  const asked = results.flatMap(({ rr, ...r }) => (rr ? [{ ...r, rr, title: requestsTitle(rr) }] : []));
  const heads = ['requests/s', 'p50\nus', 'p90\nus', 'p99\nus', 'p99.9\nus', 'max\nus', 'CPU us\neach', 'lost', 'bad'];
  return [...new Set(asked.map((r) => r.title))].flatMap((title) => {
    const own = asked.filter((r) => r.title === title);
    const rows = own.map(({ config, rr, cpuNsPerFrame, corrupt }) => [
      config,
      Math.round(rr.perSecondAnswered),
      ...microsOf(rr.rttUs && [rr.rttUs.p50, rr.rttUs.p90, rr.rttUs.p99, rr.rttUs.p999, rr.rttUs.max], 5),
      // Beside bulk, most of the time is that of other frames.
      rr.beside === 'bulk' ? '-' : (cpuNsPerFrame.total / 1000).toFixed(1),
      rr.timeouts + rr.unanswered,
      corrupt + rr.repeated,
    ]);
    return [`round trips, ${title}`, textTable(['configuration', ...heads], rows, 1, colour)];
  });
}

/** How the figures of round trips are to be read. */
function requestLine(results: readonly Summary[]): string {
  const open = results.some((r) => r.rr !== undefined && r.rr.perSecond !== null);
  const what = open
    ? 'Open loop: times count from when a request was due, so a stall shows in all requests that it kept waiting.'
    : 'Closed loop: the next request goes out when an answer comes, so a slow path is asked less often.';
  return `${what} lost: without an answer within the time-out; bad: corrupt or repeated answers; CPU of driver domain, hypervisor and guest.`;
}

/** The tables at the end of `grantline http`: capacity, latency at a rate, CPU. */
export function httpTable(file: Pick<HttpFile, 'settings' | 'capacity' | 'atRate'>): string {
  const { settings: s, capacity, atRate } = file;
  const all = [...capacity, ...atRate];
  return [
    `HTTP: ${s.connections} connections, ${counted(s.guests, 'guest')}, ${s.seconds} s each; every answer compared whole.`,
    ...(capacity.length > 0
      ? ['Capacity (closed loop: a connection asks again when it has its answer):', httpLoads(capacity)]
      : []),
    ...(atRate.length > 0
      ? ['At a rate (open loop: latency counts from when the schedule wanted the request sent):', httpLoads(atRate)]
      : []),
    'CPU, microseconds for each request:',
    httpCosts(all),
    ...all.flatMap((r) =>
      [...(r.refused === null ? [] : [`void: ${r.refused}`]), ...r.notes].map(
        (n) => `${r.target}, ${r.scenario}: ${n}`,
      ),
    ),
  ].join('\n');
}

const scenarioText = (r: HttpSummary): string => (r.rate === null ? r.scenario : `${r.scenario} at ${r.rate}/s`);

function httpLoads(all: readonly HttpSummary[]): string {
  const rates = ['requests/s', 'of\nloopback', 'Gb/s', 'p50 µs', 'p90', 'p99', 'p99.9', 'errors', 'generator'];
  const rows = all.map((r) => {
    const l = r.generated.latencyUs;
    const { min, max } = r.spread.requestsPerSecond;
    const rate = `${r.requestsPerSecond.toFixed(0)}${r.runs === 1 ? '' : ` (${min.toFixed(0)}-${max.toFixed(0)})`}`;
    return [
      scenarioText(r),
      r.target,
      r.refused === null ? rate : 'void',
      ratioText(r),
      r.gbps >= 0.1 ? r.gbps.toFixed(2) : '',
      ...microsOf(l && [l.p50, l.p90, l.p99, l.p999], 4),
      String(errorsOf(r.generated.errors)),
      percent(r.generated.generator.cpuShare, 0),
    ];
  });
  return textTable(['scenario', 'over', ...rates], rows, 2);
}

/** A share of loopback's requests per second; nothing beside loopback itself. */
export const ratioText = (r: HttpSummary): string =>
  r.ratio === null || r.target === LOOPBACK ? '' : percent(r.ratio, 0);

/** Columns of the CPU table: parts of the path, in the order in which a request meets them. */
const PARTS: readonly (readonly [head: string, keys: readonly string[]])[] = [
  ['outer\nstack', ['nic.outer', 'nic.control']],
  ['nic', ['nic.nic', 'nic.generator', 'nic.farEnd']],
  ['driver\ndomain', ['driverDomain']],
  ['hyper-\nvisor', ['hypervisor']],
  ['guest:\nnetfront', ['guest.netfront']],
  ['stack', ['guest.stack']],
  ['appli-\ncation', ['guest.application', 'guest.control']],
  ['runtime', ['guest.runtime', 'nic.runtime']],
];

/** Their names on one line. */
export const HTTP_PARTS: readonly string[] = PARTS.map(([head]) =>
  head.replace(/-?\n/, (m) => (m.startsWith('-') ? '' : ' ')),
);

/** CPU microseconds of each of these parts for a request, and of all that serves; '' where they are not known. */
export function httpCostCells({ cpuNsPerRequest: cpu, serverNsPerRequest }: HttpSummary): string[] {
  const cells = PARTS.map(([, keys]) => {
    if (cpu === null) return '';
    const ns = keys.map((key) =>
      key === 'driverDomain' || key === 'hypervisor' ? cpu[key] : (cpu.components[key] ?? 0),
    );
    return micros(ns.reduce((n, x) => n + x, 0) / 1000);
  });
  return [...cells, micros(serverNsPerRequest / 1000)];
}

function httpCosts(all: readonly HttpSummary[]): string {
  const rows = all.map((r) => [scenarioText(r), r.target, ...httpCostCells(r)]);
  return textTable(['scenario', 'over', ...PARTS.map(([head]) => head), 'all'], rows, 2);
}
