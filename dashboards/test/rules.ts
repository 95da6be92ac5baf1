/** The rules that every dashboard keeps. Which of them are grafana/dashboard-linter's, and which of its rules are not kept:
 *  docs/dashboards.md. */
import type { DataTransformerConfig } from '@grafana/grafana-foundation-sdk/dashboard';
import { UNIT } from '../src/panels.js';
import { labelValues, readQuery } from './promql.js';

/** A dashboard as read from its file: nothing is taken for granted. */
export interface DashboardJson {
  uid?: string;
  title?: string;
  id?: unknown;
  __inputs?: unknown;
  editable?: boolean;
  schemaVersion?: number;
  refresh?: string;
  tags?: string[];
  description?: string;
  panels: PanelJson[];
  templating: { list: VariableJson[] };
  annotations: { list: AnnotationJson[] };
}

export interface PanelJson {
  id?: number;
  type: string;
  title?: string;
  description?: string;
  datasource?: { type?: string; uid?: string };
  gridPos: { x: number; y: number; w: number; h: number };
  targets?: TargetJson[];
  fieldConfig?: { defaults?: { unit?: string }; overrides?: OverrideJson[] };
  transformations?: DataTransformerConfig[];
  options?: { content?: string };
}

export interface OverrideJson {
  matcher: { id: string; options?: unknown };
  properties: { id: string; value?: unknown }[];
}

export interface TargetJson {
  refId?: string;
  expr: string;
  datasource?: { type?: string; uid?: string };
  instant?: boolean;
  range?: boolean;
  format?: string;
  legendFormat?: string;
}

export interface VariableJson {
  name: string;
  type: string;
  label?: string;
  query: string | { query: string };
  datasource?: { uid?: string };
  refresh?: number;
  includeAll?: boolean;
  multi?: boolean;
  allValue?: string;
  current?: { value: string };
}

export interface AnnotationJson {
  name: string;
  expr?: string;
  target?: TargetJson;
  datasource?: { uid?: string };
  useValueForTime?: boolean;
}

const DATASOURCE = '${datasource}';
/** That Grafana knows them is for its own code to say: tools/grafana-check. */
const UNITS: ReadonlySet<unknown> = new Set(Object.values(UNIT));
const MAX_COLUMNS = 24;

/** @param known names of metrics and recording rules
 *  @returns what is wrong, one line each; empty when nothing is */
export function lint(d: DashboardJson, known: ReadonlySet<string>): string[] {
  return [
    ...lintDashboard(d),
    ...lintVariables(d, known),
    ...d.panels.flatMap((p) => lintPanel(p, known)),
    ...lintGrid(d),
  ];
}

function lintDashboard(d: DashboardJson): string[] {
  const wrong: string[] = [];
  const say = (is: boolean, what: string): void => void (is && wrong.push(`dashboard: ${what}`));
  say(!/^grantline-[a-z-]+$/.test(d.uid ?? ''), `uid ${d.uid} is not a stable one`);
  say((d.uid?.length ?? 0) > 40, 'Grafana takes 40 characters of a uid');
  say(!d.title || !d.description, 'needs a title and a description');
  say(d.editable !== false, 'must not be editable: it is generated');
  say('id' in d, 'must not have an id: Grafana gives it');
  say('__inputs' in d, 'must not ask for inputs: it is provisioned');
  say(d.schemaVersion !== 42, `schemaVersion ${d.schemaVersion} is not 42, the last of the Classic model`);
  say(!d.tags?.includes('grantline'), 'needs the tag grantline: the links go by it');
  say(d.panels[0]?.type !== 'text', 'must begin with the question that it answers');
  const ids = d.panels.map((p) => p.id);
  say(
    ids.some((id) => !Number.isInteger(id) || id! < 1) || new Set(ids).size !== ids.length,
    'panel ids must be unique and above 0',
  );
  const titles = d.panels.map((p) => p.title);
  say(new Set(titles).size !== titles.length, 'panel titles must be unique');
  return wrong;
}

function lintVariables(d: DashboardJson, known: ReadonlySet<string>): string[] {
  const wrong: string[] = [];
  const names = d.templating.list.map((v) => v.name);
  for (const name of ['datasource', 'run', 'config', 'domain'])
    if (!names.includes(name)) wrong.push(`variable ${name} is missing`);
  for (const v of d.templating.list) {
    const say = (is: boolean, what: string): void => void (is && wrong.push(`variable ${v.name}: ${what}`));
    say(!v.label, 'needs a label');
    if (v.type !== 'query') continue;
    const asked = labelValues(queryOf(v));
    say(asked === null, `"${queryOf(v)}" is not label_values(metric, label)`);
    say(asked !== null && !known.has(asked.metric), `reads ${asked?.metric}, which nobody exports`);
    say(v.refresh !== 2, 'must be read anew when the time range changes');
    say(v.datasource?.uid !== DATASOURCE, 'must use the data source variable');
  }
  for (const a of d.annotations.list) {
    const say = (is: boolean, what: string): void => void (is && wrong.push(`annotation ${a.name}: ${what}`));
    say(a.datasource?.uid !== DATASOURCE, 'must use the data source variable');
    say(!a.expr || a.expr !== a.target?.expr, 'has no query, or two different ones');
    for (const what of badQuery(a.expr ?? '', known)) say(true, what);
  }
  return wrong;
}

/** The query of a variable, in either of the forms that Grafana knows. */
export const queryOf = (v: VariableJson): string => (typeof v.query === 'string' ? v.query : v.query.query);

function lintPanel(p: PanelJson, known: ReadonlySet<string>): string[] {
  if (p.type === 'row') return p.title ? [] : [`row ${p.id}: needs a title`];
  const wrong: string[] = [];
  const say = (is: boolean, what: string): void => void (is && wrong.push(`panel "${p.title}": ${what}`));
  say(!p.title, 'needs a title');
  say((p.description?.length ?? 0) < 40, 'needs a description that says how to read it');
  if (p.type === 'text') {
    say(!p.options?.content, 'is empty');
    return wrong;
  }
  say(p.datasource?.uid !== DATASOURCE, 'must use the data source variable');
  for (const unit of unitsOf(p)) say(!UNITS.has(unit), `unit ${String(unit)} is not one of UNIT in panels.ts`);
  say(!p.targets?.length, 'has no query');
  const refs = (p.targets ?? []).map((t) => t.refId);
  say(refs.some((ref) => !/^[A-Z]$/.test(ref ?? '')) || new Set(refs).size !== refs.length, 'queries must be lettered');
  const text = JSON.stringify(p.transformations ?? []);
  for (const [, ref] of text.matchAll(/Value #([A-Z])/g)) say(!refs.includes(ref), `no query is called ${ref}`);
  for (const t of p.targets ?? []) {
    say(t.datasource?.uid !== DATASOURCE, `query ${t.refId} must use the data source variable`);
    say(t.format !== 'table' && !t.legendFormat, `query ${t.refId} needs a legend`);
    say((t.instant ?? false) === (t.range ?? false), `query ${t.refId} must be for a moment or for a range`);
    for (const what of badQuery(t.expr, known)) say(true, what);
    for (const { fn, window } of readQuery(t.expr).windows) {
      const right = t.instant || !RATES.has(fn) ? '$__range' : '$__rate_interval';
      say(window !== right, `${fn}() over ${window}: take ${right}`);
    }
  }
  return wrong;
}

/** Functions whose window is that of the picture's resolution; all others look at the whole time range. */
const RATES = new Set(['rate', 'irate', 'increase', 'delta', 'idelta', 'deriv']);

/** The unit of a panel and those of its overrides. */
export function unitsOf(p: PanelJson): unknown[] {
  const overrides = (p.fieldConfig?.overrides ?? []).flatMap((o) => o.properties);
  return [p.fieldConfig?.defaults?.unit, ...overrides.filter(({ id }) => id === 'unit').map(({ value }) => value)];
}

/** @returns what is wrong with a query by itself */
export function badQuery(expr: string, known: ReadonlySet<string>): string[] {
  const { metrics, errors } = readQuery(expr);
  return [
    ...errors.map((at) => `is no PromQL near "${at}"`),
    ...metrics.filter((name) => !known.has(name)).map((name) => `reads ${name}, which nobody exports`),
  ];
}

function lintGrid(d: DashboardJson): string[] {
  const wrong: string[] = [];
  d.panels.forEach((a, i) => {
    const { x, y, w, h } = a.gridPos;
    if (w < 1 || h < 1 || x < 0 || y < 0 || x + w > MAX_COLUMNS) wrong.push(`panel "${a.title}": outside the grid`);
    for (const b of d.panels.slice(i + 1)) {
      const g = b.gridPos;
      if (x < g.x + g.w && g.x < x + w && y < g.y + g.h && g.y < y + h)
        wrong.push(`panels "${a.title}" and "${b.title}" overlap`);
    }
  });
  return wrong;
}
