/** The receiving half of a network stack: Ethernet, IPv4, UDP and TCP headers, down to the socket. Takes the frames of measured
 *  runs, and passes all others on to who is there for them.
 *
 *  Works on batches. The driver names the buffers (`fragment`), then `process` parses, sorts out and coalesces, then
 *  `deliver` hands payload to the application; they are apart so that their CPU time can be told apart. What the buffers
 *  hold may be written by others at any time: headers are copied once and the copy is judged, and nothing that is read later can
 *  lead out of the buffers. TCP is as far as a receiver of measured traffic needs it: no connections, no reassembly. */
import { memOver, slots, type CounterBlock, type Mem } from '@grantline/machine';
import { STACK_COUNTERS, STACK_DROP, NO_RX_PROBE, type RxProbe } from '@grantline/observe';
import * as frames from '@grantline/frames';
import { Lro, isGroup, type Mac } from '@grantline/frames';
import { MAX_LISTED, type FrameApp, type PieceList } from './frame-app.js';
import { RxBatch, framesOf } from './rx-batch.js';

// Local, so that the engine folds them into the code: see flow-templates.ts.
const { ETH_BYTES, ETH_TYPE, ETHERTYPE_IPV4, ETHERTYPE_VLAN, VLAN_BYTES } = frames;
const { IP_BROADCAST, IP_BYTES, IP_DST, IP_FLAGS, IP_FRAGMENT_MASK, IP_PROTOCOL, PROTO_TCP, PROTO_UDP } = frames;
const { GENERATOR_PORT, RESPOND_PORT } = frames;
const { TCP_ACK, TCP_BYTES, TCP_DST, TCP_OFFSET, TCP_SEQ, TCP_TSVAL, TCP_TS_BYTES, TCP_TS_LAYOUT, TCP_TS_OPTION } =
  frames;
const { UDP_BYTES, UDP_DST, UDP_LENGTH } = frames;
const ALONE = frames.LRO_ALONE;
const LRO_NEW = frames.LRO_NEW;
/** What headers can take at most: Ethernet with its tags, IPv4 and TCP with all their options. */
const HEADER_BYTES = ETH_BYTES + 2 * VLAN_BYTES + 60 + 60;

const C = slots(STACK_COUNTERS);
const PORTS = 65536;
const TAGS = 2;
const L4 = ETH_BYTES + IP_BYTES;
const PLAIN_IPV4 = 0x45;
const ADDRESS_SLOTS = 256;

/** What takes received frames, batch by batch: this stack, what it passes frames on to, a kernel behind a TAP device. */
export interface RxSink {
  /** Responses that it wants in one go; not given: as many as the queue likes. */
  readonly batch?: number;
  /** A piece of a frame. @param off byte offset in mem @param more the frame goes on in the next piece
   *  @param info what the driver told of the packet, with its first piece: rx-batch.ts */
  fragment(off: number, len: number, more: boolean, info?: number): void;
  /** Runs the protocols over all frames of the batch. */
  process(): unknown;
  /** Hands what is for sockets to the application. Afterwards no buffer of the batch is looked at any more.
   *  @param isSecond frames of the same batch were handed to another application right before: the time up to now is its */
  deliver(nowNs: number, isSecond?: boolean): unknown;
}

export interface RxStackOptions {
  mem: Mem;
  /** Named as STACK_COUNTERS; committed by `deliver`. */
  counters: CounterBlock;
  /** Coalesce TCP segments. */
  lro: boolean;
  /** Own addresses; broadcast is always taken. */
  macs: readonly Mac[];
  ips: readonly number[];
  /** Take frames for any address. */
  promiscuous?: boolean;
  app: FrameApp;
}

export class RxStack implements RxSink {
  /** May be changed between batches. */
  app: FrameApp;
  /** May be changed between batches. */
  lroOn: boolean;
  /** Told of drops while a capture is on. */
  probe: RxProbe = NO_RX_PROBE;
  /** Gets the frames of no measured run; null: all are taken for one's. */
  others: RxSink | null = null;
  /** No frame is for others: a capture is being replayed. */
  takesAll = false;
  /** The frame in progress is for others; its first piece has come, its last has not. */
  private isForOthers = false;
  private isInFrame = false;
  /** Others have pieces of this batch. */
  private othersWait = false;
  private readonly mem: Mem;
  private readonly counters: CounterBlock;
  private readonly promiscuous: boolean;
  private readonly macs = new AddressSet();
  private readonly ips = new AddressSet();
  private readonly sockets = new Int16Array(2 * PORTS).fill(-1);
  private readonly lro: Lro;
  /** The headers of the frame that was judged last. */
  private readonly header = new HeaderCopy();
  private readonly pieces: PieceList;
  /** The batch in progress. */
  private readonly current = new RxBatch();

  constructor(options: RxStackOptions) {
    this.mem = options.mem;
    this.counters = options.counters;
    this.lroOn = options.lro;
    this.promiscuous = options.promiscuous ?? false;
    this.app = options.app;
    this.lro = new Lro(this.header.mem);
    const list = (): Int32Array => new Int32Array(MAX_LISTED);
    this.pieces = { off: list(), len: list(), frameBytes: list() };
    this.setAddresses(options.macs, options.ips);
  }

  /** Replaces the own addresses. */
  setAddresses(macs: readonly Mac[], ips: readonly number[]): void {
    this.header.isPlain = false;
    this.macs.clear();
    this.ips.clear();
    for (const mac of macs) this.macs.add(mac.hi, mac.lo);
    for (const ip of ips) this.ips.add(0, ip);
  }

  /** Binds a socket. @param socket number that the application is told with each segment, 0 to 32767 */
  listen(protocol: typeof PROTO_TCP | typeof PROTO_UDP, port: number, socket: number): void {
    this.header.isPlain = false;
    this.sockets[socketAt(protocol, port)] = socket;
  }

  /** Fragments that the batch still has room for; a frame whose parts exceed it belongs into the next batch. */
  get room(): number {
    return this.current.room;
  }

  /** Adds one part of a frame. Its memory must stay mapped, and the caller's, until deliver returns.
   *  @param off byte offset @param len bytes
   *  @param more the frame goes on in the next fragment
   *  @param info what is known of the packet, at its first fragment: rx-batch.ts
   *  @throws RangeError when the batch is full: the caller's mistake */
  fragment(off: number, len: number, more: boolean, info = 0): void {
    const { others } = this;
    if (others !== null) {
      if (!this.isInFrame) this.isForOthers = !this.takesAll && !isMeasured(this.mem, off, len);
      this.isInFrame = more;
      if (this.isForOthers) {
        this.othersWait = true;
        others.fragment(off, len, more, info);
        return;
      }
    }
    this.current.add(off, len, more, info);
  }

  /** Parses what was added since the last call. A frame whose last fragment is missing is dropped as malformed.
   *  @returns how many frames that was, without those for others */
  process(): number {
    const raw = this.app.wantsRaw;
    const batch = this.current;
    const v = this.counters.v;
    let count = 0;
    batch.touch(this.mem.i32);
    while (batch.take()) {
      let drop: number = C.dropBadHeader;
      if (batch.whole) drop = raw ? this.judgeRaw() : this.judge();
      const frameCount = framesOf(batch.info);
      if (drop >= 0) {
        v[drop] += frameCount;
        if (this.probe.on) this.probe.dropped(batch.off, STACK_DROP + drop);
      }
      count += frameCount;
    }
    this.lro.flush();
    v[C.inFrames] += count;
    if (this.othersWait) this.others!.process();
    return count;
  }

  /** After `process`: hands all segments to the application; afterwards the batch is empty and its buffers are free.
   *  @param nowNs the time that latency is measured to
   *  @returns how many segments that was, without what was for others */
  deliver(nowNs: number): number {
    const { others } = this;
    if (others === null) return this.handOver(nowNs);
    // An application is not told of batches in which nothing is for it.
    const isOwn = !this.current.isEmpty;
    const segments = isOwn ? this.handOver(nowNs) : 0;
    if (this.othersWait) {
      this.othersWait = false;
      others.deliver(nowNs, isOwn);
    }
    return segments;
  }

  private handOver(nowNs: number): number {
    const { app, pieces, current: batch } = this;
    const { frames, segments } = batch;
    app.begin(nowNs);
    let to = 0;
    for (let s = 0; s < segments; s++) {
      const from = to;
      to = batch.list(s, pieces, from);
      if (app.wantsRaw) app.raw(pieces, from, to);
      else app.segment(pieces, from, to, batch.socketOf(s));
    }
    app.end();
    const v = this.counters.v;
    v[C.toSocket] += frames;
    v[C.segments] += segments;
    v[C.coalesced] += frames - segments;
    this.counters.commit();
    batch.clear();
    return segments;
  }

  /** @returns a counter slot when the frame is dropped, else -1 */
  private judge(): number {
    const { current: batch, header } = this;
    // A burst's frames have the headers of the one before them but for a few fields: what has been judged is not judged again.
    if (header.isPlain && header.covers(this.mem.i32, batch.off, batch.linear, batch.bytes)) {
      const segment = header.isTcp && this.lroOn ? this.join(batch.off + L4) : ALONE;
      if (segment !== LRO_NEW) {
        batch.append(header.payload, header.payloadBytes, segment, header.socket);
        return -1;
      }
    }
    return this.judgeHeader();
  }

  /** @param tcp byte offset of the header of a segment that `header` covers @returns as Lro.next */
  private join(tcp: number): number {
    const { header, lro } = this;
    const { dv } = this.mem;
    let tsval = 0;
    if (header.payload === L4 + TCP_TS_BYTES) {
      if (dv.getInt32(tcp + TCP_TS_OPTION) !== TCP_TS_LAYOUT) return LRO_NEW;
      tsval = dv.getInt32(tcp + TCP_TSVAL);
    } else if (header.payload !== L4 + TCP_BYTES) return LRO_NEW;
    return lro.next(dv.getInt32(tcp + TCP_SEQ), dv.getInt32(tcp + TCP_ACK), tsval, header.payloadBytes);
  }

  /** Copies the headers and judges the copy. @returns a counter slot when the frame is dropped, else -1 */
  private judgeHeader(): number {
    const { current: batch, header } = this;
    const { dv } = header.mem;
    const at = 0;
    const bytes = batch.bytes;
    // All headers stand in the first buffer; where they do not, somebody is playing.
    const linear = batch.linear;
    header.copy(this.mem, batch.off, linear);
    if (linear < ETH_BYTES) return C.dropBadHeader;
    if (!this.isOwn(dv)) return C.dropNotMine;
    let l3 = ETH_BYTES;
    let type = dv.getUint16(at + ETH_TYPE);
    let vlan = 0;
    for (let tag = 0; type === ETHERTYPE_VLAN && tag < TAGS; tag++) {
      if (linear < l3 + VLAN_BYTES) return C.dropBadHeader;
      vlan = 0x10000 | dv.getUint16(at + l3);
      type = dv.getUint16(at + l3 + 2);
      l3 += VLAN_BYTES;
    }
    if (type !== ETHERTYPE_IPV4) return C.dropNoSocket;
    if (linear < l3 + IP_BYTES) return C.dropBadHeader;
    const ip = at + l3;
    const word0 = dv.getInt32(ip);
    const ihl = ((word0 >>> 24) & 15) << 2;
    const ipBytes = word0 & 0xffff;
    if (word0 >>> 28 !== 4 || ihl < IP_BYTES || ipBytes < ihl || ipBytes > bytes - l3 || linear < l3 + ihl)
      return C.dropBadHeader;
    const dst = dv.getInt32(ip + IP_DST);
    if (!this.headerSumIsRight(ip, ihl)) return C.dropBadChecksum;
    if ((dv.getUint16(ip + IP_FLAGS) & IP_FRAGMENT_MASK) !== 0) return C.dropBadHeader;
    if (!this.promiscuous && dst !== (IP_BROADCAST | 0) && !this.ips.has(0, dst)) return C.dropNotMine;

    const protocol = dv.getUint8(ip + IP_PROTOCOL);
    const l4 = l3 + ihl;
    let payload = l4;
    let payloadBytes = ipBytes - ihl;
    let socket = -1;
    let segment = ALONE;
    if (protocol === PROTO_TCP) {
      if (payloadBytes < TCP_BYTES || linear < l4 + TCP_BYTES) return C.dropBadHeader;
      const thl = (dv.getUint8(at + l4 + TCP_OFFSET) >>> 4) << 2;
      if (thl < TCP_BYTES || thl > payloadBytes || linear < l4 + thl) return C.dropBadHeader;
      socket = this.sockets[PORTS + dv.getUint16(at + l4 + TCP_DST)]!;
      if (socket < 0) return C.dropNoSocket;
      payload += thl;
      payloadBytes -= thl;
      if (this.lroOn) segment = this.lro.offer(ip, ihl, at + l4, thl, payloadBytes, vlan, batch.segments);
    } else if (protocol === PROTO_UDP) {
      if (payloadBytes < UDP_BYTES || linear < l4 + UDP_BYTES) return C.dropBadHeader;
      const udpBytes = dv.getUint16(at + l4 + UDP_LENGTH);
      if (udpBytes < UDP_BYTES || udpBytes > payloadBytes) return C.dropBadHeader;
      socket = this.sockets[dv.getUint16(at + l4 + UDP_DST)]!;
      payload += UDP_BYTES;
      payloadBytes = udpBytes - UDP_BYTES;
    }
    if (socket < 0) return C.dropNoSocket;
    batch.append(payload, payloadBytes, segment, socket);
    if (l4 === L4) header.settle(protocol === PROTO_TCP, l3 + ipBytes, payload, payloadBytes, socket);
    return -1;
  }

  private judgeRaw(): number {
    const batch = this.current;
    if (batch.linear < ETH_BYTES) return C.dropBadHeader;
    this.header.copy(this.mem, batch.off, ETH_BYTES);
    if (!this.isOwn(this.header.mem.dv)) return C.dropNotMine;
    batch.append(0, batch.bytes, ALONE, 0, true);
    return -1;
  }

  /** @param header a frame's first bytes */
  private isOwn(header: DataView): boolean {
    const hi = header.getUint16(0);
    return this.promiscuous || isGroup(hi) || this.macs.has(hi, header.getInt32(2));
  }

  private headerSumIsRight(ip: number, ihl: number): boolean {
    const { dv } = this.header.mem;
    let sum = 0;
    for (let i = 0; i < ihl; i += 4) {
      const word = dv.getInt32(ip + i);
      sum += (word >>> 16) + (word & 0xffff);
    }
    return (sum >>> 16) + (sum & 0xffff) === 0xffff;
  }
}

/** The headers of one frame in private memory, and what they were found to say. Those of the next are compared with them, by words, as
 *  Van Jacobson's header prediction does (tcp_rcv_established in Linux): of what is the same the verdict is, too. */
class HeaderCopy {
  readonly mem = memOver(new ArrayBuffer((HEADER_BYTES + 7) & ~7));
  /** The frame was good and had no tags and no IP options; what follows is of it. */
  isPlain = false;
  isTcp = false;
  /** Where its payload starts, and how much that is; the frame's least bytes. */
  payload = 0;
  payloadBytes = 0;
  private least = 0;
  socket = 0;

  /** Takes a frame's first bytes, each read once. @param linear bytes that lie together there */
  copy(from: Mem, at: number, linear: number): void {
    const { u8, dv } = this.mem;
    const bytes = linear < HEADER_BYTES ? linear : HEADER_BYTES;
    let i = 0;
    for (; i + 4 <= bytes; i += 4) dv.setInt32(i, from.dv.getInt32(at + i));
    for (; i < bytes; i++) u8[i] = from.u8[at + i];
    this.isPlain = false;
  }

  /** What was copied is good. @param least bytes of the frame that its IP packet reaches to */
  settle(isTcp: boolean, least: number, payload: number, payloadBytes: number, socket: number): void {
    this.isTcp = isTcp;
    this.least = least;
    this.payload = payload;
    this.payloadBytes = payloadBytes;
    this.socket = socket;
    this.isPlain = true;
  }

  /** @returns true when a frame's headers say the same, in all but TCP's sequence, acknowledgement, window and options, and the checksum */
  covers(i32: Int32Array, at: number, linear: number, bytes: number): boolean {
    if ((at & 3) !== 0 || linear < this.payload || bytes < this.least) return false;
    const w = at >> 2;
    const own = this.mem.i32;
    // Up to the source port: Ethernet, IPv4 with its checksum.
    if (
      i32[w] !== own[0] ||
      i32[w + 1] !== own[1] ||
      i32[w + 2] !== own[2] ||
      i32[w + 3] !== own[3] ||
      i32[w + 4] !== own[4] ||
      i32[w + 5] !== own[5] ||
      i32[w + 6] !== own[6] ||
      i32[w + 7] !== own[7] ||
      i32[w + 8] !== own[8]
    )
      return false;
    // Destination port, then UDP's length, or the first half of TCP's sequence; there the header's length and the flags follow.
    const differ = i32[w + 9] ^ own[9];
    return this.isTcp ? (differ & 0xffff) === 0 && (i32[w + 11] ^ own[11]) >>> 16 === 0 : differ === 0;
  }
}

/** Is a frame a measured run's: one to the generator's port, or a request, which is UDP? Asked of every frame, so the port comes
 *  first, where a generator's frames have it: nothing is looked for (locate.ts). @param off, len the frame's first piece */
function isMeasured(mem: Mem, off: number, len: number): boolean {
  if (len < L4 + 4) return false;
  const { dv, u8 } = mem;
  const port = dv.getUint16(off + L4 + TCP_DST);
  const protocol = u8[off + ETH_BYTES + IP_PROTOCOL];
  if (port !== GENERATOR_PORT && !(port === RESPOND_PORT && protocol === PROTO_UDP)) return false;
  return (
    dv.getUint16(off + ETH_TYPE) === ETHERTYPE_IPV4 &&
    u8[off + ETH_BYTES] === PLAIN_IPV4 &&
    (protocol === PROTO_TCP || protocol === PROTO_UDP)
  );
}

const socketAt = (protocol: number, port: number): number => (protocol === PROTO_TCP ? PORTS : 0) + port;

/** The few addresses (MAC or IP) that are this station's own, asked for once per frame. */
class AddressSet {
  private readonly hi = new Int32Array(ADDRESS_SLOTS);
  private readonly lo = new Int32Array(ADDRESS_SLOTS);
  private readonly used = new Uint8Array(ADDRESS_SLOTS);
  private count = 0;

  /** @throws RangeError at more than 128 addresses */
  add(hi: number, lo: number): void {
    if (this.has(hi, lo)) return;
    if (++this.count > ADDRESS_SLOTS / 2) throw new RangeError('too many addresses');
    let i = addressSlot(lo);
    while (this.used[i] === 1) i = (i + 1) & (ADDRESS_SLOTS - 1);
    this.used[i] = 1;
    this.hi[i] = hi;
    this.lo[i] = lo;
  }

  /** @param hi first 16 bits of a MAC address; 0 for an IP address
   *  @param lo the other 32 bits, signed or not */
  has(hi: number, lo: number): boolean {
    for (let i = addressSlot(lo); this.used[i] === 1; i = (i + 1) & (ADDRESS_SLOTS - 1))
      if (this.lo[i] === (lo | 0) && this.hi[i] === hi) return true;
    return false;
  }

  clear(): void {
    this.used.fill(0);
    this.count = 0;
  }
}

/** Own addresses often count up in the last byte, or in the one before. */
const addressSlot = (lo: number): number => (lo ^ (lo >>> 8)) & (ADDRESS_SLOTS - 1);
