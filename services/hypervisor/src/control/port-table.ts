/** Event channels: which port of which domain talks to which. Setting bits and ringing is the domains' own business
 *  (shared/xen/src/evtchn); here ports are given out, bound and closed. Rules and errors: Xen common/event_channel.c;
 *  docs/wire/event-channel.md. */
import { EVTCHN_MAX_PORTS, type EvtchnStatus } from '@grantline/xen';
import { DOMID_DRIVER, DOMID_NIC, type DomId, type Port } from '@grantline/base';
import type { Shares } from './shares.js';

export type EvtchnErrorCode = 'ESRCH' | 'EINVAL' | 'ENOSPC' | 'EPERM';

export class EvtchnError extends Error {
  readonly code: EvtchnErrorCode;
  constructor(code: EvtchnErrorCode, message: string) {
    super(message);
    this.code = code;
  }
}

/** What event channels need from the rest of the hypervisor. */
export interface EvtchnWorld {
  /** Of pairs of domains, with the bits of their channels. */
  pages: Pick<Shares, 'openPage' | 'closePage' | 'clearPort' | 'raise' | 'flush'>;
  /** True for a domain that has memory and is not dead. */
  exists(domid: DomId): boolean;
  onBound(owner: DomId, port: Port, peer: DomId, remotePort: Port): void;
  onUnbound(owner: DomId, port: Port): void;
}

export interface PortInfo {
  readonly port: Port;
  readonly status: EvtchnStatus;
  readonly remote: DomId;
  /** 0 while unbound. */
  readonly remotePort: Port;
}

interface Channel {
  remote: DomId;
  remotePort: Port;
}

const UNBOUND = 0 as Port;
const hasSharedFiles = (domid: DomId): boolean => domid === DOMID_DRIVER || domid === DOMID_NIC;

export class PortTable {
  private readonly world: EvtchnWorld;
  private readonly ports = new Map<DomId, (Channel | undefined)[]>();
  /** Channels of each pair, by "low-high". */
  private readonly pairs = new Map<string, number>();

  constructor(world: EvtchnWorld) {
    this.world = world;
  }

  /** Gives the caller a port to which only `remote` may bind.
   *  @throws EvtchnError ESRCH no such domain, EINVAL itself, EPERM two guests, ENOSPC out of ports */
  allocUnbound(caller: DomId, remote: DomId): Port {
    this.checkPeer(caller, remote);
    return this.take(caller, { remote, remotePort: UNBOUND });
  }

  /** Binds a new port of the caller to an unbound one of `remote`. The new port is pending at once, because what the
   *  other end sent before was dropped. @throws EvtchnError ESRCH, EINVAL not an unbound port for the caller, ENOSPC */
  bindInterdomain(caller: DomId, remote: DomId, remotePort: Port): Port {
    this.checkPeer(caller, remote);
    const far = this.lookup(remote, remotePort);
    if (far === undefined || far.remote !== caller || far.remotePort !== UNBOUND)
      throw new EvtchnError(
        'EINVAL',
        `port ${remotePort} of domain ${remote} is not an unbound port for domain ${caller}`,
      );
    const port = this.take(caller, { remote, remotePort });
    far.remotePort = port;
    this.world.pages.flush(remote, caller, remotePort);
    this.world.pages.raise(caller, remote, port);
    this.world.onBound(remote, remotePort, caller, port);
    return port;
  }

  /** Frees the port. The other end goes back to unbound, reserved for the caller, which may bind again.
   *  @throws EvtchnError EINVAL when the port is not open */
  close(caller: DomId, port: Port): void {
    const channel = this.lookup(caller, port);
    if (channel === undefined) throw new EvtchnError('EINVAL', `port ${port} of domain ${caller} is not open`);
    const { remote, remotePort } = channel;
    this.ports.get(caller)![port] = undefined;
    this.world.pages.clearPort(caller, remote, port);
    if (remotePort !== UNBOUND) {
      this.lookup(remote, remotePort)!.remotePort = UNBOUND;
      this.world.onUnbound(remote, remotePort);
    }
    this.release(caller, remote);
  }

  /** @throws EvtchnError EINVAL for a number that cannot be a port */
  status(domid: DomId, port: Port): PortInfo {
    if (!isPort(port)) throw new EvtchnError('EINVAL', `${port} is not a port`);
    const channel = this.lookup(domid, port);
    if (channel === undefined) return { port, status: 'closed', remote: 0 as DomId, remotePort: UNBOUND };
    const status = channel.remotePort === UNBOUND ? 'unbound' : 'interdomain';
    return { port, status, remote: channel.remote, remotePort: channel.remotePort };
  }

  /** The open ports of a domain, ascending. */
  list(domid: DomId): PortInfo[] {
    const open = [...(this.ports.get(domid) ?? []).keys()].filter((p) => this.lookup(domid, p as Port) !== undefined);
    return open.map((p) => this.status(domid, p as Port));
  }

  /** A dead domain's ports are closed. What others had open to it goes back to unbound and stays theirs to close: were
   *  it freed here, their number could be given out anew before they hear of the death. */
  closeAll(domid: DomId): void {
    for (const { port } of this.list(domid)) this.close(domid, port);
    this.ports.delete(domid);
    for (const [pair, count] of this.pairs) {
      const [low, high] = pair.split('-').map(Number) as [DomId, DomId];
      if (count === 0 && (low === domid || high === domid)) this.closePage(low, high);
    }
  }

  private checkPeer(caller: DomId, remote: DomId): void {
    if (remote === caller) throw new EvtchnError('EINVAL', 'a domain has no channel to itself');
    if (!this.world.exists(remote)) throw new EvtchnError('ESRCH', `there is no domain ${remote}`);
    // As far as guests are concerned there are no others.
    if (!hasSharedFiles(caller) && !hasSharedFiles(remote))
      throw new EvtchnError('EPERM', 'guests have channels with the driver domain and the nic only');
  }

  private lookup(domid: DomId, port: Port): Channel | undefined {
    return isPort(port) ? this.ports.get(domid)?.[port] : undefined;
  }

  private take(domid: DomId, channel: Channel): Port {
    const table = this.ports.get(domid) ?? new Array<Channel | undefined>(EVTCHN_MAX_PORTS);
    let port = 1;
    while (port < EVTCHN_MAX_PORTS && table[port] !== undefined) port++;
    if (port === EVTCHN_MAX_PORTS) throw new EvtchnError('ENOSPC', `domain ${domid} is out of ports`);
    const [low, high] = ordered(domid, channel.remote);
    const pair = `${low}-${high}`;
    const count = this.pairs.get(pair);
    if (count === undefined) this.world.pages.openPage(low, high);
    this.pairs.set(pair, (count ?? 0) + 1);
    this.ports.set(domid, table);
    table[port] = channel;
    this.world.pages.clearPort(domid, channel.remote, port as Port);
    return port as Port;
  }

  private release(a: DomId, b: DomId): void {
    const [low, high] = ordered(a, b);
    const pair = `${low}-${high}`;
    const count = (this.pairs.get(pair) ?? 1) - 1;
    this.pairs.set(pair, count);
    // Who opens and closes ports in turn must not make files of it.
    if (count === 0 && !(this.world.exists(low) && this.world.exists(high))) this.closePage(low, high);
  }

  private closePage(low: DomId, high: DomId): void {
    this.pairs.delete(`${low}-${high}`);
    this.world.pages.closePage(low, high);
  }
}

const isPort = (n: number): boolean => Number.isInteger(n) && n > 0 && n < EVTCHN_MAX_PORTS;

/** The two, lower first. */
const ordered = (a: DomId, b: DomId): [DomId, DomId] => (a < b ? [a, b] : [b, a]);
