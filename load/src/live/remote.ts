/** Tells the live page of a testbed that another process runs (`grantline up`) how an experiment goes. */
import { call } from '../runner/http.js';
import type { Observer } from '../runner/observer.js';
import { withoutRaw } from './board.js';

/** A page that does not answer is no reason to wait. */
const LIMIT_MS = 1000;

/** @param page http://host:port/, from testbed.json @param token the operator's */
export function remotePage(page: string, token: string): Observer {
  const post = async (path: string, body: unknown): Promise<void> => {
    await call('the live page', page, path, { method: 'POST', body, token, timeoutMs: LIMIT_MS });
  };
  return {
    phase: (at) => post('/observer/phase', at),
    finished: (run, record) => post('/observer/finished', { run, record: withoutRaw(record) }),
  };
}
