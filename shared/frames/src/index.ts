/** Frames as bytes in memory: headers, sums, where headers are, cutting and joining, templates, stamps, rules of senders. */
export { BULK_BYTES, BULK_CSUM_START, BULK_HEADER, BulkTemplate } from './bulk-template.js';
export {
  fastSum,
  fillChecksum,
  foldNative,
  foldSum,
  internetChecksum,
  nativePseudo,
  nativeSum,
  pseudoSum,
  sumOf,
  swap16,
  swapSum,
  updateChecksum,
} from './checksum.js';
export { Cutter } from './cut.js';
export {
  ETHERTYPE_ARP,
  ETHERTYPE_IPV4,
  ETHERTYPE_VLAN,
  ETH_BYTES,
  ETH_DST,
  ETH_MAX_FRAME,
  ETH_MAX_PACKET,
  ETH_MIN_FRAME,
  ETH_SRC,
  ETH_TYPE,
  IMIX_BYTES,
  IMIX_WEIGHTS,
  LINK_GBPS,
  MAC_FORM,
  VLAN_BYTES,
  WIRE_OVERHEAD_BYTES,
  etherType,
  formatMac,
  isGroup,
  isMacAt,
  keyOf,
  macHi,
  macLo,
  macOf,
  parseMac,
  writeEthernet,
  writeMac,
  type Mac,
} from './ethernet.js';
export { FlowTemplates } from './flow-templates.js';
export {
  IP_BROADCAST,
  IP_BYTES,
  IP_CHECK,
  IP_DST,
  IP_FLAGS,
  IP_FRAGMENT_MASK,
  IP_ID,
  IP_LENGTH,
  IP_PROTOCOL,
  IP_SRC,
  IP_TOS,
  IP_TTL,
  PROTO_TCP,
  PROTO_UDP,
  formatIp,
  parseIp,
  writeIpv4,
} from './ipv4.js';
export { follows, isLast, mayJoin } from './join.js';
export { Joiner } from './joiner.js';
export { endOf, ipAt, l3Of, l4Of, tcpAt, tcpBehind } from './locate.js';
export { PacketCutter } from './packet-cutter.js';
export { PATTERN_MAX, PATTERN_SUMS, PATTERN_VARIANTS, Pattern } from './pattern.js';
export { HAIRPIN, SPOOFED, STORM, STORM_BURST, STORM_PER_SECOND, SenderRule, TO_ALL, TO_ONE } from './sender-rule.js';
export { GivenAddresses, SourceRule } from './source-rule.js';
export {
  GENERATOR_PORT,
  RESPOND_PORT,
  STAMP_BYTES,
  STAMP_CHECK,
  STAMP_FLOWS,
  STAMP_SEQ,
  STAMP_TIME,
  UDP_HALF,
  stampCheck,
  writeStamp,
} from './stamp.js';
export {
  TCP_ACK,
  TCP_BYTES,
  TCP_CHECK,
  TCP_DST,
  TCP_FIN,
  TCP_FLAG_ACK,
  TCP_FLAG_BITS,
  TCP_OFFSET,
  TCP_PSH,
  TCP_RST,
  TCP_SEQ,
  TCP_SRC,
  TCP_SYN,
  TCP_TSVAL,
  TCP_TS_BYTES,
  TCP_TS_LAYOUT,
  TCP_TS_OPTION,
  TCP_URG,
  TCP_WINDOW,
} from './tcp.js';
export {
  TCP_MIN_FRAME,
  TEMPLATE_BYTES,
  headerOf,
  isTcpSize,
  writeHeaders,
  type FlowHeader,
  type FlowSpec,
  type TemplateSpec,
} from './template-spec.js';
export { UDP_BYTES, UDP_CHECK, UDP_DST, UDP_LENGTH, UDP_SRC, writeUdp } from './udp.js';
