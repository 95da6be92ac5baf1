/** UDP header. Source: RFC 768.
 *    0     2     4     6      8
 *    | src | dst | len | check| payload ...     check 0 means none; a computed 0 is sent as 0xffff. */
import type { Mem } from '@grantline/machine';

export const UDP_SRC = 0;
export const UDP_DST = 2;
export const UDP_LENGTH = 4;
export const UDP_CHECK = 6;
export const UDP_BYTES = 8;

/** Writes a header; the checksum is 0, to be filled in per frame.
 *  @param length header and payload, bytes */
export function writeUdp(mem: Mem, udp: number, srcPort: number, dstPort: number, length: number): void {
  mem.dv.setUint16(udp + UDP_SRC, srcPort);
  mem.dv.setUint16(udp + UDP_DST, dstPort);
  mem.dv.setUint16(udp + UDP_LENGTH, length);
  mem.dv.setUint16(udp + UDP_CHECK, 0);
}
