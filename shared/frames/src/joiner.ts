/** Which TCP segments may be joined to one packet, and that packet's headers. Rules and reasons: writer.ts. */
import { ETH_BYTES, ipv4Start } from './ethernet.js';
import { foldNative } from './fast-sum.js';
import type { Mem } from '@grantline/machine';

const IP = 20;
/** IP version 4 with a header of 20 bytes; TCP. */
const PLAIN_IP = 0x45;
const PROTO_TCP = 6;
const FLAG_ACK = 0x10;
const FLAG_PSH = 0x08;
const MOST_IP_BYTES = 65535;
/** More fragments, or an offset. */
const FRAGMENT = 0x3fff;

export class Joiner {
  /** Of the packet that is being joined: its first frame, segments, payload of them together and of all but the last. */
  first = 0;
  segments = 0;
  payload = 0;
  mss = 0;
  blank = false;
  /** The last segment is shorter than the others, or has PSH: nothing may follow. */
  ends = false;
  l4 = ETH_BYTES + IP;
  headerBytes = 0;
  private readonly mem: Mem;
  private nextSeq = 0;
  private psh = 0;
  /** What all segments have in common, as a one's complement sum; and the sum of what their checksums say. */
  private common = 0;
  private terms = 0;
  private ipSum = 0;
  // Of the frame parsed last.
  private at = 0;
  private l3 = ETH_BYTES;
  private thl = 0;
  private part = 0;
  private flags = 0;
  private frameIpSum = 0;

  constructor(mem: Mem) {
    this.mem = mem;
  }

  /** Looks at a frame. @param linear bytes that lie together at `at`, @param bytes of the whole frame
   *  @returns false when it is no segment that could be joined to another */
  parse(at: number, linear: number, bytes: number): boolean {
    if (linear < ETH_BYTES + IP + 20) return false;
    const { dv, u8 } = this.mem;
    const l3 = ipv4Start(this.mem, at, linear);
    const l4 = l3 + IP;
    const ip = at + l3;
    if (l3 < 0 || linear < l4 + 20 || u8[ip] !== PLAIN_IP || u8[ip + 9] !== PROTO_TCP) return false;
    const ipBytes = dv.getUint16(ip + 2);
    if (l3 + ipBytes !== bytes || (dv.getUint16(ip + 6) & FRAGMENT) !== 0) return false;
    const tcp = at + l4;
    const flags = u8[tcp + 13];
    const thl = (u8[tcp + 12] >>> 4) << 2;
    const part = bytes - l4 - thl;
    if ((flags & ~FLAG_PSH) !== FLAG_ACK || thl < 20 || linear <= l4 + thl || part <= 0) return false;
    this.at = at;
    this.l3 = l3;
    this.thl = thl;
    this.part = part;
    this.flags = flags;
    this.frameIpSum = ipBytes + dv.getUint16(ip + 4) + dv.getUint16(ip + 10);
    return true;
  }

  /** @returns true when the frame parsed last continues the packet */
  joins(blank: boolean): boolean {
    const { at, first, part, thl } = this;
    const { l3, l4 } = this;
    if (this.ends || blank !== this.blank || part > this.mss || l3 + IP + thl !== this.headerBytes) return false;
    // Headers of one length in all may still be of two kinds: a tag more, an option less.
    if (l3 + IP !== l4) return false;
    if (IP + thl + this.payload + part > MOST_IP_BYTES || (this.mss & 1) !== 0) return false;
    const { dv } = this.mem;
    const t = l4;
    const same =
      dv.getInt32(at + t + 4) === this.nextSeq &&
      dv.getInt32(at + t) === dv.getInt32(first + t) &&
      dv.getInt32(at + t + 8) === dv.getInt32(first + t + 8) &&
      dv.getUint16(at + t + 14) === dv.getUint16(first + t + 14) &&
      dv.getUint16(at + t + 18) === dv.getUint16(first + t + 18) &&
      dv.getInt32(at) === dv.getInt32(first) &&
      dv.getInt32(at + 4) === dv.getInt32(first + 4) &&
      dv.getInt32(at + 8) === dv.getInt32(first + 8) &&
      dv.getInt32(at + l3 - 4) === dv.getInt32(first + l3 - 4) &&
      dv.getInt32(at + l3 - 8) === dv.getInt32(first + l3 - 8) &&
      dv.getUint16(at + 12) === dv.getUint16(first + 12) &&
      dv.getUint16(at + l3) === dv.getUint16(first + l3) &&
      dv.getUint16(at + l3 + 6) === dv.getUint16(first + l3 + 6) &&
      dv.getUint16(at + l3 + 8) === dv.getUint16(first + l3 + 8) &&
      dv.getInt32(at + l3 + 12) === dv.getInt32(first + l3 + 12) &&
      dv.getInt32(at + l3 + 16) === dv.getInt32(first + l3 + 16);
    if (!same || foldNative(this.frameIpSum) !== this.ipSum) return false;
    for (let i = 20; i < thl; i += 4) if (dv.getInt32(at + t + i) !== dv.getInt32(first + t + i)) return false;
    return true;
  }

  /** The frame parsed last begins a packet. */
  begin(blank: boolean): void {
    this.first = this.at;
    this.l4 = this.l3 + IP;
    this.headerBytes = this.l4 + this.thl;
    this.blank = blank;
    this.segments = 1;
    this.payload = this.mss = this.part;
    this.nextSeq = (this.mem.dv.getInt32(this.at + this.l4 + 4) + this.part) | 0;
    this.psh = this.flags & FLAG_PSH;
    this.ends = this.psh !== 0;
    this.ipSum = foldNative(this.frameIpSum);
  }

  /** The frame parsed last, which `joins`, becomes a part of the packet. */
  add(): void {
    if (this.segments === 1 && !this.blank) {
      // A wrong IP checksum has to stay one: with that of the first frame all others are compared.
      this.common = this.commonSum();
      this.terms = this.term(this.first, this.payload, this.psh);
    }
    this.psh |= this.flags & FLAG_PSH;
    if (!this.blank) this.terms += this.term(this.at, this.part, this.flags & FLAG_PSH);
    this.segments++;
    this.payload += this.part;
    this.nextSeq = (this.nextSeq + this.part) | 0;
    this.ends = this.psh !== 0 || this.part < this.mss;
  }

  /** Writes the headers of a packet of more than one segment. */
  writeHeader(to: number): void {
    const { mem, first, headerBytes, l4 } = this;
    const l3 = l4 - IP;
    const { dv, u8 } = mem;
    u8.copyWithin(to, first, first + headerBytes);
    const ipBytes = headerBytes - l3 + this.payload;
    const l4Bytes = ipBytes - IP;
    dv.setUint16(to + l3 + 2, ipBytes);
    // The sum over a header is 65535; what the length has gained, the checksum loses.
    const check = foldNative(this.ipSum + 2 * 65535 - ipBytes - dv.getUint16(first + l3 + 4));
    dv.setUint16(to + l3 + 10, check);
    u8[to + l4 + 13] = u8[first + l4 + 13] | this.psh;
    if (this.blank) {
      let sum = PROTO_TCP + l4Bytes;
      for (let i = 12; i < 20; i += 2) sum += dv.getUint16(to + l3 + i);
      dv.setUint16(to + l4 + 16, foldNative(sum));
      return;
    }
    const own = this.common + this.sequence(first) + this.psh + l4Bytes;
    dv.setUint16(to + l4 + 16, foldNative((this.terms % 65535) + 65535 * 64 - own) % 65535);
  }

  /** Pseudo header without length, TCP header without sequence, PSH and checksum. */
  private commonSum(): number {
    const { dv } = this.mem;
    const { first, headerBytes, l4 } = this;
    let sum = PROTO_TCP - (this.flagsOf(first) & FLAG_PSH) - this.sequence(first) - dv.getUint16(first + l4 + 16);
    for (let i = l4 - 8; i < headerBytes; i += 2) sum += dv.getUint16(first + i);
    return sum;
  }

  /** What a segment's checksum says about its payload: the payload's sum is the complement of this. */
  private term(at: number, part: number, psh: number): number {
    const check = this.mem.dv.getUint16(at + this.l4 + 16);
    return this.common + this.sequence(at) + psh + check + part + this.headerBytes - this.l4;
  }

  private sequence(at: number): number {
    const { dv } = this.mem;
    return dv.getUint16(at + this.l4 + 4) + dv.getUint16(at + this.l4 + 6);
  }

  private flagsOf(at: number): number {
    return this.mem.u8[at + this.l4 + 13];
  }
}
