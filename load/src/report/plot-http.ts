/** Requests per second by scenario and configuration, with loopback for comparison. Each scenario has a scale of its own: a
 *  small answer and a megabyte do not stand on one. Pure. */
import { LOOPBACK, type HttpSettings, type HttpSummary } from '../http/record.js';
import { counted, percent, whole } from '../base/format.js';
import { markup, type Markup } from './markup.js';
import { configKey } from './palette.js';
import { at, configFill, fitted, line, rect, text, type Plot } from './svg.js';

const WIDTH = 820;
const LEFT = 124;
const RIGHT = 190;
const ROW = 22;
const HEAD = 34;

export function httpPlot(all: readonly HttpSummary[], settings: Pick<HttpSettings, 'guests' | 'connections'>): Plot {
  const scenarios = [...new Set(all.map((r) => r.scenario))];
  let top = 0;
  const parts: Markup[] = [];
  for (const scenario of scenarios) {
    const rows = all.filter((r) => r.scenario === scenario);
    parts.push(block(scenario, rows, top));
    top += HEAD + rows.length * ROW + 8;
  }
  return {
    name: 'http',
    title: `HTTP requests per second, ${counted(settings.connections, 'connection')}, ${counted(settings.guests, 'guest')}`,
    desc: all.map((r) => `${r.scenario} over ${r.target}: ${shown(r)}.`).join(' '),
    width: WIDTH,
    height: top,
    body: markup`${parts}`,
  };
}

function block(scenario: string, rows: readonly HttpSummary[], top: number): Markup {
  const most = Math.max(1, ...rows.map((r) => r.requestsPerSecond));
  const width = (r: HttpSummary): number => (r.requestsPerSecond / most) * (WIDTH - RIGHT - LEFT);
  const bars = rows.map((r, i) => {
    const y = top + HEAD + i * ROW;
    const fill = r.target === LOOPBACK ? 'gl-muted' : configFill(configKey(r.target));
    const bar = r.refused === null ? rect(LEFT, y + 3, width(r), ROW - 8, fill, shown(r)) : null;
    const end = LEFT + (r.refused === null ? width(r) : 0) + 6;
    return markup`${text(LEFT - 8, y + 14, fitted(r.target, LEFT - 16), { anchor: 'end' })}${bar}${text(end, y + 14, shown(r))}`;
  });
  const bottom = top + HEAD + rows.length * ROW;
  return markup`${text(8, top + 22, scenario, { class: 'gl-text gl-head' })}${line(at(LEFT), top + HEAD, at(LEFT), bottom, 'gl-grid')}${bars}`;
}

const shown = (r: HttpSummary): string =>
  r.refused === null
    ? `${whole(r.requestsPerSecond)}/s${r.ratio === null || r.target === LOOPBACK ? '' : `, ${percent(r.ratio, 0)} of loopback`}`
    : 'void';
