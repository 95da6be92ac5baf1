/** What the NIC does with a packet on its way out besides sending it: checksum insertion and TCP segmentation. Source: RFC 1071. */
import type { PrivateMemory, Mem } from '@grantline/machine';
import {
  fillChecksum,
  Cutter,
  ETH_BYTES,
  IP_BYTES,
  endOf,
  l4Of,
  tcpAt,
  TCP_BYTES,
  TCP_CHECK,
  UDP_BYTES,
  UDP_CHECK,
} from '@grantline/frames';
import type { FrameOut } from './cable-out.js';

const PACKET_BYTES = 65536 + 64;
/** Packets of the largest size, and many more of the usual one. */
const MEMORY_BYTES = 4 * PACKET_BYTES;
const HEADER_BYTES = 128;
const HEADERS = 256;
/** Headers begin two bytes behind a multiple of 4: IP and TCP are aligned then. */
const SHIFT = 2;

/** The NIC's memory for packets on their way out: whole packets as they were read by DMA, and headers made for segments.
 *  Filled from the front, emptied as a whole when the far end has taken everything. */
export class PacketMemory {
  /** Place for the headers that a packet's segments are made from. */
  readonly template: number;
  private readonly base: number;
  private readonly headers: number;
  private used = 0;
  private usedHeaders = 0;

  constructor(space: PrivateMemory) {
    this.base = space.mapPrivate(MEMORY_BYTES);
    this.headers = space.mapPrivate((HEADERS + 1) * HEADER_BYTES);
    this.template = this.headers + HEADERS * HEADER_BYTES + SHIFT;
  }

  /** @returns true when a packet of so many bytes and its segments' headers fit */
  fits(bytes: number, segments: number): boolean {
    return this.used + bytes + 64 <= MEMORY_BYTES && this.usedHeaders + segments <= HEADERS;
  }

  /** The packet of so many bytes that was placed last is not sent yet after all. */
  giveBack(bytes: number): void {
    this.used -= (bytes + SHIFT + 63) & ~63;
  }

  /** Place for a packet. */
  packet(bytes: number): number {
    const at = this.base + this.used + SHIFT;
    this.used += (bytes + SHIFT + 63) & ~63;
    return at;
  }

  /** Place for a segment's headers. */
  header(): number {
    return this.headers + this.usedHeaders++ * HEADER_BYTES + SHIFT;
  }

  /** Everything has been taken. */
  clear(): void {
    this.used = 0;
    this.usedHeaders = 0;
  }
}

/** Longest headers that segmentation repeats. */
const MAX_SEGMENT_HEADER = HEADER_BYTES - SHIFT;

export class Segmenter {
  private readonly mem: Mem;
  private readonly memory: PacketMemory;
  private readonly cutter: Cutter;

  constructor(mem: Mem, memory: PacketMemory) {
    this.mem = mem;
    this.memory = memory;
    this.cutter = new Cutter(mem);
  }

  /** Fills in the checksum of TCP or UDP; its field holds the sum of the pseudo header.
   *  @param start where the TCP or UDP header begins, from the frame's beginning
   *  @returns false when there is no such header */
  insertChecksum(at: number, bytes: number, start: number, udp: boolean): boolean {
    const need = udp ? UDP_BYTES : TCP_BYTES;
    if ((start & 1) !== 0 || start < ETH_BYTES + IP_BYTES || start + need > bytes) return false;
    fillChecksum(this.mem, at + start, udp ? UDP_CHECK : TCP_CHECK, bytes - start);
    return true;
  }

  /** @returns where the headers of a packet are that may be segmented; -1 when they are not as claimed
   *  @param start claimed begin of the TCP header, @param header claimed bytes of all headers */
  placeOf(at: number, bytes: number, start: number, header: number): number {
    if (header > MAX_SEGMENT_HEADER || header >= bytes) return -1;
    const place = tcpAt(this.mem, at, header);
    return l4Of(place) === start && endOf(place) === header ? place : -1;
  }

  /** Sends a packet as segments of at most mss bytes of payload. @param place what `placeOf` said
   *  @returns segments sent */
  segment(out: FrameOut, at: number, bytes: number, place: number, mss: number, nowNs: number, slack: number): number {
    const { cutter, memory } = this;
    const { bulk, u32 } = this.mem;
    cutter.begin(at, bytes, place, mss);
    const { header, payload } = cutter;
    const words = (header + 5) >> 2;
    const { template } = memory;
    // Apart: what takes the frames in one piece writes their headers over the payload before them, which may be shorter than these.
    for (let w = 0; w < words; w++) u32[(template >> 2) + w] = u32[(at >> 2) + w]!;
    let n = 0;
    for (let done = 0; done < payload; n++) {
      const part = payload - done < mss ? payload - done : mss;
      const h = memory.header();
      // Both begin two bytes behind a multiple of 4; a call of copyWithin costs more than so few words.
      for (let w = 0; w < words; w++) u32[(h >> 2) + w] = u32[(template >> 2) + w]!;
      const body = at + header + done;
      cutter.write(h, n, done, part, bulk.sum(body, part));
      out.send(h, header, body, part, nowNs, slack);
      done += part;
    }
    return n;
  }
}
