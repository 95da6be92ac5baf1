/** What a service holds of one peer that it has event channels with. docs/wire/event-channel.md. */
import { Ringer } from '../mem/doorbell.js';
import type { DomId, Port } from '../abi/page.js';
import type { AddressSpace } from '../mem/address-space.js';
import { EventSide } from './event-page.js';

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
  /** Where it is rung from the next bind on. */
  doorbell: string;
  private ringer: Ringer | null = null;
  private boundChannels = 0;

  constructor(
    space: AddressSpace,
    offset: number,
    me: DomId,
    domid: DomId,
    doorbell: string,
    handle: (port: Port) => void,
  ) {
    this.domid = domid;
    this.offset = offset;
    this.doorbell = doorbell;
    this.own = new EventSide(space.mem, offset, me, domid);
    this.theirs = new EventSide(space.mem, offset, domid, me);
    this.handle = handle;
  }

  /** One more channel is bound. The peer has opened its doorbell before it could bind.
   *  @throws Error ENXIO or ENOENT when it has died since */
  addBound(): void {
    this.ringer ??= new Ringer(this.doorbell);
    this.boundChannels++;
  }

  /** One less. With the last the doorbell is let go of: a peer that dies and returns has another one of that name. */
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
