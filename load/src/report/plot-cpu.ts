/** CPU time per delivered frame: a panel for each domain on one scale, a bar for each configuration, stacked by component.
 *  So a bottleneck that moves from one domain to another is seen to move. Pure. */
import { scaleLinear } from 'd3-scale';
import { stack } from 'd3-shape';
import { nanos } from '../base/format.js';
import { markup, type Markup } from './markup.js';
import { componentNs, componentsOf, CPU_GROUPS, subjectOf, type CpuGroup, type Group, type Model } from './model.js';
import { COMPONENT_LABELS, COMPONENT_ORDER, isComponent, type ComponentKey } from './palette.js';
import {
  componentFill,
  legend,
  line,
  nameColumn,
  rect,
  rowName,
  text,
  textWidth,
  WIDTH,
  type LegendItem,
  type Plot,
} from './svg.js';

const TOP = 44;
const ROW = 34;
const BAR = 20;
/** Between panels; before the NIC, which is apart. */
const GAP = 12;
const NIC_GAP = 30;
/** Room for the figure at the end of a bar. */
const FIGURE = 46;
const NARROWEST = 112;

type Part = ComponentKey | 'other';

interface Panel {
  key: CpuGroup;
  label: string;
  parts: Part[];
  x: number;
  width: number;
}

export function cpuPlot(m: Model): Plot {
  const bottom = TOP + m.main.length * ROW;
  const left = nameColumn(m.main);
  const { panels, perNs } = layout(m, left);
  const used = new Set(panels.flatMap((p) => p.parts));
  const items: LegendItem[] = [...COMPONENT_ORDER, 'other' as const]
    .filter((k) => used.has(k))
    .map((k) => ({ label: labelOf(k), fill: componentFill(k) }));
  const keys = legend(items, left, bottom + 50, WIDTH - left - 20);
  return {
    name: `cpu-per-frame${m.ladder?.file ?? ''}`,
    title: `CPU time per delivered frame, ${subjectOf(m)}`,
    desc: `Nanoseconds of CPU time for each delivered frame. ${m.main
      .map((g) => {
        const c = g.median.cpuNsPerFrame;
        return `${g.config}: driver domain ${nanos(c.driverDomain)}, hypervisor ${nanos(c.hypervisor)}, guest ${nanos(c.guest)}.`;
      })
      .join(' ')} The NIC stands for hardware and is apart.`,
    width: WIDTH,
    height: bottom + 50 + keys.height + 6,
    body: markup`${m.main.map((g, i) => rowName(g.config, left, TOP + i * ROW + ROW / 2 + 4))}${panels.map((p) => panelOf(p, m.main, perNs, bottom))}${text(left, bottom + 38, 'CPU ns per delivered frame, one scale for all panels', { class: 'gl-muted gl-small' })}${keys.body}`,
  };
}

const labelOf = (k: Part): string => (k === 'other' ? 'other' : COMPONENT_LABELS[k]);

/** Time of a part; `other` is what has no name here. */
function partNs(g: Group, group: CpuGroup, part: Part): number {
  if (part !== 'other') return componentNs(g.median, group, part);
  return componentsOf(group, [g.median])
    .filter((n) => !isComponent(n))
    .reduce((sum, n) => sum + componentNs(g.median, group, n), 0);
}

/** One scale for all panels, each as wide as its longest bar needs. */
function layout(m: Model, left: number): { panels: Panel[]; perNs: number } {
  const runs = m.main.map((g) => g.median);
  const drafts = CPU_GROUPS.map(({ key, label }) => {
    const names = componentsOf(key, runs);
    const parts: Part[] = COMPONENT_ORDER.filter((k) => names.includes(k));
    if (names.some((n) => !isComponent(n))) parts.push('other');
    const most = Math.max(0, ...m.main.map((g) => parts.reduce((sum, p) => sum + partNs(g, key, p), 0)));
    return { key, label, parts, most };
  });
  const room = WIDTH - left - 12 - GAP * (drafts.length - 2) - NIC_GAP;
  let perNs = 0;
  const narrow = new Set<CpuGroup>();
  // Panels that would be too narrow for their title get what it needs, the others share the rest.
  for (let again = true; again;) {
    const wide = drafts.filter((d) => !narrow.has(d.key));
    const ns = wide.reduce((sum, d) => sum + d.most, 0);
    perNs = ns > 0 ? (room - narrow.size * NARROWEST - wide.length * FIGURE) / ns : 0;
    const tight = wide.filter((d) => d.most * perNs + FIGURE < NARROWEST);
    again = tight.length > 0 && tight.length < wide.length;
    for (const d of tight) narrow.add(d.key);
  }
  let x = left;
  const panels = drafts.map(({ key, label, parts, most }) => {
    if (key === 'nic') x += NIC_GAP - GAP;
    const width = Math.max(NARROWEST, most * perNs + FIGURE);
    const panel = { key, label, parts, x, width };
    x += width + GAP;
    return panel;
  });
  return { panels, perNs };
}

function panelOf(panel: Panel, groups: readonly Group[], perNs: number, bottom: number): Markup {
  const span = (panel.width - FIGURE) / (perNs || 1);
  const scale = scaleLinear([0, span], [panel.x, panel.x + panel.width - FIGURE]);
  const ticks = scale.ticks(Math.max(2, Math.floor((panel.width - FIGURE) / 50)));
  let free = -Infinity;
  const grid = ticks.map((v) => {
    const half = textWidth(nanos(v), 11) / 2;
    const fits = scale(v) - half > free;
    if (fits) free = scale(v) + half + 4;
    const label = fits ? text(scale(v), bottom + 16, nanos(v), { anchor: 'middle', class: 'gl-muted gl-small' }) : null;
    return markup`${line(scale(v), TOP - 6, scale(v), bottom, 'gl-grid')}${label}`;
  });
  const layers = stack<Group, Part>()
    .keys(panel.parts)
    .value((g, part) => partNs(g, panel.key, part))(groups);
  const bars = layers.map((layer) =>
    layer.map(([from, to], i) =>
      to > from
        ? rect(
            scale(from),
            TOP + i * ROW + (ROW - BAR) / 2,
            scale(to) - scale(from),
            BAR,
            `${componentFill(layer.key)} gl-edge`,
            `${groups[i].config}, ${panel.label}, ${labelOf(layer.key)}: ${nanos(to - from)} ns`,
          )
        : null,
    ),
  );
  const totals = groups.map((g, i) => {
    const total = panel.parts.reduce((sum, p) => sum + partNs(g, panel.key, p), 0);
    return text(scale(total) + 5, TOP + i * ROW + ROW / 2 + 4, nanos(total), {
      class: total > 0 ? 'gl-text' : 'gl-muted',
    });
  });
  const rule =
    panel.key === 'nic'
      ? line(panel.x - NIC_GAP / 2, TOP - 30, panel.x - NIC_GAP / 2, bottom, 'gl-grid gl-dash')
      : null;
  return markup`${rule}${text(panel.x, TOP - 16, panel.label, { class: panel.key === 'nic' ? 'gl-muted gl-head' : 'gl-text gl-head' })}${grid}${bars}${totals}`;
}
