/** What the benchmark asks for, whether it was reached, and what it came to, for the screen and as the Markdown file that the documents
 *  point to. Pure. docs/measuring.md tells how each is measured. */
import type { HostInfo } from '../testbed/host.js';
import type { Handover } from '@grantline/machine';
import { placementText, type PlacementRecord } from '../testbed/placement.js';
import { escapeMarkdown, tableMarkdown } from '../report/render.js';
import { textTable } from '../report/table.js';
import { figures, words, type DataTable } from '../report/tables.js';

export interface Check {
  name: string;
  /** Median of the runs. */
  value: number;
  min: number;
  max: number;
  unit: string;
  /** What must be reached. */
  wanted: { atLeast: number } | { atMost: number } | { below: number } | { exactly: number };
  /** What we would like to reach. */
  target?: number;
}

type Verdict = 'PASS' | 'short';

export function judgeCheck(c: Check): Verdict {
  if ('atLeast' in c.wanted) return c.value >= c.wanted.atLeast ? 'PASS' : 'short';
  if ('atMost' in c.wanted) return c.value <= c.wanted.atMost ? 'PASS' : 'short';
  if ('below' in c.wanted) return c.value < c.wanted.below ? 'PASS' : 'short';
  return c.value === c.wanted.exactly ? 'PASS' : 'short';
}

/** The middle value; of an even number the mean of the two in the middle. NaN of none. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const half = sorted.length >> 1;
  if (sorted.length === 0) return NaN;
  return sorted.length % 2 === 1 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

/** A check over runs: the median is judged, the spread shown. */
export function checkOf(
  name: string,
  unit: string,
  values: readonly number[],
  wanted: Check['wanted'],
  target?: number,
): Check {
  const c: Check = { name, unit, value: median(values), min: Math.min(...values), max: Math.max(...values), wanted };
  if (target !== undefined) c.target = target;
  return c;
}

/** A count of runs that should be none. */
export const noneOf = (name: string, n: number): Check => checkOf(name, 'runs', [n], { exactly: 0 });

function wantedText(c: Check): string {
  const w = c.wanted;
  return c.target === undefined ? limitText(w) : `${limitText(w)} (target ${c.target})`;
}

function limitText(w: Check['wanted']): string {
  if ('atLeast' in w) return `>= ${w.atLeast}`;
  if ('atMost' in w) return `<= ${w.atMost}`;
  return 'below' in w ? `< ${w.below}` : `= ${w.exactly}`;
}

/** Four significant digits; exact for small whole numbers. */
export function figure(x: number): string {
  if (Number.isInteger(x)) return String(x);
  if (!Number.isFinite(x)) return '-';
  return Math.abs(x) >= 1000 ? String(Math.round(x)) : String(Number(x.toPrecision(4)));
}

const HEAD = ['measured', 'median', 'min', 'max', 'unit', 'asked for', ''];

/** Figures that nothing is asked of are there to compare with. */
const isInformation = (c: Check): boolean => 'atLeast' in c.wanted && c.wanted.atLeast === 0 && c.target === undefined;

const rowOf = (c: Check): string[] => [
  c.name,
  ...[c.value, c.min, c.max].map(figure),
  c.unit,
  ...(isInformation(c) ? ['', ''] : [wantedText(c), judgeCheck(c)]),
];

export const benchTable = (checks: readonly Check[]): string => textTable(HEAD, checks.map(rowOf), [0, 4, 5, 6]);

/** A table below that one, on the screen. */
export const lowerTable = (t: DataTable): string =>
  `${t.caption}:\n${textTable(
    t.columns.map((c) => c.head),
    t.rows,
    t.columns.flatMap((c, i) => (c.align === 'left' ? [i] : [])),
  )}`;

/** What the cores handed to each other before each scenario and after it. */
export function coresTable(all: readonly { scenario: string; placement: PlacementRecord | null }[]): DataTable {
  const both = (p: PlacementRecord, of: (h: Handover) => number | null): string =>
    [p.before, p.after].map((h) => (h === null ? '-' : (of(h)?.toFixed(0) ?? '-'))).join(' / ');
  return {
    caption: 'The cores, before each scenario / after it: what one copies by itself, what it hands to the other',
    columns: [
      words('scenario'),
      words('placement'),
      ...figures('alone, Gb/s', 'handed over, Gb/s', 'word there and back, ns', 'wake-up of node, us'),
    ],
    rows: all.flatMap(({ scenario, placement: p }) =>
      p === null
        ? []
        : [
            [
              ...[scenario, placementText(p)],
              ...[both(p, (h) => h.aloneGbps), both(p, (h) => h.handoverGbps)],
              ...[both(p, (h) => h.roundTripNs), both(p, (h) => h.wakeUs)],
            ],
          ],
    ),
  };
}

export const machineLine = (host: HostInfo, s: { runs: number }): string =>
  `${host.cpu}, ${host.cores} cores, Linux ${host.kernel}, Node ${host.node}; medians of ${s.runs} runs.`;

/** @param tables what stands below the checks @param command what was typed after "npm run bench --" */
export function benchMarkdown(
  checks: readonly Check[],
  tables: readonly DataTable[],
  host: HostInfo,
  settings: { runs: number },
  date: string,
  command: readonly string[],
): string {
  const row = (cells: readonly string[]): string => `| ${cells.map(escapeMarkdown).join(' | ')} |`;
  return [
    '# Benchmark',
    '',
    `\`npm run bench${command.length > 0 ? ` -- ${command.join(' ')}` : ''}\`, ${date.slice(0, 10)}, revision ${host.commit.slice(0, 7)}${host.dirty === true ? ' with changes' : ''}.`,
    machineLine(host, settings),
    '',
    row(HEAD),
    '| --- | ---: | ---: | ---: | --- | --- | --- |',
    ...checks.map((c) => row(rowOf(c))),
    '',
    ...tables.flatMap((t) => [tableMarkdown(t), '']),
  ].join('\n');
}
