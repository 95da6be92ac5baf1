/** Executes the JSON operations. Every one acts as the domain whose socket it came by: there is no argument that says
 *  who calls. */
import { DOMID_NIC, type DomId, type Port } from '@grantline/base';
import { whyNotOwn, type AnnounceRule } from './announced.js';
import type { Domain } from './domains.js';
import type { Parts } from './parts.js';
import { OpError, checkOp, type OpArgs, type OpName } from './op-schemas.js';

type Handlers = { [N in OpName]: (caller: DomId, args: OpArgs<N>) => unknown };

/** Of one domain. */
const ANNOUNCEMENTS_MAX = 16;

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
