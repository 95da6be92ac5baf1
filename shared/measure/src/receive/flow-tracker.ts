/** Tells lost, late and repeated frames of each flow apart by the sequence in the stamp.
 *
 *  A flow remembers the next number that it expects and, as bits, which of the last 4096 came. Numbers wrap at 2^32. */
import { STAMP_FLOWS } from '@grantline/frames';

/** Sequence numbers that a flow looks back. What comes later still is taken for a repeat: it cannot be told. */
export const TRACK_WINDOW = 4096;
const WORDS = TRACK_WINDOW / 32;
const MASK = TRACK_WINDOW - 1;

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
