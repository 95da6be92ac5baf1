/** Builds TCP segments of a connection in the link's transmit area and sends them. Payload comes straight from the send
 *  ring; up to 64 KiB in one packet where the link segments it. */
import {
  fastSum,
  foldSum,
  pseudoSum,
  ETHERTYPE_IPV4,
  ETH_BYTES,
  writeEthernet,
  IP_BYTES,
  PROTO_TCP,
  writeIpv4,
  TCP_ACK,
  TCP_BYTES,
  TCP_CHECK,
  TCP_DST,
  TCP_FLAG_ACK,
  TCP_OFFSET,
  TCP_SEQ,
  TCP_SRC,
  TCP_SYN,
  TCP_WINDOW,
} from '@grantline/frames';
import { C } from '../host.js';
import { seqMax, seqMin } from './seq.js';
import { type Tcb, SYN_RECEIVED } from './tcb.js';
import { SYN_OPTION_BYTES, TS_OPTION_BYTES, writeSackHead, writeSynOptions, writeTimestamps } from './segment.js';
import { advanceWindow, synWindow } from './window.js';

const TCP_AT = ETH_BYTES + IP_BYTES;
/** Blocks that fit beside timestamps, and without. */
const SACKS_WITH_TS = 3;
const SACKS = 4;

/** Bytes of options in every segment but a SYN. */
export const optionBytes = (tcb: Tcb): number => (tcb.tsOk ? TS_OPTION_BYTES : 0);

/** Sequence number of a segment without payload. Not beyond the peer's window, although we may have sent more before the
 *  peer took it back: what stands outside is dropped, with its acknowledgement (RFC 9293, 3.8.6). */
export function bareSeq(tcb: Tcb): number {
  return tcb.state === SYN_RECEIVED ? tcb.sndNxt : seqMin(tcb.sndNxt, (tcb.sndUna + tcb.sndWnd) | 0);
}

/** Writes a header whose options follow, its checksum not filled in. @param bytes of the header with them */
export function writeTcpHeader(
  dv: DataView,
  at: number,
  localPort: number,
  port: number,
  seq: number,
  ack: number,
  bytes: number,
  flags: number,
  window: number,
): void {
  dv.setUint16(at + TCP_SRC, localPort);
  dv.setUint16(at + TCP_DST, port);
  dv.setInt32(at + TCP_SEQ, seq);
  dv.setInt32(at + TCP_ACK, ack);
  dv.setUint16(at + TCP_OFFSET, (bytes << 10) | flags);
  dv.setUint16(at + TCP_WINDOW, window);
  dv.setInt32(at + TCP_CHECK, 0);
}

/** Sends payload bytes from a sequence number on; none: an acknowledgement, with SACK blocks if there are gaps.
 *  @param flags TCP_* bits beside ACK @returns false when the link is full */
export function sendSegment(tcb: Tcb, seq: number, bytes: number, flags: number): boolean {
  const { host } = tcb.tcp;
  const { mem, set, v } = host;
  const { dv } = mem;
  let options = optionBytes(tcb);
  let sacks = 0;
  if (bytes === 0 && tcb.gaps !== null && tcb.sackOk) {
    sacks = Math.min(tcb.gaps.count, tcb.tsOk ? SACKS_WITH_TS : SACKS);
    if (sacks > 0) options += 4 + 8 * sacks;
  }
  const payloadAt = TCP_AT + TCP_BYTES + options;
  const frame = host.link.reserve(payloadAt + bytes);
  if (frame < 0) {
    v[C.linkFull]++;
    return false;
  }
  const tcp = frame + TCP_AT;
  const window = advanceWindow(tcb);
  dv.setUint16(tcp + TCP_SRC, tcb.localPort);
  dv.setUint16(tcp + TCP_DST, tcb.remotePort);
  dv.setInt32(tcp + TCP_SEQ, seq);
  dv.setInt32(tcp + TCP_ACK, tcb.rcvNxt);
  dv.setUint16(tcp + TCP_OFFSET, ((TCP_BYTES + options) << 10) | TCP_FLAG_ACK | flags);
  dv.setUint16(tcp + TCP_WINDOW, window >> tcb.rcvScale);
  dv.setInt32(tcp + TCP_CHECK, 0);
  let at = tcp + TCP_BYTES;
  if (tcb.tsOk) at = writeTimestamps(mem, at, (host.now + tcb.tsOffset) | 0, tcb.tsRecent);
  if (sacks > 0) writeSacks(tcb, at, sacks);
  if (bytes > 0) tcb.tx.copyOut((seq - tcb.sndUna) | 0, frame + payloadAt, bytes);
  tcb.ackNow = false;
  tcb.ackMs = 0;
  tcb.rcvWup = tcb.rcvNxt;
  tcb.lastSentMs = host.now;
  v[C.tcpOut]++;
  v[C.tcpOutBytes] += bytes;
  transmit(tcb, frame, TCP_BYTES + options + bytes, set.gso > 0 && bytes > tcb.mss ? tcb.mss : 0);
  return true;
}

/** Sends a SYN, or SYN and ACK in SYN-RECEIVED. @returns false when the link is full */
export function sendSyn(tcb: Tcb): boolean {
  const { host } = tcb.tcp;
  const { mem, set, v } = host;
  const frame = host.link.reserve(TCP_AT + TCP_BYTES + SYN_OPTION_BYTES + 4);
  if (frame < 0) {
    v[C.linkFull]++;
    return false;
  }
  const answer = tcb.state === SYN_RECEIVED;
  const tcp = frame + TCP_AT;
  let at = tcp + TCP_BYTES;
  const scale = (answer ? tcb.scaleOk : set.windowScale) ? tcb.rcvScale : -1;
  at = writeSynOptions(mem, at, set.mtu - IP_BYTES - TCP_BYTES, scale, answer ? tcb.sackOk : set.sack);
  if (answer ? tcb.tsOk : set.timestamps) at = writeTimestamps(mem, at, (host.now + tcb.tsOffset) | 0, tcb.tsRecent);
  const bytes = at - tcp;
  const window = synWindow(tcb.tcp, tcb.rcvScale);
  const flags = TCP_SYN | (answer ? TCP_FLAG_ACK : 0);
  writeTcpHeader(mem.dv, tcp, tcb.localPort, tcb.remotePort, tcb.iss, answer ? tcb.rcvNxt : 0, bytes, flags, window);
  tcb.sndNxt = (tcb.iss + 1) | 0;
  tcb.sndMax = tcb.sndNxt;
  tcb.rcvAdv = (tcb.rcvNxt + window) | 0;
  tcb.rcvWup = tcb.rcvNxt;
  tcb.ackNow = false;
  v[C.tcpOut]++;
  transmit(tcb, frame, bytes, 0);
  return true;
}

function writeSacks(tcb: Tcb, from: number, count: number): void {
  const { mem } = tcb.tcp.host;
  const gaps = tcb.gaps!;
  let at = writeSackHead(mem, from, count);
  // The latest first, then the others from the highest down: the latest changes are told again a few times.
  const latest = gaps.find(tcb.lastGap);
  if (latest >= 0) {
    mem.dv.setInt32(at, gaps.from[latest]);
    mem.dv.setInt32(at + 4, gaps.to[latest]);
    at += 8;
  }
  let left = count - (latest >= 0 ? 1 : 0);
  for (let i = gaps.count - 1; i >= 0 && left > 0; i--) {
    if (i === latest) continue;
    mem.dv.setInt32(at, gaps.from[i]);
    mem.dv.setInt32(at + 4, gaps.to[i]);
    at += 8;
    left--;
  }
}

function transmit(tcb: Tcb, frame: number, bytes: number, gsoSize: number): void {
  const { host } = tcb.tcp;
  const { mem } = host;
  const check = frame + TCP_AT + TCP_CHECK;
  let sum = pseudoSum(tcb.localIp, tcb.remoteIp, PROTO_TCP, bytes);
  const byDevice = host.set.txChecksum || gsoSize > 0;
  if (!byDevice) sum = ~foldSum(sum + fastSum(mem, frame + TCP_AT, bytes)) & 0xffff;
  mem.dv.setUint16(check, sum);
  writeEthernet(mem, frame, tcb.neighbor!, host.mac, ETHERTYPE_IPV4);
  writeIpv4(mem, frame + ETH_BYTES, IP_BYTES + bytes, PROTO_TCP, tcb.localIp, tcb.remoteIp);
  host.send(frame, TCP_AT + bytes, byDevice ? TCP_AT : 0, byDevice ? TCP_CHECK : 0, gsoSize);
}

/** Notes that sequence numbers up to here have been used. */
export function advanceSent(tcb: Tcb, end: number): void {
  tcb.sndNxt = end;
  tcb.sndMax = seqMax(tcb.sndMax, end);
}
