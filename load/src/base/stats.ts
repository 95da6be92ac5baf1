/** Medians and what is known of them from few runs; means of frame sizes, with Ethernet header and without FCS, and what a link carries
 *  of them. Pure. */
import { IMIX_WEIGHTS, WIRE_OVERHEAD_BYTES } from '@grantline/frames';

/** The median; of an even number the lower of the two in the middle, so that it is a run that took place.
 *  @returns its index, -1 when there is none */
export function medianIndex(values: readonly number[]): number {
  const order = values.map((_, i) => i).sort((x, y) => values[x] - values[y]);
  return order[Math.floor((order.length - 1) / 2)] ?? -1;
}

/** @returns the median as medianIndex finds it; NaN of nothing */
export function median(values: readonly number[]): number {
  return values[medianIndex(values)] ?? NaN;
}

export interface MedianInterval {
  low: number;
  high: number;
  /** Probability that an interval made so holds the median of all runs that could be made, if runs are independent. */
  coverage: number;
  /** Too few runs for the confidence that was asked for: this is the range. */
  isRange: boolean;
}

/** Interval of the median from order statistics: from the k-th smallest to the k-th largest value, with the largest k
 *  that reaches the confidence. It assumes nothing of how runs are distributed. With fewer than six runs even the range
 *  stays below 95 %.
 *  Source: the number of values below the median is binomial (n, 1/2); see for instance Conover, Practical
 *  Nonparametric Statistics, confidence interval for a quantile.
 *  @throws RangeError when there are no values */
export function medianInterval(values: readonly number[], confidence = 0.95): MedianInterval {
  if (values.length === 0) throw new RangeError('the median of no values');
  const sorted = [...values].sort((x, y) => x - y);
  const n = sorted.length;
  let k = 1;
  let coverage = coverageOf(n, 1);
  while (k < Math.floor(n / 2)) {
    const next = coverageOf(n, k + 1);
    if (next < confidence) break;
    k += 1;
    coverage = next;
  }
  return { low: sorted[k - 1], high: sorted[n - k], coverage, isRange: coverage < confidence };
}

/** P(k-th smallest <= median <= k-th largest) = 1 - 2 P(Binomial(n, 1/2) < k). In logarithms: 2^-n underflows. */
function coverageOf(n: number, k: number): number {
  let logChoose = 0;
  let below = 0;
  for (let i = 0; i < k; i++) {
    below += Math.exp(logChoose - n * Math.LN2);
    logChoose += Math.log(n - i) - Math.log(i + 1);
  }
  return Math.max(0, 1 - 2 * below);
}

export interface Spread {
  min: number;
  max: number;
}

/** @throws RangeError when there are no values */
export function spreadOf(values: readonly number[]): Spread {
  if (values.length === 0) throw new RangeError('the range of no values');
  let min = Infinity;
  let max = -Infinity;
  // Not by Math.min(...): there may be more values than a call can have arguments.
  for (const v of values) {
    min = Math.min(min, v);
    max = Math.max(max, v);
  }
  return { min, max };
}

/** Mean frame bytes of a set of sizes: IMIX is weighted, one size is itself. */
export function meanFrameBytes(sizes: readonly number[]): number {
  if (sizes.length === 1) return sizes[0];
  let bytes = 0;
  let count = 0;
  for (const [i, size] of sizes.entries()) {
    const weight = IMIX_WEIGHTS[i] ?? 1;
    bytes += size * weight;
    count += weight;
  }
  return bytes / count;
}

/** Frames per second that a link of that many Gb/s carries: 10 Gb/s and 1514 bytes give 812,743. */
export function lineRate(linkGbps: number, frameBytes: number): number {
  return (linkGbps * 1e9) / 8 / (frameBytes + WIRE_OVERHEAD_BYTES);
}
