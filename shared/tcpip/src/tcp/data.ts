/** Payload and FIN: into the receive ring, in order or beyond gaps. Source: RFC 9293, 3.10.7.4, seventh and eighth;
 *  RFC 5681, 4.2, for what is acknowledged at once. Urgent data is ordinary data here (RFC 6093). */
import { TCP_FIN } from '@grantline/frames';
import { C } from '../host.js';
import { Ranges, seqGe, seqLe } from './seq.js';
import type { Segment } from './segment.js';
import {
  type Tcb,
  CLOSE_WAIT,
  CLOSING,
  ESTABLISHED,
  EV_END,
  EV_READABLE,
  FIN_WAIT_1,
  FIN_WAIT_2,
  SYN_RECEIVED,
} from './tcb.js';
import { enterTimeWait } from './control.js';
import { acknowledge } from './output.js';
import { startDelayedAck } from './timers.js';

/** Takes payload that lies in the window, trimmed to it, and the FIN behind it. */
export function processData(tcb: Tcb, seg: Segment): void {
  const fin = (seg.flags & TCP_FIN) !== 0;
  const at = (seg.seq + seg.bytes) | 0;
  if (seg.bytes > 0) {
    if (seg.seq === tcb.rcvNxt) inOrder(tcb, seg);
    else beyondGap(tcb, seg);
  }
  if (fin && !tcb.rcvFinSeen) {
    // Behind data that had no room the FIN does not count: both come again.
    tcb.rcvFinSeen = true;
    tcb.rcvFin = at;
    if (at !== tcb.rcvNxt) acknowledge(tcb);
  }
  if (tcb.rcvFinSeen && !tcb.rcvDone && tcb.rcvFin === tcb.rcvNxt) finReached(tcb);
}

function inOrder(tcb: Tcb, seg: Segment): void {
  const { tcp } = tcb;
  const { v } = tcp.host;
  const { rx, gaps } = tcb;
  const room = tcp.memory.room(rx, rx.used, seg.bytes);
  if (room < seg.bytes) {
    v[C.tcpNoMemory]++;
    tcb.ackNow = true;
    tcp.markDirty(tcb);
    if (room === 0) return;
    seg.trimTo(room);
  }
  const { bytes } = seg;
  store(tcb, seg, rx.used);
  let taken = bytes;
  if (gaps !== null && gaps.count > 0) {
    // It fills a gap, in part or as a whole: say so at once (RFC 5681, 4.2).
    const end = (seg.seq + bytes) | 0;
    if (seqLe(gaps.from[0], end)) {
      if (gaps.from[0] !== end) v[C.tcpOverlap]++;
      let to = end;
      while (gaps.count > 0 && seqLe(gaps.from[0], to)) {
        if (!seqLe(gaps.to[0], to)) to = gaps.to[0];
        gaps.dropBefore(gaps.to[0]);
      }
      taken = (to - seg.seq) | 0;
    }
    tcb.ackNow = true;
  }
  rx.extend(taken);
  tcb.rcvNxt = (tcb.rcvNxt + taken) | 0;
  tcp.tell(tcb, EV_READABLE);

  // How long the peer's segments are, for "every second one".
  const size = seg.gsoSize > 0 ? seg.gsoSize : bytes;
  if (size > tcb.rcvMss) tcb.rcvMss = size;
  else if (seg.gsoSize > 0) tcb.rcvMss = seg.gsoSize;
  if (((tcb.rcvNxt - tcb.rcvWup) | 0) >= 2 * tcb.rcvMss) tcb.ackNow = true;
  if (tcb.ackNow) tcp.markDirty(tcb);
  else startDelayedAck(tcb);
}

function beyondGap(tcb: Tcb, seg: Segment): void {
  const { tcp } = tcb;
  const { v } = tcp.host;
  const { rx } = tcb;
  const ahead = rx.used + ((seg.seq - tcb.rcvNxt) | 0);
  const end = (seg.seq + seg.bytes) | 0;
  v[C.tcpOutOfOrder]++;
  tcb.gaps ??= new Ranges();
  if (tcp.memory.room(rx, ahead, seg.bytes) < seg.bytes) {
    v[C.tcpNoMemory]++;
  } else {
    const fresh = tcb.gaps.add(seg.seq, end);
    if (fresh < 0) {
      v[C.tcpTooManyGaps]++;
    } else {
      // Where it overlaps what is there already the later copy counts; an honest peer sends the same.
      if (fresh < seg.bytes) v[C.tcpOverlap]++;
      store(tcb, seg, ahead);
      tcb.lastGap = seg.seq;
    }
  }
  // A duplicate acknowledgement for each, not one for a batch: the peer counts them (RFC 5681, 4.2).
  acknowledge(tcb);
}

function store(tcb: Tcb, seg: Segment, ahead: number): void {
  let to = ahead;
  for (let i = seg.first; i < seg.parts; i++) {
    const bytes = seg.len[i];
    if (bytes === 0) continue;
    tcb.rx.put(to, seg.off[i], bytes);
    to += bytes;
  }
}

function finReached(tcb: Tcb): void {
  const { tcp } = tcb;
  tcb.rcvNxt = (tcb.rcvNxt + 1) | 0;
  tcb.rcvDone = true;
  tcb.ackNow = true;
  tcp.markDirty(tcb);
  tcp.tell(tcb, EV_END);
  if (tcb.state === ESTABLISHED || tcb.state === SYN_RECEIVED) tcb.state = CLOSE_WAIT;
  else if (tcb.state === FIN_WAIT_1) tcb.state = CLOSING;
  else if (tcb.state === FIN_WAIT_2) enterTimeWait(tcb);
}

/** Cuts what was received before, and what lies beyond the window. */
export function trimToWindow(tcb: Tcb, seg: Segment): void {
  const { v } = tcb.tcp.host;
  const old = (tcb.rcvNxt - seg.seq) | 0;
  if (old > 0 && seg.bytes > 0) {
    v[C.tcpDuplicate]++;
    seg.trimFront(old < seg.bytes ? old : seg.bytes);
    tcb.ackNow = true;
    tcb.tcp.markDirty(tcb);
  }
  const window = (tcb.rcvAdv - seg.seq) | 0;
  if (seg.bytes > window && seqGe(seg.seq, tcb.rcvNxt)) {
    v[C.tcpOutOfWindow]++;
    seg.trimTo(Math.max(0, window));
    seg.flags &= ~TCP_FIN;
    tcb.ackNow = true;
    tcb.tcp.markDirty(tcb);
  }
}
