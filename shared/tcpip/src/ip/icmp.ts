/** ICMP: echo replies, port unreachable for closed UDP ports, errors from others handed to TCP.
 *  Source: RFC 792; RFC 1122, 3.2.2; RFC 5927 for what TCP may believe of errors.
 *    0      1      2       4        8
 *    | type | code | check | rest   | data ... */
import { fastSum, foldSum, updateChecksum, IP_BYTES, IP_DST, IP_PROTOCOL, IP_SRC, PROTO_TCP } from '@grantline/frames';
import { FOR_LIMITS, type KeyedHash } from '../storage/keyed-hash.js';
import { C, type Host, RX_CHECKSUM_OK } from '../host.js';
import { MAX_IP_PAYLOAD, type IpOut, type Packet } from './ipv4.js';

export const PROTO_ICMP = 1;
const ICMP_BYTES = 8;
const CHECK = 2;
const REST = 4;
const ECHO_REPLY = 0;
const UNREACHABLE = 3;
const SOURCE_QUENCH = 4;
const ECHO = 8;
const TIME_EXCEEDED = 11;
const PARAMETER_PROBLEM = 12;
const PORT_UNREACHABLE = 3;
/** IP header and the first 8 bytes behind it are quoted at least. */
const QUOTED = 8;

/** Of a Limiter. */
const BUCKETS = 256;

/** An error about a segment of ours. Addresses and ports are those of the segment: src is own. */
export interface IcmpError {
  src: number;
  dst: number;
  srcPort: number;
  dstPort: number;
  seq: number;
  type: number;
  code: number;
  /** Of "fragmentation needed": what the next hop can carry (RFC 1191). */
  mtu: number;
}

export class Icmp {
  private readonly host: Host;
  private readonly out: IpOut;
  private readonly onTcpError: (error: IcmpError) => void;
  private readonly echoes: Limiter;
  private readonly errors: Limiter;

  constructor(host: Host, out: IpOut, onTcpError: (error: IcmpError) => void) {
    this.host = host;
    this.out = out;
    this.onTcpError = onTcpError;
    this.echoes = new Limiter(host.hash, host.set.echoPerSecond);
    this.errors = new Limiter(host.hash, host.set.errorsPerSecond);
  }

  /** Somebody answered an echo request of ours; null: nobody here asks. */
  onEchoReply: ((src: number, id: number, sequence: number, at: number, bytes: number) => void) | null = null;

  /** Asks for an echo (RFC 792). @param fill writes the payload at a byte offset
   *  @returns false when there is no way or no room */
  request(
    dst: number,
    id: number,
    sequence: number,
    bytes: number,
    fill: (at: number, bytes: number) => void,
  ): boolean {
    const { host } = this;
    const at = this.out.open(dst, PROTO_ICMP, ICMP_BYTES + bytes);
    if (at < 0) return false;
    const { dv } = host.mem;
    dv.setUint32(at, ECHO << 24);
    dv.setUint32(at + REST, (((id & 0xffff) << 16) | (sequence & 0xffff)) >>> 0);
    fill(at + ICMP_BYTES, bytes);
    dv.setUint16(at + CHECK, ~foldSum(fastSum(host.mem, at, ICMP_BYTES + bytes)) & 0xffff);
    this.out.finish(false);
    return true;
  }

  /** Takes a packet in one part. */
  input(packet: Packet): void {
    const { host } = this;
    const { mem, v } = host;
    const { l4, l4Bytes } = packet;
    const trusted = host.set.rxChecksum && (packet.flags & RX_CHECKSUM_OK) !== 0;
    if (l4Bytes < ICMP_BYTES || (!trusted && fastSum(mem, l4, l4Bytes) !== 0xffff)) {
      v[C.icmpBad]++;
      return;
    }
    const type = mem.dv.getUint8(l4);
    if (type === ECHO) this.reply(packet);
    else if (type === UNREACHABLE || type === TIME_EXCEEDED || type === PARAMETER_PROBLEM || type === SOURCE_QUENCH)
      this.error(packet, type);
    else if (type === ECHO_REPLY && this.onEchoReply !== null) {
      const restWord = mem.dv.getUint32(l4 + REST);
      this.onEchoReply(packet.src, restWord >>> 16, restWord & 0xffff, l4 + ICMP_BYTES, l4Bytes - ICMP_BYTES);
    } else v[C.icmpIgnored]++;
  }

  /** Answers a datagram for a closed port; not one to everybody (RFC 1122, 3.2.2). */
  portUnreachable(packet: Packet): void {
    const { host } = this;
    if (packet.dst !== host.ip) return;
    if (!this.errors.allow(host.now, packet.src)) {
      host.v[C.icmpLimited]++;
      return;
    }
    const ihl = packet.l4 - packet.ip;
    // A datagram put together from fragments no longer stands behind its header.
    if (ihl < IP_BYTES || ihl > 60) return;
    const quote = ihl + Math.min(QUOTED, packet.l4Bytes);
    const at = this.out.open(packet.src, PROTO_ICMP, ICMP_BYTES + quote);
    if (at < 0) return;
    const { dv, u8 } = host.mem;
    dv.setUint16(at, (UNREACHABLE << 8) | PORT_UNREACHABLE);
    dv.setUint16(at + CHECK, 0);
    dv.setUint32(at + REST, 0);
    u8.copyWithin(at + ICMP_BYTES, packet.ip, packet.ip + quote);
    dv.setUint16(at + CHECK, ~foldSum(fastSum(host.mem, at, ICMP_BYTES + quote)) & 0xffff);
    host.v[C.icmpUnreachableOut]++;
    this.out.finish(false);
  }

  private reply(packet: Packet): void {
    const { host } = this;
    const { l4, l4Bytes } = packet;
    if (packet.dst !== host.ip || l4Bytes > MAX_IP_PAYLOAD) {
      host.v[C.icmpIgnored]++;
      return;
    }
    if (!this.echoes.allow(host.now, packet.src)) {
      host.v[C.icmpLimited]++;
      return;
    }
    const at = this.out.open(packet.src, PROTO_ICMP, l4Bytes);
    if (at < 0) return;
    const { dv, u8 } = host.mem;
    u8.copyWithin(at, l4, l4 + l4Bytes);
    const before = dv.getUint16(at);
    const after = (ECHO_REPLY << 8) | (before & 0xff);
    dv.setUint16(at, after);
    dv.setUint16(at + CHECK, updateChecksum(dv.getUint16(at + CHECK), before, after));
    host.v[C.icmpEchoes]++;
    this.out.finish(false);
  }

  private error(packet: Packet, type: number): void {
    const { host } = this;
    const { dv } = host.mem;
    const { l4, l4Bytes } = packet;
    host.v[C.icmpErrorsIn]++;
    const ip = l4 + ICMP_BYTES;
    const ihl = l4Bytes > ICMP_BYTES ? (dv.getUint8(ip) & 15) << 2 : 0;
    if (ihl < IP_BYTES || l4Bytes < ICMP_BYTES + ihl + QUOTED) {
      host.v[C.icmpBad]++;
      return;
    }
    if (dv.getUint8(ip + IP_PROTOCOL) !== PROTO_TCP || dv.getInt32(ip + IP_SRC) !== host.ip) return;
    this.onTcpError({
      src: host.ip,
      dst: dv.getInt32(ip + IP_DST),
      srcPort: dv.getUint16(ip + ihl),
      dstPort: dv.getUint16(ip + ihl + 2),
      seq: dv.getInt32(ip + ihl + 4),
      type,
      code: dv.getUint8(l4 + 1),
      mtu: dv.getUint16(l4 + REST + 2),
    });
  }
}

/** Answers that a peer may have: so many a second, and as many at once. Each peer for itself, so that none uses up the
 *  others'; a limit for all together would be somebody's to exhaust, and to learn from (CVE-2020-25705). Peers share 256
 *  buckets by a keyed hash, so nobody can choose with whom. What all cost together is bounded by what they send: an answer
 *  is not longer than what it answers. */
export class Limiter {
  private readonly hash: KeyedHash;
  private readonly perMs: number;
  private readonly most: number;
  private readonly tokens: Float64Array;
  private readonly lastMs = new Float64Array(BUCKETS);

  /** @param perSecond for each peer */
  constructor(hash: KeyedHash, perSecond: number) {
    this.hash = hash;
    this.perMs = perSecond / 1000;
    this.most = Math.max(1, perSecond);
    this.tokens = new Float64Array(BUCKETS).fill(this.most);
  }

  /** @param peer its address @returns false when it is too many */
  allow(nowMs: number, peer: number): boolean {
    const at = this.hash.of(peer, 0, 0, FOR_LIMITS) & (BUCKETS - 1);
    const tokens = Math.min(this.most, this.tokens[at] + (nowMs - this.lastMs[at]) * this.perMs);
    this.lastMs[at] = nowMs;
    this.tokens[at] = tokens < 1 ? tokens : tokens - 1;
    return tokens >= 1;
  }
}
