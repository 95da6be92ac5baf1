/** Ends of connections, and answers to segments that do not fit: resets (RFC 9293, 3.5.2), challenge acknowledgements
 *  (RFC 5961), TIME-WAIT. */
import { TCP_BYTES, TCP_FIN, TCP_FLAG_ACK, TCP_RST, TCP_SYN, PROTO_TCP } from '@grantline/frames';
import { C } from '../host.js';
import type { Segment } from './segment.js';
import {
  type Tcb,
  type TcpShared,
  CLOSED,
  ERR_NONE,
  ESTABLISHED,
  EV_CLOSE,
  SYN_RECEIVED,
  SYN_SENT,
  TIME_WAIT,
} from './tcb.js';
import { bareSeq, writeTcpHeader } from './segment-writer.js';

/** Challenges per connection and half second (RFC 5961, 7). Counted per connection: a common limit can be probed by
 *  others to learn about this one. */
const CHALLENGE_MS = 500;
const CHALLENGES = 5;

/** Takes a connection out of everything. @param error ERR_*, told to the application @param reset tell the peer too */
export function closeWith(tcb: Tcb, error: number, reset = false): void {
  if (tcb.state === CLOSED) return;
  const { tcp } = tcb;
  if (reset && tcb.state >= SYN_RECEIVED && tcb.state !== TIME_WAIT)
    sendReset(tcp, tcb.remoteIp, tcb.remotePort, tcb.localPort, bareSeq(tcb), tcb.rcvNxt, TCP_FLAG_ACK);
  tcp.table.noLongerHalfOpen(tcb);
  tcp.table.remove(tcb);
  tcp.host.timers.remove(tcb);
  if (tcb.state >= ESTABLISHED) tcp.host.v[C.tcpClosed]++;
  // At the beginning of TIME-WAIT the application has been told.
  const told = tcb.state === TIME_WAIT;
  tcb.state = CLOSED;
  tcb.error = error;
  tcb.rtxMs = tcb.ackMs = tcb.keepMs = tcb.lifeMs = tcb.memMs = 0;
  tcb.tx.release();
  tcb.gaps = null;
  tcb.scoreboard = null;
  // What has been received in order may still be read after an orderly end.
  if (error !== ERR_NONE || tcb.events === null) tcb.rx.release();
  else tcb.rx.shrink();
  if (!told) tcp.tell(tcb, EV_CLOSE);
}

/** Both sides have closed, and we closed first: keeps the pair of sockets for 2*MSL. */
export function enterTimeWait(tcb: Tcb): void {
  const { tcp } = tcb;
  const { table, host } = tcp;
  tcb.state = TIME_WAIT;
  tcb.rtxMs = tcb.keepMs = tcb.memMs = 0;
  tcb.tx.release();
  tcb.gaps = null;
  tcb.scoreboard = null;
  table.rests(tcb);
  startTimeWait(tcb);
  if (table.timeWait.size > host.set.maxTimeWait) {
    host.v[C.tcpTimeWaitEvicted]++;
    for (const oldest of table.timeWait) {
      closeWith(oldest, ERR_NONE);
      break;
    }
  }
  tcp.tell(tcb, EV_CLOSE);
}

/** Begins the 2*MSL, or begins it again. */
export function startTimeWait(tcb: Tcb): void {
  const { host } = tcb.tcp;
  tcb.lifeMs = host.now + host.set.timeWaitMs;
  tcb.tcp.wake(tcb, tcb.lifeMs);
}

/** May this connection answer yet another segment that it cannot use? */
export function challengeAllowed(tcb: Tcb): boolean {
  const { host } = tcb.tcp;
  if (host.now - tcb.challengeMs >= CHALLENGE_MS) {
    tcb.challengeMs = host.now;
    tcb.challenges = 0;
  }
  if (++tcb.challenges <= CHALLENGES) return true;
  host.v[C.tcpLimited]++;
  return false;
}

/** Answers a segment for which there is no connection (RFC 9293, 3.10.7.1). */
export function resetFor(tcp: TcpShared, seg: Segment): void {
  if ((seg.flags & TCP_RST) !== 0) return;
  if (!tcp.resets.allow(tcp.host.now, seg.src)) {
    tcp.host.v[C.tcpLimited]++;
    return;
  }
  if ((seg.flags & TCP_FLAG_ACK) !== 0) {
    sendReset(tcp, seg.src, seg.srcPort, seg.dstPort, seg.ack, 0, 0);
  } else {
    const length = seg.bytes + ((seg.flags & TCP_SYN) !== 0 ? 1 : 0) + ((seg.flags & TCP_FIN) !== 0 ? 1 : 0);
    sendReset(tcp, seg.src, seg.srcPort, seg.dstPort, 0, (seg.seq + length) | 0, TCP_FLAG_ACK);
  }
}

function sendReset(
  tcp: TcpShared,
  ip: number,
  port: number,
  localPort: number,
  seq: number,
  ack: number,
  flags: number,
): void {
  const { host, out } = tcp;
  const at = out.open(ip, PROTO_TCP, TCP_BYTES);
  if (at < 0) return;
  writeTcpHeader(host.mem.dv, at, localPort, port, seq, ack, TCP_BYTES, TCP_RST | flags, 0);
  host.v[C.tcpResetsOut]++;
  out.finish(true);
}

/** Opening, not open yet. */
export const isOpening = (tcb: Tcb): boolean => tcb.state === SYN_SENT || tcb.state === SYN_RECEIVED;
