/** Sequence numbers, and times in ticks of 2^32: kept as signed 32-bit integers (small integers to the engine), compared
 *  by the sign of their distance. Source: RFC 9293, 3.4; RFC 7323, 5.2 for timestamps. */

/** Most ranges that are remembered. */
export const MAX_RANGES = 32;

/** a comes before b. */
export const seqLt = (a: number, b: number): boolean => ((a - b) | 0) < 0;
/** a comes before b or is b. */
export const seqLe = (a: number, b: number): boolean => ((a - b) | 0) <= 0;
/** a comes after b. */
export const seqGt = (a: number, b: number): boolean => ((a - b) | 0) > 0;
/** a comes after b or is b. */
export const seqGe = (a: number, b: number): boolean => ((a - b) | 0) >= 0;
/** Bytes from a to b, negative when b comes first. */
export const seqDist = (a: number, b: number): number => (b - a) | 0;
/** The later of two. */
export const seqMax = (a: number, b: number): number => (((a - b) | 0) > 0 ? a : b);
/** The earlier of two. */
export const seqMin = (a: number, b: number): number => (((a - b) | 0) < 0 ? a : b);

/** Ranges of sequence numbers, apart and in order: data that has come out of order, or that the peer says it has
 *  (RFC 2018). Bounded: a peer that sends every second byte must not make a list grow. */
export class Ranges {
  count = 0;
  /** First byte of each, and first byte behind each. */
  readonly from = new Int32Array(MAX_RANGES);
  readonly to = new Int32Array(MAX_RANGES);

  /** Adds a range, joining what touches.
   *  @returns bytes that were not in yet, or -1 when it would be one range too many */
  add(from: number, to: number): number {
    const { from: starts, to: ends } = this;
    let first = 0;
    while (first < this.count && seqLt(ends[first], from)) first++;
    let last = first;
    let had = 0;
    let start = from;
    let end = to;
    while (last < this.count && seqLe(starts[last], to)) {
      had += (ends[last] - starts[last]) | 0;
      if (seqLt(starts[last], start)) start = starts[last];
      if (seqGt(ends[last], end)) end = ends[last];
      last++;
    }
    const joined = last - first;
    if (joined === 0) {
      if (this.count === MAX_RANGES) return -1;
      starts.copyWithin(first + 1, first, this.count);
      ends.copyWithin(first + 1, first, this.count);
      this.count++;
    } else if (joined > 1) {
      starts.copyWithin(first + 1, last, this.count);
      ends.copyWithin(first + 1, last, this.count);
      this.count -= joined - 1;
    }
    starts[first] = start;
    ends[first] = end;
    return ((end - start) | 0) - had;
  }

  /** Forgets everything before a sequence number. */
  dropBefore(seq: number): void {
    const { from, to } = this;
    let gone = 0;
    while (gone < this.count && seqLe(to[gone], seq)) gone++;
    if (gone > 0) {
      from.copyWithin(0, gone, this.count);
      to.copyWithin(0, gone, this.count);
      this.count -= gone;
    }
    if (this.count > 0 && seqLt(from[0], seq)) from[0] = seq;
  }

  clear(): void {
    this.count = 0;
  }

  /** Bytes of all ranges. */
  get bytes(): number {
    let sum = 0;
    for (let i = 0; i < this.count; i++) sum += (this.to[i] - this.from[i]) | 0;
    return sum;
  }

  /** Bytes of the part before a sequence number, from another on. */
  bytesBetween(low: number, high: number): number {
    let sum = 0;
    for (let i = 0; i < this.count; i++) {
      const from = seqGt(this.from[i], low) ? this.from[i] : low;
      const to = seqLt(this.to[i], high) ? this.to[i] : high;
      if (seqLt(from, to)) sum += (to - from) | 0;
    }
    return sum;
  }

  /** @returns the index of the range that holds a byte, or -1 */
  find(seq: number): number {
    for (let i = 0; i < this.count; i++) if (seqGe(seq, this.from[i]) && seqLt(seq, this.to[i])) return i;
    return -1;
  }
}
