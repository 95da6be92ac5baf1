/** One end of an event channel, as the services use it, with what it is made of: the peer, and what damps one that storms.
 *  docs/wire/event-channel.md. */
import type { AddressSpace, Notify, Ringer } from '@grantline/machine';
import type { DomId, Port } from '@grantline/base';
import { EventSide } from './event-side.js';

/** Who made the channel and can close it. */
interface ChannelOwner {
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

  /** As plain values. */
  describe() {
    const { port, remote, bound, rings, coalesced, dropped, events } = this;
    return { port, remote, bound, rings, coalesced, dropped, events };
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

/** The end of every batch: what was written is visible, and the peer is rung when it asked.
 *  @param asked what `push` or `publish` returned
 *  @param v counters @param notifications slot that counts the rings @param suppressed slot that counts those that nobody asked for */
export function notifyIf(
  asked: boolean,
  peer: Notify,
  v: Float64Array,
  notifications: number,
  suppressed: number,
): void {
  if (asked) {
    v[notifications]++;
    peer.notify();
  } else v[suppressed]++;
}

/** What a service holds of one peer that it has event channels with: the shared page, and the doorbell. */
export class Peer {
  readonly domid: DomId;
  /** Our bits: we clear, the peer sets. */
  readonly own: EventSide;
  /** The peer's bits. */
  readonly theirs: EventSide;
  readonly offset: number;
  readonly handle: (port: Port) => void;
  channels = 0;
  private ringer: Ringer | null = null;
  private boundChannels = 0;

  constructor(space: AddressSpace, offset: number, me: DomId, domid: DomId, handle: (port: Port) => void) {
    this.domid = domid;
    this.offset = offset;
    this.own = new EventSide(space.mem, offset, me, domid);
    this.theirs = new EventSide(space.mem, offset, domid, me);
    this.handle = handle;
  }

  /** False: the next bind needs a ringer. */
  get canRing(): boolean {
    return this.ringer !== null;
  }

  /** One more channel is bound. @param ringer the peer's doorbell, from now on this one's; null: there is one already */
  addBound(ringer: Ringer | null): void {
    if (this.ringer === null) this.ringer = ringer;
    else ringer?.close();
    this.boundChannels++;
  }

  /** One less. With the last the doorbell is let go of: a peer that dies and returns has another one. */
  removeBound(): void {
    if (--this.boundChannels === 0) this.close();
  }

  ring(): void {
    this.ringer?.ring();
  }

  close(): void {
    this.ringer?.close();
    this.ringer = null;
  }
}

/** So many spurious events in a row are put up with: binding, and a port that changes hands, make one each. */
const PATIENCE = 4;
const LONGEST_MASK_MS = 64;

/** What all ports of a service share. */
export interface StormOptions {
  /** Events are there although no doorbell was rung: dispatch them soon. */
  kick: () => void;
  /** A port was masked. */
  count: () => void;
  after: (ms: number, then: () => void) => void;
}

/** Damps a port whose peer rings without reason, as Xen's late EOI does (Linux drivers/xen/events): an event behind which nothing
 *  was published is spurious; after a few of them in a row the port is masked for 1, 2, 4 ... ms, until one has a reason again.
 *  Nothing is lost meanwhile: what comes while it is masked is pending, and taken when the mask ends.
 *
 *  Only what the peer published counts, not what was found: a poller that had taken the work before the event came, or cannot
 *  take it now, is no fault of the peer's. */
class StormGuard {
  private readonly port: EventChannel;
  private readonly o: StormOptions;
  private readonly published: () => number;
  private last: number;
  private spurious = 0;
  private masked = false;

  /** @param published how far the peer has published: an index modulo 2^32, or a sum of such */
  constructor(port: EventChannel, options: StormOptions, published: () => number) {
    this.port = port;
    this.o = options;
    this.published = published;
    this.last = published() | 0;
  }

  /** An event has come. */
  event(): void {
    const now = this.published() | 0;
    if (((now - this.last) | 0) > 0) {
      this.last = now;
      this.spurious = 0;
      return;
    }
    if (++this.spurious <= PATIENCE || this.masked) return;
    const ms = Math.min(LONGEST_MASK_MS, 2 ** (this.spurious - PATIENCE - 1));
    this.masked = true;
    this.port.mask();
    this.o.count();
    this.o.after(ms, () => {
      this.masked = false;
      if (this.port.unmask()) this.o.kick();
    });
  }
}
