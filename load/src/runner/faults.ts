/** Faults on the cable in a run: sets them, and holds what receivers found against what was injected. */
import type { CableFaults } from '@grantline/base';
import type { ServiceClient } from '../control/client.js';
import { terms, type Direction, type Hop, type Term } from './hop.js';
import { blocksOf, inDriverDomain, inGuests, inNic, sum, type Snapshot } from '../control/snapshot.js';

/** Faults from the next frame on; null: none. */
export const setFaults = (nic: ServiceClient, faults: CableFaults | null): Promise<unknown> =>
  nic.call('/faults', { method: 'PUT', body: faults ?? { in: null, out: null } });

/** What is set now. */
export const faultsOf = async (nic: ServiceClient): Promise<CableFaults> =>
  (await nic.call<{ settings: CableFaults }>('/faults')).settings;

/** A counter of the injector in one direction. */
export function injected(c: Snapshot, direction: 'in' | 'out', counter: string): number {
  const blocks = blocksOf(c, 'faults', inNic).filter((b) => b.labels['direction'] === direction);
  return blocks.reduce((n, b) => n + (b.values[counter] ?? 0), 0);
}

const term = (c: Snapshot, direction: 'in' | 'out', counter: string): Term => ({
  name: `faults[${direction}].${counter}`,
  value: injected(c, direction, counter),
});

/** What the injector adds on the left and on the right of the hop in which it stands. */
export const injectedHere = (c: Snapshot, direction: 'in' | 'out'): { in: Term[]; out: Term[] } => ({
  in: [term(c, direction, 'duplicated')],
  out: [term(c, direction, 'lost'), term(c, direction, 'held')],
});

/** What the receivers of a load found against what was injected: nothing more and nothing less. A delayed frame is
 *  overtaken by as many as come meanwhile, so with delays order is not held against it. Empty when nothing was injected. */
export function foundHops(c: Snapshot, path: 'split' | 'direct' | 'native', direction: Direction): Hop[] {
  if (direction !== 'rx' && direction !== 'tx') return [];
  const way = direction === 'rx' ? 'in' : 'out';
  if (injected(c, way, 'frames') === 0) return [];
  const where = direction === 'tx' ? inNic : path === 'native' ? inDriverDomain : inGuests;
  const app = terms(c, 'app', where);
  const corrupt = [app('corrupt'), app('foreign'), ...terms(c, 'stack', where).drops()];
  // The measuring stack of a guest does not sum TCP and UDP, its application compares the payload: a hit in such a header
  // may pass. The far end sums all.
  const found = corrupt.reduce((n, t) => n + t.value, 0);
  const passed = Math.min(injected(c, way, 'headersHit'), Math.max(0, injected(c, way, 'corrupted') - found));
  if (direction === 'rx') {
    corrupt.push({ name: 'hit in a TCP or UDP header and passed', value: passed });
    // A hit in type, protocol or port makes a frame look as if it were none of the load's: a guest's other stack gets it.
    const left = injected(c, way, 'corrupted') - found - passed;
    const strays = Math.max(0, Math.min(left, sum(c, 'net', 'inPackets', where)));
    corrupt.push({ name: "taken for the TCP/IP stack's", value: strays });
  }
  // A receiver looks back so many frames of a flow only: what is delayed for longer it cannot tell from a repeat.
  const repeats = app('duplicate');
  const late = Math.max(0, Math.min(injected(c, way, 'delayed'), repeats.value - injected(c, way, 'duplicated')));
  const out: Hop[] = [
    { name: 'corrupted frames, and those that were found', in: [term(c, way, 'corrupted')], out: corrupt },
    {
      name: 'duplicated frames, and those that were found',
      in: [term(c, way, 'duplicated'), { name: 'delayed, and taken for repeats', value: late }],
      out: [repeats],
    },
  ];
  if (injected(c, way, 'delayed') === 0) {
    const overtaken = app('reordered');
    // Held to be overtaken, given up, and yet late: behind a corrupted one, whose number the receiver could still read.
    const behind = Math.min(injected(c, way, 'undone'), Math.max(0, overtaken.value - injected(c, way, 'reordered')));
    out.push({
      name: 'reordered frames, and those that were found',
      in: [term(c, way, 'reordered'), { name: 'given up, but behind a corrupted one', value: behind }],
      out: [overtaken],
    });
  }
  return out;
}
