/** From a packet to a TCP segment: header checks and checksum. */
import {
  fastSum,
  foldSum,
  pseudoSum,
  swapSum,
  PROTO_TCP,
  TCP_ACK,
  TCP_BYTES,
  TCP_DST,
  TCP_OFFSET,
  TCP_SEQ,
  TCP_SRC,
  TCP_URG,
  TCP_WINDOW,
} from '@grantline/frames';
import { C, type Host } from '../host.js';
import { RX_CHECKSUM_BLANK, RX_CHECKSUM_OK } from '../link.js';
import type { Packet } from '../ip/packet.js';
import type { Segment } from './segment.js';
import { parseOptions } from './options.js';

/** Reads a packet whose protocol is TCP. @returns false when it is bad (counted) */
export function parseTcp(host: Host, packet: Packet, seg: Segment): boolean {
  const { mem, v } = host;
  const { dv } = mem;
  const { l4, l4Bytes, linear } = packet;
  v[C.tcpIn]++;
  if (linear < TCP_BYTES) return bad(v, C.tcpBadHeader);
  const offsetFlags = dv.getUint16(l4 + TCP_OFFSET);
  const thl = (offsetFlags >>> 12) << 2;
  seg.flags = offsetFlags & 0xff;
  seg.srcPort = dv.getUint16(l4 + TCP_SRC);
  seg.dstPort = dv.getUint16(l4 + TCP_DST);
  // A connection to everybody makes no sense (RFC 9293, 3.9.2.3), nor does port 0.
  if (thl < TCP_BYTES || thl > linear || seg.srcPort === 0 || seg.dstPort === 0 || packet.dst !== host.ip)
    return bad(v, C.tcpBadHeader);
  const blank = (packet.flags & RX_CHECKSUM_BLANK) !== 0;
  const trusted = host.set.rxChecksum && (packet.flags & RX_CHECKSUM_OK) !== 0;
  if (!blank && !trusted && !sumIsRight(host, packet)) return bad(v, C.tcpBadChecksum);
  seg.src = packet.src;
  seg.dst = packet.dst;
  seg.seq = dv.getInt32(l4 + TCP_SEQ);
  seg.ack = dv.getInt32(l4 + TCP_ACK);
  seg.window = dv.getUint16(l4 + TCP_WINDOW);
  seg.bytes = l4Bytes - thl;
  seg.gsoSize = packet.gsoSize;
  if (!parseOptions(mem, l4 + TCP_BYTES, l4 + thl, seg)) return bad(v, C.tcpBadOptions);
  if ((seg.flags & TCP_URG) !== 0) v[C.tcpUrgent]++;
  v[C.tcpInBytes] += seg.bytes;

  seg.first = 0;
  seg.off[0] = l4 + thl;
  seg.len[0] = linear - thl;
  let parts = 1;
  let rest = l4Bytes - linear;
  for (let i = 1; rest > 0 && i < packet.parts; i++) {
    const bytes = packet.len[i] < rest ? packet.len[i] : rest;
    seg.off[parts] = packet.off[i];
    seg.len[parts++] = bytes;
    rest -= bytes;
  }
  seg.parts = parts;
  return true;
}

function bad(v: Float64Array, counter: number): boolean {
  v[counter]++;
  return false;
}

function sumIsRight(host: Host, packet: Packet): boolean {
  const { mem } = host;
  const { l4, l4Bytes, linear } = packet;
  let sum = pseudoSum(packet.src, packet.dst, PROTO_TCP, l4Bytes) + fastSum(mem, l4, linear);
  let rest = l4Bytes - linear;
  let odd = (linear & 1) !== 0;
  for (let i = 1; rest > 0 && i < packet.parts; i++) {
    const bytes = packet.len[i] < rest ? packet.len[i] : rest;
    const part = fastSum(mem, packet.off[i], bytes);
    sum += odd ? swapSum(part) : part;
    if ((bytes & 1) !== 0) odd = !odd;
    rest -= bytes;
  }
  return foldSum(sum) === 0xffff;
}
