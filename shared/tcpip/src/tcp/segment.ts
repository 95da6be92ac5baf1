/** A received TCP segment, parsed: header checks, checksum, options; and the options that ours have. */
import {
  TCP_TS_LAYOUT,
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
import type { Mem } from '@grantline/machine';
import { C, type Host, RX_CHECKSUM_BLANK, RX_CHECKSUM_OK } from '../host.js';
import { MAX_PARTS, type Packet } from '../ip/ipv4.js';

// TCP options: maximum segment size (RFC 9293, 3.7.1), window scale and timestamps (RFC 7323), SACK (RFC 2018).
// Others are skipped. A length that leads out of the header makes the segment bad.
const END = 0;
const NOP = 1;
const MSS = 2;
const SCALE = 3;
const SACK_PERMITTED = 4;
const SACK = 5;
const TIMESTAMPS = 8;
/** RFC 7323, 2.3: larger ones count as 14. */
const MAX_SCALE = 14;
export const TS_OPTION_BYTES = 12;
/** Options of a SYN of ours with everything on. */
export const SYN_OPTION_BYTES = 20;
/** Most SACK blocks in one header: four fit into 40 bytes of options. */
const MAX_SACK_BLOCKS = 4;

/** The payload stays where it lies. Objects are reused: see Coalescer. */
export class Segment {
  src = 0;
  dst = 0;
  srcPort = 0;
  dstPort = 0;
  seq = 0;
  ack = 0;
  /** TCP_* bits. */
  flags = 0;
  /** As in the header, not scaled. */
  window = 0;
  /** Payload bytes. */
  bytes = 0;
  /** Payload bytes of each segment that it was made of on the wire; 0: one segment. */
  gsoSize = 0;
  hasTs = false;
  tsVal = 0;
  tsEcr = 0;
  /** Options of a SYN: 0 and -1 where there are none. */
  mss = 0;
  scale = -1;
  sackPermitted = false;
  sackBlocks = 0;
  readonly sack = new Int32Array(2 * MAX_SACK_BLOCKS);
  /** Where the payload lies: the parts first..parts-1. */
  readonly off = new Int32Array(MAX_PARTS);
  readonly len = new Int32Array(MAX_PARTS);
  first = 0;
  parts = 0;

  /** Takes bytes away from the payload's beginning; seq moves on. */
  trimFront(bytes: number): void {
    let left = bytes;
    while (left > 0 && this.len[this.first] <= left) left -= this.len[this.first++];
    if (left > 0) {
      this.off[this.first] += left;
      this.len[this.first] -= left;
    }
    this.seq = (this.seq + bytes) | 0;
    this.bytes -= bytes;
  }

  /** Leaves only so many bytes of payload. */
  trimTo(bytes: number): void {
    let left = this.bytes - bytes;
    while (left > 0) {
      const last = this.parts - 1;
      if (this.len[last] > left) {
        this.len[last] -= left;
        break;
      }
      left -= this.len[last];
      this.parts--;
    }
    this.bytes = bytes;
  }
}

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
  // A packet that stands for segments counts as these.
  if (seg.gsoSize > 0 && seg.bytes > seg.gsoSize) v[C.tcpIn] += Math.ceil(seg.bytes / seg.gsoSize) - 1;

  seg.first = 0;
  seg.off[0] = l4 + thl;
  seg.len[0] = linear - thl;
  let parts = 1;
  let left = l4Bytes - linear;
  for (let i = 1; left > 0 && i < packet.parts; i++) {
    const bytes = packet.len[i] < left ? packet.len[i] : left;
    seg.off[parts] = packet.off[i];
    seg.len[parts++] = bytes;
    left -= bytes;
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
  let left = l4Bytes - linear;
  let odd = (linear & 1) !== 0;
  for (let i = 1; left > 0 && i < packet.parts; i++) {
    const bytes = packet.len[i] < left ? packet.len[i] : left;
    const part = fastSum(mem, packet.off[i], bytes);
    sum += odd ? swapSum(part) : part;
    if ((bytes & 1) !== 0) odd = !odd;
    left -= bytes;
  }
  return foldSum(sum) === 0xffff;
}

/** Reads the options between two byte offsets into the segment. @returns false when they contradict */
function parseOptions(mem: Mem, from: number, end: number, seg: Segment): boolean {
  const { dv, u8 } = mem;
  seg.hasTs = false;
  seg.mss = 0;
  seg.scale = -1;
  seg.sackPermitted = false;
  seg.sackBlocks = 0;
  if (end - from === TS_OPTION_BYTES && dv.getInt32(from) === TCP_TS_LAYOUT) {
    seg.hasTs = true;
    seg.tsVal = dv.getInt32(from + 4);
    seg.tsEcr = dv.getInt32(from + 8);
    return true;
  }
  let at = from;
  while (at < end) {
    const kind = u8[at];
    if (kind === END) return true;
    if (kind === NOP) {
      at++;
      continue;
    }
    const bytes = at + 1 < end ? u8[at + 1] : 0;
    if (bytes < 2 || at + bytes > end) return false;
    if (kind === MSS && bytes === 4) seg.mss = dv.getUint16(at + 2);
    else if (kind === SCALE && bytes === 3) seg.scale = Math.min(u8[at + 2], MAX_SCALE);
    else if (kind === SACK_PERMITTED && bytes === 2) seg.sackPermitted = true;
    else if (kind === TIMESTAMPS && bytes === 10) {
      seg.hasTs = true;
      seg.tsVal = dv.getInt32(at + 2);
      seg.tsEcr = dv.getInt32(at + 6);
    } else if (kind === SACK && (bytes & 7) === 2) {
      const blocks = Math.min((bytes - 2) >> 3, MAX_SACK_BLOCKS);
      for (let i = 0; i < 2 * blocks; i++) seg.sack[i] = dv.getInt32(at + 2 + 4 * i);
      seg.sackBlocks = blocks;
    }
    at += bytes;
  }
  return true;
}

/** Writes the timestamp option as Linux lays it out. @returns the offset behind it */
export function writeTimestamps(mem: Mem, at: number, tsVal: number, tsEcr: number): number {
  mem.dv.setInt32(at, TCP_TS_LAYOUT);
  mem.dv.setInt32(at + 4, tsVal);
  mem.dv.setInt32(at + 8, tsEcr);
  return at + TS_OPTION_BYTES;
}

/** Writes the options of a SYN. @param scale -1: none. @returns the offset behind them */
export function writeSynOptions(mem: Mem, from: number, mss: number, scale: number, sackPermitted: boolean): number {
  const { dv } = mem;
  dv.setInt32(from, (MSS << 24) | (4 << 16) | mss);
  let at = from + 4;
  if (sackPermitted) {
    dv.setInt32(at, (NOP << 24) | (NOP << 16) | (SACK_PERMITTED << 8) | 2);
    at += 4;
  }
  if (scale >= 0) {
    dv.setInt32(at, (NOP << 24) | (SCALE << 16) | (3 << 8) | scale);
    at += 4;
  }
  return at;
}

/** Writes the head of a SACK option; the blocks follow. @returns the offset behind it */
export function writeSackHead(mem: Mem, at: number, blocks: number): number {
  mem.dv.setInt32(at, (NOP << 24) | (NOP << 16) | (SACK << 8) | (2 + 8 * blocks));
  return at + 4;
}
