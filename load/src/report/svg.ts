/** What all plots share: the frame with title and description, colours as classes, axes, marks, legends. Pure; the same input
 *  gives the same bytes. */
import { css, markup, type Markup, type Value } from './markup.js';
import {
  COMPONENT_TONES,
  CONFIG_TONES,
  MARK,
  MUTED,
  RULE,
  SURFACE,
  TEXT,
  type ComponentKey,
  type ConfigKey,
  type Tone,
} from './palette.js';

/** A plot that can stand alone or in a page. */
export interface Plot {
  /** Name of the file without ".svg", and beginning of the ids in it. */
  name: string;
  /** What it shows, in a few words. */
  title: string;
  /** What is to be seen, in a sentence or two, for those who do not see it. */
  desc: string;
  width: number;
  height: number;
  body: Markup;
}

/** Of every plot, pixels. */
export const WIDTH = 820;

export const FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif';

/** Colour of components that have none of their own. */
const OTHER: Tone = { light: '#7a5a5a', dark: '#b59a9a' };

const fills: readonly [string, Tone][] = [
  ['gl-bg', SURFACE],
  ['gl-text', TEXT],
  ['gl-muted', MUTED],
  ['gl-p-other', OTHER],
  ...Object.entries(CONFIG_TONES).map(([k, t]): [string, Tone] => [`gl-c-${k}`, t]),
  ...Object.entries(COMPONENT_TONES).map(([k, t]): [string, Tone] => [`gl-p-${k}`, t]),
];
const strokes: readonly [string, Tone][] = [
  ['gl-grid', RULE],
  ['gl-mark', MARK],
  ['gl-edge', SURFACE],
  ...Object.entries(CONFIG_TONES).map(([k, t]): [string, Tone] => [`gl-s-${k}`, t]),
];

const rules = (theme: keyof Tone): string =>
  [
    ...fills.map(([name, t]) => `.gl-plot .${name}{fill:${t[theme]}}`),
    ...strokes.map(([name, t]) => `.gl-plot .${name}{stroke:${t[theme]}}`),
  ].join('\n');

/** Style of plots. Dark where the reader's system is, but never on paper. */
export const plotStyle: string = [
  `.gl-plot{font-family:${FONT};font-size:12px;font-variant-numeric:tabular-nums}`,
  '.gl-plot .gl-strong{font-weight:600}.gl-plot .gl-small{font-size:11px}.gl-plot .gl-head{font-size:13px;font-weight:600}',
  '.gl-plot .gl-grid{stroke-width:1}.gl-plot .gl-mark{stroke-width:1.25}.gl-plot .gl-dash{stroke-dasharray:4 3}',
  '.gl-plot .gl-band{opacity:.22}.gl-plot .gl-median{stroke-width:2.5}.gl-plot .gl-line{fill:none;stroke-width:2}',
  rules('light'),
  `@media screen and (prefers-color-scheme:dark){\n${rules('dark')}\n}`,
].join('\n');

export const configFill = (key: ConfigKey): string => `gl-c-${key}`;
export const configStroke = (key: ConfigKey): string => `gl-s-${key}`;
export const componentFill = (key: ComponentKey | 'other'): string => `gl-p-${key}`;

/** @param mode `file` brings its style and paints its background; `inline` leaves both to the page */
export function renderPlot(plot: Plot, mode: 'file' | 'inline'): Markup {
  const { name, title, desc, width, height, body } = plot;
  const alone = mode === 'file';
  const size = alone ? markup` width="${width}" height="${height}"` : null;
  const style = markup`<style>${css(plotStyle)}</style><rect class="gl-bg" width="${width}" height="${height}"/>`;
  return markup`<svg xmlns="http://www.w3.org/2000/svg" class="gl-plot" role="img" viewBox="0 0 ${width} ${height}"${size} aria-labelledby="${name}-title ${name}-desc">
<title id="${name}-title">${title}</title>
<desc id="${name}-desc">${desc}</desc>
${alone ? style : null}${body}
</svg>`;
}

/** Coordinates to a tenth: shorter, and the same on every machine. */
export const at = (x: number): number => Math.round(x * 10) / 10;

export interface TextOptions {
  anchor?: 'start' | 'middle' | 'end';
  class?: string;
}

export function text(x: number, y: number, what: Value, options: TextOptions = {}): Markup {
  const { anchor = 'start', class: name = 'gl-text' } = options;
  return markup`<text x="${at(x)}" y="${at(y)}" text-anchor="${anchor}" class="${name}">${what}</text>`;
}

export function line(x1: number, y1: number, x2: number, y2: number, name: string): Markup {
  return markup`<line x1="${at(x1)}" y1="${at(y1)}" x2="${at(x2)}" y2="${at(y2)}" class="${name}"/>`;
}

/** @param label shown when the pointer rests on it */
export function rect(x: number, y: number, w: number, h: number, name: string, label: string | null = null): Markup {
  const tip = label === null ? null : markup`<title>${label}</title>`;
  return markup`<rect x="${at(x)}" y="${at(y)}" width="${at(Math.max(0, w))}" height="${at(h)}" class="${name}">${tip}</rect>`;
}

/** A run. Hollow when its figures are doubtful. */
export function dot(x: number, y: number, r: number, key: ConfigKey, hollow: boolean, label: string): Markup {
  const name = hollow ? `gl-bg ${configStroke(key)}` : `${configFill(key)} gl-edge`;
  const [radius, edge] = hollow ? [at(r - 0.25), 1.5] : [r, 1];
  return markup`<circle cx="${at(x)}" cy="${at(y)}" r="${radius}" class="${name}" stroke-width="${edge}"><title>${label}</title></circle>`;
}

/** Of a character of a bold name, as a share of its height. */
const HEAD_WIDTH = 0.6;

/** Width of a text of 12 pixels, roughly: there is nothing here to measure it with. */
export const textWidth = (s: string, size = 12): number => s.length * size * 0.56;

/** Width of the column of names left of a plot. */
export const nameColumn = (rows: readonly { config: string }[]): number =>
  Math.max(124, Math.min(210, Math.ceil(Math.max(...rows.map((r) => r.config.length)) * 13 * HEAD_WIDTH) + 18));

/** Names that would run out of their column are cut; tables have them whole. */
export function fitted(name: string, width: number, size = 12): string {
  const room = Math.floor(width / (size * HEAD_WIDTH));
  return name.length <= room ? name : `${name.slice(0, Math.max(1, room - 1))}…`;
}

/** The name of a row, left of the plot. */
export const rowName = (config: string, left: number, y: number, name = 'gl-text gl-head'): Markup =>
  text(left - 10, y, fitted(config, left - 14, 13), { anchor: 'end', class: name });

/** An upright line of the grid, with what it stands for so far below it. */
export const gridLine = (x: number, top: number, bottom: number, label: string, below = 18): Markup =>
  markup`${line(x, top, x, bottom, 'gl-grid')}${text(x, bottom + below, label, { anchor: 'middle', class: 'gl-muted' })}`;

export interface LegendItem {
  label: string;
  /** Class of the swatch. */
  fill: string;
}

/** Swatches in rows that fit the width. @returns height too, for the frame */
export function legend(
  items: readonly LegendItem[],
  x: number,
  y: number,
  width: number,
): { body: Markup; height: number } {
  const parts: Markup[] = [];
  let left = x;
  let top = y;
  for (const { label, fill } of items) {
    const w = 18 + textWidth(label) + 14;
    if (left > x && left + w > x + width) {
      left = x;
      top += 18;
    }
    parts.push(rect(left, top, 11, 11, fill), text(left + 16, top + 10, label));
    left += w;
  }
  return { body: markup`${parts}`, height: top - y + 18 };
}
