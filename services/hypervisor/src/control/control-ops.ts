/** Executes the JSON operations. Every one acts as the domain whose socket it came by: there is no argument that says
 *  who calls. */
import type { DomId, Port } from '@grantline/shared/abi/page.js';
import { DOMID_NIC } from '@grantline/shared/abi/page.js';
import type { Domains } from './domains.js';
import type { EventChannels } from './evtchn.js';
import type { NicControl } from './nic-control.js';
import { OpError, checkOp, type OpArgs, type OpName } from './op-schemas.js';
import type { Shares } from './shares.js';
import type { Tickets } from './tickets.js';
import type { XenStore } from './xenstore.js';

type Handlers = { [N in OpName]: (caller: DomId, args: OpArgs<N>) => unknown };

export class ControlOps {
  private readonly handlers: Handlers;

  constructor(
    domains: Domains,
    store: XenStore,
    evtchn: EventChannels,
    nic: NicControl,
    shares: Shares,
    tickets: Tickets,
  ) {
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
      'service.announce': (caller, a) => {
        if (!isOrigin(a.http)) throw new OpError('EINVAL', 'http is not of the form http://host:port');
        const domain = domains.get(caller)!;
        domain.http = a.http;
        domain.pid = a.pid;
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

/** Others make addresses of it: it must be one, and no more than one. */
function isOrigin(text: string): boolean {
  return URL.canParse(text) && new URL(text).href === `${new URL(text).origin}/`;
}

const done = (_: void): Record<string, never> => ({});
