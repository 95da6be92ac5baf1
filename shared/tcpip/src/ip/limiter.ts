/** Answers that a peer may have: so many a second, and as many at once. Each peer for itself, so that none uses up the
 *  others'; a limit for all together would be somebody's to exhaust, and to learn from (CVE-2020-25705). Peers share 256
 *  buckets by a keyed hash, so nobody can choose with whom. What all cost together is bounded by what they send: an answer
 *  is not longer than what it answers. */
import { FOR_LIMITS, type KeyedHash } from '../storage/keyed-hash.js';

const BUCKETS = 256;

export class Limiter {
  private readonly hash: KeyedHash;
  private readonly perMs: number;
  private readonly most: number;
  private readonly tokens: Float64Array;
  private readonly lastMs = new Float64Array(BUCKETS);

  /** @param perSecond for each peer */
  constructor(hash: KeyedHash, perSecond: number) {
    this.hash = hash;
    this.perMs = perSecond / 1000;
    this.most = Math.max(1, perSecond);
    this.tokens = new Float64Array(BUCKETS).fill(this.most);
  }

  /** @param peer its address @returns false when it is too many */
  allow(nowMs: number, peer: number): boolean {
    const at = this.hash.of(peer, 0, 0, FOR_LIMITS) & (BUCKETS - 1);
    const tokens = Math.min(this.most, this.tokens[at] + (nowMs - this.lastMs[at]) * this.perMs);
    this.lastMs[at] = nowMs;
    this.tokens[at] = tokens < 1 ? tokens : tokens - 1;
    return tokens >= 1;
  }
}
