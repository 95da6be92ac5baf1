/** Latency, from the send time in the frame to the copy in the application's private memory. Pure. */
import { latencyPercentiles, mergeLatency } from '@grantline/machine';
import type { LatencyUs } from './record.js';
import { blocksOf, type Snapshot, type Where } from '../control/snapshot.js';

const FRACTIONS = [0.5, 0.9, 0.99, 0.999, 1];

/** Percentiles of what arrived between two snapshots, over all receivers; null when nothing did. */
export function latencyOf(a: Snapshot, b: Snapshot, receivers: Where): LatencyUs | null {
  const before = mergeLatency(blocksOf(a, 'latency', receivers).map((x) => x.values));
  const after = mergeLatency(blocksOf(b, 'latency', receivers).map((x) => x.values));
  const grown: Record<string, number> = {};
  // The maximum cannot be taken apart: it caps the last bucket, and may be the warm-up's within that bucket.
  for (const [name, value] of Object.entries(after))
    grown[name] = name === 'maxNs' ? value : value - (before[name] ?? 0);
  if (!(grown['count'] > 0)) return null;
  const [p50, p90, p99, p999, max] = latencyPercentiles(grown, FRACTIONS).map((ns) => ns / 1000) as [
    number,
    number,
    number,
    number,
    number,
  ];
  return { p50, p90, p99, p999, max };
}
