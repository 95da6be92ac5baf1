/** HalfSipHash-2-4 over four words: what a peer without the key can neither predict nor aim at. For initial sequence
 *  numbers (RFC 6528), timestamp offsets (RFC 7323, 7.1), ephemeral ports (RFC 6056) and the connection table.
 *  Source: Aumasson, Bernstein: SipHash; the 32-bit variant of its reference code. */
import type { Rng } from '../clock/rng.js';

const rotl = (x: number, n: number): number => (x << n) | (x >>> (32 - n));

export class KeyedHash {
  private readonly k0: number;
  private readonly k1: number;

  constructor(rng: Rng) {
    this.k0 = rng.u32() | 0;
    this.k1 = rng.u32() | 0;
  }

  /** @returns a signed 32-bit number */
  of(a: number, b: number, c: number, d: number): number {
    let v0 = this.k0;
    let v1 = this.k1;
    let v2 = 0x6c796765 ^ this.k0;
    let v3 = 0x74656462 ^ this.k1;
    // Four words, then the length (16) in the last one's high byte; two rounds each, then four to finish.
    for (let i = 0; i < 7; i++) {
      const m = i === 0 ? a : i === 1 ? b : i === 2 ? c : i === 3 ? d : i === 4 ? 0x10000000 : 0;
      v3 ^= m;
      if (i === 5) v2 ^= 0xff;
      for (let r = 0; r < 2; r++) {
        v0 = (v0 + v1) | 0;
        v1 = rotl(v1, 5) ^ v0;
        v0 = rotl(v0, 16);
        v2 = (v2 + v3) | 0;
        v3 = rotl(v3, 8) ^ v2;
        v0 = (v0 + v3) | 0;
        v3 = rotl(v3, 7) ^ v0;
        v2 = (v2 + v1) | 0;
        v1 = rotl(v1, 13) ^ v2;
        v2 = rotl(v2, 16);
      }
      v0 ^= m;
    }
    return v1 ^ v3;
  }
}

/** Allows so many a second, and as many at once. */
export class Limiter {
  private readonly perMs: number;
  private readonly most: number;
  private tokens: number;
  private last = 0;

  constructor(perSecond: number) {
    this.perMs = perSecond / 1000;
    this.most = Math.max(1, perSecond);
    this.tokens = this.most;
  }

  /** @returns false when it is too many */
  allow(nowMs: number): boolean {
    this.tokens = Math.min(this.most, this.tokens + (nowMs - this.last) * this.perMs);
    this.last = nowMs;
    if (this.tokens < 1) return false;
    this.tokens -= 1;
    return true;
  }
}
