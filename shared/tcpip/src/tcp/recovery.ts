/** Congestion control and loss recovery: slow start, congestion avoidance (RFC 5681, by bytes as RFC 3465), initial window
 *  (RFC 6928), limited transmit (RFC 3042), fast retransmit and recovery by NewReno (RFC 6582), and with SACK by the
 *  scoreboard (RFC 6675).
 *
 *  One rule for all: send while `cwnd - pipe` has room, where pipe is what is believed to be in the network. Where the
 *  RFCs inflate cwnd by duplicate acknowledgements, here pipe shrinks by them: the same, without a cwnd that lies. */
import { C } from '../host.js';
import { Ranges, seqGe, seqGt, seqLe, seqLt, seqMax } from './seq.js';
import type { Segment } from './segment.js';
import { type Tcb, CA_LOSS, CA_OPEN, CA_RECOVERY } from './tcb.js';

const DUP_THRESHOLD = 3;
/** Stretch acknowledgements count in full up to this many bytes: one stands for a coalesced packet of 64 KiB. */
const ABC_LIMIT = 1 << 17;
/** cwnd does not grow past what could ever be in flight. */
const MAX_CWND = 1 << 26;

/** RFC 6928. */
export const initialWindow = (mss: number): number => Math.min(10 * mss, Math.max(2 * mss, 14600));

/** What is lost stands before this sequence number, as far as known (RFC 6675, IsLost). */
export function lossEdge(tcb: Tcb): number {
  if (tcb.caState === CA_LOSS) return tcb.recover;
  // In recovery the first segment is lost: three duplicates, or a partial acknowledgement, say so.
  let edge = (tcb.sndUna + tcb.mss) | 0;
  if (seqGt(edge, tcb.sndNxt)) edge = tcb.sndNxt;
  const board = tcb.scoreboard;
  if (board === null) return edge;
  let above = 0;
  for (let i = board.count - 1, seen = 1; i >= 0; i--, seen++) {
    above += (board.to[i] - board.from[i]) | 0;
    if (seen >= DUP_THRESHOLD || above > (DUP_THRESHOLD - 1) * tcb.mss) return seqMax(edge, board.from[i]);
  }
  return edge;
}

/** Bytes believed to be in the network. */
export function pipe(tcb: Tcb): number {
  let bytes = ((tcb.sndNxt - tcb.sndUna) | 0) - tcb.dupBytes;
  const board = tcb.scoreboard;
  if (board !== null && board.count > 0) bytes -= board.bytes;
  if (tcb.caState !== CA_OPEN) {
    const edge = lossEdge(tcb);
    const low = seqMax(tcb.highRxt, tcb.sndUna);
    if (seqLt(low, edge)) bytes -= ((edge - low) | 0) - (board === null ? 0 : board.bytesBetween(low, edge));
  }
  return bytes < 0 ? 0 : bytes;
}

/** Where the next hole to retransmit begins; sndNxt when there is none. `holeEnd` says where it ends. */
export function nextHole(tcb: Tcb): number {
  const edge = lossEdge(tcb);
  let from = seqMax(tcb.highRxt, tcb.sndUna);
  const board = tcb.scoreboard;
  if (board !== null) {
    const i = board.find(from);
    if (i >= 0) from = board.to[i];
  }
  return seqLt(from, edge) ? from : tcb.sndNxt;
}

/** End of the hole that begins there: the next range that has arrived, or the end of what is lost. */
export function holeEnd(tcb: Tcb, from: number): number {
  const edge = lossEdge(tcb);
  const board = tcb.scoreboard;
  if (board !== null)
    for (let i = 0; i < board.count; i++)
      if (seqGt(board.from[i], from)) return seqLt(board.from[i], edge) ? board.from[i] : edge;
  return edge;
}

/** Notes what the peer says it has (RFC 2018, 5). @returns bytes that are news */
export function takeSack(tcb: Tcb, seg: Segment): number {
  let news = 0;
  for (let i = 0; i < seg.sackBlocks; i++) {
    const from = seg.sack[2 * i];
    const to = seg.sack[2 * i + 1];
    // Old, reported twice (RFC 2883), or made up.
    if (!seqLt(from, to) || seqLt(from, seg.ack) || seqLe(from, tcb.sndUna) || seqGt(to, tcb.sndNxt)) continue;
    tcb.scoreboard ??= new Ranges();
    const more = tcb.scoreboard.add(from, to);
    if (more > 0) news += more;
  }
  return news;
}

/** An acknowledgement that moves nothing on, or tells of data beyond a gap. @param news bytes newly reported by SACK
 *  @param duplicate it counts as duplicate by RFC 5681, 2 */
export function onDuplicate(tcb: Tcb, duplicate: boolean, news: number): void {
  const flight = (tcb.sndNxt - tcb.sndUna) | 0;
  if (duplicate && (!tcb.sackOk || news > 0)) {
    tcb.dupAcks++;
    tcb.tcp.host.v[C.tcpDupAcksIn]++;
    // Not more than was under way when it began: duplicates can be invented (RFC 5681, 3.2 and 5).
    const most = (tcb.caState === CA_OPEN ? flight : (tcb.recover - tcb.sndUna) | 0) - tcb.mss;
    if (!tcb.sackOk) tcb.dupBytes = Math.min(tcb.dupBytes + tcb.mss, Math.max(0, most));
  }
  if (tcb.caState !== CA_OPEN) return;
  const sacked = tcb.scoreboard === null ? 0 : tcb.scoreboard.bytes;
  if (tcb.dupAcks < DUP_THRESHOLD && sacked <= (DUP_THRESHOLD - 1) * tcb.mss) return;
  // RFC 6582, 3.2, step 2: not for what is left over from the last recovery.
  if (tcb.recover !== tcb.iss && seqLt(tcb.sndUna, tcb.recover)) return;
  tcb.tcp.host.v[C.tcpFastRecoveries]++;
  tcb.caState = CA_RECOVERY;
  tcb.recover = tcb.sndNxt;
  tcb.highRxt = tcb.sndUna;
  tcb.ssthresh = Math.max(flight >> 1, 2 * tcb.mss);
  tcb.cwnd = tcb.ssthresh;
  tcb.caAcked = 0;
  tcb.forceRetransmit = true;
  tcb.timing = false;
}

/** New data was acknowledged; sndUna has moved on already. */
export function onAcked(tcb: Tcb, acked: number): void {
  const board = tcb.scoreboard;
  if (board !== null && board.count > 0) board.dropBefore(tcb.sndUna);
  if (tcb.caState === CA_RECOVERY && seqLt(tcb.sndUna, tcb.recover)) {
    // Partial acknowledgement: the next segment is lost too (RFC 6582, 3.2, step 3).
    tcb.dupBytes = Math.max(0, tcb.dupBytes - Math.max(0, acked - tcb.mss));
    if (seqGe(tcb.sndUna, tcb.highRxt)) {
      tcb.highRxt = tcb.sndUna;
      tcb.forceRetransmit = true;
    }
    return;
  }
  tcb.dupAcks = 0;
  tcb.dupBytes = 0;
  // Sequence numbers come round: what was left behind 2^31 bytes ago would seem to lie ahead, and rule recovery out.
  if (tcb.caState === CA_OPEN && seqGt(tcb.sndUna, tcb.recover)) tcb.recover = tcb.sndUna;
  if (tcb.caState !== CA_OPEN && seqGe(tcb.sndUna, tcb.recover)) {
    // RFC 6582, 3.2, step 3, choice 1; with SACK pipe was known all the time, nothing bursts (RFC 6675, 5).
    if (tcb.caState === CA_RECOVERY && !tcb.sackOk)
      tcb.cwnd = Math.min(tcb.ssthresh, Math.max(pipe(tcb), tcb.mss) + tcb.mss);
    tcb.caState = CA_OPEN;
    tcb.forceRetransmit = false;
    return;
  }
  if (tcb.cwndLimited || tcb.caState === CA_LOSS) grow(tcb, acked);
}

/** The retransmission timer went off (RFC 5681, 3.1; RFC 6298, 5.4). */
export function onTimeout(tcb: Tcb): void {
  const flight = (tcb.sndNxt - tcb.sndUna) | 0;
  // Only the first time: backed off, the flight is what one segment has made it.
  if (tcb.tries === 0) tcb.ssthresh = Math.max(flight >> 1, 2 * tcb.mss);
  const board = tcb.scoreboard;
  if (board !== null && board.count > 0 && (tcb.tries > 0 || seqLe(board.from[0], tcb.sndUna))) {
    // RFC 2018, 8: the peer may have thrown away what it reported; after a second time-out nothing is believed.
    tcb.tcp.host.v[C.tcpSackReneging]++;
    board.clear();
  }
  tcb.cwnd = tcb.mss;
  tcb.caAcked = 0;
  tcb.caState = CA_LOSS;
  tcb.recover = tcb.sndNxt;
  tcb.highRxt = tcb.sndUna;
  tcb.dupAcks = 0;
  tcb.dupBytes = 0;
  tcb.forceRetransmit = true;
  tcb.timing = false;
}

/** After a pause the network may have changed (RFC 5681, 4.1). */
export function restartAfterIdle(tcb: Tcb): void {
  tcb.cwnd = Math.min(tcb.cwnd, initialWindow(tcb.mss));
}

function grow(tcb: Tcb, acked: number): void {
  const { mss } = tcb;
  if (tcb.cwnd >= MAX_CWND) return;
  if (tcb.cwnd < tcb.ssthresh) {
    // After a time-out one acknowledgement may cover much that arrived before it: RFC 3465, 2.3.
    tcb.cwnd += Math.min(acked, tcb.caState === CA_LOSS ? mss : ABC_LIMIT);
    return;
  }
  tcb.caAcked += acked;
  if (tcb.caAcked >= tcb.cwnd) {
    tcb.caAcked -= tcb.cwnd;
    tcb.cwnd += mss;
  }
}
