export { BULK_BYTES, BULK_CSUM_START, BULK_HEADER, BulkTemplate } from './bulk-templates.js';
export { foldSum, internetChecksum, pseudoSum, sumOf, swapSum, updateChecksum } from './checksum.js';
export {
  ETHERTYPE_ARP,
  ETHERTYPE_IPV4,
  ETHERTYPE_VLAN,
  ETH_BYTES,
  ETH_DST,
  ETH_MAX_FRAME,
  ETH_SRC,
  ETH_TYPE,
  VLAN_BYTES,
  WIRE_OVERHEAD_BYTES,
  etherType,
  ipv4Start,
  isGroup,
  macHi,
  macLo,
  parseMac,
  writeEthernet,
  writeMac,
  type Mac,
} from './ethernet.js';
export { fastSum, foldNative, nativeSum } from './fast-sum.js';
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
export { Joiner } from './joiner.js';
export { PacketCutter } from './packet-cutter.js';
export { PATTERN_MAX, PATTERN_SUMS, PATTERN_VARIANTS, Pattern } from './pattern.js';
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
  TCP_CWR,
  TCP_DST,
  TCP_FIN,
  TCP_FLAGS,
  TCP_FLAG_ACK,
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
export { TCP_MIN_FRAME, TEMPLATE_BYTES, isTcpSize, type FlowSpec, type TemplateSpec } from './template-spec.js';
export { UDP_BYTES, UDP_CHECK, UDP_DST, UDP_LENGTH, UDP_SRC, writeUdp } from './udp.js';
