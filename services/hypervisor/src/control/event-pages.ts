/** What the hypervisor itself does with the bits of event channels: it clears those of a port that is given out, and makes
 *  a port pending that is bound. */
import type { DomId, Port } from '@grantline/base';
import { EventSide } from '@grantline/xen';
import type { Mem } from '@grantline/machine';
import { ordered } from './port-table.js';
import type { Shares } from './shares.js';

export class EventPages {
  private readonly shares: Shares;
  private readonly mem: Mem;

  constructor(shares: Shares, mem: Mem) {
    this.shares = shares;
    this.mem = mem;
  }

  clear(owner: DomId, peer: DomId, port: Port): void {
    const side = this.side(owner, peer);
    side.clear(port);
    side.clearMask(port);
  }

  raise(owner: DomId, peer: DomId, port: Port): void {
    if (this.side(owner, peer).raise(port)) this.shares.ring(owner);
  }

  /** As raise, where the peer before may have died between marking the port pending and ringing: then nobody else would
   *  ring for it, since it is pending already. */
  flush(owner: DomId, peer: DomId, port: Port): void {
    if (this.side(owner, peer).select(port)) this.shares.ring(owner);
  }

  isPending(owner: DomId, peer: DomId, port: Port): boolean {
    return this.side(owner, peer).isPending(port);
  }

  private side(owner: DomId, peer: DomId): EventSide {
    return new EventSide(this.mem, this.shares.pageAt(...ordered(owner, peer)), owner, peer);
  }
}
