/** Which counter of the TCP/IP stack is shown as which metric: see metrics-counters.ts. What a stack does not use is a dropped
 *  frame of the component tcpip; what was never meant for it, and what happened besides, is an event. tx and rx are the stack's own view, for each stack. */
import type { TCP_APP_COUNTERS, NET_COUNTERS } from '@grantline/tcpip';
import type { EDGE_COUNTERS, WEB_COUNTERS } from './names.js';
import type { Shown, Target } from './metrics-counters.js';
import type { FamilyName } from './metrics-families.js';
import type { Labels } from './metrics-family.js';

const RX = { direction: 'rx' } as const;
const TX = { direction: 'tx' } as const;
const to = (family: FamilyName, labels: Labels): [Target] => [{ family, labels, scale: 1 }];
const drop = (reason: string): [Target] => to('grantline_dropped_frames_total', { component: 'tcpip', reason });
const event = (op: string): [Target] => to('grantline_tcpip_events_total', { op });

export const tcpApp: { readonly [K in (typeof TCP_APP_COUNTERS)[number]]: Shown } = {
  connections: event('app_connections'),
  receivedBytes: to('grantline_tcp_app_bytes_total', RX),
  sentBytes: to('grantline_tcp_app_bytes_total', TX),
  resets: event('app_resets'),
};

export const web: { readonly [K in (typeof WEB_COUNTERS)[number]]: Shown } = {
  ok: to('grantline_http_requests_total', { op: 'ok' }),
  clientErrors: to('grantline_http_requests_total', { op: 'client_error' }),
  serverErrors: to('grantline_http_requests_total', { op: 'server_error' }),
};

const edgeOp = (op: string): [Target] => to('grantline_edge_connections_total', { op });
export const edge: { readonly [K in (typeof EDGE_COUNTERS)[number]]: Shown } = {
  opened: edgeOp('opened'),
  refusedAll: edgeOp('refused_all'),
  refusedDoor: edgeOp('refused_door'),
  refusedAddress: edgeOp('refused_address'),
  refusedByStack: edgeOp('refused_by_stack'),
  stalled: edgeOp('stalled'),
  idle: edgeOp('idle'),
  reclaimed: edgeOp('reclaimed'),
};

export const net: { readonly [K in (typeof NET_COUNTERS)[number]]: Shown } = {
  inPackets: to('grantline_tcpip_packets_total', RX),
  inBytes: to('grantline_tcpip_bytes_total', RX),
  outPackets: to('grantline_tcpip_packets_total', TX),
  outBytes: to('grantline_tcpip_bytes_total', TX),
  linkFull: event('link_full'),
  dropShort: drop('short'),
  dropOversize: drop('oversize'),
  // Harmless noise of every network, IPv6's multicasts above all: nobody lost it.
  dropNotMine: event('not_mine'),
  dropEtherType: event('ether_type'),
  arpIn: event('arp_in'),
  arpOut: event('arp_out'),
  arpBad: drop('arp_bad'),
  arpConflict: event('arp_conflict'),
  arpIgnored: event('arp_ignored'),
  arpEvicted: event('arp_evicted'),
  arpFailed: event('arp_failed'),
  arpQueueDrop: drop('arp_queue_drop'),
  ipBadHeader: drop('ip_bad_header'),
  ipBadChecksum: drop('ip_bad_checksum'),
  ipBadSource: drop('ip_bad_source'),
  ipNotMine: event('ip_not_mine'),
  ipSourceRoute: drop('ip_source_route'),
  ipNoProtocol: drop('ip_no_protocol'),
  ipNoRoute: event('ip_no_route'),
  ipFragmentsIn: event('ip_fragments_in'),
  ipFragmentsOut: event('ip_fragments_out'),
  ipReassembled: event('ip_reassembled'),
  ipReassemblyTimeout: drop('ip_reassembly_timeout'),
  ipReassemblyOverlap: drop('ip_reassembly_overlap'),
  ipReassemblyBad: drop('ip_reassembly_bad'),
  ipReassemblyEvicted: drop('ip_reassembly_evicted'),
  icmpBad: drop('icmp_bad'),
  icmpEchoes: event('icmp_echoes'),
  icmpIgnored: drop('icmp_ignored'),
  icmpLimited: event('icmp_limited'),
  icmpUnreachableOut: event('icmp_unreachable_out'),
  icmpErrorsIn: event('icmp_errors_in'),
  udpIn: event('udp_in'),
  udpOut: event('udp_out'),
  udpBadHeader: drop('udp_bad_header'),
  udpBadChecksum: drop('udp_bad_checksum'),
  udpNoPort: drop('udp_no_port'),
  tcpIn: to('grantline_tcp_segments_total', RX),
  tcpInBytes: to('grantline_tcp_payload_bytes_total', RX),
  tcpCoalesced: event('tcp_coalesced'),
  tcpBadHeader: drop('tcp_bad_header'),
  tcpBadChecksum: drop('tcp_bad_checksum'),
  tcpBadOptions: drop('tcp_bad_options'),
  tcpNoConnection: drop('tcp_no_connection'),
  tcpBadAck: drop('tcp_bad_ack'),
  tcpOutOfWindow: drop('tcp_out_of_window'),
  tcpDuplicate: drop('tcp_duplicate'),
  tcpOverlap: event('tcp_overlap'),
  tcpOutOfOrder: event('tcp_out_of_order'),
  tcpTooManyGaps: drop('tcp_too_many_gaps'),
  tcpNoMemory: drop('tcp_no_memory'),
  tcpPaws: drop('tcp_paws'),
  tcpNoTimestamp: event('tcp_no_timestamp'),
  tcpUrgent: event('tcp_urgent'),
  tcpDataAfterClose: drop('tcp_data_after_close'),
  tcpDupAcksIn: event('tcp_dup_acks_in'),
  tcpResetsIn: event('tcp_resets_in'),
  tcpOut: to('grantline_tcp_segments_total', TX),
  tcpOutBytes: to('grantline_tcp_payload_bytes_total', TX),
  tcpRetransmits: event('tcp_retransmits'),
  tcpRetransmitBytes: event('tcp_retransmit_bytes'),
  tcpTimeouts: event('tcp_timeouts'),
  tcpFastRecoveries: event('tcp_fast_recoveries'),
  tcpSackReneging: event('tcp_sack_reneging'),
  tcpDelayedAcks: event('tcp_delayed_acks'),
  tcpProbes: event('tcp_probes'),
  tcpKeepAlives: event('tcp_keep_alives'),
  tcpChallengeAcks: event('tcp_challenge_acks'),
  tcpLimited: event('tcp_limited'),
  tcpResetsOut: event('tcp_resets_out'),
  tcpActiveOpens: event('tcp_active_opens'),
  tcpPassiveOpens: event('tcp_passive_opens'),
  tcpOpened: event('tcp_opened'),
  tcpClosed: event('tcp_closed'),
  tcpTimedOut: event('tcp_timed_out'),
  tcpUnreachable: event('tcp_unreachable'),
  tcpPersistTimeout: event('tcp_persist_timeout'),
  tcpConnLimit: drop('tcp_conn_limit'),
  tcpTimeWaitEvicted: event('tcp_time_wait_evicted'),
  tcpTimeWaitReused: event('tcp_time_wait_reused'),
  dropSpoofed: drop('spoofed'),
  tcpCookiesSent: event('tcp_cookies_sent'),
  tcpCookiesAccepted: event('tcp_cookies_accepted'),
  tcpCookiesRefused: event('tcp_cookies_refused'),
  tcpStalled: event('tcp_stalled'),
  tcpPruned: event('tcp_pruned'),
};
