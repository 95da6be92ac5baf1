/** Cuts a TCP packet that a station sends into frames, each of them in one piece, in place: a frame's header is written right
 *  before its payload, over the end of the payload before, which the NIC has by then. So no payload is copied. What changes
 *  from segment to segment: segmenter.ts. */
import { ETH_BYTES, ipv4Start } from './ethernet.js';
import { foldNative, nativeSum } from './fast-sum.js';
import * as ip4 from './ipv4.js';
import * as tcpAbi from './tcp.js';
import type { Mem, PrivateMemory } from '@grantline/machine';

const { IP_CHECK, IP_ID, IP_LENGTH, IP_SRC, PROTO_TCP } = ip4;
const { TCP_CHECK, TCP_CWR, TCP_FIN, TCP_FLAGS, TCP_PSH, TCP_SEQ } = tcpAbi;
const TEMPLATE_BYTES = 256;
const STAGE_BYTES = 65536;

const swap16 = (n: number): number => ((n & 0xff) << 8) | (n >>> 8);

export class PacketCutter {
  /** The frame at hand: a multiple of 4. */
  at = 0;
  bytes = 0;
  private readonly mem: Mem;
  private readonly template: number;
  private readonly stage: number;
  private packet = 0;
  private left = 0;
  private done = 0;
  private n = 0;
  private l3 = ETH_BYTES;
  private l4 = 0;
  private header = 0;
  private mss = 0;
  private firstId = 0;
  private firstSequence = 0;
  private flags = 0;
  private ipSum = 0;
  private tcpSum = 0;

  constructor(space: PrivateMemory) {
    this.mem = space.mem;
    this.template = space.mapPrivate(TEMPLATE_BYTES + STAGE_BYTES);
    this.stage = this.template + TEMPLATE_BYTES;
  }

  /** Begins with a packet whose headers have been judged. @param packet a multiple of 4
   *  @param l4, header where its TCP header begins, and bytes of all headers, at most 142; IPv4, behind up to two tags */
  begin(packet: number, bytes: number, l4: number, header: number, mss: number): void {
    const { mem, template: t } = this;
    const { dv, u8, u16 } = mem;
    this.packet = packet;
    this.left = bytes - header;
    this.done = 0;
    this.n = 0;
    const l3 = (this.l3 = ipv4Start(mem, packet, header));
    this.l4 = l4;
    this.header = header;
    this.mss = mss;
    u8.copyWithin(t, packet, packet + header);
    this.firstId = dv.getUint16(t + l3 + IP_ID);
    this.firstSequence = dv.getUint32(t + l4 + TCP_SEQ);
    this.flags = u8[t + l4 + TCP_FLAGS];
    u16[(t + l3 + IP_LENGTH) >> 1] = 0;
    u16[(t + l3 + IP_ID) >> 1] = 0;
    u16[(t + l3 + IP_CHECK) >> 1] = 0;
    dv.setUint32(t + l4 + TCP_SEQ, 0);
    u8[t + l4 + TCP_FLAGS] = 0;
    u16[(t + l4 + TCP_CHECK) >> 1] = 0;
    this.ipSum = nativeSum(mem, t + l3, l4 - l3);
    this.tcpSum = nativeSum(mem, t + l4, header - l4) + nativeSum(mem, t + l3 + IP_SRC, 8) + swap16(PROTO_TCP);
  }

  /** True while there are frames to come. */
  get more(): boolean {
    return this.left > 0;
  }

  /** Makes the next frame; the one before must have been taken. @returns false when there is none */
  next(): boolean {
    if (this.left === 0) return false;
    const { mem, header, l3, l4, template, mss } = this;
    const { dv, u8, u16, u32 } = mem;
    const part = this.left < mss ? this.left : mss;
    let to = this.packet + this.done;
    if ((to & 3) !== 0) {
      u8.copyWithin(this.stage + header, to + header, to + header + part);
      to = this.stage;
    }
    const words = header >> 2;
    for (let w = 0; w < words; w++) u32[(to >> 2) + w] = u32[(template >> 2) + w]!;
    if ((header & 2) !== 0) u16[(to + header - 2) >> 1] = u16[(template + header - 2) >> 1]!;
    const last = part === this.left;
    const total = header - l3 + part;
    const id = (this.firstId + this.n) & 0xffff;
    const ip = to + l3;
    dv.setUint16(ip + IP_LENGTH, total);
    dv.setUint16(ip + IP_ID, id);
    u16[(ip + IP_CHECK) >> 1] = ~foldNative(this.ipSum + swap16(total) + swap16(id)) & 0xffff;
    const sequence = (this.firstSequence + this.done) >>> 0;
    let f = last ? this.flags : this.flags & ~(TCP_FIN | TCP_PSH);
    if (this.n > 0) f &= ~TCP_CWR;
    const tcp = to + l4;
    dv.setUint32(tcp + TCP_SEQ, sequence);
    u8[tcp + TCP_FLAGS] = f;
    const sum =
      this.tcpSum +
      (f << 8) +
      swap16(sequence >>> 16) +
      swap16(sequence & 0xffff) +
      swap16(header - l4 + part) +
      nativeSum(mem, to + header, part);
    u16[(tcp + TCP_CHECK) >> 1] = ~foldNative(sum) & 0xffff;
    this.at = to;
    this.bytes = header + part;
    this.done += part;
    this.left -= part;
    this.n++;
    return true;
  }
}
