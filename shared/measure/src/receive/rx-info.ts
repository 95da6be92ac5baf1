/** What a driver tells the stack of a received packet besides its bytes, in one word; 0: an ordinary frame whose checksum is
 *  filled in. A bulk packet stands for frames that were never cut: TCP payload of up to 64 KiB behind one set of headers. */
import { endOf, tcpAt } from '@grantline/frames';
import type { Mem } from '@grantline/machine';

/** Bits 0 to 15: payload of each frame of a bulk packet, 0: not one. Bits 16 to 23: how many frames it stands for. */
export const RX_MSS_MASK = 0xffff;
export const RX_FRAMES_SHIFT = 16;
/** The TCP or UDP checksum field holds the pseudo header's sum: the packet comes from this machine and was never on a wire. */
export const RX_CSUM_BLANK = 1 << 24;
/** Most frames that a bulk packet stands for, as many as the NIC cuts from one: the burst that they are made in must stay short. */
export const MAX_BULK_FRAMES = 128;

/** How many frames the packet stands for. */
export const framesOf = (info: number): number => ((info & RX_MSS_MASK) === 0 ? 1 : (info >>> RX_FRAMES_SHIFT) & 0xff);

/** @param at, linear the packet's first piece, Ethernet header first @param bytes of the whole packet
 *  @returns how many frames a bulk packet stands for; 0: it is none, or stands for too many */
export function bulkFrames(mem: Mem, at: number, linear: number, bytes: number, mss: number): number {
  if (mss === 0) return 0;
  const place = tcpAt(mem, at, linear);
  const frames = Math.ceil((bytes - endOf(place)) / mss);
  return place < 0 || frames < 1 || frames > MAX_BULK_FRAMES ? 0 : frames;
}
