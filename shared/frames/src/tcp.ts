/** TCP header. Source: RFC 9293; timestamps RFC 7323.
 *    0     2     4     8     12   13     14      16      18      20
 *    | src | dst | seq | ack | off| flags| window| check | urgent| options ...
 *  Options as Linux lays them out with timestamps: NOP NOP 8 10 TSval TSecr, 12 bytes. */
import type { Mem } from '@grantline/machine';

export const TCP_SRC = 0;
export const TCP_DST = 2;
export const TCP_SEQ = 4;
export const TCP_ACK = 8;
export const TCP_OFFSET = 12;
export const TCP_FLAGS = 13;
export const TCP_WINDOW = 14;
export const TCP_CHECK = 16;
export const TCP_URGENT = 18;
export const TCP_BYTES = 20;
export const TCP_TS_OPTION = 20;
export const TCP_TSVAL = 24;
export const TCP_TSECR = 28;
/** Header with the timestamp option. */
export const TCP_TS_BYTES = 32;
/** NOP NOP kind 8 length 10. */
export const TCP_TS_LAYOUT = 0x0101080a;

export const TCP_FIN = 0x01;
export const TCP_SYN = 0x02;
export const TCP_RST = 0x04;
export const TCP_PSH = 0x08;
export const TCP_FLAG_ACK = 0x10;
export const TCP_URG = 0x20;
export const TCP_CWR = 0x80;
/** All flags and reserved bits in the word of data offset and flags. */
export const TCP_FLAG_BITS = 0x0fff;

/** Writes a header with the timestamp option; sequence, TSval and checksum are 0, to be filled in per frame. */
export function writeTcpTs(mem: Mem, tcp: number, srcPort: number, dstPort: number): void {
  const dv = mem.dv;
  dv.setUint16(tcp + TCP_SRC, srcPort);
  dv.setUint16(tcp + TCP_DST, dstPort);
  dv.setUint32(tcp + TCP_SEQ, 0);
  dv.setUint32(tcp + TCP_ACK, 1);
  dv.setUint8(tcp + TCP_OFFSET, (TCP_TS_BYTES >> 2) << 4);
  dv.setUint8(tcp + TCP_FLAGS, TCP_FLAG_ACK);
  dv.setUint16(tcp + TCP_WINDOW, 0xffff);
  dv.setUint16(tcp + TCP_CHECK, 0);
  dv.setUint16(tcp + TCP_URGENT, 0);
  dv.setUint32(tcp + TCP_TS_OPTION, TCP_TS_LAYOUT);
  dv.setUint32(tcp + TCP_TSVAL, 0);
  dv.setUint32(tcp + TCP_TSECR, 1);
}
