/** Panels as this project wants them, over Grafana's typed builder: all that a panel needs is asked for by its type. */
import * as common from '@grafana/grafana-foundation-sdk/common';
import {
  FieldColorBuilder,
  FieldColorModeId,
  ThresholdsConfigBuilder,
  ThresholdsMode,
  type DataTransformerConfig,
  type DynamicConfigValue,
  type Threshold,
} from '@grafana/grafana-foundation-sdk/dashboard';
import { DataqueryBuilder, PromQueryFormat, QueryEditorMode } from '@grafana/grafana-foundation-sdk/prometheus';

/** The data source is a variable: the dashboards work with any Prometheus that scrapes a testbed. */

export const DATASOURCE = { type: 'prometheus', uid: '${datasource}' };

/** Width of the whole dashboard in grid columns. */
export const FULL = 24;

/** What every panel has. */
export interface Told {
  title: string;
  /** How to read it, what is good, what is bad. */
  description: string;
  unit: string;
  /** Grid columns, of 24. */
  width: number;
  /** Grid rows of 30 pixels; default 8. */
  height?: number;
}

/** Units by Grafana's own ids, which scale as they should; only what Grafana has no unit for is written behind the number. `si:` is
 *  not used: it takes the first letter of what follows for a prefix of its own ("frame/s" came out in femto). */
export const UNIT = {
  bits: 'bps',
  frames: 'pps',
  seconds: 's',
  share: 'percentunit',
  count: 'sishort',
  /** Operations for a frame: well below and above one. */
  perFrame: 'none',
  perSecond: 'cps',
  requests: 'reqps',
  cores: 'suffix:cores',
  times: 'suffix:×',
  bytes: 'decbytes',
  moment: 'dateTimeFromNow',
  none: 'none',
} as const;

/** One colour for each configuration everywhere: the hues of the reports, in tones that stand on light and on dark. */
export const CONFIG_COLOURS: Readonly<Record<string, string>> = {
  baseline: '#cf6838',
  multiqueue: '#d9a400',
  'grant-reuse': '#03a5a9',
  optimised: '#2280fb',
  direct: '#9a5fb7',
  native: '#8c94a2',
  custom: '#6f7782',
};

/** Colours of the places where CPU time goes. */
export const DOMAIN_COLOURS: Readonly<Record<string, string>> = {
  'driver-domain': '#cf6838',
  driver_domain: '#cf6838',
  hypervisor: '#9a5fb7',
  guest: '#30956a',
  nic: '#a9aa44',
};

export const RED = '#D62728';
export const GREEN = '#2CA02C';
export const AMBER = '#FF9900';

/** The paper's two figures and what links are sold as, bit/s. */
export const PAPER_BASELINE = 2.9e9;
export const PAPER_OPTIMISED = 10e9;
export const LINE_RATES = [10e9, 25e9, 40e9, 100e9] as const;

let refs = 0;

/** Restarts the letters of queries: each panel begins with A. */
export function freshRefs(): void {
  refs = 0;
}

function nextRef(): string {
  return String.fromCharCode(65 + refs++);
}

/** A query over the time range. */
export function series(expr: string, legend: string): DataqueryBuilder {
  return query(expr).range().legendFormat(legend);
}

/** A query at the end of the time range, one line of legend for each series. */
export function latest(expr: string, legend: string): DataqueryBuilder {
  return query(expr).instant().legendFormat(legend);
}

/** A query at the end of the time range, as rows of a table with a column for each label. */
export function rows(expr: string): DataqueryBuilder {
  return query(expr).instant().format(PromQueryFormat.Table);
}

/** Buckets of a histogram over the time range. */
export function buckets(expr: string): DataqueryBuilder {
  return query(expr).range().format(PromQueryFormat.Heatmap).legendFormat('{{le}}');
}

function query(expr: string): DataqueryBuilder {
  return new DataqueryBuilder()
    .refId(nextRef())
    .datasource(DATASOURCE)
    .editorMode(QueryEditorMode.Code)
    .expr(expr.replace(/\s+/g, ' ').trim());
}

/** Colours by value. The first colour is that of everything below the first mark. */
export function marks(below: string, ...above: [value: number, colour: string][]): ThresholdsConfigBuilder {
  const steps: Threshold[] = [{ value: null, color: below }, ...above.map(([value, color]) => ({ value, color }))];
  return new ThresholdsConfigBuilder().mode(ThresholdsMode.Absolute).steps(steps);
}

export const byThresholds = (): FieldColorBuilder => new FieldColorBuilder().mode(FieldColorModeId.Thresholds);

/** Properties of an override that gives a series its colour. */
export const coloured = (colour: string): DynamicConfigValue[] => [
  { id: 'color', value: { mode: 'fixed', fixedColor: colour } },
];

/** A line to compare with, not a measurement. */
export const dashed = (colour: string): DynamicConfigValue[] => [
  ...coloured(colour),
  { id: 'custom.lineStyle', value: { fill: 'dash', dash: [8, 6] } },
  { id: 'custom.fillOpacity', value: 0 },
  { id: 'custom.showPoints', value: 'never' },
];

interface Overridable {
  overrideByName(name: string, properties: DynamicConfigValue[]): unknown;
  overrideByRegexp(regexp: string, properties: DynamicConfigValue[]): unknown;
}

/** Gives every series that is named after a configuration, alone or at its beginning, that configuration's colour. */
export function configColours<P extends Overridable>(panel: P): P {
  for (const [config, colour] of Object.entries(CONFIG_COLOURS))
    panel.overrideByRegexp(`/^${config}( |$)/`, coloured(colour));
  return panel;
}

/** The same for places: "guest1" and "guest" share a colour only where guests are added up. */
export function placeColours<P extends Overridable>(panel: P): P {
  for (const [place, colour] of Object.entries(DOMAIN_COLOURS)) panel.overrideByName(place, coloured(colour));
  return panel;
}

/** Rows of `labels` and a value become a matrix: a row for each `row`, a column for each `column`, sorted by their sum. */
export function matrix(row: string, column: string, order: 'ascending' | 'descending'): DataTransformerConfig[] {
  return [
    {
      id: 'groupingToMatrix',
      options: { rowField: row, columnField: column, valueField: 'Value', emptyValue: 'zero' },
    },
    { id: 'calculateField', options: { mode: 'reduceRow', reduce: { reducer: 'sum' }, alias: 'sum of all' } },
    { id: 'sortBy', options: { sort: [{ field: 'sum of all', desc: order === 'descending' }] } },
    { id: 'organize', options: { excludeByName: { 'sum of all': true } } },
  ];
}

/** Results of several table queries side by side, one row for each value of a label.
 *  @param names query letter → column
 *  @param also other labels to show, as they are called */
export function joined(
  label: string,
  names: Readonly<Record<string, string>>,
  also: readonly string[] = [],
): DataTransformerConfig[] {
  const columns = Object.entries(names).map(([ref, name]) => [`Value #${ref}`, name] as const);
  const order = [label, ...also, ...columns.map(([field]) => field)];
  return [
    { id: 'joinByField', options: { byField: label, mode: 'outer' } },
    { id: 'filterFieldsByName', options: { include: { names: order } } },
    {
      id: 'organize',
      options: {
        renameByName: Object.fromEntries(columns),
        indexByName: Object.fromEntries(order.map((field, i) => [field, i])),
      },
    },
  ];
}

export const legendTable = (...calcs: string[]): common.VizLegendOptionsBuilder =>
  new common.VizLegendOptionsBuilder()
    .showLegend(true)
    .displayMode(common.LegendDisplayMode.Table)
    .placement(common.LegendPlacement.Bottom)
    .calcs(calcs);

export const legendList = (): common.VizLegendOptionsBuilder =>
  new common.VizLegendOptionsBuilder()
    .showLegend(true)
    .displayMode(common.LegendDisplayMode.List)
    .placement(common.LegendPlacement.Bottom)
    .calcs([]);

export const tooltipAll = (): common.VizTooltipOptionsBuilder =>
  new common.VizTooltipOptionsBuilder().mode(common.TooltipDisplayMode.Multi).sort(common.SortOrder.Descending);
