/** What a TCP/IP stack counts - a guest's, or the outer one - and the applications on top of it. tx and rx are the stack's own view. */
import { counters, dropOf, named, RX, shown, TX, type Entry } from '@grantline/machine';

const happened = (op: string): Entry => shown('grantline_tcpip_events_total', { op });
/** What was never meant for the stack, and what happened besides. */
const event = named('grantline_tcpip_events_total', 'op');
const drop = dropOf({
  component: 'tcpip',
  outside: 'behind inPackets frames are joined, answered and sent again: the path is balanced up to there',
});

/** One block for each stack. Every packet that is not used ends in one of these. */
export const NET_COUNTERS = counters('net', 'vif', {
  inPackets: shown('grantline_tcpip_packets_total', RX),
  inBytes: shown('grantline_tcpip_bytes_total', RX),
  outPackets: shown('grantline_tcpip_packets_total', TX),
  outBytes: shown('grantline_tcpip_bytes_total', TX),
  /** Packets that found the transmit area full; TCP sends them later, others are lost. */
  linkFull: event,
  // Ethernet
  dropShort: drop,
  dropOversize: drop,
  // Harmless noise of every network, IPv6's multicasts above all: nobody lost it.
  dropNotMine: event,
  dropEtherType: event,
  // ARP
  arpIn: event,
  arpOut: event,
  arpBad: drop,
  /** Somebody else claims an own address. */
  arpConflict: event,
  /** A changed address that came too soon after the last one, or unasked for. */
  arpIgnored: event,
  arpEvicted: event,
  arpFailed: event,
  arpQueueDrop: drop,
  // IPv4
  ipBadHeader: drop,
  ipBadChecksum: drop,
  ipBadSource: drop,
  ipNotMine: event,
  ipSourceRoute: drop,
  ipNoProtocol: drop,
  ipNoRoute: event,
  ipFragmentsIn: event,
  ipFragmentsOut: event,
  ipReassembled: event,
  ipReassemblyTimeout: drop,
  ipReassemblyOverlap: drop,
  ipReassemblyBad: drop,
  ipReassemblyEvicted: drop,
  // ICMP
  icmpBad: drop,
  icmpEchoes: event,
  icmpIgnored: drop,
  /** Echo replies and errors not sent: too many in a row. */
  icmpLimited: event,
  icmpUnreachableOut: event,
  icmpErrorsIn: event,
  // UDP
  udpIn: event,
  udpOut: event,
  udpBadHeader: drop,
  udpBadChecksum: drop,
  udpNoPort: drop,
  // TCP, in
  tcpIn: shown('grantline_tcp_segments_total', RX),
  tcpInBytes: shown('grantline_tcp_payload_bytes_total', RX),
  tcpCoalesced: event,
  tcpBadHeader: drop,
  tcpBadChecksum: drop,
  tcpBadOptions: drop,
  tcpNoConnection: drop,
  tcpBadAck: drop,
  tcpOutOfWindow: drop,
  tcpDuplicate: drop,
  tcpOverlap: event,
  tcpOutOfOrder: event,
  /** Segments not kept: too many gaps. */
  tcpTooManyGaps: drop,
  /** Segments for which the connection's part of the memory had no room, as a whole or in part. */
  tcpNoMemory: drop,
  tcpPaws: drop,
  /** Segments without the timestamps that were agreed upon. They are used. */
  tcpNoTimestamp: event,
  tcpUrgent: event,
  tcpDataAfterClose: drop,
  tcpDupAcksIn: event,
  tcpResetsIn: event,
  // TCP, out
  tcpOut: shown('grantline_tcp_segments_total', TX),
  tcpOutBytes: shown('grantline_tcp_payload_bytes_total', TX),
  tcpRetransmits: event,
  tcpRetransmitBytes: event,
  tcpTimeouts: event,
  tcpFastRecoveries: event,
  tcpSackReneging: event,
  tcpDelayedAcks: event,
  tcpProbes: event,
  tcpKeepAlives: event,
  tcpChallengeAcks: event,
  /** Resets for segments without a connection, and challenge acknowledgements, not sent: too many in a row. */
  tcpLimited: event,
  tcpResetsOut: event,
  // TCP, connections
  tcpActiveOpens: event,
  tcpPassiveOpens: event,
  tcpOpened: event,
  tcpClosed: event,
  tcpTimedOut: event,
  tcpUnreachable: event,
  tcpPersistTimeout: event,
  /** SYNs refused, and acknowledgements of cookies: no more connections allowed, to anybody or to this peer. */
  tcpConnLimit: drop,
  tcpTimeWaitEvicted: event,
  tcpTimeWaitReused: event,
  /** Frames that say they come from an address that the toolstack gave to somebody else: ARP and IPv4. */
  dropSpoofed: drop,
  /** SYNs answered by cookies: no room for half-open connections. And acknowledgements that brought one back, or none. */
  tcpCookiesSent: event,
  tcpCookiesAccepted: event,
  tcpCookiesRefused: event,
  /** While memory was short: connections reset because their peer took next to nothing; data given up beyond a gap that stayed. */
  tcpStalled: event,
  tcpPruned: event,
});

/** The applications on top of connections that measure TCP (not the web application). */
export const TCP_APP_COUNTERS = counters('tcpApp', 'vif', {
  connections: happened('app_connections'),
  /** Payload that lies in, or came from, the application's own memory. */
  receivedBytes: shown('grantline_tcp_app_bytes_total', RX),
  sentBytes: shown('grantline_tcp_app_bytes_total', TX),
  resets: happened('app_resets'),
});
