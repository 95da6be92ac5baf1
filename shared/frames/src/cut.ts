/** The headers of the segments that a TCP packet is cut into. What changes from segment to segment is as in Linux's
 *  net/ipv4/tcp_offload.c (tcp_gso_segment): IP length, id, checksum; TCP sequence, checksum; FIN and PSH on the last, CWR on the
 *  first only. Further sources: RFC 1071, 9293.
 *
 *  Where headers and payload lie is the caller's: the NIC makes headers beside the packet (segmenter.ts), a station's card over
 *  payload that has gone (PacketCutter), the bridge for payload that stays in a guest's pages (local-switch.ts). */
import type { Mem, PrivateMemory } from '@grantline/machine';
import * as checksum from './checksum.js';
import * as headers from './headers.js';
import * as locate from './locate.js';

// Local, so that the engine folds them into the code: see flow-templates.ts.
const { foldNative, nativePseudo, nativeSum, swap16 } = checksum;
const { IP_CHECK, IP_ID, IP_LENGTH, IP_SRC, PROTO_TCP } = headers;
const { endOf, l3Of, l4Of } = locate;
const { TCP_CHECK, TCP_CWR, TCP_FIN, TCP_FLAGS, TCP_PSH, TCP_SEQ } = headers;

/** Of PacketCutter: the packet's headers, and a segment that does not lie at a multiple of 4. */
const TEMPLATE_BYTES = 256;
const STAGE_BYTES = 65536;

export class Cutter {
  /** Bytes of all headers, of the payload, and of the payload of each segment but the last. */
  header = 0;
  payload = 0;
  mss = 0;
  private readonly mem: Mem;
  private l3 = 0;
  private l4 = 0;
  private id = 0;
  private sequence = 0;
  private flags = 0;
  private ipSum = 0;
  private tcpSum = 0;
  private pseudoSum = 0;

  constructor(mem: Mem) {
    this.mem = mem;
  }

  /** Begins with a packet, whose headers are read now and not written. @param at their byte offset, even
   *  @param bytes of the packet @param place of its headers, as `tcpAt` found them */
  begin(at: number, bytes: number, place: number, mss: number): void {
    const { mem } = this;
    const { dv, u8, u16 } = mem;
    const l3 = (this.l3 = l3Of(place));
    const l4 = (this.l4 = l4Of(place));
    const header = (this.header = endOf(place));
    this.payload = bytes - header;
    this.mss = mss;
    const ip = at + l3;
    const tcp = at + l4;
    this.id = dv.getUint16(ip + IP_ID);
    this.sequence = dv.getInt32(tcp + TCP_SEQ);
    const flags = (this.flags = u8[tcp + TCP_FLAGS]);
    // What stands still is summed once: to take a word out of a sum is to add its complement.
    this.ipSum =
      nativeSum(mem, ip, l4 - l3) +
      (3 * 65535 - u16[(ip + IP_LENGTH) >> 1] - u16[(ip + IP_ID) >> 1] - u16[(ip + IP_CHECK) >> 1]);
    this.pseudoSum = nativePseudo(mem, ip + IP_SRC, PROTO_TCP, 0);
    // The flags are the low byte of a big-endian word: the high one of a little-endian.
    this.tcpSum =
      nativeSum(mem, tcp, header - l4) +
      this.pseudoSum +
      (4 * 65535 -
        u16[(tcp + TCP_SEQ) >> 1] -
        u16[(tcp + TCP_SEQ + 2) >> 1] -
        (flags << 8) -
        u16[(tcp + TCP_CHECK) >> 1]);
  }

  /** Writes what is a segment's own into a copy of the packet's headers. @param to the copy's byte offset, even
   *  @param n number of the segment @param done payload before it @param part its payload, bytes
   *  @param sum of its payload, in the machine's byte order
   *
   *  No longer than what the engine puts into its callers' code (460 bytecodes): a call costs 3 ns of 70. */
  write(to: number, n: number, done: number, part: number, sum: number): void {
    const { u8, u16 } = this.mem;
    const { header, l3, l4 } = this;
    const ip = (to + l3) >> 1;
    const tcp = (to + l4) >> 1;
    // In the machine's byte order, as they are summed, words are stored too: that is quicker than by a DataView.
    const total = swap16(header - l3 + part);
    const id = swap16((this.id + n) & 0xffff);
    u16[ip + (IP_LENGTH >> 1)] = total;
    u16[ip + (IP_ID >> 1)] = id;
    u16[ip + (IP_CHECK >> 1)] = ~foldNative(this.ipSum + total + id) & 0xffff;
    const sequence = (this.sequence + done) | 0;
    const high = swap16(sequence >>> 16);
    const low = swap16(sequence & 0xffff);
    let { flags } = this;
    if (done + part < this.payload) flags &= ~(TCP_FIN | TCP_PSH);
    if (n > 0) flags &= ~TCP_CWR;
    u16[tcp + (TCP_SEQ >> 1)] = high;
    u16[tcp + (TCP_SEQ >> 1) + 1] = low;
    u8[to + l4 + TCP_FLAGS] = flags;
    const tcpSum = this.tcpSum + (flags << 8) + high + low + swap16(header - l4 + part) + sum;
    u16[tcp + (TCP_CHECK >> 1)] = ~foldNative(tcpSum) & 0xffff;
  }

  /** Leaves the TCP checksum of a segment to somebody else: only the sum of the pseudo header is in it. After `write` */
  blank(to: number, part: number): void {
    const sum = foldNative(this.pseudoSum + swap16(this.header - this.l4 + part));
    this.mem.u16[(to + this.l4 + TCP_CHECK) >> 1] = sum;
  }
}

/** Cuts a TCP packet that a station sends into frames, each of them in one piece, in place: a frame's header is written right
 *  before its payload, over the end of the payload before, which the NIC has by then. So no payload is copied. A piece may also stand
 *  for several frames, for who takes such: then nobody has summed it. */
export class PacketCutter {
  /** The piece at hand, a multiple of 4, and how many frames it stands for. Of one it has the checksum, of several only the sum of
   *  the pseudo header. */
  at = 0;
  bytes = 0;
  frames = 0;
  private readonly mem: Mem;
  private readonly cutter: Cutter;
  private readonly template: number;
  private readonly stage: number;
  private packet = 0;
  private done = 0;
  private n = 0;
  private part = 0;
  private framesOnly = false;

  constructor(space: PrivateMemory) {
    this.mem = space.mem;
    this.cutter = new Cutter(space.mem);
    this.template = space.mapPrivate(TEMPLATE_BYTES + STAGE_BYTES);
    this.stage = this.template + TEMPLATE_BYTES;
  }

  /** Begins with a packet. @param packet a multiple of 4 @param place of its headers, as `tcpAt` found them */
  begin(packet: number, bytes: number, place: number, mss: number): void {
    const { cutter, template } = this;
    cutter.begin(packet, bytes, place, mss);
    this.mem.u8.copyWithin(template, packet, packet + cutter.header);
    this.packet = packet;
    this.done = 0;
    this.n = 0;
    this.framesOnly = false;
  }

  /** True while there are frames to come. */
  get more(): boolean {
    return this.done < this.cutter.payload;
  }

  /** Byte offset of a copy of the packet's headers, their bytes, and the payload of each frame but the last. */
  get head(): number {
    return this.template;
  }
  get header(): number {
    return this.cutter.header;
  }
  get mss(): number {
    return this.cutter.mss;
  }

  /** Makes the next piece; the one before must have been taken.
   *  @param most payload bytes of it, a multiple of the mss; not given: it is a frame @returns false when there is none */
  next(most = this.cutter.mss): boolean {
    const { mem, cutter, done, template } = this;
    const { header, mss } = cutter;
    const left = cutter.payload - done;
    if (left <= 0) return false;
    const { u8, u16, u32 } = mem;
    const limit = this.framesOnly ? mss : most;
    const part = left < limit ? left : limit;
    let to = this.packet + done;
    // The NIC takes frames at multiples of 4 only; where segments have another size, they are copied.
    if ((to & 3) !== 0) {
      u8.copyWithin(this.stage + header, to + header, to + header + part);
      to = this.stage;
    }
    const words = header >> 2;
    for (let w = 0; w < words; w++) u32[(to >> 2) + w] = u32[(template >> 2) + w]!;
    if ((header & 2) !== 0) u16[(to + header - 2) >> 1] = u16[(template + header - 2) >> 1]!;
    if (part <= mss) {
      this.frames = 1;
      cutter.write(to, this.n, done, part, mem.bulk.sum(to + header, part));
    } else {
      this.frames = Math.ceil(part / mss);
      cutter.write(to, this.n, done, part, 0);
      cutter.blank(to, part);
    }
    this.n += this.frames;
    this.at = to;
    this.bytes = header + part;
    this.part = part;
    this.done += part;
    return true;
  }

  /** The piece at hand was not taken: makes a frame of its beginning instead, and of all that follows. */
  shorten(): void {
    this.framesOnly = true;
    this.done -= this.part;
    this.n -= this.frames;
    this.next();
  }
}
