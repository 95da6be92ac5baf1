/** The throughput graph: a line for each configuration, against line rate and the paper's figures. */
import uPlot from './uplot.js';
import { byId, h, paint, s } from './dom.js';
import { colour } from './theme.js';
import { clock, configOf, gbps } from './format.js';
import type { BedState, Facts, Point } from './messages.js';
import { columnsOf, lineRateGbps, measured, rangeOf, topOf } from './series.js';

/** A dash for each configuration, in the order of the ladder: lines can be told apart without their colours. */
const DASHES: readonly number[][] = [[], [10, 4], [4, 3], [], [12, 3, 3, 3], [2, 3], [7, 3]];
const WIDTHS = [2, 2, 2, 3, 2, 2, 2];
/** Thin and dotted: what was sent. */
const OFFERED_DASH = [1, 3];

interface Mark {
  value: number;
  text: string;
  dash: number[];
  /** Where its text stands: marks of two kinds may be close to each other. */
  side: 'left' | 'right';
}

export class Throughput {
  private readonly facts: Facts;
  private readonly names: string[];
  private readonly plot: uPlot;
  private readonly box = byId('chart');
  private points: readonly Point[] = [];
  private marks: Mark[] = [];

  constructor(facts: Facts) {
    this.facts = facts;
    this.names = [...facts.configs, 'custom'];
    this.box.replaceChildren();
    this.plot = new uPlot(this.options(), [[], [], ...this.names.map(() => [])] as uPlot.AlignedData, this.box);
    new ResizeObserver(() => this.resize()).observe(this.box);
    this.legend([]);
  }

  /** Colours have changed. */
  recolour(): void {
    this.plot.redraw(false, true);
  }

  draw(points: readonly Point[], state: BedState, spanSeconds: number): void {
    this.points = points;
    this.marks = this.marksOf(state);
    const columns = columnsOf(points, this.names, spanSeconds);
    const [from, to] = rangeOf(columns[0], spanSeconds);
    const top = topOf(
      columns,
      this.marks.map((m) => m.value),
    );
    this.plot.batch(() => {
      this.plot.setData(columns, false);
      this.plot.setScale('x', { min: from, max: to });
      this.plot.setScale('y', { min: 0, max: top });
    });
    this.legend(columns);
  }

  private options(): uPlot.Options {
    const axis = {
      stroke: () => colour('muted'),
      font: '12px system-ui, sans-serif',
      labelFont: '12px system-ui, sans-serif',
    };
    const grid = { stroke: () => colour('rule'), width: 1 };
    return {
      ...this.size(),
      legend: { show: false },
      cursor: { drag: { x: false, y: false }, points: { show: false } },
      scales: { x: { time: true }, y: { auto: false } },
      axes: [
        {
          ...axis,
          grid: { show: false },
          ticks: grid,
          space: 80,
          size: 34,
          values: (_u, at) => at.map((t) => clock(t * 1000)),
        },
        { ...axis, grid, ticks: { show: false }, label: 'Gb/s', labelSize: 18, size: 44, space: 44 },
      ],
      series: [
        {},
        { label: 'offered', stroke: () => colour('muted'), width: 1.5, dash: OFFERED_DASH, points: { show: false } },
        ...this.names.map((name, i) => ({
          label: name,
          stroke: () => colour(`config-${name}`),
          width: WIDTHS[i] ?? 2,
          dash: DASHES[i] ?? [],
          points: { show: false },
        })),
      ],
      hooks: { drawClear: [(u) => this.shade(u)], draw: [(u) => this.drawMarks(u)] },
    };
  }

  private size(): { width: number; height: number } {
    return { width: Math.max(200, this.box.clientWidth), height: this.box.clientHeight || 300 };
  }

  private resize(): void {
    const size = this.size();
    if (size.width !== this.plot.width || size.height !== this.plot.height) this.plot.setSize(size);
  }

  private marksOf(state: BedState): Mark[] {
    const { paper, frames } = this.facts;
    const out: Mark[] = [
      { value: paper.baselineGbps, text: `the paper's baseline, ${paper.baselineGbps}`, dash: [2, 4], side: 'right' },
      {
        value: paper.optimisedGbps,
        text: `the paper, all optimisations, ${paper.optimisedGbps}`,
        dash: [2, 4],
        side: 'right',
      },
    ];
    const running = state.experiment !== null && state.experiment.phase !== 'idle' ? state.experiment : null;
    const link = running ? running.linkGbps : state.controls.linkGbps;
    const set = running ? running.frameBytes : state.controls.frameBytes;
    if (link !== null) {
      const value = lineRateGbps(link, set === 'imix' ? frames.imixMean : set, this.facts);
      out.push({ value, text: `line rate of ${link} Gb/s, ${gbps(value)} in frames`, dash: [], side: 'left' });
    }
    return out;
  }

  /** Where figures were being measured: a tint of the configuration's colour, and its name where there is room. */
  private shade(u: uPlot): void {
    const { ctx, bbox } = u;
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    for (const { config, from, to } of measured(this.points)) {
      const x0 = u.valToPos(from, 'x', true);
      const x1 = u.valToPos(to, 'x', true);
      const known = this.names.includes(configOf(config)) ? configOf(config) : 'custom';
      ctx.globalAlpha = 0.1;
      ctx.fillStyle = colour(`config-${known}`);
      ctx.fillRect(x0, bbox.top, x1 - x0, bbox.height);
      ctx.globalAlpha = 1;
      ctx.font = `${12 * devicePixelRatio}px system-ui, sans-serif`;
      if (ctx.measureText(config).width > x1 - x0 - 6) continue;
      ctx.fillStyle = colour('muted');
      ctx.textAlign = 'left';
      ctx.textBaseline = 'top';
      ctx.fillText(config, Math.max(x0, bbox.left) + 4 * devicePixelRatio, bbox.top + 3 * devicePixelRatio);
    }
    ctx.restore();
  }

  private drawMarks(u: uPlot): void {
    const { ctx, bbox } = u;
    const px = devicePixelRatio;
    ctx.save();
    for (const { value, text, dash, side } of this.marks) {
      const y = u.valToPos(value, 'y', true);
      if (!(y >= bbox.top)) continue;
      ctx.strokeStyle = colour('mark');
      ctx.lineWidth = px;
      ctx.setLineDash(dash.map((d) => d * px));
      ctx.beginPath();
      ctx.moveTo(bbox.left, y);
      ctx.lineTo(bbox.left + bbox.width, y);
      ctx.stroke();
      ctx.font = `${11.5 * px}px system-ui, sans-serif`;
      ctx.textAlign = side;
      ctx.textBaseline = 'bottom';
      const at = side === 'right' ? bbox.left + bbox.width - 4 * px : bbox.left + 6 * px;
      const wide = ctx.measureText(text).width;
      ctx.fillStyle = colour('surface');
      ctx.globalAlpha = 0.8;
      ctx.fillRect((side === 'right' ? at - wide : at) - 3 * px, y - 16 * px, wide + 6 * px, 14 * px);
      ctx.globalAlpha = 1;
      ctx.fillStyle = colour('mark');
      ctx.fillText(text, at, y - 2 * px);
    }
    ctx.restore();
  }

  /** Only the lines that can be seen. */
  private legend(columns: readonly (readonly (number | null)[])[]): void {
    const item = (text: string, variable: string, dash: readonly number[], width: number): HTMLLIElement => {
      const line = s('line', {
        x1: 0,
        y1: 6,
        x2: 30,
        y2: 6,
        'stroke-width': width,
        'stroke-dasharray': dash.join(' '),
      });
      return h(
        'li',
        {},
        s('svg', { width: 30, height: 12, 'aria-hidden': 'true' }, paint(line, 'stroke', variable)),
        text,
      );
    };
    const items = [item('offered', 'muted', OFFERED_DASH, 1.5)];
    for (const [i, name] of this.names.entries()) {
      const seen = columns[i + 2]?.some((v) => v !== null) ?? false;
      if (seen) items.push(item(name, `config-${name}`, DASHES[i] ?? [], WIDTHS[i] ?? 2));
    }
    const list = byId('legend');
    if (list.childElementCount !== items.length || list.textContent !== items.map((i) => i.textContent).join(''))
      list.replaceChildren(...items);
  }
}
