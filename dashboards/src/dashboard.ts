/** What all dashboards share: variables, annotations, the way from one to the next, and the numbers of panels. */
import {
  AnnotationQueryBuilder,
  DashboardBuilder,
  DashboardCursorSync,
  DashboardLinkBuilder,
  DashboardLinkType,
  DatasourceVariableBuilder,
  QueryVariableBuilder,
  RowBuilder,
  TimePickerBuilder,
  VariableRefresh,
  VariableSort,
  type Dashboard,
  type Panel,
  type RowPanel,
} from '@grafana/grafana-foundation-sdk/dashboard';
import type { Builder } from '@grafana/grafana-foundation-sdk/cog';
import { DataqueryBuilder } from '@grafana/grafana-foundation-sdk/prometheus';
import { DATASOURCE, FULL } from './panels.js';

export interface Section {
  title: string;
  panels: readonly Builder<Panel>[];
}

export interface Page {
  uid: string;
  title: string;
  description: string;
  story: Builder<Panel>;
  /** Results of one direction at a time, by a variable. */
  byDirection?: true;
  sections: readonly Section[];
}

/** Stands for every choice of a variable. */
const ALL = '$__all';

function choice(
  name: string,
  label: string,
  description: string,
  metric: string,
  several: boolean,
): QueryVariableBuilder {
  const query = `label_values(${metric}, ${name})`;
  return new QueryVariableBuilder(name)
    .label(label)
    .description(description)
    .datasource(DATASOURCE)
    .query({ query, refId: `variable-${name}` })
    .definition(query)
    .refresh(VariableRefresh.OnTimeRangeChanged)
    .includeAll(true)
    .multi(several)
    .current({ selected: true, text: several ? ['All'] : 'All', value: several ? [ALL] : ALL });
}

/** What the results shown are of. One at a time: figures of frames, of streams and of requests do not compare. */
const direction = (): QueryVariableBuilder =>
  choice(
    'direction',
    'Direction',
    'What was measured: rx (to the guests), tx (from them), guest-to-guest, rr (requests and answers), TCP streams, HTTP.',
    'grantline_phase_info',
    false,
  )
    .includeAll(false)
    .current({ selected: true, text: 'rx', value: 'rx' })
    .sort(VariableSort.AlphabeticalAsc);

/** Marks when a phase of the experiment began. Grafana takes the value as milliseconds, and joins marks that are closer
 *  than the step. The query stands where Grafana 13 keeps it (target) and where versions before it looked. */
function phases(
  name: string,
  matcher: string,
  colour: string,
  enabled: boolean,
  oneDirection: boolean,
): AnnotationQueryBuilder {
  const only = oneDirection ? ',direction=~"$direction"' : '';
  const expr = `1000 * (grantline_phase_start_timestamp_seconds{phase=~"${matcher}",config=~"$config"${only}} > 0)`;
  const step = '1s';
  return new AnnotationQueryBuilder()
    .name(name)
    .datasource(DATASOURCE)
    .enable(enabled)
    .iconColor(colour)
    .target(new DataqueryBuilder().refId('Anno').datasource(DATASOURCE).expr(expr).range().interval(step))
    .expr(expr)
    .step(step)
    .titleFormat('{{phase}}: {{config}}, {{direction}}')
    .tagKeys('phase,config,direction')
    .useValueForTime(true);
}

/** @returns the dashboard as Grafana's Classic model; panels are numbered from 1 in reading order */
export function assemble(page: Page): Dashboard {
  const builder = new DashboardBuilder(page.title)
    .uid(page.uid)
    .description(page.description)
    .tags(['grantline'])
    .readonly()
    .tooltip(DashboardCursorSync.Crosshair)
    .time({ from: 'now-10m', to: 'now' })
    .refresh('5s')
    .timepicker(new TimePickerBuilder().refreshIntervals(['1s', '2s', '5s', '10s', '30s', '1m', '5m']))
    .timezone('browser')
    .link(
      new DashboardLinkBuilder('Grantline')
        .type(DashboardLinkType.Dashboards)
        .tags(['grantline'])
        .asDropdown(false)
        .keepTime(true)
        .includeVars(true),
    )
    .withVariable(
      new DatasourceVariableBuilder('datasource')
        .label('Data source')
        .description('The Prometheus that scrapes the testbed.')
        .type('prometheus')
        .current({ selected: true, text: 'Prometheus', value: 'grantline-prometheus' }),
    )
    .withVariable(
      choice('run', 'Run', 'A comparison: its results folder. All: the latest.', 'grantline_run_info', false)
        .allValue('.*')
        .sort(VariableSort.AlphabeticalDesc),
    )
    .withVariable(
      choice('config', 'Configuration', 'Which configurations are shown.', 'grantline_configuration_info', true).sort(
        VariableSort.AlphabeticalAsc,
      ),
    )
    .withVariable(
      choice('domain', 'Domain', 'Which domains are shown.', 'grantline_domain_up', true).sort(VariableSort.NaturalAsc),
    )
    .annotation(phases('Measuring', 'measure', 'green', true, page.byDirection ?? false))
    .annotation(phases('Other phases', 'configure|warmup|drain|idle', 'gray', false, page.byDirection ?? false))
    .withPanel(page.story);
  if (page.byDirection) builder.withVariable(direction());
  for (const section of page.sections) {
    builder.withRow(new RowBuilder(section.title));
    for (const panel of section.panels) builder.withPanel(panel);
  }
  const dashboard = builder.build();
  // The builder would hide switches and links in a menu.
  for (const each of [...(dashboard.annotations?.list ?? []), ...(dashboard.links ?? [])]) delete each.placement;
  numbered(dashboard.panels ?? []);
  placed(dashboard.panels ?? []);
  return dashboard;
}

function numbered(panels: (Panel | RowPanel)[]): void {
  panels.forEach((panel, i) => (panel.id = i + 1));
}

/** Puts each panel where it fits highest, then leftmost; a row begins below everything before it. */
function placed(panels: (Panel | RowPanel)[]): void {
  let floor: number[] = new Array<number>(FULL).fill(0);
  for (const panel of panels) {
    const { w, h } = panel.gridPos!;
    let x = 0;
    let y = Infinity;
    for (let left = 0; left + w <= FULL; left++) {
      const top = Math.max(...(panel.type === 'row' ? floor : floor.slice(left, left + w)));
      if (top < y) [x, y] = [left, top];
    }
    panel.gridPos = { x, y, w, h };
    floor = floor.map((old, column) => (column >= x && column < x + w ? y + h : old));
  }
}
