/** SYN cookies: a listener without room answers without keeping anything, and knows the connection again by the
 *  acknowledgement. Source: RFC 4987, 3.6, and its appendix A; RFC 7323, 7.1, allows the timestamp to carry something.
 *
 *  The sequence number of the SYN and ACK is the cookie:
 *      | 28 bits: keyed hash of both ends, the peer's SYN, the period, the bits below | 2: MSS | 1: timestamps | 1: period |
 *  A period is 65.5 s, and the last two count. Where the peer offers timestamps, the low bits of ours say the rest, and it
 *  sends them back: | SACK | window scale, 15: none |. Without, the connection has neither.
 *
 *  Costs a SYN two hashes and a frame: no object, no timer, no memory. */
import { IP_BYTES, PROTO_TCP, TCP_BYTES, TCP_FLAG_ACK, TCP_SYN } from '@grantline/frames';
import { C } from '../host.js';
import { FOR_COOKIE } from '../storage/keyed-hash.js';
import type { Segment } from './segment.js';
import type { TcpShared } from './tcb.js';
import { SMALLEST_MSS, offeredMss } from './negotiate.js';
import { SYN_OPTION_BYTES, TS_OPTION_BYTES, writeSynOptions, writeTimestamps } from './options.js';
import { writeTcpHeader } from './segment-writer.js';
import { scaleFor, synWindow } from './window.js';

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

/** The cookie for a SYN. @param bits MSS and TS_BIT, in their places */
function cookieFor(tcp: TcpShared, seg: Segment, irs: number, period: number, bits: number): number {
  const purpose = (period << 8) | (bits << 3) | FOR_COOKIE | 0;
  const hash = tcp.host.hash.of(seg.src, (seg.dstPort << 16) | seg.srcPort, irs, purpose);
  return (hash & ~DATA) | bits | (period & PERIOD_BIT);
}

const periodNow = (tcp: TcpShared): number => Math.floor(tcp.host.now / PERIOD_MS);

/** Answers a SYN. What has no room on the link is lost: the peer asks again. */
export function sendCookie(tcp: TcpShared, seg: Segment): void {
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
export function mayFollowCookie(tcp: TcpShared, seg: Segment): boolean {
  const { host } = tcp;
  if (host.now >= tcp.cookiesUntilMs || !seg.hasTs) return false;
  const age = (host.now + tcp.tsOffset(seg.src) - seg.tsEcr) | 0;
  return age >= 0 && age < FOLLOW_MS;
}

/** Does an acknowledgement bring back a cookie? Then the segment gets the options of the SYN that it answered, and has no
 *  timestamps to be judged by: the echoed one is no time. While none are out the answer is no, at no cost. */
export function takeCookie(tcp: TcpShared, seg: Segment): boolean {
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
