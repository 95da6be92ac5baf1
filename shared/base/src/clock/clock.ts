/** Time and chance, from here alone. Time is monotonic, and its origin the system's (CLOCK_MONOTONIC), so that times of different
 *  processes can be compared. */

/** Difference between the system's clock and performance.now. The first readings of either are slow (they load code), so
 *  the tightest of several brackets counts: an error here would be one in every latency between two processes. */
function findOrigin(): number {
  let best = Infinity;
  let origin = 0;
  for (let i = 0; i < 50; i++) {
    const before = Number(process.hrtime.bigint());
    const now = performance.now() * 1e6;
    const after = Number(process.hrtime.bigint());
    if (after - before >= best) continue;
    best = after - before;
    origin = (before + after) / 2 - now;
  }
  return origin;
}

const origin = findOrigin();

/** Nanoseconds since the machine started; exact to about 0.1 us. Costs 55 ns: once per batch. */
export const nowNs = (): number => origin + performance.now() * 1e6;

export interface Clock {
  nowNs(): number;
}

export const systemClock: Clock = { nowNs };

/** A clock for tests: stands still until told. */
export class ManualClock implements Clock {
  private now: number;
  constructor(startNs = 0) {
    this.now = startNs;
  }
  nowNs(): number {
    return this.now;
  }
  advanceNs(ns: number): void {
    this.now += ns;
  }
}

/** Nanoseconds since 1970 at the origin of nowNs. */
export function epochOfClock(): bigint {
  return BigInt(Math.round((performance.timeOrigin + performance.now()) * 1000)) * 1000n - BigInt(Math.round(nowNs()));
}

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
