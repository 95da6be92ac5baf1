/** What the network stack counts, one block for each stack. Every packet that is not used ends in one of these. */
export const NET_COUNTERS = [
  'inPackets',
  'inBytes',
  'outPackets',
  'outBytes',
  /** Packets that found the transmit area full; TCP sends them later, others are lost. */
  'linkFull',
  // Ethernet
  'dropShort',
  'dropOversize',
  'dropNotMine',
  'dropEtherType',
  // ARP
  'arpIn',
  'arpOut',
  'arpBad',
  /** Somebody else claims an own address. */
  'arpConflict',
  /** A changed address that came too soon after the last one, or unasked for. */
  'arpIgnored',
  'arpEvicted',
  'arpFailed',
  'arpQueueDrop',
  // IPv4
  'ipBadHeader',
  'ipBadChecksum',
  'ipBadSource',
  'ipNotMine',
  'ipSourceRoute',
  'ipNoProtocol',
  'ipNoRoute',
  'ipFragmentsIn',
  'ipFragmentsOut',
  'ipReassembled',
  'ipReassemblyTimeout',
  'ipReassemblyOverlap',
  'ipReassemblyBad',
  'ipReassemblyEvicted',
  // ICMP
  'icmpBad',
  'icmpEchoes',
  'icmpIgnored',
  /** Echo replies and errors not sent: too many in a row. */
  'icmpLimited',
  'icmpUnreachableOut',
  'icmpErrorsIn',
  // UDP
  'udpIn',
  'udpOut',
  'udpBadHeader',
  'udpBadChecksum',
  'udpNoPort',
  // TCP, in
  'tcpIn',
  'tcpInBytes',
  'tcpCoalesced',
  'tcpBadHeader',
  'tcpBadChecksum',
  'tcpBadOptions',
  'tcpNoConnection',
  'tcpBadAck',
  'tcpOutOfWindow',
  'tcpDuplicate',
  'tcpOverlap',
  'tcpOutOfOrder',
  /** Segments not kept: too many gaps. */
  'tcpTooManyGaps',
  /** Segments for which the connection's part of the memory had no room, as a whole or in part. */
  'tcpNoMemory',
  'tcpPaws',
  /** Segments without the timestamps that were agreed upon. They are used. */
  'tcpNoTimestamp',
  'tcpUrgent',
  'tcpDataAfterClose',
  'tcpDupAcksIn',
  'tcpResetsIn',
  // TCP, out
  'tcpOut',
  'tcpOutBytes',
  'tcpRetransmits',
  'tcpRetransmitBytes',
  'tcpTimeouts',
  'tcpFastRecoveries',
  'tcpSackReneging',
  'tcpDelayedAcks',
  'tcpProbes',
  'tcpKeepAlives',
  'tcpChallengeAcks',
  /** Resets for segments without a connection, and challenge acknowledgements, not sent: too many in a row. */
  'tcpLimited',
  'tcpResetsOut',
  // TCP, connections
  'tcpActiveOpens',
  'tcpPassiveOpens',
  'tcpOpened',
  'tcpClosed',
  'tcpTimedOut',
  'tcpUnreachable',
  'tcpPersistTimeout',
  /** SYNs refused, and acknowledgements of cookies: no more connections allowed, to anybody or to this peer. */
  'tcpConnLimit',
  'tcpTimeWaitEvicted',
  'tcpTimeWaitReused',
  /** Frames that say they come from an address that the toolstack gave to somebody else: ARP and IPv4. */
  'dropSpoofed',
  /** SYNs answered by cookies: no room for half-open connections. And acknowledgements that brought one back, or none. */
  'tcpCookiesSent',
  'tcpCookiesAccepted',
  'tcpCookiesRefused',
  /** While memory was short: connections reset because their peer took next to nothing; data given up beyond a gap that stayed. */
  'tcpStalled',
  'tcpPruned',
] as const;
