/** Ethernet header, with or without one or two VLAN tags. Source: IEEE 802.3, 802.1Q.
 *    0        6        12     14
 *    | dst    | src    | type | payload ...          with a tag: | 0x8100 | tci | type |
 *  Numbers on the wire are big-endian. Lengths of frames count the header and not the FCS. */
import type { Mem } from '@grantline/machine';

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
