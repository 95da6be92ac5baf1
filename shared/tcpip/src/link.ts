/** What the stack stands on: something that takes frames to the wire, and hands frames in by NetStack.input.
 *
 *  Frames lie in the memory that stack and link share (one Mem); offsets are the currency, nothing is allocated for a
 *  frame. */
import type { Mem } from '@grantline/machine';

/** The device has verified the checksum of the transport header (and of the IP header). */
export const RX_CHECKSUM_OK = 1;
/** The sender sits on the same machine and left the checksum to a device that the packet never met: the field holds the
 *  sum of the pseudo header only (netif's csum_blank, virtio's NEEDS_CSUM). Nothing to verify. */
export const RX_CHECKSUM_BLANK = 2;

export interface NetLink {
  /** The same as the stack's. */
  readonly mem: Mem;
  /** Asks for contiguous room in the transmit area. Reserves nothing yet: a second call may give the same room.
   *  @param bytes whole frame, Ethernet header included; more than the MTU only when segmentation offload is on
   *  @returns byte offset, or -1: full. The stack then stops and goes on at the next flush */
  reserve(bytes: number): number;
  /** Sends what was written at the offset that the last reserve gave.
   *  @param bytes not more than was reserved
   *  @param csumStart 0: the checksum is complete. Else where the transport header starts, from the frame's start: the
   *    device sums from there to the end and stores the result csumOffset further on, where the sum of the pseudo
   *    header stands now
   *  @param gsoSize 0, or the payload bytes of each segment that the device makes of the packet (TCP over IPv4) */
  send(at: number, bytes: number, csumStart: number, csumOffset: number, gsoSize: number): void;
}
