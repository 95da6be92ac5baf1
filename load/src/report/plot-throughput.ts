/** Throughput by configuration: a dot for each run, the median, its interval, and the marks to compare with. Pure. */
import { scaleLinear } from 'd3-scale';
import { gbps } from '../base/format.js';
import { markup, type Markup } from './markup.js';
import { rateOf, subjectOf, type Group, type Model } from './model.js';
import { configFill, dot, fitted, line, nameColumn, rect, text, type Plot } from './svg.js';
import { PAPER } from './paper.js';

const WIDTH = 820;
const RIGHT = 118;
const ROW = 46;

interface MarkLine {
  gbps: number;
  label: string;
  dashed: boolean;
}

export function throughputPlot(m: Model): Plot {
  const marks = marksOf(m);
  const left = nameColumn(m.main);
  const top = 20 + marks.length * 16;
  const bottom = top + m.main.length * ROW;
  const most = Math.max(...m.main.flatMap((g) => g.gbps), ...marks.map((k) => k.gbps));
  const x = scaleLinear([0, most > 0 ? most : 1], [left, WIDTH - RIGHT]).nice();
  const axis = x
    .ticks(8)
    .map(
      (v) =>
        markup`${line(x(v), top, x(v), bottom, 'gl-grid')}${text(x(v), bottom + 18, String(v), { anchor: 'middle', class: 'gl-muted' })}`,
    );
  const body = markup`${axis}${marks.map((k, i) => markLine(k, x(k.gbps), 14 + i * 16, bottom))}
  ${m.main.map((g, i) => row(g, x, left, top + i * ROW))}
  ${text((left + WIDTH - RIGHT) / 2, bottom + 36, 'Gb/s delivered', { anchor: 'middle', class: 'gl-muted' })}
  ${text(WIDTH - RIGHT + 14, top - 8, 'median', { class: 'gl-muted gl-small' })}`;
  return {
    name: `throughput${m.ladder?.file ?? ''}`,
    title: `Throughput by configuration, ${subjectOf(m)}`,
    desc: `Delivered Gb/s, a dot for each run. Medians: ${m.main.map((g) => `${g.config} ${gbps(rateOf(g))}`).join(', ')}.${marks.length > 0 ? ` Marks: ${marks.map((k) => k.label).join(', ')}.` : ''}`,
    width: WIDTH,
    height: bottom + 46,
    body,
  };
}

function marksOf(m: Model): MarkLine[] {
  const marks: MarkLine[] = [];
  // What the paper measured is receive.
  if (m.main.some((g) => g.median.direction === 'rx'))
    marks.push(
      { gbps: PAPER.baselineGbps, label: `the paper's baseline, ${PAPER.baselineGbps}`, dashed: true },
      { gbps: PAPER.optimisedGbps, label: `the paper's optimised, ${PAPER.optimisedGbps}`, dashed: true },
    );
  if (m.lineGbps !== null)
    marks.push({
      gbps: m.lineGbps,
      label: `line rate of ${m.settings.linkGbps} Gb/s, ${gbps(m.lineGbps)}`,
      dashed: false,
    });
  // The leftmost label stands highest: lines further right begin below it, so that none crosses a label.
  return marks.sort((a, b) => a.gbps - b.gbps);
}

function markLine(mark: MarkLine, x: number, y: number, bottom: number): Markup {
  const toLeft = x > 0.72 * WIDTH;
  return markup`${line(x, y - 8, x, bottom, mark.dashed ? 'gl-mark gl-dash' : 'gl-mark')}${text(
    toLeft ? x - 5 : x + 5,
    y + 1,
    mark.label,
    { anchor: toLeft ? 'end' : 'start', class: 'gl-text gl-small' },
  )}`;
}

function row(g: Group, x: (v: number) => number, left: number, top: number): Markup {
  const middle = top + ROW / 2;
  const n = g.runs.length;
  const r = n <= 12 ? 3.5 : n <= 40 ? 2.5 : 1.5;
  const reach = n === 1 ? 0 : 13;
  const dots = g.runs.map((run, i) =>
    dot(
      x(run.delivered.gbps),
      middle + (n === 1 ? 0 : -reach + (2 * reach * i) / (n - 1)),
      r,
      g.key,
      run.notes.length > 0,
      `${g.config}, run ${i + 1}: ${gbps(run.delivered.gbps)} Gb/s${run.notes.length > 0 ? ` (${run.notes.join('; ')})` : ''}`,
    ),
  );
  const value = WIDTH - RIGHT + 14;
  return markup`${text(left - 10, middle + 4, fitted(g.config, left - 14, 13), { anchor: 'end', class: 'gl-text gl-head' })}${rect(
    x(g.interval.low),
    middle - 7,
    x(g.interval.high) - x(g.interval.low),
    14,
    `${configFill(g.key)} gl-band`,
  )}${line(x(rateOf(g)), middle - 17, x(rateOf(g)), middle + 17, 'gl-mark gl-median')}${dots}${text(
    value,
    n > 1 ? middle - 2 : middle + 4,
    gbps(rateOf(g)),
    { class: 'gl-text gl-head' },
  )}${n > 1 ? text(value, middle + 13, `${gbps(g.interval.low)} to ${gbps(g.interval.high)}`, { class: 'gl-muted gl-small' }) : null}`;
}
