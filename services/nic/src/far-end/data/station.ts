/** A station lives at the far end of the cable for as long as the testbed does: the outer TCP/IP stack, a TAP device. It
 *  takes the frames that the NIC sends and that are not the measuring sink's (far-end-switch.ts), and sends frames into the NIC
 *  beside any load. It is a poller of the data loop. */
import type { Poller } from '@grantline/machine';
import type { FarEnd } from '../../hardware/data/cable-out.js';

export interface Station extends FarEnd, Poller {
  readonly name: string;
  /** When it must be polled although no event comes, on the meter's clock, nanoseconds; Infinity: never. Asked right
   *  before the loop sleeps; a station that waits for buffers of the NIC has to be `scheduled` then. */
  dueAtNs(): number;
  /** True while it waits for what only Node's event loop brings (sockets, file descriptors): the loop then sleeps there. */
  readonly waiting: boolean;
  describe(): Record<string, unknown>;
  /** Ends everything that it holds. */
  close(): Promise<void> | void;
}
