/** What the benchmark came to, for the screen and as the Markdown file that the documents point to. Pure. */
import Table from 'cli-table3';
import type { HostInfo } from '../testbed/host.js';
import { escapeMarkdown } from '../report/markdown.js';
import type { BenchSettings } from './scenario.js';
import { figure, judgeCheck, wantedText, type Check } from './targets.js';

const HEAD = ['measured', 'median', 'min', 'max', 'unit', 'asked for', ''];

/** Figures that nothing is asked of are there to compare with. */
const isInformation = (c: Check): boolean => 'atLeast' in c.wanted && c.wanted.atLeast === 0 && c.target === undefined;

const rowOf = (c: Check): string[] => [
  c.name,
  ...[c.value, c.min, c.max].map(figure),
  c.unit,
  ...(isInformation(c) ? ['', ''] : [wantedText(c), judgeCheck(c)]),
];

export function benchTable(checks: readonly Check[]): string {
  const table = new Table({
    head: HEAD,
    colAligns: ['left', 'right', 'right', 'right', 'left', 'left', 'left'],
    style: { head: [], border: [], compact: true },
  });
  for (const c of checks) table.push(rowOf(c));
  return table.toString();
}

export const machineLine = (host: HostInfo, s: BenchSettings): string =>
  `${host.cpu}, ${host.cores} cores, Linux ${host.kernel}, Node ${host.node}; medians of ${s.runs} runs.`;

/** @param command what was typed after "npm run bench --" */
export function benchMarkdown(
  checks: readonly Check[],
  host: HostInfo,
  settings: BenchSettings,
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
  ].join('\n');
}
