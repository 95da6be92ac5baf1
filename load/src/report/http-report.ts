/** The report of a load by HTTP: the same kind of page as that of a comparison, from http.json. Pure. */
import { errorsOf, type HttpSettings, type HttpSummary, type HttpFile } from '../http/plan.js';
import { LOOPBACK } from '../runner/observer.js';
import { counted, percent, whole, gbps, listed, micros } from '../base/format.js';
import { markup, type Markup } from './markup.js';
import { configKey } from './palette.js';
import { at, configFill, fitted, line, rect, text, WIDTH, type Plot } from './svg.js';
import { HTTP_PARTS, httpCostCells, ratioText } from './table.js';
import type { ReportDocument } from './document.js';
import { section, figures, words, type Section, type DataTable } from './tables.js';
import { dateOf, hostTexts } from './provenance.js';

const LEFT = 124;
const RIGHT = 190;
const ROW = 22;
const HEAD = 34;

/** Requests per second by scenario and configuration, with loopback for comparison. Each scenario has a scale of its own: a
 *  small answer and a megabyte do not stand on one. */
function httpPlot(all: readonly HttpSummary[], settings: Pick<HttpSettings, 'guests' | 'connections'>): Plot {
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

export const HTTP_FILE = 'http.json';

/** The whole report. */
export function httpDocument(file: HttpFile): ReportDocument {
  const { settings: s, capacity, atRate } = file;
  const all = [...capacity, ...atRate];
  const sections: (Section | null)[] = [
    capacity.length === 0
      ? null
      : section('capacity', 'Capacity', {
          lines: [
            'Closed loop: each connection sends its next request once it has its answer. What is found is how much can be served; latencies belong to that load and to no lighter one.',
          ],
          figure: httpPlot(capacity, s),
          caption:
            'Requests per second, median run. Loopback is the same application on plain loopback TCP in a process of its own, between the same runs.',
          tables: [loadTable('Capacity, by configuration', capacity)],
        }),
    atRate.length === 0
      ? null
      : section('rate', 'At a rate', {
          lines: [
            'Open loop: requests come by a schedule whatever the server does, and latency counts from the moment at which the schedule wanted a request sent. So a pause shows in every request that it held up.',
          ],
          tables: [loadTable('Latency at a rate, by configuration', atRate)],
        }),
    section('cpu', 'Where the time goes', {
      lines: ['CPU time of everything that serves, for each request, in microseconds; the generator is not in it.'],
      tables: [cpuTable(all)],
    }),
    section('trust', 'How far this can be trusted', {
      lines: [
        'Every answer was compared whole with what belongs to its request, by id, seed and bytes. A run in which the generator was the bottleneck is void.',
        ...all.flatMap((r) =>
          [...(r.refused === null ? [] : [`Void: ${r.refused}`]), ...r.notes].map((n) => `${nameOf(r)}: ${n}.`),
        ),
      ],
      tables: [generatorTable(all), provenance(file)],
    }),
  ];
  return {
    title: 'Grantline: HTTP',
    headline: { lead: leadOf(capacity), remarks: [] },
    settings: `${counted(s.connections, 'connection')}, ${counted(s.guests, 'guest')}, ${s.seconds} s each after ${s.warmup} s, ${counted(s.repeat, 'run')} of each; ${dateOf(file.date)}.`,
    sections: sections.filter((x) => x !== null),
    data: [{ path: HTTP_FILE, label: `${HTTP_FILE}: all runs` }],
  };
}

const nameOf = (r: HttpSummary): string =>
  `${r.target}, ${r.scenario}${r.rate === null ? '' : ` at ${whole(r.rate)}/s`}`;

function leadOf(capacity: readonly HttpSummary[]): string {
  const best = capacity
    .filter((r) => r.ratio !== null && r.target !== LOOPBACK)
    .sort((a, b) => (b.ratio ?? 0) - (a.ratio ?? 0));
  const [scenario] = [...new Set(capacity.map((r) => r.scenario))];
  const top = best.find((r) => r.scenario === scenario);
  if (!top) return 'HTTP to the guests, beside the same application on loopback.';
  return `${top.scenario} over ${top.target}: ${whole(top.requestsPerSecond)} requests/s, ${percent(top.ratio ?? 0, 0)} of plain loopback.`;
}

function loadTable(caption: string, all: readonly HttpSummary[]): DataTable {
  return {
    caption,
    columns: [
      words('scenario'),
      words('over'),
      ...figures('requests/s', 'min', 'max', 'of loopback', 'Gb/s', 'p50 µs', 'p90', 'p99', 'p99.9', 'errors'),
    ],
    rows: all.map((r) => {
      const l = r.generated.latencyUs;
      const { min, max } = r.spread.requestsPerSecond;
      const rates = r.refused === null ? [r.requestsPerSecond, min, max].map(whole) : ['void', '', ''];
      return [
        r.rate === null ? r.scenario : `${r.scenario} at ${whole(r.rate)}/s`,
        r.target,
        ...rates,
        ratioText(r),
        r.gbps >= 0.1 ? gbps(r.gbps) : '',
        ...(l === null ? ['', '', '', ''] : [l.p50, l.p90, l.p99, l.p999].map(micros)),
        whole(errorsOf(r.generated.errors)),
      ];
    }),
  };
}

function cpuTable(all: readonly HttpSummary[]): DataTable {
  // Where loopback alone was measured nothing is known of parts.
  const known = all.some((r) => r.cpuNsPerRequest !== null);
  return {
    caption: 'CPU microseconds for each request',
    columns: [words('scenario'), words('over'), ...figures(...(known ? HTTP_PARTS : []), 'all')],
    rows: all.map((r) => [r.scenario, r.target, ...httpCostCells(r).slice(known ? 0 : -1)]),
  };
}

function generatorTable(all: readonly HttpSummary[]): DataTable {
  return {
    caption: 'The generator, and the machine',
    columns: [
      words('scenario'),
      words('over'),
      ...figures('generator, of a core', 'busiest server', 'idle', 'sent', 'answered', 'wrong or lost'),
    ],
    rows: all.map((r) => [
      r.scenario,
      r.target,
      percent(r.generated.generator.cpuShare, 0),
      percent(Math.max(0, ...Object.values(r.cpuShare)), 0),
      percent(r.idleShare, 0),
      whole(r.generated.total.sent),
      whole(r.generated.total.answered),
      whole(errorsOf(r.generated.errors)),
    ]),
  };
}

function provenance({ host, commandLine }: HttpFile): DataTable {
  const { commit, processor, kernel, node, versions } = hostTexts(host);
  return {
    caption: 'What it was measured with',
    columns: [words(''), words(HTTP_FILE)],
    rows: [
      ...Object.entries({ commit, processor, kernel, Node: node }),
      ['versions', listed(versions ?? [])],
      ['command', `grantline ${commandLine.join(' ')}`],
    ],
  };
}
