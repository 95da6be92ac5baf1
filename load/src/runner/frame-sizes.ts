/** Frame sizes, with Ethernet header and without FCS, and what they need on the wire. */
import { IMIX_WEIGHTS, WIRE_OVERHEAD_BYTES } from '@grantline/frames';

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
