/** IPv4 header. Source: RFC 791.
 *    0     1    2      4   6         8    9      10      12   16   20
 *    | vl  | tos| len  | id| flags   | ttl| proto| check | src| dst| options ... */
import type { Mem } from '@grantline/machine';
import { internetChecksum } from './checksum.js';

export const IP_VERSION_IHL = 0;
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
