/** A service's event channels: ports set up through the hypervisor, events sent and taken without it.
 *  Sources: Xen public/event_channel.h. docs/wire/event-channel.md.
 *
 *  Per peer one page is mapped and one doorbell opened, both for as long as a channel to that peer is open. */
import { closeSync, openSync } from 'node:fs';
import { resolve } from 'node:path';
import { EVTCHN_MAX_PORTS } from '../abi/event-channel.js';
import { PAGE_SIZE, type DomId, type Port } from '../abi/page.js';
import type { HypervisorClient } from '../hypervisor/client.js';
import type { AddressSpace } from '../mem/address-space.js';
import { EventChannel } from './event-channel.js';
import { Peer } from './peer.js';
import type { StormOptions } from './storm.js';

export { EventChannel } from './event-channel.js';

/** What this needs of the client. */
export type EvtchnTransport = Pick<HypervisorClient, 'request' | 'onEvent' | 'domid' | 'dir'>;

interface PortReply {
  port: Port;
  page: string;
  doorbell: string;
}

const NOTHING = (): void => {};

export class EventChannels {
  /** Bits that a peer set for ports that are not its own; ignored. */
  stray = 0;
  /** Set before ports are made: what damps those whose peers ring without reason. */
  storms: StormOptions | null = null;
  private readonly client: EvtchnTransport;
  private readonly space: AddressSpace;
  private readonly peers: Peer[] = [];
  /** Where the page of a peer is mapped; a peer that comes back gets the same place. */
  private readonly places = new Map<DomId, number>();
  private readonly byPort: (EventChannel | null)[] = new Array<EventChannel | null>(EVTCHN_MAX_PORTS).fill(null);
  private dispatching = false;
  /** Peers whose last channel was closed by a handler: their page must stay while dispatch walks over it. */
  private readonly leaving: Peer[] = [];
  /** Bound events that overtook the making of their channel. */
  private readonly early = new Map<Port, Port>();
  /** Closes that the hypervisor has not answered yet. */
  private readonly closing = new Set<Promise<unknown>>();

  constructor(client: EvtchnTransport, space: AddressSpace) {
    this.client = client;
    this.space = space;
    client.onEvent<{ port: Port; remotePort: Port }>('evtchn.bound', (e) => this.onBound(e.port, e.remotePort));
    client.onEvent<{ port: Port }>('evtchn.unbound', (e) => this.byPort[e.port]?.unbind());
  }

  /** Makes a port that domain `remote` may bind to; tell it the number through xenstore. */
  async allocUnbound(remote: DomId): Promise<EventChannel> {
    // The lowest free number is given: it may be one that is being closed, and what comes for that one until its close is
    // answered is not meant for its successor.
    while (this.closing.size > 0) await Promise.all(this.closing);
    const r = await this.client.request<PortReply>('evtchn.allocUnbound', { remote });
    const channel = await this.made(remote, r);
    const remotePort = this.early.get(channel.port);
    if (remotePort !== undefined) this.onBound(channel.port, remotePort);
    return channel;
  }

  /** Binds to a port that `remote` allocated for us. Our own end has an event pending at once, as in Xen.
   *  @throws HypervisorError when there is no such port for us */
  async bindInterdomain(remote: DomId, remotePort: Port): Promise<EventChannel> {
    const r = await this.client.request<PortReply>('evtchn.bindInterdomain', { remote, remotePort });
    const channel = await this.made(remote, r);
    try {
      channel.bind(remotePort);
    } catch (err) {
      await channel.close().catch(NOTHING);
      throw err;
    }
    return channel;
  }

  /** Takes all pending events of all peers and calls their handlers. @returns events taken */
  dispatch(): number {
    let count = 0;
    this.dispatching = true;
    for (let i = 0; i < this.peers.length; i++) {
      const peer = this.peers[i];
      count += peer.own.dispatch(peer.handle);
    }
    this.dispatching = false;
    if (this.leaving.length > 0) this.dropLeaving();
    return count;
  }

  /** Every channel that is open, for dumps. */
  list(): {
    port: Port;
    remote: DomId;
    bound: boolean;
    rings: number;
    coalesced: number;
    dropped: number;
    events: number;
  }[] {
    return this.byPort
      .filter((c): c is EventChannel => c !== null)
      .map(({ port, remote, bound, rings, coalesced, dropped, events }) => ({
        port,
        remote,
        bound,
        rings,
        coalesced,
        dropped,
        events,
      }));
  }

  /** Closes one channel. @throws HypervisorError when the hypervisor did not know it */
  async closeChannel(channel: EventChannel): Promise<void> {
    if (this.byPort[channel.port] !== channel) return;
    this.byPort[channel.port] = null;
    channel.silence();
    this.releasePeer(channel.remote);
    await this.giveBack(channel.port);
  }

  /** Lets go of pages and doorbells without asking anybody: for the end of the service. */
  close(): void {
    for (let port = 0; port < this.byPort.length; port++) {
      const channel = this.byPort[port];
      if (!channel) continue;
      this.byPort[port] = null;
      channel.silence();
      this.releasePeer(channel.remote);
    }
  }

  private async giveBack(port: Port): Promise<void> {
    const answered = this.client.request('evtchn.close', { port });
    const over: Promise<unknown> = answered.catch(NOTHING).then(() => {
      this.early.delete(port);
      this.closing.delete(over);
    });
    this.closing.add(over);
    await answered;
  }

  /** A channel for a port that we have. Made at once, before anything else can come; when it cannot be, the port is given
   *  back: nobody else could close it. */
  private async made(remote: DomId, r: PortReply): Promise<EventChannel> {
    try {
      return this.make(remote, r);
    } catch (err) {
      await this.giveBack(r.port).catch(NOTHING);
      throw err;
    }
  }

  private make(remote: DomId, r: PortReply): EventChannel {
    const peer = this.peerFor(remote, r);
    const channel = new EventChannel(this, peer, r.port);
    peer.channels++;
    this.byPort[r.port] = channel;
    return channel;
  }

  private peerFor(remote: DomId, r: PortReply): Peer {
    const doorbell = resolve(this.client.dir, r.doorbell);
    const found = this.peers.find((p) => p.domid === remote);
    if (found) {
      // It may have died and come back while a channel to it was open here.
      found.doorbell = doorbell;
      return found;
    }
    const page = resolve(this.client.dir, r.page);
    const offset = this.places.get(remote) ?? this.space.reserve(PAGE_SIZE);
    this.places.set(remote, offset);
    const fd = openSync(page, 'r+');
    try {
      this.space.mapFd(offset, fd, 0, PAGE_SIZE, true);
    } finally {
      closeSync(fd);
    }
    const handle = (port: Port): void => {
      const channel = this.byPort[port];
      if (channel && channel.remote === remote) channel.fire();
      else this.stray++;
    };
    const peer = new Peer(this.space, offset, this.client.domid, remote, doorbell, handle);
    this.peers.push(peer);
    return peer;
  }

  private releasePeer(domid: DomId): void {
    const peer = this.peers.find((p) => p.domid === domid);
    if (!peer || --peer.channels > 0) return;
    this.leaving.push(peer);
    if (!this.dispatching) this.dropLeaving();
  }

  private dropLeaving(): void {
    for (let peer = this.leaving.pop(); peer !== undefined; peer = this.leaving.pop()) {
      this.peers.splice(this.peers.indexOf(peer), 1);
      peer.close();
      this.space.unmap(peer.offset, PAGE_SIZE);
    }
  }

  private onBound(port: Port, remotePort: Port): void {
    const channel = this.byPort[port];
    if (!channel) {
      if (this.early.size < EVTCHN_MAX_PORTS) this.early.set(port, remotePort);
      return;
    }
    this.early.delete(port);
    try {
      channel.bind(remotePort);
    } catch (err) {
      // Nobody is behind the doorbell: it has died since, and the news of that are on their way.
      if (['ENXIO', 'ENOENT'].includes((err as NodeJS.ErrnoException).code ?? '')) return;
      throw err;
    }
    // What was sent before went nowhere: once, so that the other end looks.
    channel.notify();
  }
}
