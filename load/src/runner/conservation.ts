/** Do all equations of a run hold? Looked at when the load has stopped and everything has come to rest. Pure. */
import { foundHops } from './faults.js';
import type { Direction, Hop, Term } from './hop.js';
import { requestHops } from './request-conservation.js';
import { hops } from './rx-conservation.js';
import type { Snapshot } from '../control/snapshot.js';
import { betweenHops, txHops } from './tx-conservation.js';

export { hops } from './rx-conservation.js';
export type { Direction, Hop } from './hop.js';

/** @returns 'ok', or each hop that does not add up, with its numbers */
export function checkConservation(
  c: Snapshot,
  path: 'split' | 'direct' | 'native',
  direction: Direction = 'rx',
  tcp = false,
): 'ok' | string[] {
  const wrong: string[] = [];
  const all = tcp ? bothWays(c, path) : hopsOf(c, path, direction);
  for (const hop of [...all, ...foundHops(c, path, direction)]) {
    const into = total(hop.in);
    const outOf = total(hop.out);
    if (into !== outOf) {
      wrong.push(
        `${hop.name}: in ${into} (${list(hop.in)}), out ${outOf} (${list(hop.out)}), difference ${into - outOf}`,
      );
    }
  }
  return wrong.length === 0 ? 'ok' : wrong;
}

function hopsOf(c: Snapshot, path: 'split' | 'direct' | 'native', direction: Direction): Hop[] {
  if (direction === 'rx') return hops(c, path);
  if (direction === 'tx') return txHops(c, path);
  if (direction === 'rr') return [...hops(c, path), ...txHops(c, path), ...requestHops(c, path)];
  return betweenHops(c, path);
}

/** TCP goes both ways, and nothing of it is a measured frame. */
const bothWays = (c: Snapshot, path: 'split' | 'direct' | 'native'): Hop[] => [...hops(c, path), ...txHops(c, path)];

const total = (terms: Term[]): number => terms.reduce((n, t) => n + t.value, 0);
const list = (terms: Term[]): string =>
  terms
    .filter((t) => t.value !== 0)
    .map((t) => `${t.name} ${t.value}`)
    .join(' + ') || '0';

/** Every drop counter that is not 0, by "where.reason". */
export function dropsOf(c: Snapshot): Record<string, number> {
  const out: Record<string, number> = {};
  for (const s of c) {
    for (const b of s.blocks) {
      for (const [name, value] of Object.entries(b.values)) {
        if (value === 0 || !/^drop[A-Z]/.test(name)) continue;
        const key = `${b.kind}.${name}`;
        out[key] = (out[key] ?? 0) + value;
      }
    }
  }
  return out;
}
