/** What a segment does to a connection. Source: RFC 9293, 3.10.7, in its order; RFC 5961 for resets and SYNs in the
 *  window; RFC 7323, 5, for old duplicates (PAWS); RFC 1337 and 6191 for TIME-WAIT. */
import { IP_BYTES, TCP_BYTES, TCP_FIN, TCP_FLAG_ACK, TCP_RST, TCP_SYN } from '@grantline/frames';
import type { IcmpError } from '../ip/icmp.js';
import { onTimeout } from './recovery.js';
import { seqGe, seqLt, seqGt, seqLe } from './seq.js';
import { closeWith, isOpening, challengeAllowed, enterTimeWait, resetFor, startTimeWait } from './control.js';
import {
  ERR_REFUSED,
  ERR_UNREACHABLE,
  ESTABLISHED,
  CLOSING,
  ERR_NONE,
  ERR_RESET,
  FIN_WAIT_1,
  FIN_WAIT_2,
  LAST_ACK,
  SYN_RECEIVED,
  SYN_SENT,
  TIME_WAIT,
  type TcpShared,
  type Tcb,
} from './tcb.js';
import { setMss, cookieInstead, establish, listenInput, synSentInput } from './listen.js';
import { C } from '../host.js';
import type { Segment } from './segment.js';
import { ACK_BAD, ACK_FIN, processAck } from './ack.js';
import { processData, trimToWindow } from './data.js';
import { acknowledge } from './output.js';
import { startLife } from './timers.js';

/** A timestamp older than this says nothing (RFC 7323, 5.5). */
const PAWS_IDLE_MS = 24 * 86_400_000;

// Of ICMP errors.
const UNREACHABLE = 3;
const PROTOCOL = 2;
const PORT = 3;
const TOO_BIG = 4;
/** RFC 1191: every link carries 68; below 552 it is more likely an attack than a link. */
const SMALLEST_MTU = 552;

export function tcpInput(tcp: TcpShared, seg: Segment): void {
  const tcb = tcp.table.find(seg.dst, seg.dstPort, seg.src, seg.srcPort);
  if (tcb === null) {
    noConnection(tcp, seg);
    return;
  }
  tcb.lastHeardMs = tcp.host.now;
  tcb.keepTries = 0;
  if (tcb.state === SYN_SENT) {
    if (!synSentInput(tcb, seg) || tcb.state < ESTABLISHED) return;
    acceptable(tcb, seg);
    return;
  }
  if (tcb.state === TIME_WAIT) {
    timeWaitInput(tcb, seg);
    return;
  }
  if (tcb.state === SYN_RECEIVED && repeatedSyn(tcb, seg)) return;
  if (isOldDuplicate(tcb, seg) || !isInWindow(tcb, seg)) return;
  acceptable(tcb, seg);
}

function noConnection(tcp: TcpShared, seg: Segment): void {
  const listener = tcp.table.listeners.get(seg.dstPort);
  if (listener !== undefined) {
    const tcb = listenInput(tcp, seg, listener);
    if (tcb !== null) acceptable(tcb, seg);
    return;
  }
  tcp.host.v[C.tcpNoConnection]++;
  resetFor(tcp, seg);
}

/** Steps two to eight, for a segment in the window. */
function acceptable(tcb: Tcb, seg: Segment): void {
  const { tcp } = tcb;
  const { v } = tcp.host;
  if ((seg.flags & TCP_RST) !== 0) {
    resetInput(tcb, seg);
    return;
  }
  if ((seg.flags & TCP_SYN) !== 0) {
    // RFC 9293, 3.10.7.4, fourth: back to LISTEN for one half open; RFC 5961, 4, for the others.
    if (tcb.state === SYN_RECEIVED && tcb.listener !== null) closeWith(tcb, ERR_NONE);
    else challenge(tcb);
    return;
  }
  if ((seg.flags & TCP_FLAG_ACK) === 0) {
    v[C.tcpBadHeader]++;
    return;
  }
  if (tcb.tsOk && seg.hasTs && seqGe(seg.tsVal, tcb.tsRecent) && seqLe(seg.seq, tcb.rcvWup)) {
    tcb.tsRecent = seg.tsVal;
    tcb.tsRecentMs = tcp.host.now;
  }
  if (tcb.state === SYN_RECEIVED) {
    if (!seqGt(seg.ack, tcb.sndUna) || seqGt(seg.ack, tcb.sndMax)) {
      const other = cookieInstead(tcb, seg);
      if (other !== null) {
        acceptable(other, seg);
        return;
      }
      v[C.tcpBadAck]++;
      resetFor(tcp, seg);
      return;
    }
    establish(tcb, seg, seg.window << tcb.sndScale);
  }
  const acked = processAck(tcb, seg);
  if (acked === ACK_BAD) return;
  if (acked === ACK_FIN && finAcked(tcb)) return;
  if (seg.bytes === 0 && (seg.flags & TCP_FIN) === 0) return;
  if (tcb.state !== ESTABLISHED && tcb.state !== FIN_WAIT_1 && tcb.state !== FIN_WAIT_2) {
    // The peer has sent its FIN: there can be nothing behind it (RFC 9293, 3.10.7.4, seventh).
    acknowledge(tcb);
    return;
  }
  trimToWindow(tcb, seg);
  if (tcb.events === null && tcb.listener === null && seg.bytes > 0) {
    // The application has closed and will not read this: say so (RFC 9293, 3.10.4 and RFC 2525, 2.17).
    v[C.tcpDataAfterClose]++;
    closeWith(tcb, ERR_RESET, true);
    return;
  }
  processData(tcb, seg);
}

/** @returns true when the connection is over, or was before */
function finAcked(tcb: Tcb): boolean {
  if (tcb.state === FIN_WAIT_1) {
    tcb.state = FIN_WAIT_2;
    if (tcb.events === null) startLife(tcb, tcb.tcp.host.set.finWait2Ms);
  } else if (tcb.state === CLOSING) {
    enterTimeWait(tcb);
    return true;
  } else if (tcb.state === LAST_ACK) {
    closeWith(tcb, ERR_NONE);
    return true;
  }
  return false;
}

/** RFC 5961, 3: only a reset at exactly the next sequence number counts. */
function resetInput(tcb: Tcb, seg: Segment): void {
  if (seg.seq !== tcb.rcvNxt) {
    challenge(tcb);
    return;
  }
  tcb.tcp.host.v[C.tcpResetsIn]++;
  if (tcb.state === SYN_RECEIVED) closeWith(tcb, tcb.listener === null ? ERR_REFUSED : ERR_NONE);
  else if (tcb.state === CLOSING || tcb.state === LAST_ACK) closeWith(tcb, ERR_NONE);
  else closeWith(tcb, ERR_RESET);
}

function challenge(tcb: Tcb): void {
  if (!challengeAllowed(tcb)) return;
  tcb.tcp.host.v[C.tcpChallengeAcks]++;
  acknowledge(tcb);
}

/** The peer's SYN once more, or its SYN and ACK in a simultaneous open. @returns the segment is done with */
function repeatedSyn(tcb: Tcb, seg: Segment): boolean {
  if ((seg.flags & (TCP_SYN | TCP_RST)) !== TCP_SYN || seg.seq !== tcb.irs) return false;
  if ((seg.flags & TCP_FLAG_ACK) === 0) {
    if (challengeAllowed(tcb)) {
      tcb.synDue = true;
      tcb.tcp.markDirty(tcb);
    }
    return true;
  }
  // RFC 9293, figure 8, line 6: its SYN is known, its acknowledgement is not.
  seg.seq = (seg.seq + 1) | 0;
  seg.flags &= ~TCP_SYN;
  seg.window >>= tcb.sndScale;
  tcb.ackNow = true;
  return false;
}

/** RFC 7323, 5.3. @returns true when the segment is dropped */
function isOldDuplicate(tcb: Tcb, seg: Segment): boolean {
  if (!tcb.tsOk || (seg.flags & TCP_RST) !== 0) return false;
  const { host } = tcb.tcp;
  if (!seg.hasTs) {
    // RFC 7323, 3.2, would have it dropped. But there are peers that agree on timestamps and leave them out, of keep-alive
    // probes above all: they would hang. As Linux we go by the sequence number then, as without the option.
    host.v[C.tcpNoTimestamp]++;
    return false;
  }
  if (!seqLt(seg.tsVal, tcb.tsRecent) || host.now - tcb.tsRecentMs > PAWS_IDLE_MS) return false;
  host.v[C.tcpPaws]++;
  answerUnusable(tcb, seg);
  return true;
}

/** First: the sequence number (RFC 9293, 3.10.7.4). Into a closed window an acknowledgement still comes in. */
function isInWindow(tcb: Tcb, seg: Segment): boolean {
  const { v } = tcb.tcp.host;
  const window = (tcb.rcvAdv - tcb.rcvNxt) | 0;
  const length = seg.bytes + (seg.flags & TCP_FIN ? 1 : 0) + (seg.flags & TCP_SYN ? 1 : 0);
  const from = (seg.seq - tcb.rcvNxt) | 0;
  // An acknowledgement alone may stand at the right edge: its sender has filled the window.
  if (from === 0 || (length === 0 && from > 0 && from <= window)) return true;
  const last = from + length - 1;
  if ((from > 0 && from < window) || (length > 0 && last >= 0 && last < window && from < 0)) return true;
  // A retransmission that reaches beyond the window on both sides.
  if (length > 0 && from < 0 && last >= window && window > 0) return true;
  if (last < 0 && length > 0) v[C.tcpDuplicate]++;
  else v[C.tcpOutOfWindow]++;
  if ((seg.flags & TCP_RST) === 0) answerUnusable(tcb, seg);
  return false;
}

/** With data: the acknowledgement for it may have been lost. Without: two ends that disagree must not answer each other
 *  for ever. */
function answerUnusable(tcb: Tcb, seg: Segment): void {
  if (seg.bytes > 0 || challengeAllowed(tcb)) acknowledge(tcb);
}

function timeWaitInput(tcb: Tcb, seg: Segment): void {
  const { tcp } = tcb;
  // RFC 1337: a reset does not shorten TIME-WAIT.
  if ((seg.flags & TCP_RST) !== 0) return;
  if ((seg.flags & (TCP_SYN | TCP_FLAG_ACK)) === TCP_SYN) {
    const listener = tcp.table.listeners.get(seg.dstPort);
    const byTime = tcb.tsOk && seg.hasTs;
    const newer = byTime ? seqGt(seg.tsVal, tcb.tsRecent) : seqGt(seg.seq, tcb.rcvNxt);
    if (listener !== undefined && (newer || (byTime && seqGt(seg.seq, tcb.rcvNxt) && seg.tsVal === tcb.tsRecent))) {
      const last = tcb.sndNxt;
      tcp.host.v[C.tcpTimeWaitReused]++;
      closeWith(tcb, ERR_NONE);
      listenInput(tcp, seg, listener, last);
      return;
    }
  }
  // The peer's FIN again: our acknowledgement was lost.
  if ((seg.flags & TCP_FIN) !== 0) startTimeWait(tcb);
  if ((seg.flags & TCP_FIN) !== 0 || challengeAllowed(tcb)) acknowledge(tcb);
}

/** What TCP makes of ICMP errors: believed only for a segment that is under way, and hard errors only while a connection
 *  opens (RFC 5927, 4 to 6). Source of the path MTU: RFC 1191. */
export function tcpIcmpError(tcp: TcpShared, error: IcmpError): void {
  const tcb = tcp.table.find(error.src, error.srcPort, error.dst, error.dstPort);
  if (tcb === null || error.type !== UNREACHABLE) return;
  if (!seqGe(error.seq, tcb.sndUna) || !seqLt(error.seq, tcb.sndMax)) return;
  if (error.code === TOO_BIG) {
    const mtu = Math.max(error.mtu, SMALLEST_MTU);
    const before = tcb.mss;
    if (tcb.state < ESTABLISHED || mtu >= tcp.host.set.mtu) return;
    setMss(tcb, mtu - IP_BYTES - TCP_BYTES);
    if (tcb.mss >= before) {
      tcb.mss = before;
      return;
    }
    // All that is under way was too long: again, in smaller pieces; not a sign of congestion.
    const { ssthresh } = tcb;
    onTimeout(tcb);
    tcb.ssthresh = ssthresh;
    tcp.markDirty(tcb);
  } else if (isOpening(tcb) && tcb.listener === null) {
    if (error.code === PROTOCOL || error.code === PORT) closeWith(tcb, ERR_REFUSED);
    // Others may pass; they are the reason given if the opening fails.
    else tcb.error = ERR_UNREACHABLE;
  }
}
