/** A latency histogram in counter slots: log-linear, 16 steps to each power of two, so a percentile is exact to 6 %.
 *
 *  One step up to 1.024 us, then 24 powers of two up to 17 s, then one for all that is longer. */
import { slots, type CounterBlock } from './counter-file.js';
import type { Layout } from './declare.js';

const HEAD = ['count', 'sumNs', 'maxNs'] as const;
const C = slots(HEAD);
const SUB_BITS = 4;
const SUBS = 1 << SUB_BITS;
const UNIT_NS = 64;
const OCTAVES = 24;
const BUCKETS = OCTAVES * SUBS + 2;
const LAST = BUCKETS - 1;
const LONGEST_NS = UNIT_NS * SUBS * 2 ** OCTAVES;

/** Exclusive upper end of a bucket, nanoseconds. */
function upperNs(bucket: number): number {
  if (bucket === 0) return UNIT_NS * SUBS;
  if (bucket === LAST) return Infinity;
  const octave = (bucket - 1) >> SUB_BITS;
  return UNIT_NS * (SUBS + ((bucket - 1) & (SUBS - 1)) + 1) * 2 ** octave;
}

/** A latency block: count, sumNs, maxNs, then a bucket each, named by its exclusive upper end ("lt1024"). */
export const LATENCY: Layout = {
  kind: 'latency',
  names: [...HEAD, ...Array.from({ length: BUCKETS }, (_, i) => `lt${upperNs(i)}`)],
};

/** Counts one latency. Allocates nothing. @param ns nanoseconds; what is negative (clocks) counts as 0 @param times that it was met */
export function recordLatency(block: CounterBlock, ns: number, times = 1): void {
  const v = block.v;
  const time = ns > 0 ? ns : 0;
  v[C.count] += times;
  v[C.sumNs] += time * times;
  if (time > v[C.maxNs]) v[C.maxNs] = time;
  let bucket = 0;
  if (time >= LONGEST_NS) {
    bucket = LAST;
  } else {
    const units = (time * (1 / UNIT_NS)) | 0;
    if (units >= SUBS) {
      const octave = 31 - SUB_BITS - Math.clz32(units);
      bucket = 1 + (octave << SUB_BITS) + ((units >>> octave) & (SUBS - 1));
    }
  }
  v[HEAD.length + bucket] += times;
}

/** Adds the histograms of several receivers up. */
export function mergeLatency(list: readonly Readonly<Record<string, number>>[]): Record<string, number> {
  const sum: Record<string, number> = {};
  for (const name of LATENCY.names) {
    const values = list.map((one) => one[name] ?? 0);
    sum[name] = name === 'maxNs' ? Math.max(0, ...values) : values.reduce((a, b) => a + b, 0);
  }
  return sum;
}

/** @param values a latency block's values by name, as in a snapshot
 *  @param fractions 0 to 1, as [0.5, 0.99]
 *  @returns for each the nanoseconds that so many of the frames stay within; NaN when nothing was counted */
export function latencyPercentiles(values: Readonly<Record<string, number>>, fractions: readonly number[]): number[] {
  const counts = Array.from({ length: BUCKETS }, (_, i) => values[`lt${upperNs(i)}`] ?? 0);
  const total = counts.reduce((a, b) => a + b, 0);
  const max = values['maxNs'] ?? 0;
  return fractions.map((fraction) => {
    if (total === 0) return NaN;
    const rank = Math.max(1, Math.ceil(fraction * total));
    let seen = 0;
    const bucket = counts.findIndex((count) => (seen += count) >= rank);
    return Math.min(upperNs(bucket), max);
  });
}
