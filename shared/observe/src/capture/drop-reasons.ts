/** Why a frame was dropped, as a number that the data path can pass on, and as the comment that a capture shows. The words
 *  are those of the metric grantline_dropped_frames_total: where (component) and why (reason). */
import type { Declared } from '@grantline/machine';
import { NET_COUNTERS } from '@grantline/tcpip';
import { NIC_COUNTERS, NIC_QUEUE_COUNTERS, NIC_TX_COUNTERS } from '../counters/nic.js';
import { NETFRONT_COUNTERS, STACK_COUNTERS } from '../counters/guest.js';
import { NETBACK_COUNTERS, NETBACK_TX_COUNTERS } from '../counters/driver-domain.js';

/** The frame was not dropped. */
export const NOT_DROPPED = 0;
/** The bytes were never in this domain's sight: the NIC put them into the guest's pages. */
export const UNSEEN = 1;

/** Numbers of a kind's reasons begin here; the slot of the counter is added. */
const ROOM = 128;
const KINDS: readonly Declared[] = [
  NIC_COUNTERS,
  NIC_QUEUE_COUNTERS,
  NIC_TX_COUNTERS,
  NETBACK_COUNTERS,
  NETBACK_TX_COUNTERS,
  NETFRONT_COUNTERS,
  STACK_COUNTERS,
  NET_COUNTERS,
];

const base = (kind: Declared): number => (KINDS.indexOf(kind) + 1) * ROOM;
/** First number of each kind: reason = NIC_DROP + slot of the counter in NIC_COUNTERS, and so on. */
export const NIC_DROP = base(NIC_COUNTERS);
export const NIC_QUEUE_DROP = base(NIC_QUEUE_COUNTERS);
export const NIC_TX_DROP = base(NIC_TX_COUNTERS);
export const NETBACK_DROP = base(NETBACK_COUNTERS);
export const NETBACK_TX_DROP = base(NETBACK_TX_COUNTERS);
export const NETFRONT_DROP = base(NETFRONT_COUNTERS);
export const STACK_DROP = base(STACK_COUNTERS);
export const NET_DROP = base(NET_COUNTERS);
/** Reasons are below this. */
export const REASONS = (KINDS.length + 1) * ROOM;

/** All reasons that there are, with the comments of a packet that has them. */
export function allReasons(): Map<number, string> {
  const out = new Map([[UNSEEN, "bytes not seen here: the NIC put the frame into the guest's page"]]);
  for (const kind of KINDS)
    kind.names.forEach((name, slot) => {
      const { drop } = kind.counters[name];
      if (drop !== null) out.set(base(kind) + slot, `dropped at ${drop.component}: ${drop.reason}`);
    });
  return out;
}

/** The reason that a counter leads to, for tests. */
export const reasonOf = (kind: Declared, counter: string): number => base(kind) + kind.names.indexOf(counter);
