/** Frame sizes, with Ethernet header and without FCS, and what they need on the wire. */

/** IMIX_v4_1 (RFC 6985): 28 x 64, 16 x 570, 4 x 1518 bytes with FCS; here without. */
export const IMIX_BYTES: readonly number[] = [60, 566, 1514];
export const IMIX_WEIGHTS: readonly number[] = [28, 16, 4];

/** Preamble 8, FCS 4, gap 12. */
export const WIRE_OVERHEAD_BYTES = 24;

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
