/** A domain's connection to the hypervisor: hypercall batches (binary), requests and events (JSON).
 *  docs/wire/control-plane.md section 3, docs/wire/hypercall.md.
 *
 *  There is no reconnecting: a domain whose socket closed is dead for the hypervisor. */
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { join } from 'node:path';
import { WebSocket } from 'ws';
import { UsageError, type DomId } from '@grantline/base';
import {
  showPlace,
  SHARED_SOCKET,
  type Call,
  type HypercallPort,
  type HypervisorPort,
  type SharedKind,
  type WireError,
} from '@grantline/xen';
import { NoDescriptor, fetchDescriptor } from '@grantline/machine';
import { socketFileOf, type ServiceEnv, type ServiceKind } from '../env.js';
import type { Log } from '../log.js';
import type { Identity } from '../privileges.js';
import { Link, type Welcome } from './link.js';

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

/** Tickets that are asked for in place of those that were not taken. */
const TICKETS = 5;

export class HypervisorClient implements HypervisorPort {
  readonly domid: DomId;
  readonly kind: ServiceKind;
  readonly memoryPages: number;
  /** Guests that there were at the start. */
  readonly guests: readonly DomId[];
  /** GRANTLINE_DIR. */
  readonly dir: string;
  /** Opens the service's own HTTP API: for the domain itself and the operator. */
  readonly controlKey: string;
  /** Whom a domain that joined should run as; null when the environment says it. */
  readonly identity: Identity | null;
  /** On which core, of a domain that joined; null: not told. */
  readonly core: number | null;
  readonly nativeCore: number | null;
  /** Hypercall batches sent since the start. */
  batches = 0;
  /** The way of hypercalls; null: they go as messages. */
  ring: HypercallPort | null = null;
  private readonly link: Link;

  private constructor(link: Link, welcome: Welcome, dir: string, joined: boolean) {
    this.link = link;
    this.domid = welcome.domid;
    this.kind = welcome.kind;
    this.memoryPages = welcome.memoryPages;
    this.guests = welcome.guests;
    this.dir = dir;
    this.controlKey = welcome.controlKey;
    this.identity = joined ? welcome : null;
    this.core = welcome.core;
    this.nativeCore = welcome.nativeCore;
  }

  /** Connects; with a join token, becomes a domain by that. Waits up to 10 s for a hypervisor that is not up.
   *  @throws UsageError when there is none, or it refuses the secret or the token */
  static async connect(env: ServiceEnv, log: Log, limitMs = CONNECT_LIMIT_MS): Promise<HypervisorClient> {
    const link = await whileNotUp(env, limitMs, async () => {
      const l = new Link(log);
      await openSocket(env.hypervisor, await callerOf(env), (ws) => l.attach(ws));
      return l;
    });
    const welcome = await link.welcome;
    if (
      (env.domid !== null && welcome.domid !== env.domid) ||
      (env.kind !== welcome.kind && env.kind !== 'hypervisor')
    ) {
      void link.close();
      throw new UsageError(`domain ${welcome.domid} is a ${welcome.kind}, not a ${env.kind}: check GRANTLINE_DOMID`);
    }
    return new HypervisorClient(link, welcome, env.dir, env.domid === null);
  }

  request<T = Record<string, never>>(op: string, args: object): Promise<T> {
    return this.link.request(op, args) as Promise<T>;
  }

  async descriptor(of: SharedKind, domid: DomId = this.domid): Promise<number> {
    for (let left = TICKETS; ; left--) {
      const { ticket } = await this.request<{ ticket: string }>('shared.ticket', { of, domid });
      try {
        return await fetchDescriptor(join(this.dir, SHARED_SOCKET), ticket);
      } catch (err) {
        // Too late, or hung up on in a crowd.
        if (!(err instanceof NoDescriptor) || left === 1) throw err;
      }
    }
  }

  /** Answers an event that carries a `rid` (the nic's). @param error when the request is refused */
  async reply(rid: number, result: object | null, error?: WireError): Promise<void> {
    await this.link.request('reply', error === undefined ? { rid, result: result ?? {} } : { rid, error });
  }

  onEvent<A = Record<string, unknown>>(name: string, fn: (args: A) => void): void {
    this.link.onEvent(name, fn as (args: unknown) => void);
  }

  /** Calls `fn` once when the socket is closed, by whomever; at once when it is closed already. */
  onClose(fn: (reason: string) => void): void {
    this.link.onClose(fn);
  }

  hypercall(call: Call): void {
    this.batches++;
    (this.ring ?? this.link).hypercall(call);
  }

  /** Hypercalls whose replies only the socket can bring. */
  get inFlight(): number {
    return this.link.inFlight;
  }

  get closed(): boolean {
    return this.link.closedWhy !== null;
  }

  /** Closes the socket; the domain is then dead. Resolves when it is closed. */
  close(): Promise<void> {
    return this.link.close();
  }
}

// Getting to the hypervisor: as a domain that there is, or as one that comes to be by connecting.

/** What the hypervisor is told about the caller. */
type Caller =
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
async function callerOf(env: ServiceEnv): Promise<Caller> {
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
async function whileNotUp<T>(env: ServiceEnv, limitMs: number, attempt: () => Promise<T>): Promise<T> {
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
