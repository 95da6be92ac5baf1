/** Decides, frame by frame, what becomes of each: from the seed alone, so that the nth frame meets the same fate in each
 *  run. Looking does not draw: who could not carry a decision out may come again and finds the same one. Pure. */
import { Rng, type FaultSettings } from '@grantline/base';

export const PASS = 0;
export const LOSE = 1;
export const DUPLICATE = 2;
export const CORRUPT = 3;
export const REORDER = 4;
export const DELAY = 5;

/** Small seeds give small numbers at first. */
const WARM_UP = 16;

export class FaultDice {
  /** What becomes of the frame at hand. */
  verdict = PASS;
  /** Where it is hit, if it is: a random u32. */
  place = 0;
  private readonly rng: Rng;
  /** Upper ends of the verdicts' shares of the u32 range, in their order. */
  private readonly ends: Float64Array;

  constructor(s: FaultSettings) {
    this.rng = new Rng(s.seed);
    for (let i = 0; i < WARM_UP; i++) this.rng.u32();
    let end = 0;
    this.ends = Float64Array.from(
      [s.loss, s.duplicate, s.corrupt, s.reorder, s.delay],
      (p) => (end += p) * (2 ** 32 - 1),
    );
    this.next();
  }

  /** The frame at hand is dealt with: decides on the next. */
  next(): void {
    const x = this.rng.u32();
    this.place = this.rng.u32();
    const { ends } = this;
    let verdict = PASS;
    // The generator gives 1 to 2^32 - 1.
    for (let i = 0; i < ends.length; i++) {
      if (x > ends[i]) continue;
      verdict = i + 1;
      break;
    }
    this.verdict = verdict;
  }
}
