/** The kinds of panels in use. Each takes what it has to tell, then its queries. */
import * as barchart from '@grafana/grafana-foundation-sdk/barchart';
import * as common from '@grafana/grafana-foundation-sdk/common';
import {
  MappingType,
  type DataTransformerConfig,
  type ThresholdsConfig,
  type ValueMapping,
} from '@grafana/grafana-foundation-sdk/dashboard';
import type { Builder, Dataquery } from '@grafana/grafana-foundation-sdk/cog';
import * as heatmap from '@grafana/grafana-foundation-sdk/heatmap';
import * as stat from '@grafana/grafana-foundation-sdk/stat';
import * as statetimeline from '@grafana/grafana-foundation-sdk/statetimeline';
import * as table from '@grafana/grafana-foundation-sdk/table';
import * as text from '@grafana/grafana-foundation-sdk/text';
import * as timeseries from '@grafana/grafana-foundation-sdk/timeseries';
import {
  byThresholds,
  DATASOURCE,
  freshRefs,
  FULL,
  legendList,
  legendTable,
  marks,
  tooltipAll,
  GREEN,
  type Told,
} from './kit.js';

type Queries = () => Builder<Dataquery>[];
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

/** Queries are made inside, so that their letters begin with A. */
function tell<P extends Panel<P>>(panel: P, told: Told, queries: Queries): P {
  freshRefs();
  return panel
    .title(told.title)
    .description(told.description)
    .datasource(DATASOURCE)
    .unit(told.unit)
    .span(told.width)
    .height(told.height ?? 8)
    .targets(queries());
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
export function lines(told: Told, queries: Queries): timeseries.PanelBuilder {
  return tell(new timeseries.PanelBuilder(), told, queries)
    .min(0)
    .lineWidth(2)
    .fillOpacity(8)
    .showPoints(common.VisibilityMode.Auto)
    .pointSize(5)
    .legend(legendTable('mean', 'max', 'lastNotNull'))
    .tooltip(tooltipAll());
}

/** Areas on top of each other: the parts add up to something. */
export function stacked(told: Told, queries: Queries): timeseries.PanelBuilder {
  return lines(told, queries)
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
export function bars(told: Told, x: string, shape: DataTransformerConfig[], queries: Queries): barchart.PanelBuilder {
  return tell(new barchart.PanelBuilder(), told, queries)
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
export function number(told: Told, thresholds: Thresholds, queries: Queries): stat.PanelBuilder {
  return tell(new stat.PanelBuilder(), { height: 4, ...told }, queries)
    .thresholds(thresholds)
    .colorScheme(byThresholds())
    .colorMode(common.BigValueColorMode.Value)
    .graphMode(common.BigValueGraphMode.None)
    .textMode(common.BigValueTextMode.Auto)
    .orientation(common.VizOrientation.Auto)
    .reduceOptions(new common.ReduceDataOptionsBuilder().calcs(['lastNotNull']).values(false));
}

/** A table with a row for each value of a label. */
export function grid(told: Told, shape: DataTransformerConfig[], queries: Queries): table.PanelBuilder {
  return tell(new table.PanelBuilder(), told, queries)
    .transformations(shape)
    .filterable(false)
    .showHeader(true)
    .noValue('nothing yet');
}

/** States as coloured stretches of time. */
export function states(told: Told, mapping: ValueMapping[], queries: Queries): statetimeline.PanelBuilder {
  return tell(new statetimeline.PanelBuilder(), told, queries)
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
export function heat(told: Told, queries: Queries): heatmap.PanelBuilder {
  return tell(new heatmap.PanelBuilder(), told, queries)
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
