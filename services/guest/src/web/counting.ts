/** Answers by kind, in a block of counters. */
import { slots } from '@grantline/shared/counters/block.js';
import { WEB_COUNTERS } from '@grantline/shared/counters/names.js';

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
