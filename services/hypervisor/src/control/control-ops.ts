/** Executes the JSON operations. Every one acts as the domain whose socket it came by: there is no argument that says
 *  who calls. */
import { randomBytes, timingSafeEqual } from 'node:crypto';
import { get } from 'node:http';
import { isIP } from 'node:net';
import { hostname, networkInterfaces } from 'node:os';
import { isLoopback, DOMID_NIC, type DomId, type Port } from '@grantline/base';
import { PROOF_PATH, proofOf } from '@grantline/service';
import type { Domain } from './domains.js';
import type { Parts } from './parts.js';
import { OpError, checkOp, type OpArgs, type OpName } from './op-schemas.js';

type Handlers = { [N in OpName]: (caller: DomId, args: OpArgs<N>) => unknown };

/** Of one domain. */
const ANNOUNCEMENTS_MAX = 16;

/** How an address that a domain announces is judged. */
export interface AnnounceRule {
  /** Domains may be in containers. */
  containers: boolean;
  /** Milliseconds that the listener has to prove it. */
  limitMs: number;
}

export class ControlOps {
  private readonly handlers: Handlers;

  constructor({ domains, store, evtchn, nic, shares, tickets, server }: Parts, rule: AnnounceRule) {
    const announced = new WeakMap<Domain, number>();
    this.handlers = {
      'evtchn.allocUnbound': (caller, a) => ({ port: evtchn.allocUnbound(caller, a.remote as DomId) }),
      'evtchn.bindInterdomain': (caller, a) => ({
        port: evtchn.bindInterdomain(caller, a.remote as DomId, a.remotePort as Port),
      }),
      'evtchn.close': (caller, a) => done(evtchn.close(caller, a.port as Port)),
      'evtchn.status': (caller, a) => evtchn.status(caller, a.port as Port),
      'xs.read': (caller, a) => ({ value: store.read(caller, a.path) }),
      'xs.write': (caller, a) => done(store.write(caller, a.path, a.value)),
      'xs.mkdir': (caller, a) => done(store.mkdir(caller, a.path)),
      'xs.rm': (caller, a) => done(store.rm(caller, a.path)),
      'xs.directory': (caller, a) => ({ entries: store.directory(caller, a.path) }),
      'xs.transaction': (caller, a) => done(store.transaction(caller, a.ops)),
      'xs.watch': (caller, a) => done(store.watch(caller, a.path, a.token)),
      'xs.unwatch': (caller, a) => done(store.unwatch(caller, a.path, a.token)),
      'nic.attach': (caller, a) => nic.attach(caller, a),
      'nic.detach': (caller, a) => nic.detach(caller, a.queue),
      'shared.ticket': (caller, { of, domid }) => {
        const connected = (): boolean => evtchn.list(caller).some((p) => p.remote === domid);
        return { ticket: tickets.issue(caller, shares.openerFor(caller, of, domid as DomId, connected)) };
      },
      'service.announce': async (caller, { http, pid }) => {
        const domain = domains.get(caller)!;
        const times = announced.get(domain) ?? 0;
        announced.set(domain, times + 1);
        // Each is a request of ours to where the domain says, and a service has one address.
        if (times >= ANNOUNCEMENTS_MAX) throw new OpError('EBUSY', 'it has announced itself often enough');
        const why = await whyNotOwn(http, { controlKey: domain.controlKey, from: server.addressOf(caller) }, rule);
        if (why !== null) throw new OpError('EINVAL', why);
        // It may have died meanwhile; then nobody looks at it any more.
        domain.http = http;
        domain.pid = pid;
        return {};
      },
      reply: (caller, a) => {
        if (caller !== DOMID_NIC) throw new OpError('EPERM', 'only the nic replies');
        return done(nic.reply(a.rid, a.result, a.error));
      },
    };
  }

  /** @returns the result, or a promise of it for what the nic has to answer
   *  @throws Error with a `code`: StoreError, EvtchnError, OpError */
  run(caller: DomId, op: string, args: unknown): unknown {
    checkOp(op, args);
    return (this.handlers[op] as (caller: DomId, args: unknown) => unknown)(caller, args);
  }
}

const done = (_: void): Record<string, never> => ({});

interface Announcer {
  readonly controlKey: string;
  /** Where its connection comes from; null: the socket file. */
  readonly from: string | null;
}

/** A container's number, as its name. */
const CONTAINER = /^[0-9a-f]{12}$/;

/** Whether an address that a domain announces is its own: others - the operator's commands, Prometheus - will go there because the
 *  hypervisor said so. docs/wire/control-plane.md section 3.
 *
 *  Of this machine, or of where the domain connected from: the listener there is asked for a proof that only the domain can make.
 *  In a container, in a network that the hypervisor is no part of: it must be a container's number, which is its name unless somebody gave it
 *  another, and nobody else's.
 *
 *  @param http as announced. @returns null when it is the domain's own, else why not */
export async function whyNotOwn(http: string, who: Announcer, rule: AnnounceRule): Promise<string | null> {
  if (!isOrigin(http)) return 'http is not of the form http://host:port';
  const host = new URL(http).hostname.replace(/^\[|\]$/g, '');
  if (!isHere(host) && host !== plain(who.from)) {
    if (!rule.containers || who.from !== null) return `${host} is not where the domain is`;
    return CONTAINER.test(host) ? null : `${host} is not the number of a container: give it no hostname`;
  }
  const question = randomBytes(32).toString('hex');
  const answer = await ask(`${http.replace(/\/$/, '')}${PROOF_PATH}?question=${question}`, rule.limitMs);
  const right = Buffer.from(proofOf(who.controlKey, question));
  const proven = answer.length === right.length && timingSafeEqual(answer, right);
  return proven ? null : `who listens at ${http} is not the domain, or nobody does`;
}

/** Others make addresses of it: it must be one, and no more than one. */
function isOrigin(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const { href, origin, protocol } = new URL(text);
  return protocol === 'http:' && href === `${origin}/`;
}

/** An address or a name of this machine. */
const isHere = (host: string): boolean =>
  isLoopback(host) ||
  host === hostname().toLowerCase() ||
  (isIP(host) !== 0 && Object.values(networkInterfaces()).some((all) => all?.some(({ address }) => address === host)));

/** An IPv4 address as such, also where an IPv6 socket carries it. */
const plain = (address: string | null): string | null => address?.replace(/^::ffff:(?=\d+\.)/i, '') ?? null;

/** Bytes of a proof. */
const ANSWER_BYTES = 64;

/** @returns the body, empty when none comes in time or it is no proof */
function ask(url: string, limitMs: number): Promise<Buffer> {
  const none = Buffer.alloc(0);
  return new Promise((resolve) => {
    // No agent: a connection that stayed open would be another's time.
    const request = get(url, { agent: false }, (response) => {
      const got: Buffer[] = [];
      let bytes = 0;
      response.on('data', (part: Buffer) => {
        got.push(part);
        bytes += part.length;
        if (bytes > ANSWER_BYTES) end(none);
      });
      response.on('end', () => end(response.statusCode === 200 ? Buffer.concat(got) : none));
      response.on('error', () => end(none));
    });
    const timer = setTimeout(() => end(none), limitMs);
    const end = (answer: Buffer): void => {
      clearTimeout(timer);
      resolve(answer);
      request.destroy();
    };
    request.on('error', () => end(none));
  });
}
