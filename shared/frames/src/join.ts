/** When a TCP segment may be joined to those before it: the rules of Linux's GRO (net/ipv4/tcp_offload.c, tcp_gro_receive) that
 *  hold for all who join; and two who do.
 *
 *  What else must agree is for each to say. Lro and Coalescer join for a stack of ours, which is told the last segment's
 *  acknowledgement and timestamp, so these may go on from segment to segment (inet_lro.c); Lro, which has no connection behind
 *  it, also asks for one VLAN, TOS and TTL, and Coalescer (shared/tcpip) for room in its list of parts. Joiner makes a packet that
 *  a kernel reads: one header stands for all, so all of it must be the same but what cutting changes (cut.ts). */
import type { Mem } from '@grantline/machine';
import * as checksum from './checksum.js';
import * as headers from './headers.js';
import * as locate from './locate.js';

// Local, so that the engine folds them into the code: see flow-templates.ts.
const { foldNative, nativePseudo, swap16 } = checksum;
const { ETH_BYTES } = headers;
const { IP_BYTES, IP_CHECK, IP_DST, IP_FLAGS, IP_FRAGMENT_MASK, IP_ID, IP_LENGTH, IP_SRC, IP_TOS, IP_TTL, PROTO_TCP } =
  headers;
const { TCP_ACK, TCP_BYTES, TCP_CHECK, TCP_FLAGS, TCP_FLAG_ACK, TCP_FLAG_BITS, TCP_OFFSET, TCP_PSH, TCP_SEQ, TCP_SRC } =
  headers;
const { TCP_TSVAL, TCP_TS_BYTES, TCP_TS_LAYOUT, TCP_TS_OPTION } = headers;
const { endOf, ipAt, l3Of, l4Of, tcpBehind } = locate;

/** Longest IP packet that joined segments may stand for. */
const MOST_BYTES = 65535;

/** @param flags all of the segment's @param bytes its payload @returns false: it goes alone, and nothing is joined to it */
const mayJoin = (flags: number, bytes: number): boolean => (flags & ~TCP_PSH) === TCP_FLAG_ACK && bytes > 0;

/** @param next sequence number that is expected @param sequence, bytes the segment's, and its payload
 *  @param unit payload of each segment but the last @param total bytes of the IP packet with this one joined */
const follows = (next: number, sequence: number, bytes: number, unit: number, total: number): boolean =>
  sequence === next && bytes <= unit && total <= MOST_BYTES;

/** @returns true when nothing follows a segment: somebody shall have it now, or it is shorter than the others */
const isLast = (flags: number, bytes: number, unit: number): boolean => (flags & TCP_PSH) !== 0 || bytes < unit;

/** For who joins elsewhere: taken out once, they are constants there, as they are here. */
export const JOIN_RULES = { mayJoin, follows, isLast } as const;

/** Flows held at once (Linux: MAX_GRO_SKBS per bucket). */
const FLOWS = 8;

/** Answers of `offer` that are no segment number. */
const NEW = -1;
const ALONE = -2;
export const LRO_NEW = NEW;
export const LRO_ALONE = ALONE;

// A held flow, in 32-bit words.
const SRC = 0;
const DST = 1;
const PORTS = 2;
const VLAN = 3;
const SEGMENT = 4;
/** The sequence number that comes next. */
const NEXT = 5;
const ACK = 6;
const TSVAL = 7;
const THL = 8;
const TOS_TTL_DF = 9;
/** Payload of each frame but the last. */
const PAYLOAD = 10;
/** Length of the IP packet that the segment stands for. */
const TOTAL = 11;
const WORDS = 16;

/** IP_DF in the byte at IP_FLAGS. */
const DF = 0x40;

/** Large receive offload: joins consecutive segments of a TCP flow into one, by the rules above. Acknowledgements and
 *  timestamps may not go back, and the segment has the last one's.
 *
 *  A held flow is only a note of what the next segment must look like; the segment itself stands in the stack's list
 *  since its first frame, in the order of arrival. So nothing has to be flushed out, forgetting the note is enough, and
 *  frames never overtake others of their flow. */
export class Lro {
  private readonly mem: Mem;
  private held = 0;
  /** Row of the flow that the last segment began or continued; -1: that is not held any more. */
  private last = -1;
  /** One row per held flow, the one held longest first. */
  private readonly rows = new Int32Array(FLOWS * WORDS);

  constructor(mem: Mem) {
    this.mem = mem;
  }

  /** The batch ends: nothing is held any more. */
  flush(): void {
    this.held = 0;
    this.last = -1;
  }

  /** As `offer`, for a segment whose headers are those of the one offered last in all but these, and checksums.
   *  @returns the segment that it continues; LRO_NEW: none that is known, it has to be offered */
  next(sequence: number, ack: number, tsval: number, bytes: number): number {
    const { last: at, rows } = this;
    if (at < 0 || sequence !== rows[at + NEXT] || bytes !== rows[at + PAYLOAD]) return NEW;
    const total = rows[at + TOTAL] + bytes;
    if (total > MOST_BYTES || ((ack - rows[at + ACK]) | 0) < 0 || ((tsval - rows[at + TSVAL]) | 0) < 0) return NEW;
    rows[at + NEXT] = (sequence + bytes) | 0;
    rows[at + TOTAL] = total;
    rows[at + ACK] = ack;
    rows[at + TSVAL] = tsval;
    return rows[at + SEGMENT];
  }

  /** Judges one TCP segment whose headers are known to be whole.
   *  @param ip @param tcp byte offsets of the headers
   *  @param ihl @param thl lengths of the headers
   *  @param bytes payload
   *  @param vlan 0x10000 | tci, or 0 without a tag
   *  @param fresh number that the segment gets if it is not joined to another
   *  @returns the segment that this one continues; LRO_NEW: it begins one that others may continue; LRO_ALONE */
  offer(ip: number, ihl: number, tcp: number, thl: number, bytes: number, vlan: number, fresh: number): number {
    const dv = this.mem.dv;
    const rows = this.rows;
    const src = dv.getInt32(ip + IP_SRC);
    const dst = dv.getInt32(ip + IP_DST);
    const ports = dv.getInt32(tcp + TCP_SRC);
    let at = (this.held - 1) * WORDS;
    while (at >= 0 && (rows[at + PORTS] !== ports || rows[at + SRC] !== src || rows[at + DST] !== dst)) at -= WORDS;

    this.last = -1;
    const flags = dv.getUint16(tcp + TCP_OFFSET) & TCP_FLAG_BITS;
    if (
      ihl !== IP_BYTES ||
      !mayJoin(flags, bytes) ||
      (thl !== TCP_BYTES && (thl !== TCP_TS_BYTES || dv.getInt32(tcp + TCP_TS_OPTION) !== TCP_TS_LAYOUT))
    ) {
      if (at >= 0) this.drop(at);
      return ALONE;
    }
    const sequence = dv.getInt32(tcp + TCP_SEQ);
    const ack = dv.getInt32(tcp + TCP_ACK);
    const tsval = thl === TCP_TS_BYTES ? dv.getInt32(tcp + TCP_TSVAL) : 0;
    const tosTtlDf =
      (dv.getUint8(ip + IP_TOS) << 16) | (dv.getUint8(ip + IP_TTL) << 8) | (dv.getUint8(ip + IP_FLAGS) & DF);
    if (at >= 0) {
      const payload = rows[at + PAYLOAD];
      const total = rows[at + TOTAL] + bytes;
      if (
        follows(rows[at + NEXT], sequence, bytes, payload, total) &&
        rows[at + THL] === thl &&
        rows[at + VLAN] === vlan &&
        rows[at + TOS_TTL_DF] === tosTtlDf &&
        ((ack - rows[at + ACK]) | 0) >= 0 &&
        ((tsval - rows[at + TSVAL]) | 0) >= 0
      ) {
        const segment = rows[at + SEGMENT];
        if (isLast(flags, bytes, payload)) {
          this.drop(at);
        } else {
          this.last = at;
          rows[at + NEXT] = (sequence + bytes) | 0;
          rows[at + TOTAL] = total;
          rows[at + ACK] = ack;
          rows[at + TSVAL] = tsval;
        }
        return segment;
      }
      this.drop(at);
    }
    // What ends a merge does not begin one.
    if ((flags & TCP_PSH) !== 0) return ALONE;
    // The one held longest makes room, as in Linux.
    if (this.held === FLOWS) this.drop(0);
    at = this.held++ * WORDS;
    this.last = at;
    rows[at + SRC] = src;
    rows[at + DST] = dst;
    rows[at + PORTS] = ports;
    rows[at + VLAN] = vlan;
    rows[at + SEGMENT] = fresh;
    rows[at + NEXT] = (sequence + bytes) | 0;
    rows[at + ACK] = ack;
    rows[at + TSVAL] = tsval;
    rows[at + THL] = thl;
    rows[at + TOS_TTL_DF] = tosTtlDf;
    rows[at + PAYLOAD] = bytes;
    rows[at + TOTAL] = IP_BYTES + thl + bytes;
    return NEW;
  }

  /** Forgets the flow of a row; the others keep their order of age. */
  private drop(at: number): void {
    this.rows.copyWithin(at, at + WORDS, this.held * WORDS);
    this.held--;
    this.last = -1;
  }
}

/** Which TCP segments may be joined to one packet for a kernel, and that packet's headers. Reasons: tap-writer.ts of shared/measure. */
export class Joiner {
  /** Of the packet that is being joined: its first frame, segments, payload of them together and of each but the last. */
  first = 0;
  segments = 0;
  payload = 0;
  mss = 0;
  blank = false;
  /** The last segment is shorter than the others, or has PSH: nothing may follow. */
  ends = false;
  l4 = ETH_BYTES + IP_BYTES;
  headerBytes = 0;
  private readonly mem: Mem;
  private nextSeq = 0;
  private psh = 0;
  /** What all segments have in common, as a one's complement sum; and the sum of what their checksums say. */
  private common = 0;
  private terms = 0;
  private ipSum = 0;
  // Of the frame parsed last, or of the packet that stands for several: payload of each but the last of these, and how many they are.
  private at = 0;
  private unit = 0;
  private frames = 0;
  private l3 = ETH_BYTES;
  private thl = 0;
  private part = 0;
  private flags = 0;
  private frameIpSum = 0;

  constructor(mem: Mem) {
    this.mem = mem;
  }

  /** Looks at a frame. @param linear bytes that lie together at `at`, @param bytes of the whole frame
   *  @param mss of a packet that stands for several frames and was not cut; its checksum has to be blank
   *  @returns false when it is no segment that could be joined to another */
  parse(at: number, linear: number, bytes: number, mss = MOST_BYTES): boolean {
    const { dv } = this.mem;
    const plain = ipAt(this.mem, at, linear);
    const l3 = l3Of(plain);
    const l4 = l4Of(plain);
    const end = endOf(tcpBehind(this.mem, at, linear, plain));
    // Without options, and with payload beside its headers; where there is no header, it ends behind all that is there.
    if (l4 - l3 !== IP_BYTES || linear <= end) return false;
    const ip = at + l3;
    const ipBytes = dv.getUint16(ip + IP_LENGTH);
    if (l3 + ipBytes !== bytes || (dv.getUint16(ip + IP_FLAGS) & IP_FRAGMENT_MASK) !== 0) return false;
    // With the reserved bits: who sets one means something by it.
    const flags = dv.getUint16(at + l4 + TCP_OFFSET) & TCP_FLAG_BITS;
    const part = bytes - end;
    if (!mayJoin(flags, part)) return false;
    this.at = at;
    this.l3 = l3;
    this.thl = end - l4;
    this.part = part;
    this.unit = part < mss ? part : mss;
    this.frames = part > mss ? Math.ceil(part / mss) : 1;
    this.flags = flags;
    this.frameIpSum = ipBytes + dv.getUint16(ip + IP_ID) + dv.getUint16(ip + IP_CHECK);
    return true;
  }

  /** @returns true when the frame parsed last continues the packet */
  joins(blank: boolean): boolean {
    const { at, first, part, thl } = this;
    const { l3, l4 } = this;
    if (this.ends || blank !== this.blank || l3 + IP_BYTES + thl !== this.headerBytes) return false;
    // Headers of one length in all may still be of two kinds: a tag more, an option less.
    if (l3 + IP_BYTES !== l4) return false;
    const { dv } = this.mem;
    const t = l4;
    const total = IP_BYTES + thl + this.payload + part;
    if (!follows(this.nextSeq, dv.getInt32(at + t + TCP_SEQ), this.unit, this.mss, total) || (this.mss & 1) !== 0)
      return false;
    if (this.frames > 1 && this.unit !== this.mss) return false;
    const same =
      dv.getInt32(at + t) === dv.getInt32(first + t) &&
      dv.getInt32(at + t + 8) === dv.getInt32(first + t + 8) &&
      dv.getUint16(at + t + 14) === dv.getUint16(first + t + 14) &&
      dv.getUint16(at + t + 18) === dv.getUint16(first + t + 18) &&
      dv.getInt32(at) === dv.getInt32(first) &&
      dv.getInt32(at + 4) === dv.getInt32(first + 4) &&
      dv.getInt32(at + 8) === dv.getInt32(first + 8) &&
      (l3 === ETH_BYTES ||
        (dv.getInt32(at + l3 - 4) === dv.getInt32(first + l3 - 4) &&
          dv.getInt32(at + l3 - 8) === dv.getInt32(first + l3 - 8))) &&
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
    this.l4 = this.l3 + IP_BYTES;
    this.headerBytes = this.l4 + this.thl;
    this.blank = blank;
    this.segments = this.frames;
    this.payload = this.part;
    this.mss = this.unit;
    this.nextSeq = (this.mem.dv.getInt32(this.at + this.l4 + TCP_SEQ) + this.part) | 0;
    this.psh = this.flags & TCP_PSH;
    this.ends = this.endsHere();
    this.ipSum = foldNative(this.frameIpSum);
  }

  /** The frame parsed last, which `joins`, becomes a part of the packet. */
  add(): void {
    if (this.segments === 1 && !this.blank) {
      // A wrong IP checksum has to stay one: with that of the first frame all others are compared.
      this.common = this.commonSum();
      this.terms = this.term(this.first, this.payload, this.psh);
    }
    this.psh |= this.flags & TCP_PSH;
    if (!this.blank) this.terms += this.term(this.at, this.part, this.flags & TCP_PSH);
    this.segments += this.frames;
    this.payload += this.part;
    this.nextSeq = (this.nextSeq + this.part) | 0;
    this.ends = this.endsHere();
  }

  /** Of what was parsed last: its last segment is the packet's. */
  private endsHere(): boolean {
    return isLast(this.psh, this.part - (this.frames - 1) * this.mss, this.mss);
  }

  /** Writes the headers of a packet of more than one segment. */
  writeHeader(to: number): void {
    const { mem, first, headerBytes, l4 } = this;
    const l3 = l4 - IP_BYTES;
    const { dv, u8 } = mem;
    u8.copyWithin(to, first, first + headerBytes);
    const ipBytes = headerBytes - l3 + this.payload;
    const l4Bytes = ipBytes - IP_BYTES;
    dv.setUint16(to + l3 + IP_LENGTH, ipBytes);
    // The sum over a header is 65535; what the length has gained, the checksum loses.
    const check = foldNative(this.ipSum + 2 * 65535 - ipBytes - dv.getUint16(first + l3 + IP_ID));
    dv.setUint16(to + l3 + IP_CHECK, check);
    u8[to + l4 + TCP_FLAGS] = u8[first + l4 + TCP_FLAGS] | this.psh;
    if (this.blank) {
      const sum = nativePseudo(mem, to + l3 + IP_SRC, PROTO_TCP, l4Bytes);
      dv.setUint16(to + l4 + TCP_CHECK, swap16(foldNative(sum)));
      return;
    }
    const own = this.common + this.sequence(first) + this.psh + l4Bytes;
    dv.setUint16(to + l4 + TCP_CHECK, foldNative((this.terms % 65535) + 65535 * 64 - own) % 65535);
  }

  /** Pseudo header without length, TCP header without sequence, PSH and checksum. */
  private commonSum(): number {
    const { dv } = this.mem;
    const { first, headerBytes, l4 } = this;
    let sum =
      PROTO_TCP -
      (this.mem.u8[first + l4 + TCP_FLAGS] & TCP_PSH) -
      this.sequence(first) -
      dv.getUint16(first + l4 + TCP_CHECK);
    for (let i = l4 - 8; i < headerBytes; i += 2) sum += dv.getUint16(first + i);
    return sum;
  }

  /** What a segment's checksum says about its payload: the payload's sum is the complement of this. */
  private term(at: number, part: number, psh: number): number {
    const check = this.mem.dv.getUint16(at + this.l4 + TCP_CHECK);
    return this.common + this.sequence(at) + psh + check + part + this.headerBytes - this.l4;
  }

  private sequence(at: number): number {
    const { dv } = this.mem;
    return dv.getUint16(at + this.l4 + TCP_SEQ) + dv.getUint16(at + this.l4 + TCP_SEQ + 2);
  }
}
