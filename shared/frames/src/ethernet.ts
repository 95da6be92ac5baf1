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
/** Bytes that Ethernet adds to each frame on the wire: FCS 4, preamble and start 8, gap 12. Source: IEEE 802.3. */
export const WIRE_OVERHEAD_BYTES = 24;

export const ETHERTYPE_IPV4 = 0x0800;
export const ETHERTYPE_ARP = 0x0806;
export const ETHERTYPE_IPV6 = 0x86dd;
export const ETHERTYPE_VLAN = 0x8100;
/** Tags that are looked behind: a service's and a customer's. */
export const MAX_VLAN_TAGS = 2;

/** A MAC address as its first 16 and its last 32 bits, both unsigned. */
export interface Mac {
  readonly hi: number;
  readonly lo: number;
}

/** @param text six hexadecimal bytes with colons. @throws RangeError when it is not */
export function parseMac(text: string): Mac {
  if (!/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i.test(text)) throw new RangeError(`'${text}' is not a MAC address`);
  const hex = text.replaceAll(':', '');
  return { hi: parseInt(hex.slice(0, 4), 16), lo: parseInt(hex.slice(4), 16) };
}

export function formatMac(mac: Mac): string {
  const hex = mac.hi.toString(16).padStart(4, '0') + mac.lo.toString(16).padStart(8, '0');
  return (hex.match(/../g) as string[]).join(':');
}

/** First 16 bits of the MAC address at a byte offset (frame + ETH_DST or ETH_SRC). */
export const macHi = (mem: Mem, at: number): number => mem.dv.getUint16(at);
/** Last 32 bits of the MAC address at a byte offset, unsigned. */
export const macLo = (mem: Mem, at: number): number => mem.dv.getUint32(at + 2);
/** True for multicast and broadcast addresses. */
export const isGroup = (hi: number): boolean => (hi & 0x0100) !== 0;
/** True for the EtherTypes that tags begin with: 802.1Q, 802.1ad, and older ones for the outer tag. */
export const isVlan = (type: number): boolean =>
  type === ETHERTYPE_VLAN || type === 0x88a8 || type === 0x9100 || type === 0x9200 || type === 0x9300;
export const etherType = (mem: Mem, frame: number): number => mem.dv.getUint16(frame + ETH_TYPE);

export function writeMac(mem: Mem, at: number, mac: Mac): void {
  mem.dv.setUint16(at, mac.hi);
  mem.dv.setUint32(at + 2, mac.lo);
}

/** Where the IPv4 header of a frame begins, from the frame's beginning: behind up to two tags.
 *  @param bytes of the frame that lie together, at least ETH_BYTES @returns -1: it is no IPv4 */
export function ipv4Start(mem: Mem, frame: number, bytes: number): number {
  const { dv } = mem;
  let type = dv.getUint16(frame + ETH_TYPE);
  let l3 = ETH_BYTES;
  for (let tags = 0; type !== ETHERTYPE_IPV4; tags++) {
    if (tags === MAX_VLAN_TAGS || !isVlan(type) || l3 + VLAN_BYTES > bytes) return -1;
    type = dv.getUint16(frame + l3 + 2);
    l3 += VLAN_BYTES;
  }
  return l3;
}

/** Writes an untagged header. */
export function writeEthernet(mem: Mem, frame: number, dst: Mac, src: Mac, type: number): void {
  writeMac(mem, frame + ETH_DST, dst);
  writeMac(mem, frame + ETH_SRC, src);
  mem.dv.setUint16(frame + ETH_TYPE, type);
}
