/** What becomes of requests and of their answers, where the path alone does not tell. See rx-conservation.ts. */
import { terms, type Hop } from './hop.js';
import { inDriverDomain, inGuests, inNic, type Snapshot } from '../control/snapshot.js';

/** The hops that a run of requests has on top of both directions. */
export function requestHops(c: Snapshot, path: 'split' | 'direct' | 'native'): Hop[] {
  const responder = terms(c, 'responder', path === 'native' ? inDriverDomain : inGuests);
  const requester = terms(c, 'requester', inNic);
  const far = terms(c, 'app', inNic);
  return [
    {
      name: 'requests to responses',
      in: [responder('requests')],
      out: [responder('responses'), ...responder.drops()],
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
