/** Headers as bytes in memory: where each field is, and the plain ones written. Numbers on the wire are big-endian. Lengths of
 *  frames count the Ethernet header and not the FCS. Where headers are found in a packet: locate.ts. */
import type { Mem } from '@grantline/machine';
import { internetChecksum } from './checksum.js';

/** Ethernet header, with or without one or two VLAN tags. Source: IEEE 802.3, 802.1Q.
 *    0        6        12     14
 *    | dst    | src    | type | payload ...          with a tag: | 0x8100 | tci | type | */
export const ETH_DST = 0;
export const ETH_SRC = 6;
export const ETH_TYPE = 12;
export const ETH_BYTES = 14;
export const VLAN_BYTES = 4;
/** Shortest and longest frame that this project sends: 64 and 9018 with the FCS. Shorter ones are padded with zeros. */
export const ETH_MIN_FRAME = 60;
export const ETH_MAX_FRAME = 9014;
/** Longest packet that is handed on before it is cut: rings and NIC queues count bytes in 16 bits. */
export const ETH_MAX_PACKET = 65535;
/** Bytes that Ethernet adds to each frame on the wire: FCS 4, preamble and start 8, gap 12. Source: IEEE 802.3. */
export const WIRE_OVERHEAD_BYTES = 24;
/** Link rates that there are. */
export const LINK_GBPS = [1, 10, 25, 40, 100] as const;
/** IMIX_v4_1 (RFC 6985): 28 x 64, 16 x 570, 4 x 1518 bytes with FCS; here without. */
export const IMIX_BYTES: readonly number[] = [60, 566, 1514];
export const IMIX_WEIGHTS: readonly number[] = [28, 16, 4];

export const ETHERTYPE_IPV4 = 0x0800;
export const ETHERTYPE_ARP = 0x0806;
export const ETHERTYPE_IPV6 = 0x86dd;
export const ETHERTYPE_VLAN = 0x8100;
/** Tags that are looked behind: a service's and a customer's. */
export const MAX_VLAN_TAGS = 2;

/** A MAC address as its first 16 bits, unsigned, and its last 32, signed: what macHi and macLo read of a frame, so that
 *  nothing is made to compare one, and both are small integers for the engine. Where a single number has to stand for it, in a
 *  Map or in settings, that is its key. */
export interface Mac {
  readonly hi: number;
  readonly lo: number;
}

/** How an address is written, as a regular expression. */
export const MAC_FORM = '^[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}$';

/** @param text six hexadecimal bytes with colons. @throws RangeError when it is not */
export function parseMac(text: string): Mac {
  if (!new RegExp(MAC_FORM).test(text)) throw new RangeError(`'${text}' is not a MAC address`);
  const hex = text.replaceAll(':', '');
  return { hi: parseInt(hex.slice(0, 4), 16), lo: parseInt(hex.slice(4), 16) | 0 };
}

export function formatMac(mac: Mac): string {
  const hex = mac.hi.toString(16).padStart(4, '0') + (mac.lo >>> 0).toString(16).padStart(8, '0');
  return (hex.match(/../g) as string[]).join(':');
}

/** The address as one number below 2^48. */
export const keyOf = (mac: Mac): number => mac.hi * 2 ** 32 + (mac.lo >>> 0);
export const macOf = (key: number): Mac => ({ hi: Math.floor(key / 2 ** 32), lo: key | 0 });

/** First 16 bits of the MAC address at a byte offset (frame + ETH_DST or ETH_SRC). */
export const macHi = (mem: Mem, at: number): number => mem.dv.getUint16(at);
/** Last 32 bits of the MAC address at a byte offset, signed. */
export const macLo = (mem: Mem, at: number): number => mem.dv.getInt32(at + 2);
/** True when that address stands at a byte offset. */
export const isMacAt = (mem: Mem, at: number, mac: Mac): boolean =>
  macLo(mem, at) === mac.lo && macHi(mem, at) === mac.hi;
/** True for multicast and broadcast addresses, by their first 16 bits. */
export const isGroup = (hi: number): boolean => (hi & 0x0100) !== 0;
/** True for the EtherTypes that tags begin with: 802.1Q, 802.1ad, and older ones for the outer tag. */
export const isVlan = (type: number): boolean =>
  type === ETHERTYPE_VLAN || type === 0x88a8 || type === 0x9100 || type === 0x9200 || type === 0x9300;
export const etherType = (mem: Mem, frame: number): number => mem.dv.getUint16(frame + ETH_TYPE);

export function writeMac(mem: Mem, at: number, mac: Mac): void {
  mem.dv.setUint16(at, mac.hi);
  mem.dv.setInt32(at + 2, mac.lo);
}

/** Writes an untagged header. */
export function writeEthernet(mem: Mem, frame: number, dst: Mac, src: Mac, type: number): void {
  writeMac(mem, frame + ETH_DST, dst);
  writeMac(mem, frame + ETH_SRC, src);
  mem.dv.setUint16(frame + ETH_TYPE, type);
}

/** IPv4 header. Source: RFC 791.
 *    0     1    2      4   6         8    9      10      12   16   20
 *    | vl  | tos| len  | id| flags   | ttl| proto| check | src| dst| options ... */
const IP_VERSION_IHL = 0;
export const IP_TOS = 1;
export const IP_LENGTH = 2;
export const IP_ID = 4;
export const IP_FLAGS = 6;
export const IP_TTL = 8;
export const IP_PROTOCOL = 9;
export const IP_CHECK = 10;
export const IP_SRC = 12;
export const IP_DST = 16;
/** Header without options. */
export const IP_BYTES = 20;

export const IP_DF = 0x4000;
/** More-fragments bit and fragment offset: not zero in any part of a fragmented packet. */
export const IP_FRAGMENT_MASK = 0x3fff;
export const PROTO_TCP = 6;
export const PROTO_UDP = 17;
export const IP_BROADCAST = 0xffffffff;

/** @param text dotted decimal. @returns the address as an unsigned number. @throws RangeError when it is not one */
export function parseIp(text: string): number {
  const parts = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(text)?.slice(1).map(Number);
  if (!parts || parts.some((p) => p > 255)) throw new RangeError(`'${text}' is not an IPv4 address`);
  return parts.reduce((ip, p) => ip * 256 + p, 0);
}

export const formatIp = (ip: number): string => [ip >>> 24, (ip >>> 16) & 255, (ip >>> 8) & 255, ip & 255].join('.');

/** Writes a header without options, not to be fragmented, with a right checksum. The id stays 0: it means nothing in a
 *  packet that is never fragmented (RFC 6864).
 *  @param length header and payload, bytes */
export function writeIpv4(mem: Mem, ip: number, length: number, protocol: number, src: number, dst: number): void {
  const dv = mem.dv;
  dv.setUint16(ip + IP_VERSION_IHL, 0x4500);
  dv.setUint16(ip + IP_LENGTH, length);
  dv.setUint16(ip + IP_ID, 0);
  dv.setUint16(ip + IP_FLAGS, IP_DF);
  dv.setUint8(ip + IP_TTL, 64);
  dv.setUint8(ip + IP_PROTOCOL, protocol);
  dv.setUint16(ip + IP_CHECK, 0);
  dv.setUint32(ip + IP_SRC, src);
  dv.setUint32(ip + IP_DST, dst);
  dv.setUint16(ip + IP_CHECK, internetChecksum(mem, ip, IP_BYTES));
}

/** TCP header. Source: RFC 9293; timestamps RFC 7323.
 *    0     2     4     8     12   13     14      16      18      20
 *    | src | dst | seq | ack | off| flags| window| check | urgent| options ...
 *  Options as Linux lays them out with timestamps: NOP NOP 8 10 TSval TSecr, 12 bytes. */
export const TCP_SRC = 0;
export const TCP_DST = 2;
export const TCP_SEQ = 4;
export const TCP_ACK = 8;
export const TCP_OFFSET = 12;
export const TCP_FLAGS = 13;
export const TCP_WINDOW = 14;
export const TCP_CHECK = 16;
const TCP_URGENT = 18;
export const TCP_BYTES = 20;
export const TCP_TS_OPTION = 20;
export const TCP_TSVAL = 24;
const TCP_TSECR = 28;
/** Header with the timestamp option. */
export const TCP_TS_BYTES = 32;
/** NOP NOP kind 8 length 10. */
export const TCP_TS_LAYOUT = 0x0101080a;

export const TCP_FIN = 0x01;
export const TCP_SYN = 0x02;
export const TCP_RST = 0x04;
export const TCP_PSH = 0x08;
export const TCP_FLAG_ACK = 0x10;
export const TCP_URG = 0x20;
export const TCP_CWR = 0x80;
/** All flags and reserved bits in the word of data offset and flags. */
export const TCP_FLAG_BITS = 0x0fff;

/** Writes a header with the timestamp option; sequence, TSval and checksum are 0, to be filled in per frame. */
export function writeTcpTs(mem: Mem, tcp: number, srcPort: number, dstPort: number): void {
  const dv = mem.dv;
  dv.setUint16(tcp + TCP_SRC, srcPort);
  dv.setUint16(tcp + TCP_DST, dstPort);
  dv.setUint32(tcp + TCP_SEQ, 0);
  dv.setUint32(tcp + TCP_ACK, 1);
  dv.setUint8(tcp + TCP_OFFSET, (TCP_TS_BYTES >> 2) << 4);
  dv.setUint8(tcp + TCP_FLAGS, TCP_FLAG_ACK);
  dv.setUint16(tcp + TCP_WINDOW, 0xffff);
  dv.setUint16(tcp + TCP_CHECK, 0);
  dv.setUint16(tcp + TCP_URGENT, 0);
  dv.setUint32(tcp + TCP_TS_OPTION, TCP_TS_LAYOUT);
  dv.setUint32(tcp + TCP_TSVAL, 0);
  dv.setUint32(tcp + TCP_TSECR, 1);
}

/** UDP header. Source: RFC 768.
 *    0     2     4     6      8
 *    | src | dst | len | check| payload ...     check 0 means none; a computed 0 is sent as 0xffff. */
export const UDP_SRC = 0;
export const UDP_DST = 2;
export const UDP_LENGTH = 4;
export const UDP_CHECK = 6;
export const UDP_BYTES = 8;

/** Writes a header; the checksum is 0, to be filled in per frame.
 *  @param length header and payload, bytes */
export function writeUdp(mem: Mem, udp: number, srcPort: number, dstPort: number, length: number): void {
  mem.dv.setUint16(udp + UDP_SRC, srcPort);
  mem.dv.setUint16(udp + UDP_DST, dstPort);
  mem.dv.setUint16(udp + UDP_LENGTH, length);
  mem.dv.setUint16(udp + UDP_CHECK, 0);
}
