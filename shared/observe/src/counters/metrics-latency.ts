/** The latency histogram for Prometheus, out of the log-linear block (shared/machine/src/counters/latency.ts). The block has bounds at 1.024 us
 *  and at each doubling of it up to 17.2 s; those are the `le` bounds, so the counts are exact. */
import { LATENCY } from '@grantline/machine';

const FIRST_NS = 1024;
const OCTAVES = 24;
const ENDS_AT = /^lt(\d+|Infinity)$/;

/** Upper bounds in nanoseconds, doubling; exclusive in the block. */
export const LATENCY_BOUNDS_NS: readonly number[] = Array.from({ length: OCTAVES + 1 }, (_, k) => FIRST_NS * 2 ** k);

for (const ns of LATENCY_BOUNDS_NS)
  if (!LATENCY.names.includes(`lt${ns}`)) throw new Error(`the latency block has no bound at ${ns} ns`);

export interface LatencyHistogram {
  /** Cumulative, by bound in seconds; the last bound is +Inf and its value the count of all. */
  readonly buckets: readonly { readonly le: string; readonly count: number }[];
  readonly sumSeconds: number;
}

/** @param values a latency block's values by name, in the order of its slots */
export function latencyHistogram(values: Readonly<Record<string, number>>): LatencyHistogram {
  const bounds = new Set(LATENCY_BOUNDS_NS);
  const buckets: { le: string; count: number }[] = [];
  let count = 0;
  for (const [name, value] of Object.entries(values)) {
    const end = ENDS_AT.exec(name)?.[1];
    if (end === undefined) continue;
    count += value;
    if (end === 'Infinity') buckets.push({ le: '+Inf', count });
    else if (bounds.has(Number(end))) buckets.push({ le: String(Number(end) / 1e9), count });
  }
  return { buckets, sumSeconds: (values['sumNs'] ?? 0) / 1e9 };
}
