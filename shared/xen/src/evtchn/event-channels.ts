/** A service's event channels: ports set up through the hypervisor, events sent and taken without it.
 *  Sources: Xen public/event_channel.h. docs/wire/event-channel.md.
 *
 *  Of each peer one page is mapped, for as long as a channel to it is open, and one doorbell held, while one is bound. */
import { closeSync } from 'node:fs';
import { Ringer, type AddressSpace } from '@grantline/machine';
import { PAGE_SIZE, type DomId, type Port } from '@grantline/base';
import { EVTCHN_MAX_PORTS } from '../abi/event-channel.js';
import type { HypervisorPort } from '../hypervisor/hypervisor-port.js';
import { EventChannel, Peer, type StormOptions } from './event-channel.js';

/** What this needs of the client. */
export type EvtchnTransport = Pick<HypervisorPort, 'request' | 'onEvent' | 'domid' | 'descriptor'>;

interface PortReply {
  port: Port;
}

/** The other end of a channel, as one bound event named it. */
interface FarEnd {
  readonly port: Port;
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
  /** Of ports that the other end has bound, until they are here, too: the channel may still be in the making, or the peer's
   *  doorbell on its way. */
  private readonly joining = new Map<Port, FarEnd>();
  /** Closes that the hypervisor has not answered yet. */
  private readonly closing = new Set<Promise<unknown>>();

  constructor(client: EvtchnTransport, space: AddressSpace) {
    this.client = client;
    this.space = space;
    client.onEvent<{ port: Port; remotePort: Port }>('evtchn.bound', (e) => this.onBound(e.port, e.remotePort));
    client.onEvent<{ port: Port }>('evtchn.unbound', (e) => this.onUnbound(e.port));
  }

  /** Makes a port that domain `remote` may bind to; tell it the number through xenstore. */
  async allocUnbound(remote: DomId): Promise<EventChannel> {
    // The lowest free number is given: it may be one that is being closed, and what comes for that one until its close is
    // answered is not meant for its successor.
    while (this.closing.size > 0) await Promise.all(this.closing);
    const r = await this.client.request<PortReply>('evtchn.allocUnbound', { remote });
    const channel = await this.made(remote, r.port);
    const far = this.joining.get(channel.port);
    if (far !== undefined) await this.join(channel, far);
    return channel;
  }

  /** Binds to a port that `remote` allocated for us. Our own end has an event pending at once, as in Xen.
   *  @throws HypervisorError when there is no such port for us */
  async bindInterdomain(remote: DomId, remotePort: Port): Promise<EventChannel> {
    const r = await this.client.request<PortReply>('evtchn.bindInterdomain', { remote, remotePort });
    const far = { port: remotePort };
    this.joining.set(r.port, far);
    const channel = await this.made(remote, r.port);
    try {
      if (await this.bind(channel, far)) return channel;
      throw new Error(`port ${remotePort} of domain ${remote} was closed`);
    } catch (err) {
      await channel.close().catch(NOTHING);
      throw err;
    }
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
  list(): ReturnType<EventChannel['describe']>[] {
    return this.byPort.flatMap((channel) => channel?.describe() ?? []);
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
    const settled: Promise<unknown> = answered.catch(NOTHING).then(() => {
      this.joining.delete(port);
      this.closing.delete(settled);
    });
    this.closing.add(settled);
    await answered;
  }

  /** A channel for a port that we have. When it cannot be made, the port is given back: nobody else could close it. */
  private async made(remote: DomId, port: Port): Promise<EventChannel> {
    try {
      const channel = new EventChannel(this, await this.peerFor(remote), port);
      this.byPort[port] = channel;
      return channel;
    } catch (err) {
      await this.giveBack(port).catch(NOTHING);
      throw err;
    }
  }

  /** The peer, with one more channel: from now on its page stays mapped until that is closed. */
  private async peerFor(remote: DomId): Promise<Peer> {
    const known = (): Peer | undefined => this.peers.find((p) => p.domid === remote);
    let peer = known();
    if (peer === undefined) {
      const fd = await this.client.descriptor('page', remote);
      try {
        // Another channel may have been faster.
        peer = known() ?? this.addPeer(remote, fd);
      } finally {
        closeSync(fd);
      }
    }
    peer.channels++;
    return peer;
  }

  private addPeer(remote: DomId, page: number): Peer {
    const offset = this.places.get(remote) ?? this.space.reserve(PAGE_SIZE);
    this.places.set(remote, offset);
    this.space.mapFd(offset, page, 0, PAGE_SIZE, true);
    const handle = (port: Port): void => {
      const channel = this.byPort[port];
      if (channel && channel.remote === remote) channel.fire();
      else this.stray++;
    };
    const peer = new Peer(this.space, offset, this.client.domid, remote, handle);
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
    if (this.joining.size < EVTCHN_MAX_PORTS) this.joining.set(port, { port: remotePort });
    const channel = this.byPort[port];
    const far = this.joining.get(port);
    if (channel === null || channel === undefined || far === undefined) return;
    void this.join(channel, far);
  }

  private onUnbound(port: Port): void {
    this.joining.delete(port);
    this.byPort[port]?.unbind();
  }

  /** The other end has bound to a channel of ours. */
  private async join(channel: EventChannel, far: FarEnd): Promise<void> {
    try {
      // What was sent before went nowhere: once, so that the other end looks.
      if (await this.bind(channel, far)) channel.notify();
    } catch {
      // Nobody is there to be rung: it has died since, and the news of that are on their way.
    }
  }

  /** @returns false when one end has gone meanwhile */
  private async bind(channel: EventChannel, far: FarEnd): Promise<boolean> {
    const ringer = channel.canRing ? null : new Ringer(await this.client.descriptor('ringer', channel.remote));
    // From here to the bind nothing else runs: a doorbell that was there still is.
    if (this.byPort[channel.port] !== channel || this.joining.get(channel.port) !== far) {
      ringer?.close();
      return false;
    }
    this.joining.delete(channel.port);
    channel.bind(far.port, ringer);
    return true;
  }
}
