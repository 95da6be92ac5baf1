/** Getting to the hypervisor: as a domain that there is, or as one that comes to be by connecting. */
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { WebSocket } from 'ws';
import { type DomId, UsageError } from '@grantline/base';
import { showPlace } from '@grantline/xen';
import { socketFileOf, type ServiceEnv } from '../env.js';

/** How long a service waits for a hypervisor that is not up. */
export const CONNECT_LIMIT_MS = 10_000;
const RETRY_MS = 100;
/** Codes of "not there (yet)". */
const NOT_UP = new Set([
  'ECONNREFUSED',
  'ENOENT',
  'ECONNRESET',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EPIPE',
  'ETIMEDOUT',
  'EHOSTUNREACH',
]);
/** The hypervisor closes for messages over 64 KiB; its own replies may list a directory. */
const MAX_PAYLOAD = 1 << 20;
/** Characters of a refusal's reason that are shown. */
const MAX_WHY = 400;

/** What the hypervisor is told about the caller. */
export type Caller =
  | { readonly domid: DomId; readonly secret: string }
  | { readonly join: string; readonly token: string; readonly place: string | null };

/** The answer was an HTTP status instead of a socket. */
class HttpStatusError extends Error {
  readonly status: number;
  /** What the hypervisor said about it; may be empty. */
  readonly why: string;
  constructor(status: number, why: string) {
    super(why === '' ? `HTTP ${status}` : `HTTP ${status}: ${why}`);
    this.status = status;
    this.why = why;
  }
}

/** Who calls, by the settings. The join token is read each time: a hypervisor that starts again makes new ones.
 *  @throws Error ENOENT while there is no hypervisor, EACCES */
export async function callerOf(env: ServiceEnv): Promise<Caller> {
  if (env.domid !== null && env.secret !== null) return { domid: env.domid, secret: env.secret };
  if (env.join === null) throw new UsageError('neither GRANTLINE_DOMID nor GRANTLINE_JOIN is set');
  try {
    const token = readFileSync(env.join, 'utf8').trim();
    return { join: env.kind, token, place: await showPlace(env.dir) };
  } catch (err) {
    if ((err as NodeJS.ErrnoException).code !== 'EACCES') throw err;
    throw new UsageError(`${env.join} may not be read: is this process in the group of its role?`);
  }
}

/** Calls `attempt` until it does not fail with "not there"; other failures become clear errors.
 *  @throws UsageError when the time is over, the secret is wrong or the domain is connected already */
export async function whileNotUp<T>(env: ServiceEnv, limitMs: number, attempt: () => Promise<T>): Promise<T> {
  const end = Date.now() + limitMs;
  for (;;) {
    try {
      return await attempt();
    } catch (err) {
      // A service that joins may have come before its predecessor was buried, or with the token of a hypervisor that is gone.
      const final = err instanceof HttpStatusError && (env.join === null || Date.now() >= end);
      if (final && err.status < 500) throw refusal(env, err);
      const code = (err as NodeJS.ErrnoException).code ?? '';
      if (!(err instanceof HttpStatusError) && !NOT_UP.has(code)) throw err;
      if (Date.now() >= end)
        throw new UsageError(
          `no hypervisor answers at ${env.hypervisor} (${code || (err as Error).message}): start it, or set GRANTLINE_HYPERVISOR`,
        );
      await sleep(RETRY_MS);
    }
  }
}

function refusal(env: ServiceEnv, { status, why }: HttpStatusError): UsageError {
  if (status === 401 && env.domid === null)
    return new UsageError('the hypervisor refused the join token: check GRANTLINE_JOIN');
  if (env.domid === null && why !== '') return new UsageError(`the hypervisor lets no ${env.kind} join: ${why}`);
  if (status === 401)
    return new UsageError(`the hypervisor refused domain ${env.domid}: check GRANTLINE_DOMID and GRANTLINE_SECRET`);
  if (status === 409) return new UsageError(`domain ${env.domid} is connected already: stop the other process first`);
  return new UsageError(`${env.hypervisor} answered HTTP ${status}: is it a grantline hypervisor?`);
}

/** Opens the hypercall socket once. Masks are zero: the socket is local or in a container network of our own, and ws then
 *  sends our buffers as they are instead of copying them to XOR them.
 *  @param prepare called before anything can arrive, to put listeners on */
export function openSocket(address: string, caller: Caller, prepare: (ws: WebSocket) => void): Promise<WebSocket> {
  return new Promise((resolve, reject) => {
    const file = socketFileOf(address);
    const ws = new WebSocket(file === null ? `${address}/hypercall` : 'ws://localhost/hypercall', {
      // Not by a URL: there a path has to be escaped, and a colon in it ends it.
      ...(file === null ? {} : { createConnection: () => connect({ path: file }) }),
      perMessageDeflate: false,
      generateMask: zeroMask,
      skipUTF8Validation: true,
      maxPayload: MAX_PAYLOAD,
      handshakeTimeout: 5000,
      headers:
        'join' in caller
          ? {
              'x-grantline-join': caller.join,
              authorization: `Bearer ${caller.token}`,
              ...(caller.place === null ? {} : { 'x-grantline-place': caller.place }),
            }
          : { 'x-grantline-domid': String(caller.domid), authorization: `Bearer ${caller.secret}` },
    });
    ws.once('unexpected-response', (req, res) => {
      const parts: Buffer[] = [];
      res.on('data', (part: Buffer) => parts.push(part));
      res.once('close', () => {
        req.destroy();
        reject(new HttpStatusError(res.statusCode ?? 0, Buffer.concat(parts).toString().slice(0, MAX_WHY)));
      });
    });
    ws.once('error', reject);
    ws.once('open', () => {
      ws.off('error', reject);
      resolve(ws);
    });
    prepare(ws);
  });
}

function zeroMask(mask: Buffer): void {
  mask.fill(0);
}
