/** IPv4: received packets judged, packets sent that are no TCP data. Source: RFC 791; RFC 1122, 3.2.1. */
import {
  fastSum,
  foldSum,
  internetChecksum,
  pseudoSum,
  ETHERTYPE_IPV4,
  ETH_BYTES,
  writeEthernet,
  IP_BYTES,
  IP_CHECK,
  IP_FLAGS,
  IP_ID,
  PROTO_TCP,
  writeIpv4,
  TCP_CHECK,
  UDP_CHECK,
  IP_DST,
  IP_FRAGMENT_MASK,
  IP_PROTOCOL,
  IP_SRC,
} from '@grantline/frames';
import type { PrivateMemory, Mem } from '@grantline/machine';
import { NEIGHBOR_KNOWN, type Arp, type Neighbor } from './arp.js';
import { C, type Host } from '../host.js';
import { FOR_IP_ID } from '../storage/keyed-hash.js';
import { Reassembly } from './reassembly.js';

const HEADERS = ETH_BYTES + IP_BYTES;
const IP_MORE = 0x2000;
const ID_GROUPS = 1024;
/** Longest transport header with payload. */
export const MAX_IP_PAYLOAD = 65535 - IP_BYTES;
/** Most parts of a packet: 64 KiB in frames of 1500 bytes, or in pages. */
export const MAX_PARTS = 64;

/** A received packet on its way up: one object for the life of a stack. */
export class Packet {
  /** Where its parts lie: the first holds all headers and may hold payload, the others payload. */
  readonly off = new Int32Array(MAX_PARTS);
  readonly len = new Int32Array(MAX_PARTS);
  parts = 0;
  /** Bytes of all parts. */
  bytes = 0;
  /** Flags of NetLink (host.ts), and payload bytes of the segments that it was made of, or 0. */
  flags = 0;
  gsoSize = 0;
  // Of the IP header:
  /** Byte offset of the IP header, of the transport header, and bytes from there on as the IP header has it. */
  ip = 0;
  l4 = 0;
  l4Bytes = 0;
  src = 0;
  dst = 0;

  /** Bytes of transport header and payload in the first part. */
  get linear(): number {
    const available = this.off[0] + this.len[0] - this.l4;
    return available < this.l4Bytes ? available : this.l4Bytes;
  }

  /** Makes the transport part contiguous, for what is not TCP. @param scratch room for 64 KiB */
  flatten(mem: Mem, scratch: number): void {
    let to = this.linear;
    if (to === this.l4Bytes) return;
    mem.u8.copyWithin(scratch, this.l4, this.l4 + to);
    for (let i = 1; i < this.parts && to < this.l4Bytes; i++) {
      const bytes = Math.min(this.len[i], this.l4Bytes - to);
      mem.u8.copyWithin(scratch + to, this.off[i], this.off[i] + bytes);
      to += bytes;
    }
    this.l4 = scratch;
    this.off[0] = scratch;
    this.len[0] = to;
    this.parts = 1;
  }
}

const OPT_END = 0;
const OPT_NOP = 1;
const OPT_LOOSE_ROUTE = 131;
const OPT_STRICT_ROUTE = 137;

/** Receiving of IPv4: strict header checks, own addresses only, options skipped, nothing forwarded.
 *  Source: RFC 791; RFC 1122, 3.2.1. A packet for us is accepted whatever its TTL says (RFC 1122, 3.2.1.7); one with a
 *  source route is not (RFC 7126, 4.3 and 4.4). */
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
    const available = packet.bytes - (ip - packet.off[0]);
    if (word >>> 28 !== 4 || ihl < IP_BYTES || ihl > linear || total < ihl || total > available)
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

/** Sending of IPv4 packets that are not TCP data: ICMP, UDP, resets. Fragments what exceeds the MTU (RFC 791, 3.2).
 *  `open` gives room for the transport header and payload, `finish` adds the headers in front and sends. TCP data goes
 *  its own way (tcp/segment-writer.ts), since it is never fragmented and may be a packet for the link to segment. */
export class IpOut {
  private readonly host: Host;
  private readonly arp: Arp;
  /** A datagram to be fragmented is put together here. */
  private readonly scratch: number;
  private neighbor: Neighbor | null = null;
  private dst = 0;
  private protocol = 0;
  private frame = 0;
  private bytes = 0;
  /** Identifications count up for each of so many groups of addresses, from where the hash says: who gets fragments
   *  learns nothing of those to others (RFC 7739, 5.3). */
  private readonly ids = new Uint16Array(ID_GROUPS);

  constructor(host: Host, arp: Arp, space: PrivateMemory) {
    this.host = host;
    this.arp = arp;
    this.scratch = space.mapPrivate(1 << 16);
  }

  /** @param dst signed @param bytes transport header and payload, up to MAX_IP_PAYLOAD
   *  @returns byte offset for the transport header, or -1: no way, or no room (counted) */
  open(dst: number, protocol: number, bytes: number): number {
    const { host } = this;
    const neighbor = this.arp.route(dst);
    if (neighbor === null) {
      host.v[C.ipNoRoute]++;
      return -1;
    }
    this.neighbor = neighbor;
    this.dst = dst;
    this.protocol = protocol;
    this.bytes = bytes;
    if (bytes + IP_BYTES > host.set.mtu) {
      this.frame = this.scratch - HEADERS;
      return this.scratch;
    }
    this.frame = this.place(neighbor, bytes + HEADERS);
    return this.frame < 0 ? -1 : this.frame + HEADERS;
  }

  /** Sends what stands where `open` said. @param checksum fill in the checksum of UDP or TCP */
  finish(checksum: boolean): void {
    const { host, bytes, protocol, frame } = this;
    const { mem } = host;
    const fragmented = bytes + IP_BYTES > host.set.mtu;
    const l4 = frame + HEADERS;
    let csumOffset = 0;
    if (checksum) {
      csumOffset = protocol === PROTO_TCP ? TCP_CHECK : UDP_CHECK;
      let sum = pseudoSum(host.ip, this.dst, protocol, bytes);
      if (!host.set.txChecksum || fragmented) {
        mem.dv.setUint16(l4 + csumOffset, 0);
        sum = ~foldSum(sum + fastSum(mem, l4, bytes)) & 0xffff;
        // RFC 768: 0 stands for no checksum.
        if (sum === 0 && protocol !== PROTO_TCP) sum = 0xffff;
      }
      mem.dv.setUint16(l4 + csumOffset, sum);
      if (!host.set.txChecksum || fragmented) csumOffset = 0;
    }
    if (fragmented) {
      this.fragment();
      return;
    }
    writeIpv4(mem, frame + ETH_BYTES, bytes + IP_BYTES, protocol, host.ip, this.dst);
    this.release(frame, bytes + HEADERS, csumOffset);
  }

  private fragment(): void {
    const { host, scratch, bytes } = this;
    const { mem } = host;
    const most = (host.set.mtu - IP_BYTES) & ~7;
    const hash = host.hash.of(host.ip, this.dst, this.protocol, FOR_IP_ID);
    const id = ((hash >>> 16) + this.ids[hash & (ID_GROUPS - 1)]++) & 0xffff;
    for (let from = 0; from < bytes; from += most) {
      const part = Math.min(most, bytes - from);
      const frame = this.place(this.neighbor!, part + HEADERS);
      if (frame < 0) return;
      const ip = frame + ETH_BYTES;
      writeIpv4(mem, ip, part + IP_BYTES, this.protocol, host.ip, this.dst);
      mem.dv.setUint16(ip + IP_ID, id);
      mem.dv.setUint16(ip + IP_FLAGS, (from >> 3) | (from + part < bytes ? IP_MORE : 0));
      mem.dv.setUint16(ip + IP_CHECK, 0);
      mem.dv.setUint16(ip + IP_CHECK, internetChecksum(mem, ip, IP_BYTES));
      mem.u8.copyWithin(frame + HEADERS, scratch + from, scratch + from + part);
      host.v[C.ipFragmentsOut]++;
      this.release(frame, part + HEADERS, 0);
    }
  }

  private place(neighbor: Neighbor, bytes: number): number {
    if (!this.arp.ready(neighbor)) return this.arp.waiting.reserve();
    const at = this.host.link.reserve(bytes);
    if (at < 0) this.host.v[C.linkFull]++;
    return at;
  }

  private release(frame: number, bytes: number, csumOffset: number): void {
    const { host } = this;
    const neighbor = this.neighbor!;
    const csumStart = csumOffset === 0 ? 0 : HEADERS;
    writeEthernet(host.mem, frame, neighbor, host.mac, ETHERTYPE_IPV4);
    if (neighbor.state === NEIGHBOR_KNOWN) host.send(frame, bytes, csumStart, csumOffset, 0);
    else this.arp.waiting.keep(frame, neighbor, bytes, csumStart, csumOffset);
  }
}
