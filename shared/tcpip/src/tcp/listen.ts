/** Connections being opened: passive (RFC 9293, 3.10.7.2), active and simultaneous (3.10.7.3).
 *  Data that comes with a SYN is not kept; the peer sends it again. Bounded: connections in all, and half-open ones of
 *  each listener. Nobody gives way to a newer one: a SYN that finds no room is answered by a cookie. */
import { IP_BYTES, TCP_BYTES, PROTO_TCP, TCP_FLAG_ACK, TCP_SYN, TCP_RST } from '@grantline/frames';
import { initialWindow } from './recovery.js';
import { TS_OPTION_BYTES, SYN_OPTION_BYTES, writeSynOptions, writeTimestamps, type Segment } from './segment.js';
import {
  ERR_NONE,
  ERR_REFUSED,
  ESTABLISHED,
  EV_OPEN,
  EV_WRITABLE,
  FIN_WAIT_1,
  SYN_RECEIVED,
  SYN_SENT,
  type Tcb,
  type TcpShared,
  type Listener,
} from './tcb.js';
import { scaleFor, synWindow } from './window.js';
import { C } from '../host.js';
import { FOR_COOKIE } from '../storage/keyed-hash.js';
import { writeTcpHeader } from './segment-writer.js';
import { sampleFromAck, startKeepAlive, stopRetransmit } from './timers.js';
import { seqGt, seqLe } from './seq.js';
import { closeWith, resetFor } from './control.js';

/** RFC 6298, 5.7: after a SYN that had to be repeated. */
const RTO_AFTER_LOST_SYN_MS = 3000;

/** RFC 9293, 3.7.1: without the option. */
const DEFAULT_MSS = 536;
/** Smaller ones would make us send mostly headers: an old attack (CVE-2019-11479). */
const SMALLEST_MSS = 88;

// SYN cookies: a listener without room answers without keeping anything, and knows the connection again by the
// acknowledgement. Source: RFC 4987, 3.6, and its appendix A; RFC 7323, 7.1, allows the timestamp to carry something.
//
// The sequence number of the SYN and ACK is the cookie:
//     | 28 bits: keyed hash of both ends, the peer's SYN, the period, the bits below | 2: MSS | 1: timestamps | 1: period |
// A period is 65.5 s, and the last two count. Where the peer offers timestamps, the low bits of ours say the rest, and it
// sends them back: | SACK | window scale, 15: none |. Without, the connection has neither.
//
// Costs a SYN two hashes and a frame: no object, no timer, no memory.

/** What is remembered of a peer's MSS: the largest of these that is not above it. 1220 is what fits through IPv6's least. */
const MSS = [SMALLEST_MSS, 536, 1220, 1460] as const;
const PERIOD_MS = 1 << 16;
const PERIODS = 2;
/** How long a peer may take to send the first segment again. */
const FOLLOW_MS = 16_000;

// Low bits of a cookie.
const PERIOD_BIT = 1;
const TS_BIT = 2;
const MSS_SHIFT = 2;
const DATA = 15;

// Low bits of the timestamp.
const NO_SCALE = 15;
const SACK_BIT = 16;
const TS_BITS = 31;

/** Begins an active open. */
export function startOpen(tcb: Tcb): void {
  const { tcp } = tcb;
  tcp.host.v[C.tcpActiveOpens]++;
  tcb.iss = tcp.isn(tcb.localIp, tcb.localPort, tcb.remoteIp, tcb.remotePort) | 0;
  beginSend(tcb);
  offer(tcb);
  tcb.state = SYN_SENT;
  tcb.synDue = true;
  tcp.table.insert(tcb);
  tcp.markDirty(tcb);
}

/** A segment for a port that somebody listens on, and no connection. @param isnAfter the new connection's numbers must
 *  be beyond that (RFC 9293, 3.10.7.4, on TIME-WAIT), if given
 *  @returns the connection that it belongs to after all: it acknowledges a cookie, and is to be processed further */
export function listenInput(tcp: TcpShared, seg: Segment, listener: Listener, isnAfter?: number): Tcb | null {
  const { host, table } = tcp;
  const { v } = host;
  if ((seg.flags & TCP_RST) !== 0) return null;
  if ((seg.flags & TCP_FLAG_ACK) !== 0) {
    const tcb = takeCookie(tcp, seg) ? openByCookie(tcp, seg, listener) : null;
    if (tcb === null) {
      v[C.tcpNoConnection]++;
      if (!mayFollowCookie(tcp, seg)) resetFor(tcp, seg);
    }
    return tcb;
  }
  if ((seg.flags & TCP_SYN) === 0) {
    v[C.tcpBadHeader]++;
    return null;
  }
  if (table.active - table.halfOpen >= host.set.maxConnections || table.isFull(seg.src)) {
    v[C.tcpConnLimit]++;
    return null;
  }
  if (!table.hasRoomHalfOpen(listener)) {
    sendCookie(tcp, seg);
    return null;
  }
  const tcb = passive(tcp, seg, listener);
  tcb.iss = tcp.isn(tcb.localIp, tcb.localPort, tcb.remoteIp, tcb.remotePort) | 0;
  if (isnAfter !== undefined && seqLe(tcb.iss, isnAfter)) tcb.iss = (isnAfter + 0x20000) | 0;
  beginSend(tcb);
  takeSyn(tcb, seg);
  tcb.state = SYN_RECEIVED;
  tcb.synDue = true;
  table.insertHalfOpen(tcb, listener);
  tcp.markDirty(tcb);
  return null;
}

/** An acknowledgement for a connection of which only the cookie was ours: as if its SYN had been kept.
 *  @returns null when there is no room */
function openByCookie(tcp: TcpShared, seg: Segment, listener: Listener): Tcb | null {
  const { host, table } = tcp;
  if (table.active >= host.set.maxConnections || table.isFull(seg.src)) {
    host.v[C.tcpConnLimit]++;
    return null;
  }
  const tcb = passive(tcp, seg, listener);
  tcb.iss = (seg.ack - 1) | 0;
  beginSend(tcb);
  tcb.sndNxt = tcb.sndMax = seg.ack;
  seg.seq = (seg.seq - 1) | 0;
  takeSyn(tcb, seg);
  seg.seq = tcb.rcvNxt;
  // As told with the cookie, unless the memory has become less or more meanwhile.
  tcb.rcvAdv = (tcb.rcvNxt + synWindow(tcp, tcb.rcvScale)) | 0;
  // The echoed time has lost its low bits: no sample of the round trip.
  seg.hasTs = false;
  tcb.state = SYN_RECEIVED;
  table.insert(tcb);
  return tcb;
}

/** In SYN-RECEIVED, and what is acknowledged is not our SYN: a cookie perhaps, sent for another copy of the peer's when there
 *  was no room. @returns the connection that takes this one's place, or null */
export function cookieInstead(tcb: Tcb, seg: Segment): Tcb | null {
  const { tcp, listener } = tcb;
  if (listener === null || !takeCookie(tcp, seg)) return null;
  closeWith(tcb, ERR_NONE);
  return openByCookie(tcp, seg, listener);
}

function passive(tcp: TcpShared, seg: Segment, listener: Listener): Tcb {
  tcp.host.v[C.tcpPassiveOpens]++;
  const tcb = tcp.create(seg.dstPort, seg.src, seg.srcPort);
  tcb.listener = listener;
  return tcb;
}

/** A segment for a connection in SYN-SENT. @returns what is left of the segment is to be processed further */
export function synSentInput(tcb: Tcb, seg: Segment): boolean {
  const { tcp } = tcb;
  const { v } = tcp.host;
  const hasAck = (seg.flags & TCP_FLAG_ACK) !== 0;
  if (hasAck && (seqLe(seg.ack, tcb.iss) || seqGt(seg.ack, tcb.sndMax))) {
    v[C.tcpBadAck]++;
    resetFor(tcp, seg);
    return false;
  }
  if ((seg.flags & TCP_RST) !== 0) {
    // Only one that knows our SYN counts (RFC 5961, 3).
    if (!hasAck) return false;
    v[C.tcpResetsIn]++;
    closeWith(tcb, ERR_REFUSED);
    return false;
  }
  if ((seg.flags & TCP_SYN) === 0) return false;
  takeSyn(tcb, seg);
  seg.seq = tcb.rcvNxt;
  seg.flags &= ~TCP_SYN;
  if (!hasAck) {
    // Simultaneous open: both send SYN and ACK now.
    tcb.state = SYN_RECEIVED;
    tcb.synDue = true;
    tcb.tries = 0;
    tcp.markDirty(tcb);
    return false;
  }
  // The window of a SYN is not scaled; the rest is done as for any segment.
  establish(tcb, seg, seg.window);
  seg.window >>= tcb.sndScale;
  tcb.ackNow = true;
  tcp.markDirty(tcb);
  return true;
}

/** Our SYN is acknowledged. @param window what the peer offers, bytes */
export function establish(tcb: Tcb, seg: Segment, window: number): void {
  const { tcp } = tcb;
  const { host } = tcp;
  const lost = tcb.tries > 0;
  tcp.table.noLongerHalfOpen(tcb);
  tcb.sndUna = (tcb.iss + 1) | 0;
  tcb.sndWnd = window;
  tcb.maxSndWnd = window;
  tcb.sndWl1 = seg.seq;
  tcb.sndWl2 = seg.ack;
  sampleFromAck(tcb, seg.ack, seg.hasTs, seg.tsEcr);
  tcb.timing = false;
  stopRetransmit(tcb);
  tcb.tries = 0;
  tcb.cwnd = initialWindow(tcb.mss);
  if (lost) {
    tcb.cwnd = tcb.mss;
    tcb.rtoMs = Math.max(tcb.rtoMs, Math.min(RTO_AFTER_LOST_SYN_MS, host.set.rtoMaxMs));
  }
  tcb.recover = tcb.iss;
  tcb.state = tcb.finQueued ? FIN_WAIT_1 : ESTABLISHED;
  tcb.lastHeardMs = host.now;
  tcb.lastSentMs = host.now;
  if (tcb.keepAlive) startKeepAlive(tcb);
  host.v[C.tcpOpened]++;
  tcp.tell(tcb, EV_OPEN | EV_WRITABLE);
  tcp.markDirty(tcb);
}

function beginSend(tcb: Tcb): void {
  tcb.sndUna = tcb.iss;
  tcb.sndNxt = tcb.iss;
  tcb.sndMax = tcb.iss;
  tcb.recover = tcb.iss;
}

function takeSyn(tcb: Tcb, seg: Segment): void {
  tcb.irs = seg.seq;
  tcb.rcvNxt = (seg.seq + 1) | 0;
  tcb.rcvWup = tcb.rcvNxt;
  negotiate(tcb, seg);
  // What a SYN of ours promised before is promised still.
  tcb.rcvAdv = tcb.rcvNxt + Math.min(0xffff, tcb.tcp.host.set.receiveBuffer - 1);
  tcb.rcvAdv |= 0;
}

// What both ends agree on by their SYNs. Source: RFC 9293, 3.7.1 (MSS), RFC 7323 (window scale, timestamps), RFC 2018.

/** What the peer's SYN says that it takes in a segment, options included. */
const offeredMss = (seg: Segment): number => Math.max(SMALLEST_MSS, seg.mss === 0 ? DEFAULT_MSS : seg.mss);

/** What a SYN of ours offers; taken back by `negotiate` where the peer does not. */
export function offer(tcb: Tcb): void {
  tcb.rcvScale = tcb.tcp.host.set.windowScale ? scaleFor(tcb.tcp.host.set.receiveBuffer) : 0;
}

/** Takes the options of the peer's SYN. */
function negotiate(tcb: Tcb, seg: Segment): void {
  const { host } = tcb.tcp;
  const { set } = host;
  if (set.windowScale && seg.scale >= 0) {
    tcb.sndScale = seg.scale;
    tcb.rcvScale = scaleFor(set.receiveBuffer);
    tcb.scaleOk = true;
  } else {
    tcb.sndScale = 0;
    tcb.rcvScale = 0;
  }
  tcb.tsOk = set.timestamps && seg.hasTs;
  if (tcb.tsOk) {
    tcb.tsRecent = seg.tsVal;
    tcb.tsRecentMs = host.now;
  }
  tcb.sackOk = set.sack && seg.sackPermitted;
  setMss(tcb, offeredMss(seg));
  tcb.rcvMss = set.mtu - IP_BYTES - TCP_BYTES - (tcb.tsOk ? TS_OPTION_BYTES : 0);
  tcb.cwnd = initialWindow(tcb.mss);
}

/** @param most what the peer or the path allows, options included */
export function setMss(tcb: Tcb, most: number): void {
  const own = tcb.tcp.host.set.mtu - IP_BYTES - TCP_BYTES;
  tcb.mss = Math.min(most, own) - (tcb.tsOk ? TS_OPTION_BYTES : 0);
}

/** The cookie for a SYN. @param bits MSS and TS_BIT, in their places */
function cookieFor(tcp: TcpShared, seg: Segment, irs: number, period: number, bits: number): number {
  const purpose = (period << 8) | (bits << 3) | FOR_COOKIE | 0;
  const hash = tcp.host.hash.of(seg.src, (seg.dstPort << 16) | seg.srcPort, irs, purpose);
  return (hash & ~DATA) | bits | (period & PERIOD_BIT);
}

const periodNow = (tcp: TcpShared): number => Math.floor(tcp.host.now / PERIOD_MS);

/** Answers a SYN. What has no room on the link is lost: the peer asks again. */
function sendCookie(tcp: TcpShared, seg: Segment): void {
  const { host, out } = tcp;
  const { mem, set, v } = host;
  const ts = set.timestamps && seg.hasTs;
  const scale = ts && set.windowScale && seg.scale >= 0 ? scaleFor(set.receiveBuffer) : -1;
  const sack = ts && set.sack && seg.sackPermitted;
  const options =
    SYN_OPTION_BYTES - TS_OPTION_BYTES - (scale >= 0 ? 0 : 4) + (sack ? 4 : 0) + (ts ? TS_OPTION_BYTES : 0);
  const at = out.open(seg.src, PROTO_TCP, TCP_BYTES + options);
  if (at < 0) return;
  const mss = offeredMss(seg);
  let index = MSS.length - 1;
  while (index > 0 && MSS[index] > mss) index--;
  const cookie = cookieFor(tcp, seg, seg.seq, periodNow(tcp), (index << MSS_SHIFT) | (ts ? TS_BIT : 0));
  const window = synWindow(tcp, Math.max(0, scale));
  writeTcpHeader(
    mem.dv,
    at,
    seg.dstPort,
    seg.srcPort,
    cookie,
    (seg.seq + 1) | 0,
    TCP_BYTES + options,
    TCP_SYN | TCP_FLAG_ACK,
    window,
  );
  const end = writeSynOptions(mem, at + TCP_BYTES, set.mtu - IP_BYTES - TCP_BYTES, scale, sack);
  if (ts) {
    // Not above the clock's own: what the connection sends later must not seem older (RFC 7323, 5).
    const clock = (host.now + tcp.tsOffset(seg.src)) | 0;
    const bits = (scale >= 0 ? seg.scale : NO_SCALE) | (sack ? SACK_BIT : 0);
    const low = clock & TS_BITS;
    writeTimestamps(mem, end, (clock - low + bits - (bits > low ? TS_BITS + 1 : 0)) | 0, seg.tsVal);
  }
  tcp.cookiesUntilMs = host.now + PERIODS * PERIOD_MS;
  v[C.tcpCookiesSent]++;
  v[C.tcpOut]++;
  out.finish(true);
}

/** May a segment that brings no cookie be a later one of a connection that one would open? Its number is not that of the first,
 *  but it echoes a timestamp that was sent just now. The first comes again: no reason to reset the peer. */
function mayFollowCookie(tcp: TcpShared, seg: Segment): boolean {
  const { host } = tcp;
  if (host.now >= tcp.cookiesUntilMs || !seg.hasTs) return false;
  const age = (host.now + tcp.tsOffset(seg.src) - seg.tsEcr) | 0;
  return age >= 0 && age < FOLLOW_MS;
}

/** Does an acknowledgement bring back a cookie? Then the segment gets the options of the SYN that it answered, and has no
 *  timestamps to be judged by: the echoed one is no time. While none are out the answer is no, at no cost. */
function takeCookie(tcp: TcpShared, seg: Segment): boolean {
  const { host } = tcp;
  if (host.now >= tcp.cookiesUntilMs || (seg.flags & (TCP_SYN | TCP_FLAG_ACK)) !== TCP_FLAG_ACK) return false;
  const cookie = (seg.ack - 1) | 0;
  const bits = cookie & DATA & ~PERIOD_BIT;
  let period = periodNow(tcp);
  if (((period ^ cookie) & PERIOD_BIT) !== 0) period--;
  const ts = (bits & TS_BIT) !== 0;
  if (cookieFor(tcp, seg, (seg.seq - 1) | 0, period, bits) !== cookie || (ts && !seg.hasTs)) {
    host.v[C.tcpCookiesRefused]++;
    return false;
  }
  seg.mss = MSS[bits >> MSS_SHIFT];
  const scale = seg.tsEcr & NO_SCALE;
  seg.scale = ts && scale < NO_SCALE ? scale : -1;
  seg.sackPermitted = ts && (seg.tsEcr & SACK_BIT) !== 0;
  seg.hasTs = ts;
  host.v[C.tcpCookiesAccepted]++;
  return true;
}
