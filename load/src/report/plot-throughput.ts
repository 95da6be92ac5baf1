/** Throughput by configuration - a dot for each run, the median, its interval, and the marks to compare with - and that of all
 *  guests together against their number. Pure. */
import { scaleLinear, scaleLog } from 'd3-scale';
import { line as path } from 'd3-shape';
import { gbps } from '../base/format.js';
import { markup, type Markup } from './markup.js';
import { byGuests, rateOf, subjectOf, type Group, type Model } from './model.js';
import { spreadOf } from '../base/stats.js';
import {
  at,
  configFill,
  configStroke,
  dot,
  fitted,
  gridLine,
  line,
  nameColumn,
  rect,
  rowName,
  text,
  WIDTH,
  type Plot,
} from './svg.js';
import { PAPER } from './paper.js';

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
  const axis = x.ticks(8).map((v) => gridLine(x(v), top, bottom, String(v)));
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
  return markup`${rowName(g.config, left, middle + 4)}${rect(
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

const LEFT = 60;
/** Room for the names at the ends of lines. */
const END = 150;
const TOP = 20;
const BOTTOM = 330;
/** Least distance of two labels at the ends of lines. */
const LABEL = 15;

/** @returns null when only one number of guests was measured */
export function guestsPlot(m: Model): Plot | null {
  const several = byGuests(m);
  if (several.length === 0) return null;
  const numbers = [...new Set(several.flat().map((g) => g.guests))].sort((a, b) => a - b);
  const most = Math.max(spreadOf(several.flat().flatMap((g) => g.gbps)).max, m.lineGbps ?? 0);
  const y = scaleLinear([0, most > 0 ? most : 1], [BOTTOM, TOP]).nice();
  const x = scaleLog([numbers[0], numbers[numbers.length - 1]], [LEFT + 24, WIDTH - END - 24]);
  const axis = markup`${y
    .ticks(6)
    .map(
      (v) =>
        markup`${line(LEFT, y(v), WIDTH - END, y(v), 'gl-grid')}${text(LEFT - 8, y(v) + 4, String(v), { anchor: 'end', class: 'gl-muted' })}`,
    )}${numbers.map((n) => text(x(n), BOTTOM + 18, n, { anchor: 'middle', class: 'gl-muted' }))}`;
  const lines = several.map((own, i) => series(own, x, y, (i - (several.length - 1) / 2) * 8));
  const rate =
    m.lineGbps === null
      ? null
      : markup`${line(LEFT, y(m.lineGbps), WIDTH - END, y(m.lineGbps), 'gl-mark')}${text(LEFT + 4, y(m.lineGbps) - 5, `line rate, ${gbps(m.lineGbps)}`, { class: 'gl-text gl-small' })}`;
  return {
    name: `guests${m.ladder?.file ?? ''}`,
    title: `Throughput of all guests together, by number of guests${m.ladder === null ? '' : `, ${m.ladder.title}`}`,
    desc: `Delivered Gb/s. ${several
      .map((own) => `${own[0].config}: ${own.map((g) => `${gbps(rateOf(g))} with ${g.guests}`).join(', ')}.`)
      .join(' ')}`,
    width: WIDTH,
    height: BOTTOM + 46,
    body: markup`${axis}${rate}${lines}${endLabels(several, y)}${text((LEFT + WIDTH - END) / 2, BOTTOM + 38, 'guests (logarithmic)', { anchor: 'middle', class: 'gl-muted' })}${text(LEFT, 12, 'Gb/s delivered, all guests', { class: 'gl-muted gl-small' })}`,
  };
}

/** @param aside pixels by which this configuration stands beside the others, so that dots do not cover each other */
function series(groups: readonly Group[], x: (n: number) => number, y: (v: number) => number, aside: number): Markup {
  const [{ key }] = groups;
  const d = path<Group>(
    (g) => at(x(g.guests) + aside),
    (g) => at(y(rateOf(g))),
  )([...groups]);
  return markup`<path d="${d ?? ''}" class="gl-line ${configStroke(key)}"/>${groups.map((g) => [
    line(x(g.guests) + aside, y(g.interval.low), x(g.guests) + aside, y(g.interval.high), configStroke(key)),
    ...g.runs.map((run, i) =>
      dot(
        x(g.guests) + aside,
        y(run.delivered.gbps),
        2.5,
        key,
        run.notes.length > 0,
        `${g.config}, ${g.guests} guests, run ${i + 1}: ${gbps(run.delivered.gbps)} Gb/s`,
      ),
    ),
    line(x(g.guests) + aside - 6, y(rateOf(g)), x(g.guests) + aside + 6, y(rateOf(g)), 'gl-mark gl-median'),
  ])}`;
}

/** Names at the right end of the lines, pushed apart where they would touch. */
function endLabels(several: readonly (readonly Group[])[], y: (v: number) => number): Markup {
  const ends = several
    .map((own) => ({ name: own[0].config, y: y(rateOf(own[own.length - 1])) }))
    .sort((a, b) => a.y - b.y);
  let last = -Infinity;
  for (const e of ends) {
    e.y = Math.max(e.y, last + LABEL);
    last = e.y;
  }
  const overflow = Math.max(0, last - BOTTOM);
  return markup`${ends.map((e) =>
    text(WIDTH - END + 6, e.y - overflow + 4, fitted(e.name, END - 12, 13), { class: 'gl-text gl-head' }),
  )}`;
}
