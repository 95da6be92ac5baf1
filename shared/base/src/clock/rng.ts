/** Seeded random numbers (xorshift32): the same seed gives the same run on every machine. */
export class Rng {
  private state: number;

  constructor(seed: number) {
    this.state = seed >>> 0 || 0x9e3779b9;
  }

  /** @returns the next u32 */
  u32(): number {
    let x = this.state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.state = x >>> 0;
    return this.state;
  }

  /** @returns an integer in [0, n) */
  below(n: number): number {
    return this.u32() % n;
  }
}
