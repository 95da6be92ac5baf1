/** Internet checksums of the patterns that payloads are made of: the sum of the first n bytes of each variant, in the machine's
 *  byte order, as a table. So the checksum of a frame whose payload has been compared can be verified by its headers. */
import { PATTERN_MAX, PATTERN_SUMS, PATTERN_VARIANTS, type Pattern } from '@grantline/frames';

export class PatternSums {
  private readonly table = new Float64Array(PATTERN_VARIANTS * PATTERN_SUMS);
  private current: Pattern | null = null;

  /** Works the table out, unless it is this pattern's already. */
  reset(pattern: Pattern): void {
    if (this.current === pattern) return;
    this.current = pattern;
    for (let v = 0; v < PATTERN_VARIANTS; v++) {
      let sum = 0;
      for (let i = 0; i < PATTERN_MAX; i++) {
        sum += pattern.bytes[v * PATTERN_MAX + i] * ((i & 1) === 0 ? 1 : 256);
        this.table[v * PATTERN_SUMS + i + 1] = sum;
      }
    }
  }

  /** Sum of the first n bytes of a variant, not folded. */
  of(variant: number, n: number): number {
    return this.table[variant * PATTERN_SUMS + n];
  }
}
