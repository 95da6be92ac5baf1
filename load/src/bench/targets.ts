/** What the benchmark asks for, and whether it was reached. Pure. docs/measuring.md tells how each is measured. */

export interface Check {
  name: string;
  /** Median of the runs. */
  value: number;
  min: number;
  max: number;
  unit: string;
  /** What must be reached. */
  wanted: { atLeast: number } | { below: number } | { exactly: number };
  /** What we would like to reach. */
  target?: number;
}

export type Verdict = 'PASS' | 'short';

export function judgeCheck(c: Check): Verdict {
  if ('atLeast' in c.wanted) return c.value >= c.wanted.atLeast ? 'PASS' : 'short';
  if ('below' in c.wanted) return c.value < c.wanted.below ? 'PASS' : 'short';
  return c.value === c.wanted.exactly ? 'PASS' : 'short';
}

/** The middle value; of an even number the mean of the two in the middle. NaN of none. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const half = sorted.length >> 1;
  if (sorted.length === 0) return NaN;
  return sorted.length % 2 === 1 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

/** A check over runs: the median is judged, the spread shown. */
export function checkOf(
  name: string,
  unit: string,
  values: readonly number[],
  wanted: Check['wanted'],
  target?: number,
): Check {
  const c: Check = { name, unit, value: median(values), min: Math.min(...values), max: Math.max(...values), wanted };
  if (target !== undefined) c.target = target;
  return c;
}

export function wantedText(c: Check): string {
  const w = c.wanted;
  const text = 'atLeast' in w ? `>= ${w.atLeast}` : 'below' in w ? `< ${w.below}` : `= ${w.exactly}`;
  return c.target === undefined ? text : `${text} (target ${c.target})`;
}

/** Four significant digits; exact for small whole numbers. */
export function figure(x: number): string {
  if (Number.isInteger(x)) return String(x);
  if (!Number.isFinite(x)) return '-';
  return Math.abs(x) >= 1000 ? String(Math.round(x)) : String(Number(x.toPrecision(4)));
}
