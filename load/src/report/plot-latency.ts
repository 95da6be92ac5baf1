/** Percentiles on a logarithmic axis: of frames by configuration, and of round trips, a panel for each number in flight and each
 *  company. Pure. */
import { scaleLog } from 'd3-scale';
import { symbol, symbolCircle, symbolDiamond, symbolSquare, symbolTriangle, type SymbolType } from 'd3-shape';
import { micros } from '../base/format.js';
import { requestsTitle } from '../runner/compare.js';
import { markup, type Markup } from './markup.js';
import { plainName, subjectOf, type Model } from './model.js';
import { configKey } from './palette.js';
import type { RunResult } from './read.js';
import { at, configFill, configStroke, gridLine, line, nameColumn, rowName, text, WIDTH, type Plot } from './svg.js';

const RIGHT = 30;
const TOP = 34;
/** The axis cannot show zero; nothing that is measured is faster than this. Microseconds. */
const LEAST = 0.1;

type Percentiles = Record<'p50' | 'p90' | 'p99' | 'p999', number>;

const MARKS: readonly { key: keyof Percentiles; label: string; shape: SymbolType }[] = [
  { key: 'p50', label: 'median', shape: symbolCircle },
  { key: 'p90', label: '90 %', shape: symbolSquare },
  { key: 'p99', label: '99 %', shape: symbolDiamond },
  { key: 'p999', label: '99.9 %', shape: symbolTriangle },
];

/** What draws percentiles from `left` on: whole decades, with a mark for each of `all`. @param size of a mark, square pixels */
function drawing(all: readonly Percentiles[], left: number, size: number) {
  const shown = all.flatMap((p) => MARKS.map(({ key }) => Math.max(LEAST, p[key])));
  const low = 10 ** Math.floor(Math.log10(Math.min(...shown)));
  const high = 10 ** Math.ceil(Math.log10(Math.max(...shown) * 1.0001));
  const x = scaleLog([low, high], [left, WIDTH - RIGHT]);
  const mark = (shape: SymbolType, px: number, y: number, name: string, label: string | null): Markup => {
    const tip = label === null ? null : markup`<title>${label}</title>`;
    return markup`<path transform="translate(${at(px)} ${at(y)})" d="${symbol(shape, size)() ?? ''}" class="${name} gl-edge">${tip}</path>`;
  };
  return {
    keys: MARKS.map(({ label, shape }, i) => {
      const from = left + i * 90;
      return markup`${mark(shape, from + 6, 14, 'gl-muted', null)}${text(from + 18, 18, label)}`;
    }),
    axis(top: number, bottom: number, below: number): Markup[] {
      const lines: Markup[] = [];
      for (let v = low; v <= high * 1.0001; v *= 10) lines.push(gridLine(x(v), top, bottom, timeOf(v), below));
      return lines;
    },
    row(config: string, times: Percentiles, y: number, name?: string): Markup {
      const key = configKey(plainName(config));
      const px = (of: keyof Percentiles): number => x(Math.max(LEAST, times[of]));
      const marks = MARKS.map(({ key: of, label, shape }) =>
        mark(shape, px(of), y, configFill(key), `${config}, ${label}: ${micros(times[of])} µs`),
      );
      return markup`${rowName(config, left, y + 4, name)}${line(px('p50'), y, px('p999'), y, `gl-line ${configStroke(key)}`)}${marks}`;
    },
  };
}

/** 1000 → "1 ms". */
function timeOf(us: number): string {
  if (us >= 1e6) return `${Math.round(us / 1e6)} s`;
  return us >= 1000 ? `${Math.round(us / 1000)} ms` : `${Number(us.toPrecision(1))} µs`;
}

const ROW = 34;

/** @returns null when no run has latencies */
export function latencyPlot(m: Model): Plot | null {
  const rows = m.main.flatMap(({ config, median: { latencyUs } }) =>
    latencyUs === null ? [] : [{ config, latencyUs }],
  );
  if (rows.length === 0) return null;
  const bottom = TOP + rows.length * ROW;
  const draw = drawing(
    rows.map((r) => r.latencyUs),
    nameColumn(rows),
    56,
  );
  const medians = rows.map(
    ({ config, latencyUs: l }) => `${config}: median ${micros(l.p50)} µs, 99 % ${micros(l.p99)} µs.`,
  );
  const drawn = rows.map((r, i) => draw.row(r.config, r.latencyUs, TOP + i * ROW + ROW / 2));
  return {
    name: `latency${m.ladder?.file ?? ''}`,
    title: `Latency percentiles by configuration, ${subjectOf(m)}`,
    desc: `From the sender's stamp to the application's memory, logarithmic. ${medians.join(' ')}`,
    width: WIDTH,
    height: bottom + 30,
    body: markup`${draw.keys}${draw.axis(TOP, bottom, 18)}${drawn}`,
  };
}

const REQUEST_LEFT = 124;
const REQUEST_ROW = 26;
const REQUEST_TITLE = 30;

/** One configuration in one kind of run. */
export interface RequestRow {
  config: string;
  rr: NonNullable<RunResult['rr']>;
}

/** @returns null when nothing was answered */
export function requestsPlot(rows: readonly RequestRow[]): Plot | null {
  const timed = rows.flatMap(({ config, rr }) =>
    rr.rttUs === null ? [] : [{ config, times: rr.rttUs, title: requestsTitle(rr) }],
  );
  if (timed.length === 0) return null;
  const draw = drawing(
    timed.map((r) => r.times),
    REQUEST_LEFT,
    50,
  );
  let y = TOP;
  const body: Markup[] = [];
  for (const title of new Set(timed.map((r) => r.title))) {
    const own = timed.filter((r) => r.title === title);
    const top = y + REQUEST_TITLE;
    const bottom = top + own.length * REQUEST_ROW;
    body.push(text(REQUEST_LEFT, y + 20, title, { class: 'gl-text gl-head' }), ...draw.axis(top, bottom, 16));
    own.forEach((r, i) => body.push(draw.row(r.config, r.times, top + i * REQUEST_ROW + REQUEST_ROW / 2, 'gl-text')));
    y = bottom + 26;
  }
  const medians = timed.map(
    ({ config, title, times: t }) => `${config}, ${title}: median ${micros(t.p50)} µs, 99 % ${micros(t.p99)} µs.`,
  );
  return {
    name: 'round-trips',
    title: 'Round trips by configuration',
    desc: `From sending a request at the far end of the cable to its answer there, logarithmic. ${medians.join(' ')}`,
    width: WIDTH,
    height: y,
    body: markup`${draw.keys}${body}`,
  };
}
