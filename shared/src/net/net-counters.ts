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
  /** Segments and writes for which the arena had no room. */
  'tcpNoMemory',
  'tcpPaws',
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
  /** SYNs refused: no more connections allowed. */
  'tcpConnLimit',
  /** Half-open connections given up for newer ones. */
  'tcpBacklogEvicted',
  'tcpTimeWaitEvicted',
  'tcpTimeWaitReused',
  /** Frames that say they come from an address that the toolstack gave to somebody else: ARP and IPv4. */
  'dropSpoofed',
] as const;
