/** Packets of one vif queue, first in, first out. There are never more than MAX_PENDING. */
import { MAX_PENDING } from '../tx/tx-packets.js';

const MASK = MAX_PENDING - 1;

export class PacketFifo {
  count = 0;
  private readonly ring = new Int16Array(MAX_PENDING);
  private from = 0;

  push(packet: number): void {
    this.ring[(this.from + this.count++) & MASK] = packet;
  }

  /** The oldest one. Only while there is one. */
  get first(): number {
    return this.ring[this.from];
  }

  /** Takes the oldest one. */
  shift(): number {
    const packet = this.ring[this.from];
    this.from = (this.from + 1) & MASK;
    this.count--;
    return packet;
  }
}
