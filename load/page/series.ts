/** What the throughput graph shows: points in a column for each configuration. Pure. */
import { named } from './format.js';
import type { Facts, Point } from './messages.js';

/** Seconds, then Gb/s offered, then Gb/s delivered for each configuration; null: nothing to show. */
export type Columns = [number[], ...(number | null)[][]];

/** Longer than this without a point is shown as a gap. */
const GAP_MS = 2500;

/** Points within the last `spanSeconds`, in columns. @param names configurations that have a column */
export function columnsOf(points: readonly Point[], names: readonly string[], spanSeconds: number): Columns {
  const end = points.length === 0 ? 0 : points[points.length - 1].t;
  const out: Columns = [[], [], ...names.map(() => [])];
  const add = (t: number, offered: number | null, config: string, delivered: number | null): void => {
    out[0].push(t / 1000);
    out[1].push(offered);
    for (const [i, name] of names.entries())
      (out[i + 2] as (number | null)[]).push(
        name === config || (name === 'custom' && !names.includes(config)) ? delivered : null,
      );
  };
  let before = -1;
  for (const p of points) {
    if (p.t < end - spanSeconds * 1000) continue;
    if (before >= 0 && p.t - before > GAP_MS) add(before + 1, null, '', null);
    add(p.t, p.o, p.c, p.g);
    before = p.t;
  }
  return out;
}

/** What the frames of a link of that speed can carry, Gb/s of frame bytes without FCS. */
export function lineRateGbps(linkGbps: number, frameBytes: number, facts: Pick<Facts, 'wireOverheadBytes'>): number {
  return (linkGbps * frameBytes) / (frameBytes + facts.wireOverheadBytes);
}

/** Upper end of the scale: room for what was measured and for the marks that are near it. */
export function topOf(columns: Columns, marks: readonly number[]): number {
  let top = 0;
  for (const column of columns.slice(1)) for (const v of column) if (v !== null && v > top) top = v;
  const near = marks.filter((m) => m <= Math.max(12, top * 1.6));
  return Math.max(1, top * 1.12, ...near.map((m) => m * 1.2));
}

/** Stretches in which one configuration was being measured: [from, to] in seconds. */
export function measured(points: readonly Point[]): { config: string; from: number; to: number }[] {
  const out: { config: string; from: number; to: number }[] = [];
  for (const p of points) {
    if (p.p !== 'measure') continue;
    const last = out[out.length - 1];
    if (last && last.config === named(p.c, p.d) && p.t / 1000 - last.to < GAP_MS / 1000) last.to = p.t / 1000;
    else out.push({ config: named(p.c, p.d), from: p.t / 1000, to: p.t / 1000 });
  }
  return out;
}

/** Shortest time axis, seconds. */
const SHORTEST_SPAN = 30;

/** Ends of the time axis: what there is, up to `spanSeconds`. */
export function rangeOf(seconds: readonly number[], spanSeconds: number): [from: number, to: number] {
  const first = seconds[0] ?? Date.now() / 1000;
  const last = seconds[seconds.length - 1] ?? first;
  const from = Math.max(first, last - spanSeconds);
  return [from, Math.max(last, from + SHORTEST_SPAN)];
}
