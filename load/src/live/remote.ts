/** Tells the live page of a testbed that another process runs (`grantline up`) how an experiment goes. */
import { createHmac } from 'node:crypto';
import { Party } from '../base/http.js';
import type { Observer } from '../runner/observer.js';
import { withoutRaw } from './board.js';

/** What the page knows a reporter by. Made of the operator's token, which the reporter and the page's server both have: the token
 *  itself does not go there, since something else may have taken the page's port. '': there is no token. */
export const observerKey = (token: string): string =>
  token === '' ? '' : createHmac('sha256', token).update('observer of the live page').digest('hex');

/** A page that does not answer is no reason to wait. */
const LIMIT_MS = 1000;

/** @param page http://host:port/, from testbed.json @param token the operator's */
export function remotePage(page: string, token: string): Observer {
  const party = new Party('the live page', page, observerKey(token));
  const post = async (path: string, body: unknown): Promise<void> => {
    await party.call(path, { method: 'POST', body, timeoutMs: LIMIT_MS });
  };
  return {
    phase: (at) => post('/observer/phase', at),
    finished: (run, record) => post('/observer/finished', { run, record: withoutRaw(record) }),
    answered: (run, requests) => post('/observer/answered', { run, ...requests }),
  };
}
