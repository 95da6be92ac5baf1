/** What a connection sends, and when. Source: RFC 9293, 3.7.4 (Nagle), 3.8.6.2.1 (silly windows), 3.8.6.1 (probes). */
import { TCP_FIN, TCP_PSH } from '@grantline/frames';
import { C } from '../host.js';
import { NEIGHBOR_GONE } from '../ip/arp.js';
import { holeEnd, nextHole, pipe, restartAfterIdle } from './recovery.js';
import { seqGt } from './seq.js';
import { type Tcb, CA_OPEN, ESTABLISHED, SYN_RECEIVED, SYN_SENT, TIME_WAIT } from './tcb.js';
import { advanceSent, bareSeq, optionBytes, sendSegment, sendSyn } from './segment-writer.js';
import { startPersist, startRetransmit } from './timers.js';

const HEADERS = 40;

/** Sends what may be sent now. @returns false when the link is full: to be called again */
export function output(tcb: Tcb): boolean {
  if (!routeReady(tcb)) return true;
  if (tcb.state === SYN_SENT) return outputSyn(tcb);
  if (tcb.state === SYN_RECEIVED) return outputSyn(tcb) && (!tcb.ackNow || sendSegment(tcb, bareSeq(tcb), 0, 0));
  if (tcb.state < ESTABLISHED) return true;
  // Data segments carry no SACK blocks: there would be no room beside a full payload.
  if (tcb.ackNow && tcb.gaps !== null && tcb.gaps.count > 0 && !sendSegment(tcb, bareSeq(tcb), 0, 0)) return false;
  if (tcb.state !== TIME_WAIT && !outputData(tcb)) return false;
  if (tcb.keepDue) {
    // A byte before the window: a peer that is there has to answer (RFC 9293, 3.8.4).
    if (!sendSegment(tcb, (tcb.sndUna - 1) | 0, 0, 0)) return false;
    tcb.keepDue = false;
    tcb.tcp.host.v[C.tcpKeepAlives]++;
  }
  return !tcb.ackNow || sendSegment(tcb, bareSeq(tcb), 0, 0);
}

/** Sends an acknowledgement at once, or with the next flush when the link is full or the address unknown. */
export function acknowledge(tcb: Tcb): void {
  tcb.ackNow = true;
  if (tcb.state < ESTABLISHED || !routeReady(tcb) || !sendSegment(tcb, bareSeq(tcb), 0, 0)) tcb.tcp.markDirty(tcb);
}

function routeReady(tcb: Tcb): boolean {
  const { arp } = tcb.tcp;
  if (tcb.neighbor === null || tcb.neighbor.state === NEIGHBOR_GONE) {
    tcb.neighbor = arp.route(tcb.remoteIp);
    if (tcb.neighbor === null) {
      tcb.tcp.host.v[C.ipNoRoute]++;
      tcb.tcp.onAddress(tcb, false);
      return false;
    }
  }
  if (arp.ready(tcb.neighbor)) return true;
  if (!tcb.waitsForAddress) {
    tcb.waitsForAddress = true;
    arp.wait(tcb.neighbor, tcb);
  }
  return false;
}

function outputSyn(tcb: Tcb): boolean {
  if (!tcb.synDue) return true;
  if (!sendSyn(tcb)) return false;
  tcb.synDue = false;
  const { host } = tcb.tcp;
  // Karn: only a SYN that was sent once is timed.
  tcb.timing = tcb.tries === 0;
  tcb.rttSeq = tcb.sndNxt;
  tcb.rttUs = host.nowUs;
  if (tcb.rtxMs === 0) startRetransmit(tcb);
  return true;
}

/** @returns false when the link is full */
function outputData(tcb: Tcb): boolean {
  const { tcp } = tcb;
  const { host } = tcp;
  const { mss } = tcb;
  if (tcb.tx.used === 0 && !tcb.finQueued) return true;
  let inPipe = pipe(tcb);
  if (tcb.caState !== CA_OPEN) {
    inPipe = retransmit(tcb, inPipe);
    if (inPipe < 0) return false;
  }
  if (tcb.sndNxt === tcb.sndUna && tcb.tx.used > 0 && host.now - tcb.lastSentMs > tcb.rtoMs) restartAfterIdle(tcb);
  const gso = host.set.gso;
  const most = gso === 0 ? mss : Math.max(1, Math.floor((gso - HEADERS - optionBytes(tcb)) / mss)) * mss;
  tcb.cwndLimited = false;
  for (;;) {
    const flight = (tcb.sndNxt - tcb.sndUna) | 0;
    const unsent = tcb.tx.used - flight;
    if (unsent < 0) break; // FIN is out
    const window = (tcb.sndUna + tcb.sndWnd - tcb.sndNxt) | 0;
    const room = tcb.cwnd - inPipe;
    let bytes = unsent < most ? unsent : most;
    if (bytes > window) bytes = window;
    if (bytes > room) {
      bytes = room;
      tcb.cwndLimited = true;
    }
    if (bytes < 0) bytes = 0;
    const all = bytes === unsent;
    const fin = tcb.finQueued && all;
    const pressing = fin || (all && (tcb.noDelay || flight === 0)) || tcb.probeDue;
    if (bytes > mss) {
      if (!pressing) bytes -= bytes % mss;
    } else if (bytes < mss && !fin) {
      if (bytes === 0) break;
      // Silly window: half of the largest window ever offered is worth sending too, if the window is what limits.
      if (!pressing && !(bytes === window && 2 * bytes >= tcb.maxSndWnd)) break;
    }
    if (!sendSegment(tcb, tcb.sndNxt, bytes, (all ? TCP_PSH : 0) | (fin ? TCP_FIN : 0))) return false;
    const end = (tcb.sndNxt + bytes + (fin ? 1 : 0)) | 0;
    if (!tcb.timing) {
      tcb.timing = true;
      tcb.rttSeq = end;
      tcb.rttUs = host.nowUs;
    }
    advanceSent(tcb, end);
    inPipe += bytes;
    tcb.probeDue = false;
    if (tcb.rtxMs === 0 || tcb.persist) startRetransmit(tcb);
    if (fin) break;
  }
  if (tcb.sndNxt === tcb.sndUna) return probe(tcb);
  return true;
}

/** Nothing is under way, and something waits for the window. @returns false when the link is full */
function probe(tcb: Tcb): boolean {
  if (tcb.probeDue) {
    // One byte of new data, not counted as sent: what the peer says decides (RFC 9293, 3.8.6.1).
    const bytes = Math.min(1, tcb.tx.used);
    if (!sendSegment(tcb, tcb.sndUna, bytes, bytes === 0 ? TCP_FIN : 0)) return false;
    tcb.probeDue = false;
    tcb.tcp.host.v[C.tcpProbes]++;
    const end = (tcb.sndUna + 1) | 0;
    if (seqGt(end, tcb.sndMax)) tcb.sndMax = end;
  }
  if (tcb.rtxMs === 0) startPersist(tcb);
  return true;
}

/** Sends holes as far as cwnd allows; the first of a recovery in any case.
 *  @returns bytes in the pipe now, or -1 when the link is full */
function retransmit(tcb: Tcb, before: number): number {
  const { v } = tcb.tcp.host;
  let inPipe = before;
  while (tcb.forceRetransmit || tcb.cwnd - inPipe >= tcb.mss) {
    const from = nextHole(tcb);
    if (from === tcb.sndNxt) break;
    const dataEnd = (tcb.sndUna + tcb.tx.used) | 0;
    let bytes = Math.min((holeEnd(tcb, from) - from) | 0, tcb.mss);
    const fin = seqGt((from + bytes) | 0, dataEnd);
    if (fin) bytes = (dataEnd - from) | 0;
    if (!sendSegment(tcb, from, bytes, fin ? TCP_FIN : 0)) return -1;
    tcb.forceRetransmit = false;
    tcb.highRxt = (from + bytes + (fin ? 1 : 0)) | 0;
    inPipe += bytes;
    v[C.tcpRetransmits]++;
    v[C.tcpRetransmitBytes] += bytes;
    if (tcb.rtxMs === 0) startRetransmit(tcb);
  }
  tcb.forceRetransmit = false;
  return inPipe;
}
