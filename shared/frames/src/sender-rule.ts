/** What a sender may do, by one rule for the vifs of the bridge and for the functions of the NIC's embedded switch: no
 *  addresses but its own, and not many frames to groups. docs/wire/transmit.md section 4, section 8. */
import type { Mem } from '@grantline/machine';
import * as eth from './ethernet.js';
import type { SourceRule } from './source-rule.js';

// Local, so that the engine folds them into the code: see flow-templates.ts.
const { isGroup, macHi } = eth;

/** Verdicts on a packet, all negative: whom it goes to otherwise is a port or a queue of whoever asks. */
export const TO_ONE = -1;
export const TO_ALL = -2;
export const SPOOFED = -3;
export const STORM = -4;
export const HAIRPIN = -5;

/** Group-addressed frames of one sender: so many at once, and so many a second. */
export const STORM_BURST = 256;
export const STORM_PER_SECOND = 1000;

export class SenderRule {
  /** What its frames may say about where they come from; null: anything. */
  source: SourceRule | null;
  private readonly mem: Mem;
  private tokens = STORM_BURST;
  private filledNs = 0;

  constructor(mem: Mem, source: SourceRule | null) {
    this.mem = mem;
    this.source = source;
  }

  /** @param at byte offset of the packet, even @param bytes of it that lie there: at least 14, and all or 128
   *  @param frames that it will be cut into: each costs a copy for every receiver
   *  @returns TO_ONE, TO_ALL, SPOOFED or STORM */
  judge(at: number, bytes: number, nowNs: number, frames: number): number {
    const { source } = this;
    if (source !== null && !source.allows(at, bytes)) return SPOOFED;
    if (!isGroup(macHi(this.mem, at))) return TO_ONE;
    this.tokens = Math.min(STORM_BURST, this.tokens + ((nowNs - this.filledNs) * STORM_PER_SECOND) / 1e9);
    this.filledNs = nowNs;
    if (this.tokens < frames) return STORM;
    this.tokens -= frames;
    return TO_ALL;
  }
}
