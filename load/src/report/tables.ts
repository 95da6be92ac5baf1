/** The parts of a report as data, and its tables: captions, columns and cells as text. HTML and Markdown are made from the same. Pure. */
import type { Plot } from './svg.js';
import { loss, percent, whole, gbps, micros, nanos, small, times } from '../base/format.js';
import {
  baselineOf,
  componentNs,
  componentsOf,
  CPU_GROUPS,
  fairness,
  gainOf,
  rateOf,
  shownGroup,
  type Group,
  type Model,
} from './model.js';
import { spreadOf } from '../base/stats.js';
import { COMPONENT_LABELS, COMPONENT_ORDER, isComponent } from './palette.js';
import { PAPER } from './paper.js';

/** A part of a report: sentences, a figure and tables. */
export interface Section {
  /** For links within the page. */
  id: string;
  title: string;
  /** A paragraph each; before the figure. */
  lines: readonly string[];
  figure: { plot: Plot; caption: string } | null;
  tables: readonly DataTable[];
}

/** @param parts what it has of these; a figure with its caption */
export const section = (
  id: string,
  title: string,
  parts: { lines?: readonly string[]; figure?: Plot | null; caption?: string; tables: readonly (DataTable | null)[] },
): Section => ({
  ...{ id, title, lines: parts.lines ?? [] },
  figure: parts.figure ? { plot: parts.figure, caption: parts.caption ?? '' } : null,
  tables: parts.tables.filter((t) => t !== null),
});

/** Sums over all runs: nothing that was lost once is to be hidden by a median. */
export function lossTable(m: Model): DataTable {
  return {
    caption: 'Frames, over all runs, warm-up and drain included',
    columns: [
      words('configuration'),
      ...figures('guests', 'sent', 'lost', 'loss', 'duplicate', 'reordered', 'corrupt'),
      words('drops by reason'),
    ],
    rows: m.groups.map((g) => {
      const sum = (of: (r: Group['runs'][number]) => number): number => g.runs.reduce((n, r) => n + of(r), 0);
      const drops = new Map<string, number>();
      for (const r of g.runs)
        for (const [reason, n] of Object.entries(r.drops)) drops.set(reason, (drops.get(reason) ?? 0) + n);
      const sent = sum((r) => r.sent);
      const lost = sum((r) => r.lost);
      return [
        g.config,
        String(g.guests),
        whole(sent),
        whole(lost),
        loss(lost, sent),
        whole(sum((r) => r.duplicate)),
        whole(sum((r) => r.reordered)),
        whole(sum((r) => r.corrupt)),
        drops.size === 0 ? 'none' : [...drops].map(([reason, n]) => `${reason} ${whole(n)}`).join(', '),
      ];
    }),
  };
}

export function trustTable(m: Model): DataTable {
  return {
    caption: 'Do the counts add up?',
    columns: [
      words('configuration'),
      ...figures('guests'),
      words('frames in = out + drops + in flight'),
      ...figures('CPU parts of the process, lowest', 'highest'),
      words('within 5 %'),
    ],
    rows: m.groups.map((g) => {
      const violated = g.runs.flatMap((r) => (r.conservation === 'ok' ? [] : r.conservation));
      const shares = g.runs.flatMap((r) => Object.values(r.cpuAccounted).filter((x) => x !== null));
      return [
        g.config,
        String(g.guests),
        violated.length === 0
          ? `exactly, in ${g.runs.length} of ${g.runs.length} runs`
          : `VIOLATED: ${violated.join('; ')}`,
        shares.length === 0 ? '-' : percent(spreadOf(shares).min),
        shares.length === 0 ? '-' : percent(spreadOf(shares).max),
        g.runs.every((r) => r.cpuAccountedOk) ? 'yes' : 'NO',
      ];
    }),
  };
}

interface Column {
  head: string;
  /** Figures stand right, words left. */
  align: 'left' | 'right';
}

export interface DataTable {
  caption: string;
  columns: readonly Column[];
  /** The first cell of a row names it. */
  rows: readonly (readonly string[])[];
}

/** A column of words. */
export const words = (head: string): Column => ({ head, align: 'left' });
/** Columns of figures. */
export const figures = (...heads: string[]): Column[] => heads.map((head) => ({ head, align: 'right' }));

/** What the column of intervals holds. */
function intervalHead(groups: readonly Group[]): string {
  const ranges = groups.filter((g) => g.interval.isRange).length;
  return ranges === groups.length ? 'range' : ranges === 0 ? '95 % interval' : 'range or interval';
}

export function throughputTable(m: Model): DataTable {
  const overBaseline = (g: Group): string => {
    const base = shownGroup(m, baselineOf(g.config));
    return base && rateOf(base) > 0 ? `${times(rateOf(g) / rateOf(base))} ×` : '-';
  };
  return {
    caption: 'Delivered, by configuration',
    columns: [
      words('configuration'),
      ...figures('runs', 'Gb/s, median', intervalHead(m.main), 'min', 'max', 'Mframe/s', 'over baseline'),
      ...(m.lineGbps === null ? [] : figures('of line rate')),
    ],
    rows: m.main.map((g) => [
      g.config,
      String(g.runs.length),
      gbps(rateOf(g)),
      g.runs.length === 1 ? '-' : `${gbps(g.interval.low)} to ${gbps(g.interval.high)}`,
      gbps(g.spread.min),
      gbps(g.spread.max),
      (g.median.delivered.framesPerSecond / 1e6).toFixed(3),
      overBaseline(g),
      ...(m.lineGbps === null ? [] : [percent(rateOf(g) / m.lineGbps, 2)]),
    ]),
  };
}

/** The paper's figures beside ours. What the paper says of the steps between is not quoted, so it is left open. */
export function paperTable(m: Model): DataTable {
  const paper: Readonly<Record<string, number>> = { baseline: PAPER.baselineGbps, optimised: PAPER.optimisedGbps };
  const gain = gainOf(m);
  return {
    caption: "The paper's figures (VEE 2009, receive, one guest, 10 Gb/s link) beside ours",
    columns: [
      words('configuration'),
      ...figures("the paper's, Gb/s", 'here, Gb/s', 'here over paper', "the paper's gain", 'gain here'),
    ],
    rows: m.main.map((g) => {
      const theirs = paper[g.config];
      const isLast = g.config === 'optimised';
      return [
        g.config,
        theirs === undefined ? '-' : `${theirs}${isLast ? ' (the whole link)' : ''}`,
        gbps(rateOf(g)),
        theirs === undefined ? '-' : `${times(rateOf(g) / theirs)} ×`,
        isLast ? `${PAPER.ratio} ×` : '-',
        isLast && gain !== null ? `${times(gain.ratio)} ×` : '-',
      ];
    }),
  };
}

export function cpuTable(m: Model): DataTable {
  return {
    caption: 'CPU ns per delivered frame, by domain; the sum is of driver domain, hypervisor and guest',
    columns: [
      words('configuration'),
      ...figures('driver domain', 'hypervisor', 'guest', 'sum', 'NIC (hardware)'),
      words('busiest process'),
    ],
    rows: m.main.map((g) => {
      const c = g.median.cpuNsPerFrame;
      const [busiest] = Object.entries(g.median.cpuShare).sort((a, b) => b[1] - a[1]);
      return [
        g.config,
        ...[c.driverDomain, c.hypervisor, c.guest, c.total, c.nic].map(nanos),
        busiest === undefined ? '-' : `${busiest[0]}, ${percent(busiest[1], 0)} of a core`,
      ];
    }),
  };
}

export function componentTable(m: Model): DataTable {
  const runs = m.main.map((g) => g.median);
  const rows: string[][] = [];
  for (const { key, label } of CPU_GROUPS) {
    const names = componentsOf(key, runs);
    const ordered = [...COMPONENT_ORDER.filter((k) => names.includes(k)), ...names.filter((n) => !isComponent(n))];
    for (const name of ordered) {
      const ns = runs.map((r) => componentNs(r, key, name));
      if (ns.some((x) => x >= 0.5))
        rows.push([`${label}: ${isComponent(name) ? COMPONENT_LABELS[name] : name}`, ...ns.map(nanos)]);
    }
  }
  return {
    caption: 'CPU ns per delivered frame, by component; what is below 1 ns everywhere is left out',
    columns: [words('component'), ...figures(...m.main.map((g) => g.config))],
    rows,
  };
}

export function operationsTable(m: Model): DataTable {
  const each = (name: string, of: (g: Group) => number, show = small): string[] => [
    name,
    ...m.main.map((g) => show(of(g))),
  ];
  return {
    caption: 'Operations per delivered frame',
    columns: [words('operation'), ...figures(...m.main.map((g) => g.config))],
    rows: [
      each('grant operations (map, unmap, copy, pin, unpin)', (g) => g.median.perFrame.grantOps),
      each('hypercalls', (g) => g.median.perFrame.hypercalls),
      each('copies by the hypervisor', (g) => g.median.perFrame.copiesBy.hypervisor),
      each('copies by the driver domain', (g) => g.median.perFrame.copiesBy.driverDomain),
      each('copies to the application', (g) => g.median.perFrame.copiesBy.application),
      each('bytes copied', (g) => g.median.perFrame.copiedBytes, whole),
      each('notifications sent', (g) => g.median.perFrame.notifications),
      each('notifications suppressed', (g) => g.median.perFrame.suppressed),
      each('wake-ups (without the NIC)', (g) => g.median.perFrame.wakeups),
    ],
  };
}

/** @returns null when no run has latencies */
export function latencyTable(m: Model): DataTable | null {
  if (m.main.every((g) => g.median.latencyUs === null)) return null;
  return {
    caption: "Latency in microseconds, from the sender's stamp to the application's memory",
    columns: [words('configuration'), ...figures('median', '90 %', '99 %', '99.9 %', 'max')],
    rows: m.main.map((g) => {
      const l = g.median.latencyUs;
      return [g.config, ...(l === null ? ['-', '-', '-', '-', '-'] : [l.p50, l.p90, l.p99, l.p999, l.max].map(micros))];
    }),
  };
}

/** @returns null when there was one guest only */
export function guestsTable(m: Model): DataTable | null {
  if (m.guests.every((n) => n === 1)) return null;
  const first = (g: Group): Group => m.groups.find((x) => x.config === g.config) ?? g;
  return {
    caption:
      'By number of guests; of fewest: against the fewest guests; shares: lowest and highest of a guest, 100 % is an equal one',
    columns: [
      words('configuration'),
      ...figures(
        'guests',
        'runs',
        'Gb/s together',
        intervalHead(m.groups),
        'Gb/s each',
        'of fewest',
        'shares',
        'CPU ns',
      ),
    ],
    rows: m.groups.map((g) => {
      const fair = fairness(g.median);
      const from = rateOf(first(g));
      return [
        g.config,
        String(g.guests),
        String(g.runs.length),
        gbps(rateOf(g)),
        g.runs.length === 1 ? '-' : `${gbps(g.interval.low)} to ${gbps(g.interval.high)}`,
        gbps(rateOf(g) / g.guests),
        from > 0 ? percent(rateOf(g) / from, 0) : '-',
        fair === null ? '-' : `${whole(fair.min * 100)} to ${percent(fair.max, 0)}`,
        nanos(g.median.cpuNsPerFrame.total),
      ];
    }),
  };
}
