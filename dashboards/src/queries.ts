/** Queries that several panels need. */
import { WIRE_OVERHEAD_BYTES } from '@grantline/frames';

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
