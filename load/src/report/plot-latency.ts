/** Latency percentiles by configuration, on a logarithmic axis. Pure. */
import { scaleLog } from 'd3-scale';
import { symbol, symbolCircle, symbolDiamond, symbolSquare, symbolTriangle, type SymbolType } from 'd3-shape';
import { micros } from '../base/format.js';
import { markup, type Markup } from './markup.js';
import { subjectOf, type Group, type Model } from './model.js';
import type { RunResult } from './schema.js';
import { at, configFill, configStroke, fitted, line, nameColumn, text, type Plot } from './svg.js';

const WIDTH = 820;
const RIGHT = 30;
const TOP = 34;
const ROW = 34;
/** The axis cannot show zero; nothing that is measured is faster than this. Microseconds. */
const LEAST = 0.1;

type Latency = NonNullable<RunResult['latencyUs']>;

const MARKS: readonly { key: keyof Latency; label: string; shape: SymbolType }[] = [
  { key: 'p50', label: 'median', shape: symbolCircle },
  { key: 'p90', label: '90 %', shape: symbolSquare },
  { key: 'p99', label: '99 %', shape: symbolDiamond },
  { key: 'p999', label: '99.9 %', shape: symbolTriangle },
];

/** @returns null when no run has latencies */
export function latencyPlot(m: Model): Plot | null {
  const groups = m.main.filter((g) => g.median.latencyUs !== null);
  if (groups.length === 0) return null;
  const bottom = TOP + groups.length * ROW;
  const all = groups.flatMap((g) => MARKS.map(({ key }) => Math.max(LEAST, g.median.latencyUs?.[key] ?? LEAST)));
  const low = 10 ** Math.floor(Math.log10(Math.min(...all)));
  const high = 10 ** Math.ceil(Math.log10(Math.max(...all) * 1.0001));
  const left = nameColumn(groups);
  const x = scaleLog([low, high], [left, WIDTH - RIGHT]);
  const decades: number[] = [];
  for (let v = low; v <= high * 1.0001; v *= 10) decades.push(v);
  const axis = decades.map(
    (v) =>
      markup`${line(x(v), TOP, x(v), bottom, 'gl-grid')}${text(x(v), bottom + 18, timeOf(v), { anchor: 'middle', class: 'gl-muted' })}`,
  );
  return {
    name: `latency${m.ladder?.file ?? ''}`,
    title: `Latency percentiles by configuration, ${subjectOf(m)}`,
    desc: `From the sender's stamp to the application's memory, logarithmic. ${groups
      .map(
        (g) =>
          `${g.config}: median ${micros(g.median.latencyUs?.p50 ?? 0)} µs, 99 % ${micros(g.median.latencyUs?.p99 ?? 0)} µs.`,
      )
      .join(' ')}`,
    width: WIDTH,
    height: bottom + 30,
    body: markup`${keys(left)}${axis}${groups.map((g, i) => row(g, x, left, TOP + i * ROW + ROW / 2))}`,
  };
}

/** 1000 → "1 ms". */
function timeOf(us: number): string {
  if (us >= 1e6) return `${Math.round(us / 1e6)} s`;
  return us >= 1000 ? `${Math.round(us / 1000)} ms` : `${Number(us.toPrecision(1))} µs`;
}

function shapeAt(shape: SymbolType, px: number, py: number, name: string, label: string | null): Markup {
  const d = symbol(shape, 56)() ?? '';
  const tip = label === null ? null : markup`<title>${label}</title>`;
  return markup`<path transform="translate(${at(px)} ${at(py)})" d="${d}" class="${name} gl-edge">${tip}</path>`;
}

function keys(left: number): Markup {
  return markup`${MARKS.map(({ label, shape }, i) => markup`${shapeAt(shape, left + 6 + i * 90, 14, 'gl-muted', null)}${text(left + 18 + i * 90, 18, label)}`)}`;
}

function row(g: Group, x: (v: number) => number, left: number, y: number): Markup {
  const latency = g.median.latencyUs;
  if (latency === null) return markup``;
  const px = (key: keyof Latency): number => x(Math.max(LEAST, latency[key]));
  return markup`${text(left - 10, y + 4, fitted(g.config, left - 14, 13), { anchor: 'end', class: 'gl-text gl-head' })}${line(
    px('p50'),
    y,
    px('p999'),
    y,
    `gl-line ${configStroke(g.key)}`,
  )}${MARKS.map(({ key, label, shape }) =>
    shapeAt(shape, px(key), y, configFill(g.key), `${g.config}, ${label}: ${micros(latency[key])} µs`),
  )}`;
}
