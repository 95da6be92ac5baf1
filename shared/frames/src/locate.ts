/** Where the headers of a packet are, behind Ethernet and up to two VLAN tags. Nothing is believed that stands in them: what is
 *  answered lies within the bytes that are there.
 *
 *  An answer is one number, so that nothing is made per packet: bits 0 to 7 where the IPv4 header begins, 8 to 15 where that of
 *  TCP or UDP does, from 16 on where all headers end; from the packet's beginning. -1: there are no such headers. Who needs a
 *  reason, or a tag, or reads memory that changes meanwhile, looks for himself: RxStack, Sink. */
import type { Mem } from '@grantline/machine';
import * as headers from './headers.js';

// Local, so that the engine folds them into the code: see flow-templates.ts.
const { ETHERTYPE_IPV4, ETH_BYTES, ETH_TYPE, MAX_VLAN_TAGS, VLAN_BYTES, isVlan } = headers;
const { IP_BYTES, IP_PROTOCOL, PROTO_TCP, TCP_BYTES, TCP_OFFSET } = headers;

export const l3Of = (place: number): number => place & 0xff;
export const l4Of = (place: number): number => (place >>> 8) & 0xff;
export const endOf = (place: number): number => place >>> 16;

/** @param at byte offset of the packet @param linear bytes of it that lie together there
 *  @returns where the whole header of an IPv4 packet is: its end is 0 */
export function ipAt(mem: Mem, at: number, linear: number): number {
  const { dv } = mem;
  if (linear < ETH_BYTES + IP_BYTES) return -1;
  let type = dv.getUint16(at + ETH_TYPE);
  let l3 = ETH_BYTES;
  for (let tags = 0; type !== ETHERTYPE_IPV4; tags++) {
    if (tags === MAX_VLAN_TAGS || !isVlan(type)) return -1;
    type = dv.getUint16(at + l3 + 2);
    l3 += VLAN_BYTES;
  }
  if (l3 + IP_BYTES > linear) return -1;
  const first = mem.u8[at + l3];
  const ihl = (first & 15) << 2;
  if (first >>> 4 !== 4 || ihl < IP_BYTES || l3 + ihl > linear) return -1;
  return l3 | ((l3 + ihl) << 8);
}

/** The same of a TCP packet over IPv4, with all options. */
export const tcpAt = (mem: Mem, at: number, linear: number): number =>
  tcpBehind(mem, at, linear, ipAt(mem, at, linear));

/** The same where it is known already what `ipAt` says. */
export function tcpBehind(mem: Mem, at: number, linear: number, ip: number): number {
  const { u8 } = mem;
  const l4 = ip >> 8;
  if (ip < 0 || u8[at + (ip & 0xff) + IP_PROTOCOL] !== PROTO_TCP || l4 + TCP_BYTES > linear) return -1;
  const thl = (u8[at + l4 + TCP_OFFSET] >>> 4) << 2;
  return thl < TCP_BYTES || l4 + thl > linear ? -1 : ip | ((l4 + thl) << 16);
}
