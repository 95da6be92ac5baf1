/** Throughput of all guests together against their number. Pure. */
import { scaleLinear, scaleLog } from 'd3-scale';
import { line as path } from 'd3-shape';
import { gbps } from '../base/format.js';
import { markup, type Markup } from './markup.js';
import { byGuests, rateOf, type Group, type Model } from './model.js';
import { spreadOf } from '../base/stats.js';
import { at, configStroke, dot, fitted, line, text, type Plot } from './svg.js';

const WIDTH = 820;
const LEFT = 60;
const RIGHT = 150;
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
  const x = scaleLog([numbers[0], numbers[numbers.length - 1]], [LEFT + 24, WIDTH - RIGHT - 24]);
  const axis = markup`${y
    .ticks(6)
    .map(
      (v) =>
        markup`${line(LEFT, y(v), WIDTH - RIGHT, y(v), 'gl-grid')}${text(LEFT - 8, y(v) + 4, String(v), { anchor: 'end', class: 'gl-muted' })}`,
    )}${numbers.map((n) => text(x(n), BOTTOM + 18, n, { anchor: 'middle', class: 'gl-muted' }))}`;
  const lines = several.map((own, i) => series(own, x, y, (i - (several.length - 1) / 2) * 8));
  const rate =
    m.lineGbps === null
      ? null
      : markup`${line(LEFT, y(m.lineGbps), WIDTH - RIGHT, y(m.lineGbps), 'gl-mark')}${text(LEFT + 4, y(m.lineGbps) - 5, `line rate, ${gbps(m.lineGbps)}`, { class: 'gl-text gl-small' })}`;
  return {
    name: `guests${m.ladder?.file ?? ''}`,
    title: `Throughput of all guests together, by number of guests${m.ladder === null ? '' : `, ${m.ladder.title}`}`,
    desc: `Delivered Gb/s. ${several
      .map((own) => `${own[0].config}: ${own.map((g) => `${gbps(rateOf(g))} with ${g.guests}`).join(', ')}.`)
      .join(' ')}`,
    width: WIDTH,
    height: BOTTOM + 46,
    body: markup`${axis}${rate}${lines}${endLabels(several, y)}${text((LEFT + WIDTH - RIGHT) / 2, BOTTOM + 38, 'guests (logarithmic)', { anchor: 'middle', class: 'gl-muted' })}${text(LEFT, 12, 'Gb/s delivered, all guests', { class: 'gl-muted gl-small' })}`,
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
  const over = Math.max(0, last - BOTTOM);
  return markup`${ends.map((e) =>
    text(WIDTH - RIGHT + 6, e.y - over + 4, fitted(e.name, RIGHT - 12, 13), { class: 'gl-text gl-head' }),
  )}`;
}
