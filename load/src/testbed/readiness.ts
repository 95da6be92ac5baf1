/** Tells on the terminal when a service that has worked is of no use any more, and why: its TAP device was removed. */
import { setTimeout as sleep } from 'node:timers/promises';
import { printable } from '@grantline/base';
import { callBytes, HttpError } from '../base/http.js';

const EVERY_MS = 2000;

/** A service's own words why it is not ready; null: it is, or says nothing. */
async function reasonOf({ name, http }: { name: string; http: string }): Promise<string | null> {
  try {
    await callBytes(name, http, '/health/ready', { timeoutMs: EVERY_MS });
    return null;
  } catch (error) {
    if (!(error instanceof HttpError) || error.status !== 503) return null;
    const [, reason = null] = /"status":"not ready: ((?:[^"\\]|\\.)*)"/.exec(error.message) ?? [];
    return reason;
  }
}

/** Asks until the signal. @param say takes a line when a service's reason is a new one, and when it has none any more */
export async function watchReadiness(
  services: readonly { name: string; http: string }[],
  say: (line: string) => void,
  signal: AbortSignal,
  everyMs = EVERY_MS,
): Promise<void> {
  const said = new Map<string, string>();
  while (!signal.aborted) {
    for (const service of services) {
      const reason = await reasonOf(service);
      if (signal.aborted) return;
      const before = said.get(service.name) ?? null;
      if (reason === before) continue;
      if (reason === null) said.delete(service.name);
      else said.set(service.name, reason);
      say(`${service.name} ${reason === null ? 'is ready again' : `is not ready: ${printable(reason, 200)}`}`);
    }
    await sleep(everyMs, undefined, { signal, ref: false }).catch(() => {});
  }
}
