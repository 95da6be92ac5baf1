/** Round trips by configuration, on a logarithmic axis: a panel for each number in flight and each company. Pure. */
import { scaleLog } from 'd3-scale';
import { symbol, symbolCircle, symbolDiamond, symbolSquare, symbolTriangle, type SymbolType } from 'd3-shape';
import { requestsTitle } from '../runner/compare.js';
import { micros } from '../base/format.js';
import { markup, type Markup } from './markup.js';
import { configKey } from './palette.js';
import type { RunResult } from './schema.js';
import { at, configFill, configStroke, fitted, line, text, type Plot } from './svg.js';

const WIDTH = 820;
const LEFT = 124;
const RIGHT = 30;
const TOP = 34;
const ROW = 26;
const TITLE = 30;
const LEAST = 0.1;

type Times = NonNullable<NonNullable<RunResult['rr']>['rttUs']>;
const MARKS: readonly { key: 'p50' | 'p90' | 'p99' | 'p999'; label: string; shape: SymbolType }[] = [
  { key: 'p50', label: 'median', shape: symbolCircle },
  { key: 'p90', label: '90 %', shape: symbolSquare },
  { key: 'p99', label: '99 %', shape: symbolDiamond },
  { key: 'p999', label: '99.9 %', shape: symbolTriangle },
];

/** One configuration in one kind of run. */
export interface RequestRow {
  config: string;
  rr: NonNullable<RunResult['rr']>;
}

/** @returns null when nothing was answered */
export function requestsPlot(rows: readonly RequestRow[]): Plot | null {
  const timed = rows.flatMap((r) => (r.rr.rttUs === null ? [] : [{ ...r, times: r.rr.rttUs }]));
  if (timed.length === 0) return null;
  const all = timed.flatMap(({ times }) => MARKS.map(({ key }) => Math.max(LEAST, times[key])));
  const low = 10 ** Math.floor(Math.log10(Math.min(...all)));
  const high = 10 ** Math.ceil(Math.log10(Math.max(...all) * 1.0001));
  const x = scaleLog([low, high], [LEFT, WIDTH - RIGHT]);
  const titles = [...new Set(timed.map(({ rr }) => requestsTitle(rr)))];
  let y = TOP;
  const body: Markup[] = [];
  for (const title of titles) {
    const own = timed.filter(({ rr }) => requestsTitle(rr) === title);
    body.push(markup`${text(LEFT, y + 20, title, { class: 'gl-text gl-head' })}`);
    const top = y + TITLE;
    const bottom = top + own.length * ROW;
    for (let v = low; v <= high * 1.0001; v *= 10)
      body.push(
        markup`${line(x(v), top, x(v), bottom, 'gl-grid')}${text(x(v), bottom + 16, timeOf(v), { anchor: 'middle', class: 'gl-muted' })}`,
      );
    own.forEach((r, i) => body.push(row(r.config, r.times, x, top + i * ROW + ROW / 2)));
    y = bottom + 26;
  }
  return {
    name: 'round-trips',
    title: 'Round trips by configuration',
    desc: `From sending a request at the far end of the cable to its answer there, logarithmic. ${timed
      .map(
        (r) => `${r.config}, ${requestsTitle(r.rr)}: median ${micros(r.times.p50)} µs, 99 % ${micros(r.times.p99)} µs.`,
      )
      .join(' ')}`,
    width: WIDTH,
    height: y,
    body: markup`${keys()}${body}`,
  };
}

function timeOf(us: number): string {
  if (us >= 1e6) return `${Math.round(us / 1e6)} s`;
  return us >= 1000 ? `${Math.round(us / 1000)} ms` : `${Number(us.toPrecision(1))} µs`;
}

function mark(shape: SymbolType, px: number, py: number, name: string, label: string | null): Markup {
  const tip = label === null ? null : markup`<title>${label}</title>`;
  return markup`<path transform="translate(${at(px)} ${at(py)})" d="${symbol(shape, 50)() ?? ''}" class="${name} gl-edge">${tip}</path>`;
}

function keys(): Markup {
  return markup`${MARKS.map(({ label, shape }, i) => markup`${mark(shape, LEFT + 6 + i * 90, 14, 'gl-muted', null)}${text(LEFT + 18 + i * 90, 18, label)}`)}`;
}

function row(config: string, times: Times, x: (v: number) => number, y: number): Markup {
  const key = configKey(config);
  const px = (us: number): number => x(Math.max(LEAST, us));
  return markup`${text(LEFT - 10, y + 4, fitted(config, LEFT - 14, 13), { anchor: 'end', class: 'gl-text' })}${line(
    px(times.p50),
    y,
    px(times.p999),
    y,
    `gl-line ${configStroke(key)}`,
  )}${MARKS.map(({ key: k, label, shape }) => mark(shape, px(times[k]), y, configFill(key), `${config}, ${label}: ${micros(times[k])} µs`))}`;
}
