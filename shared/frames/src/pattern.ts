/** What fills the payload of generated frames: seeded, in a few variants, checked byte by byte by the receiver.
 *
 *  The variants differ from each other in every byte, so that a page which still holds an earlier frame is found
 *  wherever it was not overwritten. Their number is odd: a ring of 2^k slots never holds in a slot the variant that comes next. */
import { Rng } from '@grantline/base';

export const PATTERN_VARIANTS = 5;
/** Longest pattern; more than the payload of the longest frame. */
export const PATTERN_MAX = 9216;
/** Length of one variant's row in `sums`. */
export const PATTERN_SUMS = PATTERN_MAX + 1;
const VARIANT_STEP = 51;

export class Pattern {
  readonly seed: number;
  /** Variant v starts at v * PATTERN_MAX; a frame with n pattern bytes holds its first n. */
  readonly bytes: Uint8Array;
  /** At v * PATTERN_SUMS + n: the mix of the first n bytes of variant v, signed. */
  readonly sums: Int32Array;

  constructor(seed: number) {
    this.seed = seed;
    this.bytes = new Uint8Array(PATTERN_VARIANTS * PATTERN_MAX);
    this.sums = new Int32Array(PATTERN_VARIANTS * PATTERN_SUMS);
    const rng = new Rng(Math.imul(seed + 1, 0x9e3779b1));
    for (let i = 0; i < PATTERN_MAX; i++) {
      const byte = rng.u32() >>> 24;
      for (let v = 0; v < PATTERN_VARIANTS; v++) this.bytes[v * PATTERN_MAX + i] = byte + v * VARIANT_STEP;
    }
    for (let v = 0; v < PATTERN_VARIANTS; v++) {
      let h = Math.imul(seed ^ (v + 1), 0x9e3779b1);
      this.sums[v * PATTERN_SUMS] = h;
      for (let i = 0; i < PATTERN_MAX; i++) {
        h = Math.imul((h ^ (h >>> 15)) + this.bytes[v * PATTERN_MAX + i], 0x01000193) | 1;
        this.sums[v * PATTERN_SUMS + i + 1] = h;
      }
    }
  }

  /** @returns the mix of the first `bytes` bytes of a variant, signed; it also depends on the seed and the length */
  sumOf(variant: number, bytes: number): number {
    return this.sums[variant * PATTERN_SUMS + bytes];
  }
}
