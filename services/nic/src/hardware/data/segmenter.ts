/** What the NIC does with a packet on its way out besides sending it: checksum insertion and TCP segmentation. Source: RFC 1071. */
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
import type { Mem } from '@grantline/machine';
import type { FrameOut } from './cable-out.js';
import { MAX_SEGMENT_HEADER, type PacketMemory } from './packet-memory.js';

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
