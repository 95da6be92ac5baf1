/** Which counter of the transmit path is shown as which metric: see metrics-counters.ts. Up to the NIC what is counted are
 *  packets, which may be as long as 64 KiB; behind it, frames. */
import type {
  EGRESS_COUNTERS,
  NETBACK_TX_COUNTERS,
  NETFRONT_TX_COUNTERS,
  NIC_TX_COUNTERS,
  SENDER_COUNTERS,
} from './names.js';
import type { Shown, Target } from './metrics-counters.js';
import type { FamilyName } from './metrics-families.js';
import type { Labels } from './metrics-family.js';

type Table<N extends readonly string[]> = { readonly [K in N[number]]: Shown };

const TX = { direction: 'tx' } as const;
const to = (family: FamilyName, labels: Labels = {}): [Target] => [{ family, labels, scale: 1 }];
const hidden = (why: string): Shown => ({ hidden: why });
const drop = (component: string, reason: string): [Target] =>
  to('grantline_dropped_frames_total', { component, reason });
const sent = (component: string): [Target] => to('grantline_notifications_total', { component });
const suppressed = (component: string): [Target] => to('grantline_notifications_suppressed_total', { component });
const asked = (op: string): [Target] => to('grantline_netback_grant_operations_total', { op });
const copies = (component: string): [Target] => to('grantline_copies_total', { component });
const copied = (component: string): [Target] => to('grantline_copied_bytes_total', { component });
const granted = (op: string): [Target] => to('grantline_netfront_grants_total', { op });
const GAUGE = 'a level, not a count: the pools show theirs as gauges';
const WAY = 'which way a packet took: the dump and the results files tell it';

export const egress: Table<typeof EGRESS_COUNTERS> = {
  frames: to('grantline_cable_frames_total', TX),
  bytes: to('grantline_cable_bytes_total', TX),
  toStation: hidden('part of frames: the stack of the station counts its own'),
};

export const nicTx: Table<typeof NIC_TX_COUNTERS> = {
  packets: hidden('what was sent and what was dropped, together'),
  sentPackets: hidden('packets before they are cut: frames are shown'),
  frames: to('grantline_nic_queue_frames_total', TX),
  bytes: to('grantline_nic_queue_bytes_total', TX),
  descriptors: to('grantline_nic_queue_buffers_total'),
  segmented: hidden('how many packets were cut: frames are shown'),
  checksums: hidden('how many packets had their checksum filled in'),
  toQueues: hidden('how many of the frames went to another queue: that queue counts them, too'),
  floodFrames: hidden('group-addressed frames that the default queue was given, too: it counts them'),
  dropBadDescriptor: drop('nic_transmit', 'bad_descriptor'),
  dropDmaRefused: drop('nic_transmit', 'dma_refused'),
  dropOversize: drop('nic_transmit', 'oversize'),
  dropSpoofed: drop('nic_transmit', 'spoofed'),
  dropStorm: drop('nic_transmit', 'storm'),
  dropHairpin: drop('nic_transmit', 'hairpin'),
  faults: hidden('a queue that has stopped: the dump of the nic says why'),
  notifications: sent('nic_queue'),
  suppressed: suppressed('nic_queue'),
  exceptions: to('grantline_contained_faults_total', { component: 'nic_transmit' }),
};

export const sender: Table<typeof SENDER_COUNTERS> = {
  packets: hidden('the same packets as netfront is handed'),
  frames: hidden('the same frames as come out of the cable, but for drops'),
  bytes: hidden('the same bytes as come out of the cable, but for drops'),
  payloadBytes: hidden('a part of the bytes that come out of the cable'),
  copies: copies('application'),
  copiedBytes: copied('application'),
};

export const netfrontTx: Table<typeof NETFRONT_TX_COUNTERS> = {
  packets: to('grantline_netfront_frames_total', TX),
  slots: hidden('slots of packets: the rings show how full they are'),
  sent: hidden('packets less those that were answered with an error'),
  dropError: drop('netfront_transmit', 'error'),
  grantsIssued: granted('issued'),
  grantsRevoked: granted('revoked'),
  quarantined: granted('quarantined'),
  notifications: sent('netfront'),
  suppressed: suppressed('netfront'),
  poolGrants: hidden(GAUGE),
};

export const netbackTx: Table<typeof NETBACK_TX_COUNTERS> = {
  packets: to('grantline_netback_frames_total', TX),
  bytes: to('grantline_netback_bytes_total', TX),
  slots: to('grantline_netback_requests_total'),
  extras: hidden('extra-info slots, which carry no data'),
  toUplink: hidden(WAY),
  toNic: hidden(WAY),
  toVif: hidden(WAY),
  vifFrames: to('grantline_bridge_frames_total', { op: 'forwarded' }),
  flooded: to('grantline_bridge_frames_total', { op: 'flooded' }),
  floodUplink: hidden(WAY),
  floodCopies: hidden(WAY),
  nicErrors: hidden('what the NIC refused stands with the NIC as dropped'),
  vifErrors: hidden('what a vif refused stands with that vif as dropped'),
  dropBadRequest: drop('netback_transmit', 'bad_request'),
  dropTooManySlots: drop('netback_transmit', 'too_many_slots'),
  dropGrantError: drop('netback_transmit', 'grant_error'),
  dropBadHeader: drop('netback_transmit', 'bad_header'),
  dropSpoofed: drop('netback_transmit', 'spoofed'),
  dropStorm: drop('netback_transmit', 'storm'),
  dropHairpin: drop('netback_transmit', 'hairpin'),
  dropNoPort: drop('netback_transmit', 'no_port'),
  dropNoRoom: drop('netback_transmit', 'no_room'),
  dropTooLong: drop('netback_transmit', 'too_long'),
  dropDisabled: drop('netback_transmit', 'disabled'),
  ringFaults: to('grantline_ring_faults_total', { reason: 'index' }),
  creditWaits: hidden('how often a vif had to wait for its rate'),
  mapOps: asked('map'),
  unmapOps: asked('unmap'),
  copyOps: asked('copy'),
  localCopies: copies('driver_domain'),
  localCopiedBytes: copied('driver_domain'),
  hypercalls: to('grantline_netback_hypercalls_total'),
  notifications: sent('netback'),
  suppressed: suppressed('netback'),
  poolGrants: hidden(GAUGE),
};
