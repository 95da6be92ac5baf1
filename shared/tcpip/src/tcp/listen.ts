/** Connections being opened: passive (RFC 9293, 3.10.7.2), active and simultaneous (3.10.7.3).
 *  Data that comes with a SYN is not kept; the peer sends it again. Bounded: connections in all, and half-open ones of
 *  each listener. Nobody gives way to a newer one: a SYN that finds no room is answered by a cookie (cookie.ts). */
import { TCP_FLAG_ACK, TCP_RST, TCP_SYN } from '@grantline/frames';
import { C } from '../host.js';
import { initialWindow } from './recovery.js';
import { sampleFromAck } from './rtt.js';
import type { Segment } from './segment.js';
import { seqGt, seqLe } from './seq.js';
import type { Listener, Tcb, TcpShared } from './tcb.js';
import { closeWith, resetFor } from './control.js';
import { mayFollowCookie, sendCookie, takeCookie } from './cookie.js';
import { negotiate, offer } from './negotiate.js';
import {
  ERR_NONE,
  ERR_REFUSED,
  ESTABLISHED,
  EV_OPEN,
  EV_WRITABLE,
  FIN_WAIT_1,
  SYN_RECEIVED,
  SYN_SENT,
} from './state.js';
import { startKeepAlive, stopRetransmit } from './timers.js';
import { synWindow } from './window.js';

/** RFC 6298, 5.7: after a SYN that had to be repeated. */
const RTO_AFTER_LOST_SYN_MS = 3000;

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
