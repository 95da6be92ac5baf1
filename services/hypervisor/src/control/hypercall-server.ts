/** The socket by which domains reach the hypervisor: who may connect, and one connection for each domain.
 *  docs/wire/control-plane.md section 3. */
import type { IncomingMessage, Server } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { type DomId, refuseUpgrade, asksForWebSocket, takeUpgrades } from '@grantline/base';
import type { Log } from '@grantline/service';
import { WebSocketServer } from 'ws';
import type { TimeShare } from './accounting.js';
import { DomainConnection } from './domain-connection.js';
import type { Domain, Domains } from './domains.js';
import type { HypercallRunner } from './hypercall-runner.js';
import { type CounterBlock, slots } from '@grantline/machine';
import { CONTROL_COUNTERS } from '@grantline/observe';

/** Bytes of one message at most. */
export const MAX_MESSAGE_BYTES = 64 * 1024;

const C = slots(CONTROL_COUNTERS);

export interface ServerOptions {
  domains: Domains;
  runner: HypercallRunner;
  log: Log;
  /** Block of CONTROL_COUNTERS. */
  counters: CounterBlock;
  /** The domain has connected; what is sent now comes before all else. */
  connected(domain: Domain): void;
  /** What it may have of the hypervisor's time; null: no limit. */
  shareOf(domid: DomId): TimeShare | null;
  /** Makes a domain for a caller with the join token of that kind. @throws Error with a statusCode */
  join(kind: string, token: string, place: string): Domain;
  /** Executes a JSON operation. */
  request(caller: DomId, op: string, args: unknown): unknown;
  /** The socket is closed. */
  disconnected(domid: DomId): void;
}

interface Refusal {
  readonly status: number;
  readonly why: string;
}
const refusal = (status: number, why = ''): Refusal => ({ status, why });

export class HypercallServer {
  private readonly o: ServerOptions;
  private readonly wss = new WebSocketServer({
    noServer: true,
    clientTracking: false,
    perMessageDeflate: false,
    // The connection does it, and counts what a domain does not read.
    autoPong: false,
    maxPayload: MAX_MESSAGE_BYTES,
  });
  private readonly connections = new Map<DomId, DomainConnection>();
  private closing = false;

  constructor(options: ServerOptions) {
    this.o = options;
  }

  /** Takes over the upgrades of an HTTP server. */
  attach(server: Server): void {
    takeUpgrades(server, asksForWebSocket, (request, socket, head) => this.upgrade(request, socket, head));
  }

  isConnected(domid: DomId): boolean {
    return this.connections.has(domid);
  }

  /** The address that a domain's connection comes from; null: the socket file, or it has none. */
  addressOf(domid: DomId): string | null {
    return this.connections.get(domid)?.from ?? null;
  }

  get connectedCount(): number {
    return this.connections.size;
  }

  /** False while a domain is behind with reading; what is sent to one that is not connected is lost, not late. */
  keepsUp(domid: DomId): boolean {
    return this.connections.get(domid)?.keepsUp ?? true;
  }

  /** Sends an event to a domain; to one that is not connected it is lost, as it would be in Xen. */
  send(domid: DomId, event: string, args: object): void {
    const connection = this.connections.get(domid);
    if (connection === undefined) return;
    this.o.counters.v[C.events]++;
    connection.sendEvent(JSON.stringify({ event, args }));
  }

  /** Ends a domain for what it did elsewhere. */
  garbage(domid: DomId, what: string): void {
    this.connections.get(domid)?.garbage(what);
  }

  /** Closes a domain's socket from this side, and forgets it: a successor with the number may connect at once. */
  drop(domid: DomId, reason: string): void {
    const connection = this.connections.get(domid);
    this.connections.delete(domid);
    connection?.close(1000, reason);
  }

  /** Closes all sockets, which tells every domain to end, and waits until they are closed.
   *  @param limitMs after that the rest is cut off */
  async closeAll(limitMs: number): Promise<void> {
    this.closing = true;
    for (const c of this.connections.values()) c.close(1001, 'the testbed ends');
    const end = performance.now() + limitMs;
    while (this.connections.size > 0 && performance.now() < end) await new Promise((r) => setTimeout(r, 10));
    for (const c of this.connections.values()) c.terminate();
  }

  private upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    socket.on('error', () => socket.destroy());
    const domain = this.judge(request);
    if ('status' in domain) {
      this.o.counters.v[C.refused]++;
      return refuseUpgrade(socket, domain.status, domain.why);
    }
    this.wss.handleUpgrade(request, socket, head, (ws) => {
      this.o.counters.v[C.connections]++;
      const { domid } = domain;
      const connection: DomainConnection = new DomainConnection(ws, {
        domid,
        runner: this.o.runner,
        share: this.o.shareOf(domid),
        from: (socket as Socket).remoteAddress ?? null,
        request: (op, args) => this.request(domid, op, args),
        garbage: (what) => {
          this.o.counters.v[C.garbage]++;
          this.o.log.warn({ domid }, `closed for ${what}`);
        },
        tooSlow: () => {
          this.o.counters.v[C.tooSlow]++;
          this.o.log.warn({ domid }, 'closed because it does not read what it is sent');
        },
        closed: () => {
          if (this.connections.get(domid) !== connection) return;
          this.connections.delete(domid);
          this.o.disconnected(domid);
        },
      });
      this.connections.set(domid, connection);
      domain.state = 'running';
      this.o.connected(domain);
    });
    // A handshake that was no good after all: a domain that lives by its connection would stay without one.
    if (domain.joined && domain.state === 'created') this.o.disconnected(domain.domid);
  }

  /** @returns the domain that may connect, or the refusal */
  private judge(request: IncomingMessage): Domain | Refusal {
    if (this.closing) return refusal(503, 'the testbed ends');
    if ((request.url ?? '').split('?')[0] !== '/hypercall') return refusal(404);
    const bearer = /^Bearer (\S+)$/.exec(request.headers.authorization ?? '')?.[1];
    if (bearer === undefined) return refusal(401);
    const kind = request.headers['x-grantline-join'];
    if (typeof kind === 'string') return this.join(kind, bearer, String(request.headers['x-grantline-place'] ?? ''));
    const domid = request.headers['x-grantline-domid'];
    if (typeof domid !== 'string' || !/^\d{1,5}$/.test(domid)) return refusal(401);
    const domain = this.o.domains.claim(Number(domid), bearer);
    if (domain === null) return refusal(401);
    return this.connections.has(domain.domid) ? refusal(409) : domain;
  }

  private join(kind: string, token: string, place: string): Domain | Refusal {
    try {
      return this.o.join(kind, token, place);
    } catch (error) {
      const { statusCode, message } = error as Error & { statusCode?: number };
      // Short of shared memory, for one: the message says what, and trying again may help.
      return refusal(statusCode ?? 507, message);
    }
  }

  private request(domid: DomId, op: string, args: unknown): unknown {
    this.o.counters.v[C.requests]++;
    try {
      return this.o.request(domid, op, args);
    } catch (error) {
      this.o.counters.v[C.failedRequests]++;
      throw error;
    }
  }
}
