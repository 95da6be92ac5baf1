/** What stands before each packet of a TAP device with offloads (struct virtio_net_hdr, little endian), and the checksums
 *  that it may leave to us. Source: VIRTIO 1.3, 5.1.6. */
import { fillChecksum, endOf, l4Of, tcpAt } from '@grantline/frames';
import { type Mem, VNET_GSO_NONE, VNET_GSO_TCPV4, VNET_NEEDS_CSUM } from '@grantline/machine';

/** Kinds of packets that the kernel hands over. */
export const PACKET_MALFORMED = -1;
export const PACKET_PLAIN = 0;
/** Its checksum is to be filled in: the field holds the sum of the pseudo header. */
export const PACKET_BLANK = 1;
/** TCP over IPv4, to be cut by gsoSize; the checksum of each segment is to be filled in. */
export const PACKET_GSO = 2;

const GSO_ECN = 0x80;

export class VnetHeader {
  /** Where the TCP or UDP header begins, and its checksum within it; bytes of all headers, for PACKET_GSO. */
  csumStart = 0;
  csumOffset = 0;
  headerBytes = 0;
  gsoSize = 0;
  /** Of all headers, as `tcpAt` found them, for PACKET_GSO. */
  place = -1;
  private readonly mem: Mem;

  constructor(mem: Mem) {
    this.mem = mem;
  }

  /** Reads a header. The kernel is not hostile, but a driver that believes lengths is one crash away from being wrong.
   *  @param at its byte offset, even @param packet byte offset of the packet
   *  @param linear bytes that lie together there, @param bytes of the whole packet
   *  @returns PACKET_* */
  read(at: number, packet: number, linear: number, bytes: number): number {
    const { u8, u16 } = this.mem;
    const flags = u8[at];
    const type = u8[at + 1] & ~GSO_ECN;
    if ((flags & VNET_NEEDS_CSUM) === 0) return type === VNET_GSO_NONE ? PACKET_PLAIN : PACKET_MALFORMED;
    const w = at >> 1;
    this.csumStart = u16[w + 3];
    this.csumOffset = u16[w + 4];
    const field = this.csumStart + this.csumOffset;
    if ((this.csumStart & 1) !== 0 || (this.csumOffset & 1) !== 0 || field + 2 > linear) return PACKET_MALFORMED;
    if (type === VNET_GSO_NONE) return PACKET_BLANK;
    this.gsoSize = u16[w + 2];
    const place = (this.place = tcpAt(this.mem, packet, linear));
    if (type !== VNET_GSO_TCPV4 || this.gsoSize === 0 || place < 0 || l4Of(place) !== this.csumStart)
      return PACKET_MALFORMED;
    this.headerBytes = endOf(place);
    return bytes > this.headerBytes + this.gsoSize ? PACKET_GSO : PACKET_BLANK;
  }

  /** Fills in the checksum of a packet that lies in one piece, as the last `read` found it. @param packet even */
  fill(packet: number, bytes: number): void {
    fillChecksum(this.mem, packet + this.csumStart, this.csumOffset, bytes - this.csumStart);
  }
}
