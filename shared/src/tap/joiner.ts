/** Which TCP segments may be joined to one packet, and that packet's headers. Rules and reasons: writer.ts. */
import { foldNative } from '../frame/fast-sum.js';
import type { Mem } from '../mem/address-space.js';

const ETH = 14;
const IP = 20;
const L4 = ETH + IP;
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
  readonly l4 = L4;
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
    if (linear < L4 + 20) return false;
    const { dv, u8 } = this.mem;
    const ip = at + ETH;
    if (dv.getUint16(at + 12) !== 0x0800 || u8[ip] !== PLAIN_IP || u8[ip + 9] !== PROTO_TCP) return false;
    const ipBytes = dv.getUint16(ip + 2);
    if (ETH + ipBytes !== bytes || (dv.getUint16(ip + 6) & FRAGMENT) !== 0) return false;
    const tcp = at + L4;
    const flags = u8[tcp + 13];
    const thl = (u8[tcp + 12] >>> 4) << 2;
    const part = bytes - L4 - thl;
    if ((flags & ~FLAG_PSH) !== FLAG_ACK || thl < 20 || linear <= L4 + thl || part <= 0) return false;
    this.at = at;
    this.thl = thl;
    this.part = part;
    this.flags = flags;
    this.frameIpSum = ipBytes + dv.getUint16(ip + 4) + dv.getUint16(ip + 10);
    return true;
  }

  /** @returns true when the frame parsed last continues the packet */
  joins(blank: boolean): boolean {
    const { at, first, part, thl } = this;
    if (this.ends || blank !== this.blank || part > this.mss || L4 + thl !== this.headerBytes) return false;
    if (IP + thl + this.payload + part > MOST_IP_BYTES || (this.mss & 1) !== 0) return false;
    const { dv } = this.mem;
    const t = L4;
    const same =
      dv.getInt32(at + t + 4) === this.nextSeq &&
      dv.getInt32(at + t) === dv.getInt32(first + t) &&
      dv.getInt32(at + t + 8) === dv.getInt32(first + t + 8) &&
      dv.getUint16(at + t + 14) === dv.getUint16(first + t + 14) &&
      dv.getUint16(at + t + 18) === dv.getUint16(first + t + 18) &&
      dv.getInt32(at) === dv.getInt32(first) &&
      dv.getInt32(at + 4) === dv.getInt32(first + 4) &&
      dv.getInt32(at + 8) === dv.getInt32(first + 8) &&
      dv.getUint16(at + ETH) === dv.getUint16(first + ETH) &&
      dv.getUint16(at + ETH + 6) === dv.getUint16(first + ETH + 6) &&
      dv.getUint16(at + ETH + 8) === dv.getUint16(first + ETH + 8) &&
      dv.getInt32(at + ETH + 12) === dv.getInt32(first + ETH + 12) &&
      dv.getInt32(at + ETH + 16) === dv.getInt32(first + ETH + 16);
    if (!same || foldNative(this.frameIpSum) !== this.ipSum) return false;
    for (let i = 20; i < thl; i += 4) if (dv.getInt32(at + t + i) !== dv.getInt32(first + t + i)) return false;
    return true;
  }

  /** The frame parsed last begins a packet. */
  begin(blank: boolean): void {
    this.first = this.at;
    this.headerBytes = L4 + this.thl;
    this.blank = blank;
    this.segments = 1;
    this.payload = this.mss = this.part;
    this.nextSeq = (this.mem.dv.getInt32(this.at + L4 + 4) + this.part) | 0;
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
    const { mem, first, headerBytes } = this;
    const { dv, u8 } = mem;
    u8.copyWithin(to, first, first + headerBytes);
    const ipBytes = headerBytes - ETH + this.payload;
    const l4Bytes = ipBytes - IP;
    dv.setUint16(to + ETH + 2, ipBytes);
    // The sum over a header is 65535; what the length has gained, the checksum loses.
    const check = foldNative(this.ipSum + 2 * 65535 - ipBytes - dv.getUint16(first + ETH + 4));
    dv.setUint16(to + ETH + 10, check);
    u8[to + L4 + 13] = u8[first + L4 + 13] | this.psh;
    if (this.blank) {
      let sum = PROTO_TCP + l4Bytes;
      for (let i = 12; i < 20; i += 2) sum += dv.getUint16(to + ETH + i);
      dv.setUint16(to + L4 + 16, foldNative(sum));
      return;
    }
    const own = this.common + this.sequence(first) + this.psh + l4Bytes;
    dv.setUint16(to + L4 + 16, foldNative((this.terms % 65535) + 65535 * 64 - own) % 65535);
  }

  /** Pseudo header without length, TCP header without sequence, PSH and checksum. */
  private commonSum(): number {
    const { dv } = this.mem;
    const { first, headerBytes } = this;
    let sum = PROTO_TCP - (this.flagsOf(first) & FLAG_PSH) - this.sequence(first) - dv.getUint16(first + L4 + 16);
    for (let i = ETH + 12; i < headerBytes; i += 2) sum += dv.getUint16(first + i);
    return sum;
  }

  /** What a segment's checksum says about its payload: the payload's sum is the complement of this. */
  private term(at: number, part: number, psh: number): number {
    const check = this.mem.dv.getUint16(at + L4 + 16);
    return this.common + this.sequence(at) + psh + check + part + this.headerBytes - L4;
  }

  private sequence(at: number): number {
    const { dv } = this.mem;
    return dv.getUint16(at + L4 + 4) + dv.getUint16(at + L4 + 6);
  }

  private flagsOf(at: number): number {
    return this.mem.u8[at + L4 + 13];
  }
}
