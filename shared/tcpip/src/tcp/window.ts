/** The receive window: what is promised to the peer. Source: RFC 9293, 3.8.6.2.2 (silly windows), RFC 7323, 2. */
import { seqDist } from './seq.js';
import type { NetSettings } from '../settings.js';
import type { Tcb, TcpShared } from './tcb.js';

/** Most that the window field can say at that scale, and the buffer holds. One unit of the scale is kept back, because
 *  the field is rounded up: rounded down, the edge would move to the left as data arrives. */
export const receiveLimit = (tcb: Tcb): number => limitAt(tcb.tcp.host.set, tcb.rcvScale);

/** The window of a SYN, which is not scaled, of a connection that will have that scale. */
export const synWindow = (tcp: TcpShared, scale: number): number =>
  Math.min(limitAt(tcp.host.set, scale), 0xffff, tcp.memory.arena.share);

const limitAt = (set: NetSettings, scale: number): number =>
  Math.min(set.receiveBuffer - (1 << scale), 0xffff << scale);

/** Shift that lets 16 bits stand for a buffer. */
export function scaleFor(bytes: number): number {
  let shift = 0;
  while (shift < 14 && 0xffff << shift < bytes) shift++;
  return shift;
}

/** How far the right edge could move now. */
function growth(tcb: Tcb): number {
  const used = tcb.rx.used;
  // What it has, or may have of the memory that all share; and in any case something to go on with.
  const most = Math.max(tcb.tcp.memory.arena.share, tcb.rx.capacity);
  const free = Math.min(receiveLimit(tcb) - used, Math.max(most - used, 2 * tcb.rcvMss));
  return (tcb.rcvNxt + free - tcb.rcvAdv) | 0;
}

/** Moves the right edge, if it is worth it. @returns the window, in bytes, as the field at the scale says it */
export function advanceWindow(tcb: Tcb): number {
  const more = growth(tcb);
  if (more > 0 && more >= Math.min(tcb.rcvMss, receiveLimit(tcb) >> 1)) tcb.rcvAdv = (tcb.rcvAdv + more) | 0;
  const unit = (1 << tcb.rcvScale) - 1;
  const window = Math.min((Math.max(0, seqDist(tcb.rcvNxt, tcb.rcvAdv)) + unit) & ~unit, 0xffff << tcb.rcvScale);
  tcb.rcvAdv = (tcb.rcvNxt + window) | 0;
  return window;
}

/** The application has read: is it time to say so? Not for every few bytes, and not while much is still promised. */
export function windowUpdateDue(tcb: Tcb): boolean {
  const limit = receiveLimit(tcb);
  const left = seqDist(tcb.rcvNxt, tcb.rcvAdv);
  if (2 * left > limit) return false;
  return growth(tcb) >= Math.min(2 * tcb.rcvMss, limit >> 1);
}
