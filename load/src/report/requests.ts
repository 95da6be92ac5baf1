/** The report of a comparison of round trips: its headline, and the section with the figure and the tables. Pure. */
import { requestsTitle } from '../runner/compare.js';
import { section, type Section, figures, words, type DataTable } from './tables.js';
import { micros, whole } from '../base/format.js';
import { plainName, type Model } from './model.js';
import { requestsPlot, type RequestRow } from './plot-latency.js';
import type { Headline } from './story.js';

/** The runs of requests with the number of guests that is shown, a row for each configuration and kind: the run with the
 *  median of the medians. */
export function requestRows(m: Model): RequestRow[] {
  const runs = m.sources
    .flatMap((s) => s.file.runs)
    .flatMap((r) => (r.rr === undefined || r.guests !== m.shown ? [] : [{ ...r, rr: r.rr }]));
  const keys = [...new Set(runs.map((r) => `${requestsTitle(r.rr)}|${r.config}`))];
  return keys.map((key) => {
    const own = runs.filter((r) => `${requestsTitle(r.rr)}|${r.config}` === key);
    const p50 = (r: (typeof own)[number]): number => r.rr.rttUs?.p50 ?? Infinity;
    const sorted = [...own].sort((a, b) => p50(a) - p50(b));
    const { config, rr } = sorted[(sorted.length - 1) >> 1];
    return { config: plainName(config), rr };
  });
}

export function requestSection(rows: readonly RequestRow[]): Section {
  const open = rows.some((r) => r.rr.perSecond !== null);
  return section('round-trips', 'Round trips', {
    lines: [
      open
        ? 'Open loop: requests fall due by the clock, and times count from when a request was due, so a stall shows in all requests that it kept waiting (no coordinated omission).'
        : 'Closed loop: the next request goes out when an answer comes. That gives the time of one exchange; it does not tell how long requests would wait that came at a rate of their own (--rate does).',
      'Each request is verified where it arrives, and its answer, made anew, where it comes back. Percentiles are from an HDR histogram with three figures.',
    ],
    figure: requestsPlot(rows),
    caption: 'Of the median run; each mark is a percentile of its round trips, from far end to far end.',
    tables: [...new Set(rows.map((r) => requestsTitle(r.rr)))].map((title) =>
      tableOf(
        title,
        rows.filter((r) => requestsTitle(r.rr) === title),
      ),
    ),
  });
}

function tableOf(title: string, rows: readonly RequestRow[]): DataTable {
  return {
    caption: `Round trips in microseconds, ${title}`,
    columns: [
      words('configuration'),
      ...figures(
        'requests/s',
        'least',
        'median',
        '90 %',
        '99 %',
        '99.9 %',
        '99.99 %',
        'max',
        'lost',
        'late',
        'repeated',
      ),
    ],
    rows: rows.map(({ config, rr }) => {
      const t = rr.rttUs;
      const times = t === null ? [] : [t.min, t.p50, t.p90, t.p99, t.p999, t.p9999, t.max];
      return [
        config,
        whole(rr.perSecondAnswered),
        ...(t === null ? new Array<string>(7).fill('-') : times.map(micros)),
        ...[rr.timeouts + rr.unanswered, rr.late, rr.repeated].map(String),
      ];
    }),
  };
}

/** What a comparison of round trips comes to: the first row of `optimised`, or of what there is. */
export function requestHeadline(rows: readonly RequestRow[], wrong: readonly string[]): Headline {
  const best = rows.find((r) => r.config === 'optimised') ?? rows[0];
  const t = best.rr.rttUs;
  const company = requestsTitle(best.rr);
  return {
    lead:
      t === null
        ? `${best.config} answered nothing (${company})`
        : `${best.config}: a round trip takes ${micros(t.p50)} µs (median; 99 % within ${micros(t.p99)} µs; ${company})`,
    remarks: [...wrong],
  };
}
