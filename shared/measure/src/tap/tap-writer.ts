/** Gives frames to the kernel behind a TAP device. Consecutive segments of one TCP flow go as one packet of up to 64 KiB,
 *  which the kernel takes as it takes what a NIC with LRO has joined; so a system call and a walk through the kernel's stack
 *  are paid once for many frames. Nothing is copied here: the kernel reads the pieces where they lie.
 *
 *  Segments are joined by the rules of Linux's GRO (net/ipv4/af_inet.c inet_gro_receive, tcp_offload.c tcp_gro_receive):
 *  same addresses, ports, TOS, TTL, flags, acknowledgement, window and options, right IP checksum, next sequence; a short
 *  segment or PSH ends the packet. The joined packet's TCP checksum is derived from those of its segments, so it is right
 *  exactly when theirs were: the kernel verifies every byte from end to end, and nobody sums payload on the way. */
import {
  type CounterBlock,
  slots,
  type AddressSpace,
  type Mem,
  VNET_BYTES,
  VNET_GSO_TCPV4,
  VNET_NEEDS_CSUM,
} from '@grantline/machine';
import { TAP_COUNTERS } from '@grantline/observe';
import {
  fillChecksum,
  foldNative,
  nativePseudo,
  swap16,
  IP_LENGTH,
  IP_PROTOCOL,
  IP_SRC,
  PROTO_TCP,
  PROTO_UDP,
  endOf,
  ipAt,
  l3Of,
  l4Of,
  tcpAt,
  TCP_CHECK,
  UDP_CHECK,
  Joiner,
  PacketCutter,
} from '@grantline/frames';
import { IO_MAX, IoTable } from './tap-io.js';

const C = slots(TAP_COUNTERS);
/** Pieces of one frame at most: a frame of 9014 bytes in halves of pages has 5. */
const MAX_PIECES = 64;
const SCRATCH_BYTES = 65536;
const HEADER_AT = 64;

/** What this needs of TapDevice. */
export interface TapOut {
  readonly vnet: boolean;
  writev(iov: number, count: number): number;
}

export class TapWriter {
  /** Join segments; without a vnet header they never are. */
  coalesce = true;
  private readonly tap: TapOut;
  private readonly mem: Mem;
  private readonly table: IoTable;
  private readonly v: Float64Array;
  private readonly joiner: Joiner;
  /** Zeros; a header that is filled in; headers of a joined packet behind it. */
  private readonly plain: number;
  private readonly filled: number;
  private readonly scratch: number;
  private readonly vnetBytes: number;
  // The frame whose pieces are coming.
  private readonly off = new Int32Array(MAX_PIECES);
  private readonly len = new Int32Array(MAX_PIECES);
  private pieces = 0;
  private bytes = 0;
  private mss = 0;
  private frames = 0;
  private cutter: PacketCutter | null = null;
  private readonly space: AddressSpace;
  /** Entries of the packet that is being joined; 0: there is none. */
  private entries = 0;

  constructor(space: AddressSpace, tap: TapOut, counters: CounterBlock) {
    this.tap = tap;
    this.space = space;
    this.mem = space.mem;
    this.v = counters.v;
    this.table = new IoTable(space, IO_MAX);
    this.plain = space.mapPrivate(4096);
    this.filled = this.plain + HEADER_AT;
    this.scratch = space.mapPrivate(SCRATCH_BYTES);
    this.vnetBytes = tap.vnet ? VNET_BYTES : 0;
    this.joiner = new Joiner(space.mem);
  }

  /** A piece of a frame. It stays where it is until `flush` has returned.
   *  @param blank the TCP or UDP checksum is not filled in; told with the last piece */
  piece(off: number, len: number, more: boolean, blank: boolean): void {
    if (this.pieces < MAX_PIECES) {
      this.off[this.pieces] = off;
      this.len[this.pieces++] = len;
      this.bytes += len;
    }
    if (more) return;
    if (this.mss > 0) this.takeBulk();
    else this.take(blank);
    this.mss = 0;
    this.pieces = 0;
    this.bytes = 0;
  }

  /** The frame whose last piece comes next is a TCP packet that nobody has cut. @param mss payload of its segments
   *  @param frames how many they are */
  bulk(mss: number, frames: number): void {
    this.mss = mss;
    this.frames = frames;
  }

  /** A TCP packet in one piece that nobody has cut, its checksum not filled in. @param mss payload of its segments
   *  @param l4, headerBytes where its TCP header begins, and bytes of all headers */
  packet(at: number, bytes: number, l4: number, headerBytes: number, mss: number, frames: number): void {
    this.flush();
    this.pseudo(at, l3Of(ipAt(this.mem, at, headerBytes)), l4, bytes - l4);
    this.header(VNET_NEEDS_CSUM, VNET_GSO_TCPV4, headerBytes, mss, l4, TCP_CHECK);
    this.table.set(1, at, bytes);
    this.write(this.filled, 2, bytes, frames);
  }

  /** Hands over what is being joined. Afterwards no piece is looked at any more. */
  flush(): void {
    const { entries, joiner } = this;
    if (entries === 0) return;
    this.entries = 0;
    const bytes = joiner.headerBytes + joiner.payload;
    if (joiner.segments === 1) {
      if (joiner.blank) this.writeBlank(entries, joiner.l4, TCP_CHECK, bytes);
      else this.write(this.plain, entries, bytes, 1);
      return;
    }
    const head = this.filled + HEADER_AT;
    joiner.writeHeader(head);
    this.table.set(1, head, joiner.headerBytes);
    const flags = joiner.blank ? VNET_NEEDS_CSUM : 0;
    this.header(flags, VNET_GSO_TCPV4, joiner.headerBytes, joiner.mss, joiner.l4, TCP_CHECK);
    this.write(this.filled, entries, bytes, joiner.segments);
  }

  private take(blank: boolean): void {
    const { off, len, joiner } = this;
    if (!this.coalesce || this.vnetBytes === 0 || !joiner.parse(off[0], len[0], this.bytes)) {
      this.flush();
      this.single(blank);
      return;
    }
    this.join(blank);
  }

  /** What was parsed last becomes a part of the packet that is being joined, or begins the next. */
  private join(blank: boolean): void {
    const { off, len, pieces, joiner, table } = this;
    if (this.entries > 0 && (this.entries + pieces > table.size || !joiner.joins(blank))) this.flush();
    if (this.entries === 0) {
      joiner.begin(blank);
      table.set(1, off[0], joiner.headerBytes);
      this.entries = 2;
    } else joiner.add();
    table.set(this.entries++, off[0] + joiner.headerBytes, len[0] - joiner.headerBytes);
    for (let i = 1; i < pieces; i++) table.set(this.entries++, off[i], len[i]);
    if (joiner.ends) this.flush();
  }

  private takeBulk(): void {
    const { off, len, pieces, table, mem, bytes, mss, frames } = this;
    // A packet may be longer than what comes of it in one piece.
    if (this.coalesce && this.vnetBytes !== 0 && this.joiner.parse(off[0], len[0], bytes, mss)) return this.join(true);
    this.flush();
    const at = off[0];
    const place = tcpAt(mem, at, len[0]);
    const l4 = l4Of(place);
    const header = endOf(place);
    if (place < 0 || header >= bytes) {
      this.v[C.dropMalformed]++;
      return;
    }
    if (this.vnetBytes === 0) return this.cutBulk(place);
    this.pseudo(at, l3Of(place), l4, bytes - l4);
    for (let i = 0; i < pieces; i++) table.set(i + 1, off[i], len[i]);
    this.header(VNET_NEEDS_CSUM, VNET_GSO_TCPV4, header, mss, l4, TCP_CHECK);
    this.write(this.filled, pieces + 1, bytes, frames);
  }

  /** For a kernel that takes nothing longer than a frame. */
  private cutBulk(place: number): void {
    const { mem, scratch, off, len, pieces } = this;
    const cutter = (this.cutter ??= new PacketCutter(this.space));
    let to = scratch;
    for (let i = 0; i < pieces && to + len[i] <= scratch + SCRATCH_BYTES; i++) {
      mem.u8.copyWithin(to, off[i], off[i] + len[i]);
      to += len[i];
    }
    cutter.begin(scratch, to - scratch, place, this.mss);
    while (cutter.next()) {
      this.table.set(1, cutter.at, cutter.bytes);
      this.write(this.plain, 2, cutter.bytes, 1);
    }
  }

  private single(blank: boolean): void {
    const { off, len, pieces, table } = this;
    for (let i = 0; i < pieces; i++) table.set(i + 1, off[i], len[i]);
    if (!blank) return this.write(this.plain, pieces + 1, this.bytes, 1);
    // Who leaves a checksum blank has a header that one can find; else the kernel shall drop it.
    const { u8 } = this.mem;
    const at = off[0];
    const place = ipAt(this.mem, at, len[0]);
    const l4 = l4Of(place);
    const protocol = place < 0 ? 0 : u8[at + l3Of(place) + IP_PROTOCOL];
    const field = protocol === PROTO_TCP ? TCP_CHECK : protocol === PROTO_UDP ? UDP_CHECK : 0;
    if (field === 0 || l4 + field + 2 > len[0]) return this.write(this.plain, pieces + 1, this.bytes, 1);
    this.writeBlank(pieces + 1, l4, field, this.bytes);
  }

  private writeBlank(entries: number, l4: number, field: number, bytes: number): void {
    if (this.vnetBytes === 0) return this.fillAndWrite(entries, l4, field, bytes);
    // A frame that was padded on the way has a pseudo header for less.
    this.header(VNET_NEEDS_CSUM, 0, 0, 0, l4, field);
    this.write(this.filled, entries, bytes, 1);
  }

  /** Without a vnet header the checksum has to be there: the frame is copied together and summed. */
  private fillAndWrite(entries: number, l4: number, field: number, bytes: number): void {
    const { mem, scratch, off, len, pieces } = this;
    let to = scratch;
    for (let i = 0; i < pieces; i++) {
      mem.u8.copyWithin(to, off[i], off[i] + len[i]);
      to += len[i];
    }
    const l3 = l3Of(ipAt(mem, scratch, to - scratch));
    const end = l3 + mem.dv.getUint16(scratch + l3 + IP_LENGTH);
    fillChecksum(mem, scratch + l4, field, Math.min(end, bytes) - l4);
    this.table.set(1, scratch, bytes);
    this.write(this.plain, Math.min(entries, 2), bytes, 1);
  }

  private header(flags: number, type: number, bytes: number, mss: number, start: number, offset: number): void {
    const { u8, u16 } = this.mem;
    u8[this.filled] = flags;
    u8[this.filled + 1] = type;
    const w = this.filled >> 1;
    u16[w + 1] = bytes;
    u16[w + 2] = mss;
    u16[w + 3] = start;
    u16[w + 4] = offset;
  }

  /** Puts the sum of the pseudo header into a packet's TCP checksum, whatever stood there. */
  private pseudo(at: number, l3: number, l4: number, bytes: number): void {
    const sum = nativePseudo(this.mem, at + l3 + IP_SRC, PROTO_TCP, bytes);
    this.mem.dv.setUint16(at + l4 + TCP_CHECK, swap16(foldNative(sum)));
  }

  private write(vnet: number, entries: number, bytes: number, frames: number): void {
    const { table, tap, v } = this;
    table.set(0, vnet, this.vnetBytes);
    if (tap.writev(table.address, entries) < 0) {
      v[C.dropRefused] += frames;
      return;
    }
    v[C.toPackets]++;
    v[C.toFrames] += frames;
    v[C.toBytes] += bytes;
  }
}
