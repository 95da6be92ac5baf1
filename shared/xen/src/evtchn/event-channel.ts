/** One end of an event channel, as the services use it. docs/wire/event-channel.md. */
import type { DomId, Port } from '@grantline/base';
import type { Ringer } from '@grantline/machine';
import type { Peer } from './peer.js';
import { StormGuard, type StormOptions } from './storm-guard.js';

/** Who made the channel and can close it. */
export interface ChannelOwner {
  /** null: ports are not damped. */
  readonly storms: StormOptions | null;
  closeChannel(channel: EventChannel): Promise<void>;
}

const NOTHING = (): void => {};

/** Our end of one channel. */
export class EventChannel {
  readonly port: Port;
  readonly remote: DomId;
  /** False until the other end has bound, and again after it closed. */
  bound = false;
  /** Times that the peer's doorbell was rung. */
  rings = 0;
  /** Sends that found the bit set or masked: no ring was needed. */
  coalesced = 0;
  /** Sends dropped because no one was bound. */
  dropped = 0;
  /** Events taken. */
  events = 0;
  private readonly owner: ChannelOwner;
  private readonly peer: Peer;
  /** After the close the page may be unmapped: no touch of it any more. */
  private closed = false;
  private remotePort: Port = 0 as Port;
  private handler: () => void = NOTHING;
  private guard: StormGuard | null = null;
  private unboundHandler: () => void = NOTHING;

  /** Made by EventChannels. */
  constructor(owner: ChannelOwner, peer: Peer, port: Port) {
    this.owner = owner;
    this.peer = peer;
    this.port = port;
    this.remote = peer.domid;
  }

  /** Sends an event. Never blocks; nothing happens but a count while no one is bound.
   *  @returns true when the peer's doorbell was rung */
  notify(): boolean {
    if (!this.bound) {
      this.dropped++;
      return false;
    }
    if (!this.peer.theirs.raise(this.remotePort)) {
      this.coalesced++;
      return false;
    }
    this.peer.ring();
    this.rings++;
    return true;
  }

  /** Calls `fn` from dispatch at each event; it should only schedule work.
   *  @param published how far the peer has published what events are sent for, as in StormGuard: a peer that rings without
   *    publishing is damped. Not given: it may ring as it likes */
  onEvent(fn: () => void, published?: () => number): void {
    this.handler = fn;
    const { storms } = this.owner;
    this.guard = published === undefined || storms === null ? null : new StormGuard(this, storms, published);
  }

  /** Calls `fn` when the other end closed the channel, or died. */
  onUnbound(fn: () => void): void {
    this.unboundHandler = fn;
  }

  /** Events are from now on only marked. */
  mask(): void {
    if (!this.closed) this.peer.own.setMask(this.port);
  }

  /** Ends the mask. @returns true when an event came meanwhile; dispatch will take it, but no ring comes: kick the loop */
  unmask(): boolean {
    return !this.closed && this.peer.own.clearMask(this.port);
  }

  /** Closes the port. From the call on no handler runs. */
  close(): Promise<void> {
    return this.owner.closeChannel(this);
  }

  /** Owner: an event came in. */
  fire(): void {
    this.events++;
    this.handler();
    this.guard?.event();
  }

  /** False: the peer's doorbell is needed to bind. */
  get canRing(): boolean {
    return this.peer.canRing;
  }

  /** Owner: the other end is known now. @param ringer the peer's doorbell; null where `canRing` */
  bind(remotePort: Port, ringer: Ringer | null): void {
    if (this.bound) ringer?.close();
    else this.peer.addBound(ringer);
    this.remotePort = remotePort;
    this.bound = true;
  }

  /** Owner: the other end has gone. */
  unbind(): void {
    if (!this.bound) return;
    this.bound = false;
    this.peer.removeBound();
    this.unboundHandler();
  }

  /** Owner: no handler from now on. */
  silence(): void {
    this.closed = true;
    if (this.bound) this.peer.removeBound();
    this.bound = false;
    this.handler = NOTHING;
    this.guard = null;
    this.unboundHandler = NOTHING;
  }
}
