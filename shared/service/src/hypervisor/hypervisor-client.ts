/** A domain's connection to the hypervisor: hypercall batches (binary), requests and events (JSON).
 *  docs/wire/control-plane.md section 3, docs/wire/hypercall.md.
 *
 *  There is no reconnecting: a domain whose socket closed is dead for the hypervisor. */
import { join } from 'node:path';
import { type DomId, UsageError } from '@grantline/base';
import { NoDescriptor, fetchDescriptor } from '@grantline/machine';
import type { ServiceEnv, ServiceKind } from '../env.js';
import type { Log } from '../log.js';
import type { Identity } from '../privileges.js';
import { CONNECT_LIMIT_MS, callerOf, openSocket, whileNotUp } from './dial.js';
import { Link, type Welcome } from './link.js';
import { type HypervisorPort, SHARED_SOCKET, type SharedKind, type WireError } from '@grantline/xen';

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

  hypercall(bytes: Buffer, onReply: (reply: Buffer) => void): void {
    this.batches++;
    this.link.hypercall(bytes, onReply);
  }

  /** Hypercall batches whose replies are due. */
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
