/** What the NIC does with a packet on its way out besides sending it: checksum insertion and TCP segmentation.
 *  Sources: RFC 1071, 9293; the fields that change from segment to segment as in Linux's net/ipv4/tcp_offload.c
 *  (tcp_gso_segment): IP length, id, checksum; TCP sequence, checksum; FIN and PSH on the last, CWR on the first only. */
import { foldNative, nativeSum, ETH_BYTES, ipv4Start, UDP_BYTES, UDP_CHECK } from '@grantline/frames';
import * as frames from '@grantline/frames';
import type { Mem } from '@grantline/machine';
import type { FrameOut } from './cable-out.js';
import { MAX_SEGMENT_HEADER, type PacketMemory } from './packet-memory.js';

const { IP_BYTES, IP_CHECK, IP_ID, IP_LENGTH, IP_PROTOCOL, IP_SRC, PROTO_TCP } = frames;
const { TCP_BYTES, TCP_CHECK, TCP_CWR, TCP_FIN, TCP_FLAGS, TCP_OFFSET, TCP_PSH, TCP_SEQ } = frames;

/** Segments of one packet at most: the burst that they are made in must stay short. */
export const MAX_SEGMENTS = 128;

const swap16 = (n: number): number => ((n & 0xff) << 8) | (n >>> 8);

export class Segmenter {
  private readonly mem: Mem;
  private readonly memory: PacketMemory;

  constructor(mem: Mem, memory: PacketMemory) {
    this.mem = mem;
    this.memory = memory;
  }

  /** Fills in the checksum of TCP or UDP; its field holds the sum of the pseudo header.
   *  @param start where the TCP or UDP header begins, from the frame's beginning
   *  @returns false when there is no such header */
  insertChecksum(at: number, bytes: number, start: number, udp: boolean): boolean {
    const need = udp ? UDP_BYTES : TCP_BYTES;
    if ((start & 1) !== 0 || start < ETH_BYTES + IP_BYTES || start + need > bytes) return false;
    const sum = ~foldNative(nativeSum(this.mem, at + start, bytes - start)) & 0xffff;
    this.mem.u16[(at + start + (udp ? UDP_CHECK : TCP_CHECK)) >> 1] = udp && sum === 0 ? 0xffff : sum;
    return true;
  }

  /** @returns where the IPv4 header of a packet that may be segmented begins; -1 when the headers are not as claimed
   *  @param start claimed begin of the TCP header, @param header claimed bytes of all headers */
  ipStart(at: number, bytes: number, start: number, header: number): number {
    const { u8 } = this.mem;
    if (header > MAX_SEGMENT_HEADER || header >= bytes || header < ETH_BYTES + IP_BYTES + TCP_BYTES) return -1;
    const ip = ipv4Start(this.mem, at, header);
    if (ip < 0 || ip + IP_BYTES > header || u8[at + ip] >>> 4 !== 4 || u8[at + ip + IP_PROTOCOL] !== PROTO_TCP)
      return -1;
    const ihl = (u8[at + ip] & 15) << 2;
    if (ihl < IP_BYTES || ip + ihl !== start || start + TCP_BYTES > header) return -1;
    const thl = (u8[at + start + TCP_OFFSET] >>> 4) << 2;
    return thl >= TCP_BYTES && start + thl === header ? ip : -1;
  }

  /** Sends a packet as segments of at most mss bytes of payload. `ipStart` has approved of it.
   *  @returns segments sent */
  segment(
    out: FrameOut,
    at: number,
    bytes: number,
    ip: number,
    start: number,
    header: number,
    mss: number,
    nowNs: number,
    slack: number,
  ): number {
    const { mem, memory } = this;
    const { bulk, dv, u8, u16, u32 } = mem;
    const words = (header + 5) >> 2;
    const payload = bytes - header;
    const flags = u8[at + start + TCP_FLAGS];
    const firstId = dv.getUint16(at + ip + IP_ID);
    const firstSequence = dv.getUint32(at + start + TCP_SEQ);
    // What stands still is summed once: the IP header without length, id and checksum; addresses, protocol and the TCP
    // header without sequence, flags and checksum.
    u16[(at + ip + IP_LENGTH) >> 1] = 0;
    u16[(at + ip + IP_ID) >> 1] = 0;
    u16[(at + ip + IP_CHECK) >> 1] = 0;
    dv.setUint32(at + start + TCP_SEQ, 0);
    u8[at + start + TCP_FLAGS] = 0;
    u16[(at + start + TCP_CHECK) >> 1] = 0;
    const ipSum = nativeSum(mem, at + ip, start - ip);
    const tcpSum = nativeSum(mem, at + start, header - start) + nativeSum(mem, at + ip + IP_SRC, 8) + swap16(PROTO_TCP);
    const thl = header - start;
    let n = 0;
    for (let done = 0; done < payload; n++) {
      const part = payload - done < mss ? payload - done : mss;
      const last = done + part === payload;
      const h = memory.header();
      // Both begin two bytes behind a multiple of 4; a call of copyWithin costs more than so few words.
      for (let w = 0; w < words; w++) u32[(h >> 2) + w] = u32[(at >> 2) + w]!;
      const total = header - ip + part;
      const id = (firstId + n) & 0xffff;
      dv.setUint16(h + ip + IP_LENGTH, total);
      dv.setUint16(h + ip + IP_ID, id);
      u16[(h + ip + IP_CHECK) >> 1] = ~foldNative(ipSum + swap16(total) + swap16(id)) & 0xffff;
      const sequence = (firstSequence + done) >>> 0;
      let f = last ? flags : flags & ~(TCP_FIN | TCP_PSH);
      if (n > 0) f &= ~TCP_CWR;
      dv.setUint32(h + start + TCP_SEQ, sequence);
      u8[h + start + TCP_FLAGS] = f;
      const body = at + header + done;
      // The flags are the low byte of a big-endian word: the high one of a little-endian.
      const sum =
        tcpSum +
        (f << 8) +
        swap16(sequence >>> 16) +
        swap16(sequence & 0xffff) +
        swap16(thl + part) +
        bulk.sum(body, part);
      u16[(h + start + TCP_CHECK) >> 1] = ~foldNative(sum) & 0xffff;
      out.send(h, header, body, part, nowNs, slack);
      done += part;
    }
    return n;
  }
}
