/** Latencies in microseconds, by HdrHistogram: three significant digits, a microsecond to two minutes. */
import { build, encodeIntoCompressedBase64, type Histogram } from 'hdr-histogram-js';
import type { HttpLatency } from './plan.js';

const LONGEST_US = 120_000_000;

export class Latencies {
  private readonly histogram: Histogram = build({
    lowestDiscernibleValue: 1,
    highestTrackableValue: LONGEST_US,
    numberOfSignificantValueDigits: 3,
    useWebAssembly: false,
  });

  /** @param ms milliseconds */
  record(ms: number): void {
    this.histogram.recordValue(Math.min(LONGEST_US, Math.max(1, Math.round(ms * 1000))));
  }

  /** @returns null when nothing was recorded */
  read(): HttpLatency | null {
    const h = this.histogram;
    if (h.totalCount === 0) return null;
    // A percentile is the upper end of its bucket, which may lie above the largest value.
    const at = (percentile: number): number => Math.min(h.maxValue, h.getValueAtPercentile(percentile));
    return {
      ...{ p50: at(50), p90: at(90), p99: at(99), p999: at(99.9) },
      max: h.maxValue,
      mean: h.mean,
      count: h.totalCount,
      hdr: encodeIntoCompressedBase64(h),
    };
  }
}
