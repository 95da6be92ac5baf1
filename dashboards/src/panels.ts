/** Panels as this project wants them, over Grafana's typed builder: all that a panel needs is asked for by its type. Each kind takes what
 *  it has to tell, then its queries. */
import * as common from '@grafana/grafana-foundation-sdk/common';
import {
  FieldColorBuilder,
  FieldColorModeId,
  ThresholdsConfigBuilder,
  ThresholdsMode,
  MappingType,
  type DataTransformerConfig,
  type DynamicConfigValue,
  type Threshold,
  type ThresholdsConfig,
  type ValueMapping,
} from '@grafana/grafana-foundation-sdk/dashboard';
import { DataqueryBuilder, PromQueryFormat, QueryEditorMode } from '@grafana/grafana-foundation-sdk/prometheus';
import * as barchart from '@grafana/grafana-foundation-sdk/barchart';
import type { Builder, Dataquery } from '@grafana/grafana-foundation-sdk/cog';
import * as heatmap from '@grafana/grafana-foundation-sdk/heatmap';
import * as stat from '@grafana/grafana-foundation-sdk/stat';
import * as statetimeline from '@grafana/grafana-foundation-sdk/statetimeline';
import * as table from '@grafana/grafana-foundation-sdk/table';
import * as text from '@grafana/grafana-foundation-sdk/text';
import * as timeseries from '@grafana/grafana-foundation-sdk/timeseries';
import { WIRE_OVERHEAD_BYTES } from '@grantline/frames';

/** The data source is a variable: the dashboards work with any Prometheus that scrapes a testbed. */
export const DATASOURCE = { type: 'prometheus', uid: '${datasource}' };

/** Width of the whole dashboard in grid columns. */
export const FULL = 24;

/** What every panel has. */
interface Told {
  title: string;
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
const CONFIG_COLOURS: Readonly<Record<string, string>> = {
  baseline: '#cf6838',
  multiqueue: '#d9a400',
  'grant-reuse': '#03a5a9',
  optimised: '#2280fb',
  direct: '#9a5fb7',
  native: '#8c94a2',
  custom: '#6f7782',
};

/** Colours of the places where CPU time goes. */
const DOMAIN_COLOURS: Readonly<Record<string, string>> = {
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

/** PromQL, and the legend of its series. */
type Legended = readonly [expr: string, legend: string];

/** Queries over the time range. */
export const series = (queries: readonly Legended[]): DataqueryBuilder[] =>
  queries.map(([expr, legend], i) => query(expr, i).range().legendFormat(legend));

/** Queries at the end of the time range, one line of legend for each series. */
export const latest = (queries: readonly Legended[]): DataqueryBuilder[] =>
  queries.map(([expr, legend], i) => query(expr, i).instant().legendFormat(legend));

/** Queries at the end of the time range, as rows of a table with a column for each label. */
export const rows = (queries: readonly string[]): DataqueryBuilder[] =>
  queries.map((expr, i) => query(expr, i).instant().format(PromQueryFormat.Table));

/** Buckets of a histogram over the time range. */
const buckets = (expr: string): DataqueryBuilder[] => [
  query(expr, 0).range().format(PromQueryFormat.Heatmap).legendFormat('{{le}}'),
];

/** Queries of a panel are lettered from A. */
function query(expr: string, place: number): DataqueryBuilder {
  return new DataqueryBuilder()
    .refId(String.fromCharCode(65 + place))
    .datasource(DATASOURCE)
    .editorMode(QueryEditorMode.Code)
    .expr(expr.replace(/\s+/g, ' ').trim());
}

/** Colours by value. The first colour is that of everything below the first mark. */
export function marks(below: string, ...above: [value: number, colour: string][]): ThresholdsConfigBuilder {
  const steps: Threshold[] = [{ value: null, color: below }, ...above.map(([value, color]) => ({ value, color }))];
  return new ThresholdsConfigBuilder().mode(ThresholdsMode.Absolute).steps(steps);
}

const byThresholds = (): FieldColorBuilder => new FieldColorBuilder().mode(FieldColorModeId.Thresholds);

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

const legendTable = (...calcs: string[]): common.VizLegendOptionsBuilder =>
  new common.VizLegendOptionsBuilder()
    .showLegend(true)
    .displayMode(common.LegendDisplayMode.Table)
    .placement(common.LegendPlacement.Bottom)
    .calcs(calcs);

const legendList = (): common.VizLegendOptionsBuilder =>
  new common.VizLegendOptionsBuilder()
    .showLegend(true)
    .displayMode(common.LegendDisplayMode.List)
    .placement(common.LegendPlacement.Bottom)
    .calcs([]);

const tooltipAll = (): common.VizTooltipOptionsBuilder =>
  new common.VizTooltipOptionsBuilder().mode(common.TooltipDisplayMode.Multi).sort(common.SortOrder.Descending);

/** The figure of the last finished run of each configuration in the direction chosen: of the run chosen, or, for all, of the latest one; where
 *  that has none yet, what the time range has. Results need no alignment of times.
 *  @param by labels to keep */
export function result(metric: string, by: string, more = ''): string {
  return ofRuns(metric, by, `direction=~"$direction"${more === '' ? '' : `,${more}`}`);
}

/** The same of all directions. */
export function ofRuns(metric: string, by: string, more = ''): string {
  const selector = `${metric}{run=~"$run",config=~"$config"${more === '' ? '' : `,${more}`}}`;
  return `max by (${by}) (${selector}) or max by (${by}) (last_over_time(${selector}[$__range]))`;
}

/** Only what belongs to the run chosen. */
export function duringRun(expr: string): string {
  return `${expr} and on () grantline_run_info{run=~"$run"}`;
}

/** Bits a second that the delivered frames would take on a cable, by configuration. */
export function wire(): string {
  const bytes = result('grantline_result_bytes_per_second', 'config');
  const frames = result('grantline_result_frames_per_second', 'config');
  return `8 * ((${bytes}) + ${WIRE_OVERHEAD_BYTES} * (${frames}))`;
}

type Thresholds = Builder<ThresholdsConfig>;

interface Panel<P> {
  title(title: string): P;
  description(description: string): P;
  datasource(ref: common.DataSourceRef): P;
  unit(unit: string): P;
  span(w: number): P;
  height(h: number): P;
  targets(targets: Builder<Dataquery>[]): P;
}

/** What all panels are told. @param description how to read it, what is good, what is bad */
function tell<P extends Panel<P>>(panel: P, told: Told, description: string, targets: Builder<Dataquery>[]): P {
  return panel
    .title(told.title)
    .description(description)
    .datasource(DATASOURCE)
    .unit(told.unit)
    .span(told.width)
    .height(told.height ?? 8)
    .targets(targets);
}

/** What a dashboard is for, at its top. Markdown. */
export function story(title: string, content: string, height = 5): text.PanelBuilder {
  return new text.PanelBuilder()
    .title(title)
    .description('What this dashboard answers, and how to read it.')
    .mode(text.TextMode.Markdown)
    .content(content)
    .span(FULL)
    .height(height);
}

/** Lines over time, from zero. */
export function lines(told: Told, description: string, ...queries: Legended[]): timeseries.PanelBuilder {
  return tell(new timeseries.PanelBuilder(), told, description, series(queries))
    .min(0)
    .lineWidth(2)
    .fillOpacity(8)
    .showPoints(common.VisibilityMode.Auto)
    .pointSize(5)
    .legend(legendTable('mean', 'max', 'lastNotNull'))
    .tooltip(tooltipAll());
}

/** Areas on top of each other: the parts add up to something. */
export function stacked(told: Told, description: string, ...queries: Legended[]): timeseries.PanelBuilder {
  return lines(told, description, ...queries)
    .fillOpacity(60)
    .lineWidth(1)
    .stacking(new common.StackingConfigBuilder().mode(common.StackingMode.Normal).group('A'))
    .legend(legendTable('mean', 'max'));
}

/** Horizontal lines at the thresholds. */
export function withMarks(panel: timeseries.PanelBuilder, thresholds: Thresholds): timeseries.PanelBuilder {
  return panel
    .thresholds(thresholds)
    .thresholdsStyle(new common.GraphThresholdsStyleConfigBuilder().mode(common.GraphThresholdsStyleMode.Dashed));
}

/** Bars: one group for each row of a table. @param x field with the names of the groups */
export function bars(
  told: Told,
  description: string,
  x: string,
  shape: DataTransformerConfig[],
  ...queries: string[]
): barchart.PanelBuilder {
  return tell(new barchart.PanelBuilder(), told, description, rows(queries))
    .xField(x)
    .min(0)
    .orientation(common.VizOrientation.Vertical)
    .showValue(common.VisibilityMode.Auto)
    .xTickLabelMaxLength(40)
    .barWidth(0.9)
    .groupWidth(0.75)
    .fillOpacity(80)
    .noValue('no configuration has finished yet')
    .transformations(shape)
    .legend(legendList())
    .tooltip(tooltipAll());
}

/** One number, or one for each series. */
export function number(
  told: Told,
  description: string,
  thresholds: Thresholds,
  ...queries: Legended[]
): stat.PanelBuilder {
  return tell(new stat.PanelBuilder(), { height: 4, ...told }, description, latest(queries))
    .thresholds(thresholds)
    .colorScheme(byThresholds())
    .colorMode(common.BigValueColorMode.Value)
    .graphMode(common.BigValueGraphMode.None)
    .textMode(common.BigValueTextMode.Auto)
    .orientation(common.VizOrientation.Auto)
    .reduceOptions(new common.ReduceDataOptionsBuilder().calcs(['lastNotNull']).values(false));
}

/** A table with a row for each value of a label. */
export function grid(
  told: Told,
  description: string,
  shape: DataTransformerConfig[],
  ...queries: string[]
): table.PanelBuilder {
  return tell(new table.PanelBuilder(), told, description, rows(queries))
    .transformations(shape)
    .filterable(false)
    .showHeader(true)
    .noValue('nothing yet');
}

/** States as coloured stretches of time. */
export function states(
  told: Told,
  description: string,
  mapping: ValueMapping[],
  ...queries: Legended[]
): statetimeline.PanelBuilder {
  return tell(new statetimeline.PanelBuilder(), told, description, series(queries))
    .mappings(mapping)
    .thresholds(marks(GREEN))
    .colorScheme(byThresholds())
    .mergeValues(true)
    .showValue(common.VisibilityMode.Auto)
    .rowHeight(0.8)
    .fillOpacity(75)
    .lineWidth(0)
    .legend(legendList());
}

/** A histogram over time. */
export function heat(told: Told, description: string, expr: string): heatmap.PanelBuilder {
  return tell(new heatmap.PanelBuilder(), told, description, buckets(expr))
    .calculate(false)
    .yAxis(new heatmap.YAxisConfigBuilder().unit(told.unit).axisPlacement(common.AxisPlacement.Left))
    .color(
      new heatmap.HeatmapColorOptionsBuilder()
        .mode(heatmap.HeatmapColorMode.Scheme)
        .scheme('Viridis')
        .scale(heatmap.HeatmapColorScale.Exponential)
        .exponent(0.5)
        .steps(64)
        .reverse(false),
    )
    .cellGap(1)
    .showLegend();
}

/** Texts and colours for values. */
export function named(values: Readonly<Record<string, readonly [text: string, colour: string]>>): ValueMapping[] {
  return [
    {
      type: MappingType.ValueToText,
      options: Object.fromEntries(
        Object.entries(values).map(([value, [say, color]], index) => [value, { text: say, color, index }]),
      ),
    },
  ];
}
