/** Receiving of IPv4: strict header checks, own addresses only, options skipped, nothing forwarded.
 *  Source: RFC 791; RFC 1122, 3.2.1. A packet for us is accepted whatever its TTL says (RFC 1122, 3.2.1.7); one with a
 *  source route is not (RFC 7126, 4.3 and 4.4). */
import {
  internetChecksum,
  IP_BYTES,
  IP_DST,
  IP_FLAGS,
  IP_FRAGMENT_MASK,
  IP_ID,
  IP_PROTOCOL,
  IP_SRC,
} from '@grantline/frames';
import type { PrivateMemory } from '@grantline/machine';
import { C, type Host } from '../host.js';
import type { Packet } from './packet.js';
import { Reassembly } from './reassembly.js';

const OPT_END = 0;
const OPT_NOP = 1;
const OPT_LOOSE_ROUTE = 131;
const OPT_STRICT_ROUTE = 137;

export class IpIn {
  readonly reassembly: Reassembly;
  private readonly host: Host;
  private readonly scratch: number;

  constructor(host: Host, space: PrivateMemory) {
    this.host = host;
    this.reassembly = new Reassembly(host, space);
    this.scratch = space.mapPrivate(1 << 16);
  }

  /** Judges the IP header at packet.ip.
   *  @returns the protocol; the packet's transport part is set. -1: dropped and counted, or a fragment that waits */
  input(packet: Packet): number {
    const { host } = this;
    const { mem } = host;
    const dv = mem.dv;
    const ip = packet.ip;
    const linear = packet.off[0] + packet.len[0] - ip;
    if (linear < IP_BYTES) return this.drop(C.ipBadHeader);
    const word = dv.getInt32(ip);
    const ihl = ((word >>> 24) & 15) << 2;
    const total = word & 0xffff;
    const there = packet.bytes - (ip - packet.off[0]);
    if (word >>> 28 !== 4 || ihl < IP_BYTES || ihl > linear || total < ihl || total > there)
      return this.drop(C.ipBadHeader);
    if (internetChecksum(mem, ip, ihl) !== 0) return this.drop(C.ipBadChecksum);
    const src = dv.getInt32(ip + IP_SRC);
    const dst = dv.getInt32(ip + IP_DST);
    if (dst !== host.ip && !host.isBroadcast(dst)) return this.drop(C.ipNotMine);
    if (!host.isUnicast(src) || src === host.ip) return this.drop(C.ipBadSource);
    if (ihl > IP_BYTES) {
      const bad = this.judgeOptions(ip + IP_BYTES, ip + ihl);
      if (bad >= 0) return this.drop(bad);
    }
    const protocol = dv.getUint8(ip + IP_PROTOCOL);
    packet.src = src;
    packet.dst = dst;
    packet.l4 = ip + ihl;
    packet.l4Bytes = total - ihl;
    const flags = dv.getUint16(ip + IP_FLAGS);
    if ((flags & IP_FRAGMENT_MASK) === 0) return protocol;

    this.flatten(packet);
    const key = (dv.getUint16(ip + IP_ID) << 8) | protocol;
    const r = this.reassembly;
    if (!r.add(src, dst, key, flags, packet.l4, packet.l4Bytes)) return -1;
    packet.off[0] = r.at;
    packet.len[0] = r.bytes;
    packet.parts = 1;
    packet.l4 = r.at;
    packet.l4Bytes = r.bytes;
    // A device's word on a fragment says nothing about the whole.
    packet.flags = 0;
    packet.gsoSize = 0;
    return protocol;
  }

  /** Makes the packet contiguous, for protocols that are read as a whole. */
  flatten(packet: Packet): void {
    packet.flatten(this.host.mem, this.scratch);
  }

  private drop(counter: number): number {
    this.host.v[counter]++;
    return -1;
  }

  /** @returns a counter slot, or -1 when there is nothing against them */
  private judgeOptions(from: number, end: number): number {
    const u8 = this.host.mem.u8;
    let at = from;
    while (at < end) {
      const kind = u8[at];
      if (kind === OPT_END) return -1;
      if (kind === OPT_NOP) {
        at++;
        continue;
      }
      const bytes = at + 1 < end ? u8[at + 1] : 0;
      if (bytes < 2 || at + bytes > end) return C.ipBadHeader;
      if (kind === OPT_LOOSE_ROUTE || kind === OPT_STRICT_ROUTE) return C.ipSourceRoute;
      at += bytes;
    }
    return -1;
  }
}
