/** The acknowledgement field, and the peer's window. Source: RFC 9293, 3.10.7.4, fifth; RFC 5961, 5; RFC 5681, 2. */
import { TCP_FIN } from '@grantline/frames';
import { C } from '../host.js';
import { onAcked, onDuplicate, takeSack } from './recovery.js';
import { sampleFromAck, startRetransmit, stopRetransmit } from './timers.js';
import type { Segment } from './segment.js';
import { seqGe, seqGt, seqLt } from './seq.js';
import { type Tcb, EV_WRITABLE } from './tcb.js';
import { challengeAllowed } from './control.js';
import { acknowledge } from './output.js';

/** The segment may not be used further. */
export const ACK_BAD = 0;
export const ACK_OK = 1;
/** Our FIN is acknowledged, with all before it. */
export const ACK_FIN = 2;

/** @returns ACK_* */
export function processAck(tcb: Tcb, seg: Segment): number {
  const { tcp } = tcb;
  const { v } = tcp.host;
  const { ack } = seg;
  const una = tcb.sndUna;
  if (seqGt(ack, tcb.sndMax) || seqLt(ack, (una - tcb.maxSndWnd) | 0)) {
    v[C.tcpBadAck]++;
    if (challengeAllowed(tcb)) {
      v[C.tcpChallengeAcks]++;
      acknowledge(tcb);
    }
    return ACK_BAD;
  }
  const window = seg.window << tcb.sndScale;
  const sameWindow = window === tcb.sndWnd;
  updateWindow(tcb, seg, window);
  const acked = (ack - una) | 0;
  const news = tcb.sackOk && seg.sackBlocks > 0 ? takeSack(tcb, seg) : 0;
  if (acked <= 0) {
    if (tcb.sndNxt !== una) {
      const duplicate = acked === 0 && seg.bytes === 0 && sameWindow && (seg.flags & TCP_FIN) === 0;
      if (duplicate || news > 0) {
        onDuplicate(tcb, duplicate, news);
        tcp.markDirty(tcb);
      }
    }
    return ACK_OK;
  }

  // A byte of a window probe may be acknowledged that does not count as sent.
  if (seqGt(ack, tcb.sndNxt)) tcb.sndNxt = ack;
  sampleFromAck(tcb, ack, seg.hasTs, seg.tsEcr);
  tcb.tries = 0;
  tcb.persistSinceMs = 0;
  const data = acked < tcb.tx.used ? acked : tcb.tx.used;
  const finAcked = acked > data;
  tcb.tx.drop(data);
  tcb.sndUna = ack;
  onAcked(tcb, acked);
  if (news > 0) onDuplicate(tcb, false, news);
  if (finAcked) tcb.finQueued = false;
  if (ack === tcb.sndNxt) stopRetransmit(tcb);
  else startRetransmit(tcb);
  if (tcb.wantWrite && data > 0 && tcb.tx.used <= tcp.host.set.sendBuffer >> 1) {
    tcb.wantWrite = false;
    tcp.tell(tcb, EV_WRITABLE);
  }
  if (tcb.tx.used > 0 || tcb.finQueued) tcp.markDirty(tcb);
  return finAcked ? ACK_FIN : ACK_OK;
}

/** RFC 9293 goes by the sequence number alone. But a retransmission has an old one, and may bring the latest acknowledgement:
 *  if that moved sndUna without the window, the right edge would move by as much, and we would send what the peer drops. */
function updateWindow(tcb: Tcb, seg: Segment, window: number): void {
  const newer =
    seqGt(seg.ack, tcb.sndUna) || seqLt(tcb.sndWl1, seg.seq) || (tcb.sndWl1 === seg.seq && seqGe(seg.ack, tcb.sndWl2));
  if (seqLt(seg.ack, tcb.sndUna) || !newer) return;
  const grown = window > tcb.sndWnd;
  tcb.sndWnd = window;
  tcb.sndWl1 = seg.seq;
  tcb.sndWl2 = seg.ack;
  if (window > tcb.maxSndWnd) tcb.maxSndWnd = window;
  if (window === 0) {
    // It is there, it only takes nothing: no reason to give it up (RFC 9293, 3.8.6.1).
    tcb.tries = 0;
  } else if (tcb.persist) {
    tcb.tries = 0;
    if (grown) {
      stopRetransmit(tcb);
      tcb.probeDue = false;
    }
  }
  if (grown) tcb.tcp.markDirty(tcb);
}
