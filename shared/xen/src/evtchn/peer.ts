/** What a service holds of one peer that it has event channels with. docs/wire/event-channel.md. */
import type { Ringer, AddressSpace } from '@grantline/machine';
import type { DomId, Port } from '@grantline/base';
import { EventSide } from './event-side.js';

/** The shared page and the doorbell of one peer. */
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
