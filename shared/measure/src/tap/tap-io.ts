/** What both ways of a TAP device need: the pieces of a packet for one call, the header before each packet, what ends a sleep. */
import {
  WakeSource,
  VNET_GSO_NONE,
  VNET_GSO_TCPV4,
  VNET_NEEDS_CSUM,
  type AddressSpace,
  type TapDevice,
  type Logs,
  type Mem,
} from '@grantline/machine';
import { fillChecksum, endOf, l4Of, tcpAt } from '@grantline/frames';

/** Entries that the kernel takes at most (UIO_MAXIOV). */
export const IO_MAX = 1024;
const ENTRY_BYTES = 16;
const LOW = 2 ** 32;

/** A table of struct iovec (u64 address, u64 length) for readv and writev, with offsets into our address space for
 *  addresses. */
export class IoTable {
  /** Its own address. */
  readonly address: number;
  readonly size: number;
  private readonly word: number;
  private readonly u32: Uint32Array;
  private readonly low: number;
  private readonly high: number;

  constructor(space: AddressSpace, entries: number) {
    this.size = entries;
    const at = space.mapPrivate(entries * ENTRY_BYTES);
    this.address = space.addressOf(at);
    this.word = at >> 2;
    this.u32 = space.mem.u32;
    const base = space.addressOf(0);
    this.low = base % LOW;
    this.high = Math.floor(base / LOW);
  }

  set(entry: number, offset: number, bytes: number): void {
    const { u32 } = this;
    const w = this.word + (entry << 2);
    const low = this.low + offset;
    // Stored modulo 2^32.
    u32[w] = low;
    u32[w + 1] = low >= LOW ? this.high + 1 : this.high;
    u32[w + 2] = bytes;
    u32[w + 3] = 0;
  }
}

export const tapIsGone = (name: string): string => `the TAP device ${name} is gone`;

/** A TAP device as what ends a sleep: the kernel has packets. The device may be removed under its descriptor, with its namespace or
 *  by hand: then that is said once, nothing waits for it any more, and the service is not ready. */
export function tapSource(tap: TapDevice, onReadable: () => void, log: Logs<'error'>): WakeSource {
  return new WakeSource(tap.fd, onReadable, () => {
    log.error(
      { device: tap.name },
      `${tapIsGone(tap.name)}: somebody removed it, or its namespace; start the testbed again`,
    );
  });
}

/** Kinds of packets that the kernel hands over. */
export const PACKET_MALFORMED = -1;
export const PACKET_PLAIN = 0;
/** Its checksum is to be filled in: the field holds the sum of the pseudo header. */
export const PACKET_BLANK = 1;
/** TCP over IPv4, to be cut by gsoSize; the checksum of each segment is to be filled in. */
export const PACKET_GSO = 2;

const GSO_ECN = 0x80;

/** What stands before each packet of a TAP device with offloads (struct virtio_net_hdr, little endian), and the checksums
 *  that it may leave to us. Source: VIRTIO 1.3, 5.1.6. */
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
