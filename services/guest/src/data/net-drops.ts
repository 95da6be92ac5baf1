/** Finds out why the TCP/IP stack did not use a frame: which of its counters of drops went up meanwhile. Only while a capture is
 *  on; the stack itself knows nothing of captures. */
import { NET_COUNTERS } from '@grantline/tcpip';
import { NET_DROP } from '@grantline/observe';

export class NetDrops {
  private readonly slots = Int32Array.from(NET_COUNTERS.drops.map((name) => NET_COUNTERS.names.indexOf(name)));
  private readonly before = new Float64Array(this.slots.length);

  /** A frame is about to be handed to the stack. @param v the stack's counters */
  mark(v: Float64Array): void {
    for (let i = 0; i < this.slots.length; i++) this.before[i] = v[this.slots[i]];
  }

  /** @returns the reason of the drop since `mark`; 0: there was none */
  reason(v: Float64Array): number {
    for (let i = 0; i < this.slots.length; i++)
      if (v[this.slots[i]] !== this.before[i]) return NET_DROP + this.slots[i];
    return 0;
  }
}
