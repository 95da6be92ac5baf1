/** CPU time per delivered frame as stacked bars: one for each measured configuration, and one for now. */
import { byId, h, paint, putTable, s, type Cell } from './dom.js';
import { colour, inkOn } from './theme.js';
import { whole } from './format.js';
import type { Facts, Figures, Finished } from './messages.js';

const GROUPS = [
  ['driverDomain', 'driver domain'],
  ['hypervisor', 'hypervisor'],
  ['guest', 'guest'],
] as const;

interface Part {
  group: string;
  key: string;
  ns: number;
}

interface Bar {
  name: string;
  note: string;
  total: number | null;
  parts: Part[];
}

const ROW = 46;
const BAR = 24;
const LABEL = 96;
const TOTAL = 74;

export class CpuBars {
  private readonly order: readonly string[];
  private readonly labels: ReadonlyMap<string, string>;
  private readonly configs: readonly string[];

  constructor(facts: Facts) {
    this.order = facts.components.map((c) => c.key);
    this.labels = new Map(facts.components.map((c) => [c.key, c.label]));
    this.configs = facts.configs;
  }

  draw(finished: readonly Finished[], now: Figures | null, nowConfig: string): void {
    const bars: Bar[] = [];
    const names = [...this.configs, ...finished.map((f) => f.config).filter((c) => !this.configs.includes(c))];
    for (const name of names) {
      const f = finished.find((x) => x.config === name);
      bars.push({
        name,
        note: f && f.runs > 1 ? `median of ${f.runs}` : '',
        total: f ? f.cpuNsPerFrame.total : null,
        parts: f ? this.partsOf(f.cpuNsPerFrame.components) : [],
      });
    }
    const parts = now ? this.partsOf(now) : [];
    bars.push({
      name: 'now',
      note: now ? nowConfig : '',
      total: now ? parts.reduce((n, p) => n + p.ns, 0) : null,
      parts,
    });
    this.drawBars(bars);
    this.drawLegend(bars);
    this.table(finished);
  }

  /** Work first, in the order of the path. Looking for work with none there (idle) is no frame's cost. */
  private partsOf(components: Figures): Part[] {
    const out: Part[] = [];
    for (const [group] of GROUPS) {
      const own = Object.entries(components).filter(([k]) => k.startsWith(`${group}.`) && !k.endsWith('.idle'));
      const at = (key: string): number => (this.order.indexOf(key) + 100) % 100;
      for (const [k, ns] of own.sort((a, b) => at(a[0].split('.')[1]) - at(b[0].split('.')[1])))
        out.push({ group, key: k.split('.')[1], ns });
    }
    return out;
  }

  private drawBars(bars: readonly Bar[]): void {
    const box = byId('cpu');
    const width = Math.max(260, box.clientWidth);
    const most = Math.max(1, ...bars.map((b) => b.parts.reduce((n, p) => n + p.ns, 0)));
    const scale = (width - LABEL - TOTAL - 8) / most;
    const rows = bars.map((bar, i) => {
      const y = i * ROW;
      const g = s('g', { 'data-config': bar.name });
      g.append(s('text', { x: 0, y: y + 17, class: bar.name === 'now' ? 'quiet' : 'strong' }, bar.name));
      if (bar.note !== '') g.append(s('text', { x: 0, y: y + 32, class: 'quiet' }, bar.note));
      if (bar.total === null) {
        const waiting = bar.name === 'now' ? 'no frames' : 'not measured yet';
        g.append(s('rect', { x: LABEL, y, width: width - LABEL - TOTAL - 8, height: BAR, class: 'outline', rx: 2 }));
        g.append(s('text', { x: LABEL + 8, y: y + 17, class: 'quiet' }, waiting));
        return g;
      }
      let x = LABEL;
      for (const [group, label] of GROUPS) {
        const from = x;
        for (const part of bar.parts.filter((p) => p.group === group))
          x = this.segment(g, part, label, x, y, part.ns * scale);
        const ns = bar.parts.filter((p) => p.group === group).reduce((n, p) => n + p.ns, 0);
        const text = `${label} ${whole(ns)}`;
        if (x - from > text.length * 6.2) g.append(s('text', { x: from, y: y + BAR + 13, class: 'quiet' }, text));
        if (x > from + 3)
          g.append(paint(s('rect', { x: x - 1.5, y: y - 1, width: 3, height: BAR + 2 }), 'fill', 'surface'));
      }
      g.append(s('text', { x: x + 6, y: y + 17, class: 'strong', 'data-value': bar.total }, `${whole(bar.total)} ns`));
      return g;
    });
    box.replaceChildren(
      s(
        'svg',
        { viewBox: `0 0 ${width} ${bars.length * ROW}`, height: bars.length * ROW, 'aria-hidden': 'true' },
        ...rows,
      ),
    );
  }

  /** @returns where the next one begins */
  private segment(g: SVGGElement, part: Part, group: string, x: number, y: number, width: number): number {
    if (width < 0.25) return x + Math.max(0, width);
    const label = this.labels.get(part.key) ?? part.key;
    const variable = this.labels.has(part.key) ? `cpu-${part.key}` : 'muted';
    const rect = paint(s('rect', { x, y, width, height: BAR, class: 'gap' }), 'fill', variable);
    rect.append(s('title', {}, `${group}, ${label}: ${whole(part.ns)} ns per frame`));
    g.append(rect);
    if (width > label.length * 6.6 + 8) {
      const text = s('text', { x: x + 5, y: y + 16 }, label);
      text.style.fill = inkOn(colour(variable));
      g.append(text);
    }
    return x + width;
  }

  private drawLegend(bars: readonly Bar[]): void {
    const used = new Set(bars.flatMap((b) => b.parts.filter((p) => p.ns > 0.5).map((p) => p.key)));
    const list = byId('cpu-legend');
    const keys = this.order.filter((key) => used.has(key));
    if (list.dataset['keys'] === keys.join()) return;
    list.dataset['keys'] = keys.join();
    list.replaceChildren(
      ...keys.map((key) => {
        const square = paint(s('rect', { width: 11, height: 11, y: 0, rx: 2 }), 'fill', `cpu-${key}`);
        return h(
          'li',
          {},
          s('svg', { width: 11, height: 11, 'aria-hidden': 'true' }, square),
          this.labels.get(key) ?? key,
        );
      }),
    );
  }

  private table(finished: readonly Finished[]): void {
    const keys = [...new Set(finished.flatMap((f) => Object.keys(f.cpuNsPerFrame.components)))].sort();
    const cell = (ns: number | undefined): Cell => (ns === undefined ? { text: '-' } : { text: whole(ns), value: ns });
    const sums = (['driverDomain', 'hypervisor', 'guest', 'total', 'nic'] as const).map((k): Cell[] => [
      { text: SUMS[k] },
      ...finished.map((f) => cell(f.cpuNsPerFrame[k])),
    ]);
    const parts = keys.map((k): Cell[] => [
      { text: this.longName(k) },
      ...finished.map((f) => cell(f.cpuNsPerFrame.components[k])),
    ]);
    putTable(
      byId<HTMLTableElement>('cpu-table'),
      'CPU nanoseconds per delivered frame',
      ['ns per frame', ...finished.map((f) => f.config)],
      [...sums, ...parts],
    );
  }

  private longName(key: string): string {
    const [group = '', part = ''] = key.split('.');
    const of = group === 'nic' ? 'NIC' : (GROUPS.find(([g]) => g === group)?.[1] ?? group);
    return `${of}: ${part === 'idle' ? 'looking for work (in no sum)' : (this.labels.get(part) ?? part)}`;
  }
}

const SUMS = {
  driverDomain: 'driver domain',
  hypervisor: 'hypervisor',
  guest: 'guest',
  total: 'all three',
  nic: 'NIC model and generator (in no total)',
} as const;
