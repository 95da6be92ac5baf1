/** Sending of IPv4 packets that are not TCP data: ICMP, UDP, resets. Fragments what exceeds the MTU (RFC 791, 3.2).
 *  `open` gives room for the transport header and payload, `finish` adds the headers in front and sends. TCP data goes
 *  its own way (tcp/segment-writer.ts), since it is never fragmented and may be a packet for the link to segment. */
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
} from '@grantline/frames';
import type { PrivateMemory } from '@grantline/machine';
import type { Arp } from './arp.js';
import { C, type Host } from '../host.js';
import { FOR_IP_ID } from '../storage/keyed-hash.js';
import { NEIGHBOR_KNOWN, type Neighbor } from './neighbor.js';

const HEADERS = ETH_BYTES + IP_BYTES;
const IP_MORE = 0x2000;
const ID_GROUPS = 1024;
/** Longest transport header with payload. */
export const MAX_IP_PAYLOAD = 65535 - IP_BYTES;

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
