/** What becomes of requests and of their answers, where the path alone does not tell. See rx-conservation.ts. */
import type { Hop, Term } from './hop.js';
import { inDriverDomain, inGuests, inNic, sum, type BlockKind, type Snapshot, type Where } from './snapshot.js';

/** The hops that a run of requests has on top of both directions. */
export function requestHops(c: Snapshot, path: 'split' | 'direct' | 'native'): Hop[] {
  const of =
    (kind: BlockKind, where: Where) =>
    (counter: string): Term => ({ name: `${kind}.${counter}`, value: sum(c, kind, counter, where) });
  const responder = of('responder', path === 'native' ? inDriverDomain : inGuests);
  const requester = of('requester', inNic);
  const far = of('app', inNic);
  return [
    {
      name: 'requests to responses',
      in: [responder('requests')],
      out: [responder('responses'), responder('dropCorrupt'), responder('dropNoDevice'), responder('dropNoRoom')],
    },
    {
      name: 'responses to requester',
      in: [far('frames')],
      out: [requester('answered'), requester('late'), requester('repeated'), far('corrupt'), far('foreign')],
    },
    {
      name: 'requester',
      in: [requester('requests')],
      out: [requester('answered'), requester('timeouts'), requester('inFlight')],
    },
  ];
}
