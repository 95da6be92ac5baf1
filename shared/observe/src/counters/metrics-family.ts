/** What a metric is: its help text, its type, and the labels that its series may have. docs/wire/metrics.md. */

/** All labels that there are, beside `le` of a histogram. Each has few values, known in advance but for `run` and `scenario`. */
export const LABEL_NAMES = [
  'domain',
  'vif',
  'queue',
  'config',
  'component',
  'reason',
  'direction',
  'op',
  'run',
  'scenario',
  'phase',
  'quantile',
  'version',
  'revision',
  'node',
] as const;
export type LabelName = (typeof LABEL_NAMES)[number];
export type Labels = Readonly<Partial<Record<LabelName, string>>>;

export interface Family {
  readonly type: 'counter' | 'gauge' | 'histogram' | 'summary';
  readonly help: string;
  /** Beside `domain`, which all have. A series may lack one that it has no use for. */
  readonly labels: readonly LabelName[];
}

const of =
  (type: Family['type']) =>
  (help: string, ...labels: LabelName[]): Family => ({ type, help, labels });

export const counter = of('counter');
export const gauge = of('gauge');
export const histogram = of('histogram');
/** Only for given quantiles: promtool allows that label nowhere else. */
export const summary = of('summary');
