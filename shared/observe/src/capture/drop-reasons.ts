/** Why a frame was dropped, as a number that the data path can pass on, and as the comment that a capture shows. The words
 *  are those of the metric grantline_dropped_frames_total: where (component) and why (reason). */
import { slots } from '@grantline/machine';
import {
  NETBACK_COUNTERS,
  NETBACK_TX_COUNTERS,
  NETFRONT_COUNTERS,
  NIC_COUNTERS,
  NIC_QUEUE_COUNTERS,
  NIC_TX_COUNTERS,
  STACK_COUNTERS,
} from '../counters/names.js';
import { NET_COUNTERS } from '@grantline/tcpip';
import { COUNTER_TABLE } from '../counters/metrics-counters.js';

/** The frame was not dropped. */
export const NOT_DROPPED = 0;
/** The bytes were never in this domain's sight: the NIC put them into the guest's pages. */
export const UNSEEN = 1;

/** Numbers of a kind's reasons begin here; the slot of the counter is added. */
const ROOM = 128;
const KINDS = {
  nic: NIC_COUNTERS,
  nicQueue: NIC_QUEUE_COUNTERS,
  nicTx: NIC_TX_COUNTERS,
  netback: NETBACK_COUNTERS,
  netbackTx: NETBACK_TX_COUNTERS,
  netfront: NETFRONT_COUNTERS,
  stack: STACK_COUNTERS,
  net: NET_COUNTERS,
} as const;
const ORDER = Object.keys(KINDS) as (keyof typeof KINDS)[];

const base = (kind: keyof typeof KINDS): number => (ORDER.indexOf(kind) + 1) * ROOM;
/** First number of each kind: reason = NIC_DROP + slot of the counter in NIC_COUNTERS, and so on. */
export const NIC_DROP = base('nic');
export const NIC_QUEUE_DROP = base('nicQueue');
export const NIC_TX_DROP = base('nicTx');
export const NETBACK_DROP = base('netback');
export const NETBACK_TX_DROP = base('netbackTx');
export const NETFRONT_DROP = base('netfront');
export const STACK_DROP = base('stack');
export const NET_DROP = base('net');
/** Reasons are below this. */
export const REASONS = (ORDER.length + 1) * ROOM;

/** @returns the comment of a packet with that reason; null: it has none */
export function reasonText(reason: number): string | null {
  if (reason === UNSEEN) return "bytes not seen here: the NIC put the frame into the guest's page";
  const kind = ORDER[Math.floor(reason / ROOM) - 1];
  if (kind === undefined) return null;
  const counter = (KINDS[kind] as readonly string[])[reason % ROOM];
  const shown = counter === undefined ? undefined : COUNTER_TABLE[kind]?.counters[counter];
  if (shown === undefined || 'hidden' in shown) return null;
  for (const { family, labels } of shown)
    if (family === 'grantline_dropped_frames_total') return `dropped at ${labels.component}: ${labels.reason}`;
  return null;
}

/** All reasons that there are, with their comments. */
export function allReasons(): Map<number, string> {
  const out = new Map<number, string>();
  for (let reason = 1; reason < REASONS; reason++) {
    const said = reasonText(reason);
    if (said !== null) out.set(reason, said);
  }
  return out;
}

/** Counters that lead to a reason, by name, for tests. */
export const reasonOf = (kind: keyof typeof KINDS, counter: string): number =>
  base(kind) + (slots(KINDS[kind]) as Record<string, number>)[counter];
