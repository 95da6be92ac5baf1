/** What tests have to know of PromQL and of the way Grafana fills queries in. Not a parser: Prometheus is that. */

/** Values with which a query is filled in. */
export interface Filling {
  /** Seconds of the time range. */
  rangeSeconds: number;
  /** What each variable stands for: all choices of a multi-value one, or the value that it has for All. */
  variables: Readonly<Record<string, readonly string[] | string>>;
}

/** Scrape interval that the data source is told (jsonData.timeInterval), seconds. */
export const SCRAPE_SECONDS = 1;

/** $__rate_interval at a step of one second: max(step + scrape, 4 scrapes), as Grafana works it out. */
export const RATE_INTERVAL = `${4 * SCRAPE_SECONDS}s`;

/** Fills in $variables as Grafana's Prometheus data source does: several values become (a|b) with each one escaped;
 *  what is no variable ($1 of label_replace) stays. */
export function fill(expr: string, filling: Filling): string {
  const builtIn: Record<string, string> = {
    __rate_interval: RATE_INTERVAL,
    __interval: `${SCRAPE_SECONDS}s`,
    __range: `${Math.ceil(filling.rangeSeconds)}s`,
    __range_s: `${Math.ceil(filling.rangeSeconds)}`,
  };
  return expr.replace(/\$(\w+)|\$\{(\w+)\}/g, (whole, plain: string | undefined, braced: string | undefined) => {
    const name = plain ?? braced ?? '';
    const value: string | readonly string[] | undefined = Object.hasOwn(builtIn, name)
      ? builtIn[name]
      : filling.variables[name];
    if (value === undefined) return whole;
    if (typeof value === 'string') return value;
    return value.length === 1 ? escapeRegex(value[0]) : `(${value.map(escapeRegex).join('|')})`;
  });
}

/** In a string of a regular expression: both the expression's and the string's own special characters. */
const escapeRegex = (value: string): string => value.replace(/\\/g, '\\\\\\\\').replace(/[$^*{}[\]'+?.()|]/g, '\\\\$&');

/** Functions, keywords and labels that look like metrics when a query is cut into words. */
const WORDS = new Set(
  `abs absent and avg bool by ceil clamp_max clamp_min count group_left group_right histogram_quantile ignoring increase
   label_replace last_over_time max max_over_time min min_over_time offset on or quantile rate round scalar sort sort_desc
   sum time timestamp unless vector without`.split(/\s+/),
);

/** Names of the metrics and recording rules that a query reads. */
export function metricsIn(expr: string): string[] {
  const bare = expr
    .replace(/"(?:[^"\\]|\\.)*"/g, '""')
    .replace(/\{[^{}]*\}/g, ' ')
    .replace(/\[[^\]]*\]/g, ' ')
    .replace(/\b(by|without|on|ignoring|group_left|group_right)\s*\([^()]*\)/g, ' ')
    .replace(/\boffset\s+\w+/g, ' ');
  const names = bare.match(/[a-zA-Z_:][a-zA-Z0-9_:]*/g) ?? [];
  return [...new Set(names.filter((name) => !WORDS.has(name)))];
}

/** The windows of all rate functions: [1m] gives "1m". */
export function rateWindows(expr: string): { fn: string; window: string }[] {
  const found = expr.matchAll(/\b(rate|irate|increase|delta|deriv)\s*\(\s*[^[\]()]*\[([^\]]+)\]/g);
  return [...found].map(([, fn, window]) => ({ fn: fn, window: window }));
}

/** label_values(metric, label): what Grafana asks for as a variable's choices. */
export function labelValues(query: string): { metric: string; label: string } | null {
  const found = /^label_values\(([^,]+),\s*(\w+)\)$/.exec(query);
  return found ? { metric: found[1], label: found[2] } : null;
}
