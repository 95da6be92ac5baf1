/** Answers by kind, in a block of counters. */
import { slots } from '@grantline/machine';
import { WEB_COUNTERS } from '@grantline/observe';

/** A counter block named as WEB_COUNTERS. */
export interface WebCounters {
  readonly v: Float64Array;
  commit(): void;
}

const at = slots(WEB_COUNTERS);

/** Counts an answer with this status. */
export function countAnswer(counters: WebCounters, status: number): void {
  counters.v[status < 400 ? at.ok : status < 500 ? at.clientErrors : at.serverErrors]++;
  counters.commit();
}
