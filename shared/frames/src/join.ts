/** When a TCP segment may be joined to those before it: the rules of Linux's GRO (net/ipv4/tcp_offload.c, tcp_gro_receive) that
 *  hold for all who join.
 *
 *  What else must agree is for each to say. Lro and Coalescer join for a stack of ours, which is told the last segment's
 *  acknowledgement and timestamp, so these may go on from segment to segment (inet_lro.c); Lro, which has no connection behind
 *  it, also asks for one VLAN, TOS and TTL, and Coalescer for room in its list of parts. TapWriter's Joiner makes a packet that a
 *  kernel reads: one header stands for all, so all of it must be the same but what cutting changes (cut.ts). */
import * as tcpAbi from './tcp.js';

// Local, so that the engine folds them into the code: see flow-templates.ts.
const { TCP_FLAG_ACK, TCP_PSH } = tcpAbi;

/** Longest IP packet that joined segments may stand for. */
const MOST_BYTES = 65535;

/** @param flags all of the segment's @param bytes its payload @returns false: it goes alone, and nothing is joined to it */
export const mayJoin = (flags: number, bytes: number): boolean => (flags & ~TCP_PSH) === TCP_FLAG_ACK && bytes > 0;

/** @param next sequence number that is expected @param sequence, bytes the segment's, and its payload
 *  @param unit payload of each segment but the last @param total bytes of the IP packet with this one joined */
export const follows = (next: number, sequence: number, bytes: number, unit: number, total: number): boolean =>
  sequence === next && bytes <= unit && total <= MOST_BYTES;

/** @returns true when nothing follows a segment: somebody shall have it now, or it is shorter than the others */
export const isLast = (flags: number, bytes: number, unit: number): boolean => (flags & TCP_PSH) !== 0 || bytes < unit;
