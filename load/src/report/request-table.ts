/** The tables of round trips at the end of a comparison. Pure: records in, text out. */
import Table from 'cli-table3';
import { requestsTitle } from '../runner/compare.js';
import { micros } from '../base/format.js';
import type { Summary } from '../runner/record.js';

/** A table for each number in flight and each company, under a line that says which. */
export function requestLadders(results: readonly Summary[], options: { colour: boolean }): string[] {
  const titles = [...new Set(results.map(titleOf))];
  return titles.flatMap((title) => [
    `round trips, ${title}`,
    ladder(
      results.filter((r) => titleOf(r) === title),
      options,
    ),
  ]);
}

const titleOf = (r: Pick<Summary, 'rr'>): string => (r.rr ? requestsTitle(r.rr) : '');

function ladder(results: readonly Summary[], { colour }: { colour: boolean }): string {
  const heads = ['requests/s', 'p50\nus', 'p90\nus', 'p99\nus', 'p99.9\nus', 'max\nus', 'CPU us\neach', 'lost', 'bad'];
  const table = new Table({
    head: ['configuration', ...heads],
    colAligns: ['left', ...heads.map(() => 'right' as const)],
    style: { head: colour ? ['bold'] : [], border: colour ? ['grey'] : [], compact: true },
  });
  for (const r of results) {
    const { rr } = r;
    if (rr === undefined) continue;
    const t = rr.rttUs;
    table.push([
      r.config,
      Math.round(rr.perSecondAnswered),
      ...(t === null ? ['-', '-', '-', '-', '-'] : [t.p50, t.p90, t.p99, t.p999, t.max].map(micros)),
      // Beside bulk, most of the time is that of other frames.
      rr.beside === 'bulk' ? '-' : (r.cpuNsPerFrame.total / 1000).toFixed(1),
      rr.timeouts + rr.unanswered,
      r.corrupt + rr.repeated,
    ]);
  }
  return table.toString();
}

/** How the figures are to be read. */
export function requestLine(results: readonly Summary[]): string {
  const open = results.some((r) => r.rr !== undefined && r.rr.perSecond !== null);
  const what = open
    ? 'Open loop: times count from when a request was due, so a stall shows in all requests that it kept waiting.'
    : 'Closed loop: the next request goes out when an answer comes, so a slow path is asked less often.';
  return `${what} lost: without an answer within the time-out; bad: corrupt or repeated answers; CPU of driver domain, hypervisor and guest.`;
}

/** One line for a run that has just been measured. */
export function requestRunLine(r: Pick<Summary, 'config' | 'rr' | 'conservation'>, nth: string): string {
  const { rr } = r;
  const t = rr?.rttUs;
  const wrong = r.conservation === 'ok' ? '' : '  CONSERVATION VIOLATED';
  const times = t ? `median ${micros(t.p50)} us, 99 % ${micros(t.p99)} us` : 'no answer';
  return `  ${r.config.padEnd(12)}${nth} ${titleOf({ rr } as Summary)}: ${times}, ${Math.round(rr?.perSecondAnswered ?? 0)} a second${wrong}`;
}
