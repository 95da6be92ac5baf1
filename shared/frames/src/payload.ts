/** The payload of generated frames (docs/wire/frame-stamp.md): pattern, a stamp behind it, and what a receiver learns of the
 *  stamps' sequences. */
import { Rng } from '@grantline/base';

/** What fills the payload of generated frames: seeded, in a few variants, checked byte by byte by the receiver.
 *
 *  The variants differ from each other in every byte, so that a page which still holds an earlier frame is found
 *  wherever it was not overwritten. Their number is odd: a ring of 2^k slots never holds in a slot the variant that comes next. */
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

/** The stamp: the last 18 bytes of the payload of every generated frame. Big-endian.
 *    0                          2          6                14       18
 *    | flow (12) | variant (4)  | sequence | send time, ns  | check  |
 *      u16                        u32        f64              u32
 *  Everything in front of it is pattern. A 60-byte UDP frame carries the stamp and nothing else. */
export const STAMP_SEQ = 2;
export const STAMP_TIME = 6;
export const STAMP_CHECK = 14;
export const STAMP_BYTES = 18;

/** Flow numbers are below this. */
export const STAMP_FLOWS = 4096;
/** A flow is one 5-tuple. Where a generator mixes UDP and TCP frames in what it calls one flow, the UDP ones count as
 *  the flow of this number more, with a sequence of their own. */
export const UDP_HALF = 2048;

/** Where generated frames go: the discard port, as with Linux's pktgen. */
export const GENERATOR_PORT = 9;

/** Where requests go: the echo port (RFC 862). */
export const RESPOND_PORT = 7;

/** Binds a stamp to its pattern. Each step is one-to-one in the word that it takes in, so a change of any one word,
 *  and thus of any one bit, gives another check.
 *  @param patternSum Pattern.sumOf(variant, bytes in front of the stamp)
 *  @param timeHi @param timeLo the words of the send time
 *  @returns a signed 32-bit number, as DataView.getInt32 reads it */
export function stampCheck(patternSum: number, id: number, sequence: number, timeHi: number, timeLo: number): number {
  let h = Math.imul(patternSum ^ id, 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 15) ^ sequence, 0xc2b2ae35);
  h = Math.imul(h ^ (h >>> 13) ^ timeHi, 0x27d4eb2f);
  h = Math.imul(h ^ (h >>> 16) ^ timeLo, 0x165667b1);
  return h ^ (h >>> 15);
}

/** Sequence numbers that a flow looks back. What comes later still is taken for a repeat: it cannot be told. */
export const TRACK_WINDOW = 4096;
const WORDS = TRACK_WINDOW / 32;
const MASK = TRACK_WINDOW - 1;

/** Tells lost, late and repeated frames of each flow apart by the sequence in the stamp.
 *
 *  A flow remembers the next number that it expects and, as bits, which of the last 4096 came. Numbers wrap at 2^32. */
export class FlowTracker {
  duplicate = 0;
  reordered = 0;
  /** Gaps that nothing has filled yet. */
  missing = 0;
  private readonly next = new Int32Array(STAMP_FLOWS);
  private readonly bits = new Int32Array(STAMP_FLOWS * WORDS);
  private readonly known = new Uint8Array(STAMP_FLOWS);

  /** Forgets all flows. @param first sequence number that each flow begins with */
  reset(first = 0): void {
    this.next.fill(first);
    this.known.fill(0);
    this.duplicate = 0;
    this.reordered = 0;
    this.missing = 0;
  }

  /** Takes note of a frame that arrived. @param flow below STAMP_FLOWS @param sequence 32 bits, signed or not */
  take(flow: number, sequence: number): void {
    const base = flow * WORDS;
    // Nothing from before the first number is ever due.
    if (this.known[flow] === 0) this.welcome(flow);
    const ahead = (sequence - this.next[flow]) | 0;
    const word = base + ((sequence & MASK) >>> 5);
    const bit = 1 << (sequence & 31);
    if (ahead === 0) {
      this.bits[word] |= bit;
      this.next[flow] = (sequence + 1) | 0;
    } else if (ahead > 0) {
      this.missing += ahead;
      this.clear(base, sequence - ahead, ahead);
      this.bits[word] |= bit;
      this.next[flow] = (sequence + 1) | 0;
    } else if (ahead < -TRACK_WINDOW || (this.bits[word] & bit) !== 0) {
      this.duplicate++;
    } else {
      this.bits[word] |= bit;
      this.reordered++;
      this.missing--;
    }
  }

  private welcome(flow: number): void {
    this.known[flow] = 1;
    this.bits.fill(-1, flow * WORDS, (flow + 1) * WORDS);
  }

  private clear(base: number, from: number, count: number): void {
    const end = count < TRACK_WINDOW ? count : TRACK_WINDOW;
    for (let i = 0; i < end; i++) {
      const s = (from + i) & MASK;
      this.bits[base + (s >>> 5)] &= ~(1 << (s & 31));
    }
  }
}
