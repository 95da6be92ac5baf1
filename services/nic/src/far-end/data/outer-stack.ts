/** The TCP/IP stack at the far end of the cable (docs/tcp.md): a machine of its own, with its own addresses. What it
 *  receives lies in the NIC's packet memory until `settle`; what it sends goes through StationSender. Nobody verifies
 *  checksums for it: it does so itself. */
import { nowNs } from '@grantline/base';
import { slots, NIC_CPU, type Mem, type PrivateMemory, type CounterBlock, type Laps } from '@grantline/machine';
import { tcpAt, ETH_BYTES, ETH_MIN_FRAME, PacketCutter } from '@grantline/frames';
import {
  NET_COUNTERS,
  NetStack,
  RX_CHECKSUM_BLANK,
  type HostAddress,
  type NetLink,
  type Secret,
} from '@grantline/tcpip';
import type { Cable } from './cable.js';
import { BURST_FRAMES } from '../../hardware/data/nic.js';
import { OFFER_WAITS, StationPort, type Station } from './station.js';

// Local, so that the engine folds them into the code: see shared/frames/src/flow-templates.ts.
const WAITS = OFFER_WAITS;

const CPU = slots(NIC_CPU);
const N = slots(NET_COUNTERS);
/** Frames between two settles. */
const ROOM = 256;
const MTU = 1500;
/** Longest IP packet that is cut into frames here: what IP can say, less the Ethernet header. */
const MAX_PACKET = 65521;
/** Packets that wait at most; a power of two. */
const PACKETS = 1024;
/** Their memory: what is under way of a few streams. */
const RING_BYTES = 2 << 20;
/** One burst in so many is timed; a power of two. What reading the clock costs. */
const TIMED_BURSTS = 64;
const CLOCK_NS = 55;
/** Longest that a frame waits for a buffer. */
const HOLD_NS = 500e6;

interface OuterStackOptions {
  space: PrivateMemory;
  cable: Cable;
  meter: Laps;
  secret: Secret;
  address: HostAddress;
  /** Named as NET_COUNTERS. */
  counters: CounterBlock;
  /** Puts this poller to work. */
  wake: () => void;
}

export class OuterStack implements Station, NetLink {
  readonly name = 'stack';
  readonly mem: Mem;
  readonly stack: NetStack;
  scheduled = false;
  room = ROOM;
  /** True while somebody holds sockets of Node's: see Station. */
  sockets: () => boolean = () => false;
  private readonly meter: OuterStackOptions['meter'];
  private readonly sender: StationSender;
  private readonly counters: CounterBlock;
  /** Pieces of the frames since the last settle, two for each; and where each frame ends. */
  private readonly off = new Int32Array(2 * ROOM);
  private readonly len = new Int32Array(2 * ROOM);
  private readonly end = new Int32Array(ROOM);
  /** Payload bytes of the segments that a packet stands for, which was not cut; 0: a frame. */
  private readonly gso = new Int32Array(ROOM);
  private pieces = 0;
  private frames = 0;

  constructor(o: OuterStackOptions) {
    this.mem = o.space.mem;
    this.meter = o.meter;
    this.counters = o.counters;
    this.sender = new StationSender(o.space, o.cable);
    this.stack = new NetStack({
      link: this,
      space: o.space,
      secret: o.secret,
      address: o.address,
      settings: { mtu: MTU, gso: MAX_PACKET, txChecksum: false },
      counters: o.counters,
      onWork: o.wake,
    });
  }

  get waiting(): boolean {
    return this.sockets();
  }

  frame(head: number, headBytes: number, body: number, bodyBytes: number): void {
    let n = this.pieces;
    this.off[n] = head;
    this.len[n++] = headBytes;
    if (bodyBytes > 0) {
      this.off[n] = body;
      this.len[n++] = bodyBytes;
    }
    this.gso[this.frames] = 0;
    this.end[this.frames++] = this.pieces = n;
    this.room--;
  }

  takesPackets(): boolean {
    return true;
  }

  /** A packet that the NIC would only cut and sum for the coalescer to join it again and sum it once more. */
  wholePacket(at: number, bytes: number, _l4: number, header: number, mss: number): void {
    this.frame(at, bytes, 0, 0);
    // Of segments that are longer than our frames none is taken: the stack finds it too long.
    if (header + mss > ETH_BYTES + MTU) return;
    this.gso[this.frames - 1] = mss;
    // The stack counts it once more.
    this.counters.v[N.inPackets] += Math.ceil((bytes - header) / mss) - 1;
  }

  /** The stack works on what has come; its answers wait for the next poll. */
  settle(nowNs: number): void {
    const { stack, off, len, end, gso } = this;
    stack.poll(nowNs);
    let from = 0;
    for (let i = 0; i < this.frames; i++) {
      stack.inputParts(off, len, from, end[i], gso[i] > 0 ? RX_CHECKSUM_BLANK : 0, gso[i]);
      from = end[i];
    }
    this.pieces = this.frames = 0;
    this.room = ROOM;
    stack.flush();
    this.counters.commit();
    this.scheduled = true;
  }

  poll(): number {
    const { stack, meter } = this;
    stack.poll(meter.now);
    if (!stack.idle || stack.nextDeadlineNs <= meter.now) {
      stack.flush();
      this.counters.commit();
      meter.lap(CPU.outer);
    }
    return this.sender.transmit();
  }

  arm(): boolean {
    return this.sender.arm() || (!this.stack.idle && this.sender.pending === 0);
  }

  dueAtNs(): number {
    const due = Math.min(this.stack.nextDeadlineNs, this.sender.port.dueAtNs);
    // Whatever ends the sleep, it looks.
    if (due !== Infinity || this.sender.pending > 0) this.scheduled = true;
    return due;
  }

  reserve(bytes: number): number {
    return this.sender.reserve(bytes);
  }

  /** Checksums are complete, but for packets that are to be cut. */
  send(at: number, bytes: number, _csumStart: number, _csumOffset: number, gsoSize: number): void {
    this.sender.send(at, bytes, gsoSize);
  }

  describe(): Record<string, unknown> {
    return { held: this.stack.held(), waitingFrames: this.sender.pending, counts: this.stack.counts() };
  }

  close(): void {}
}

/** What the stack sends: a queue of packets in private memory, given to the NIC in bursts. A TCP packet may be longer than a frame: it
 *  is cut where it lies, into frames or into pieces as long as the receiver takes. */
class StationSender {
  readonly port: StationPort;
  private readonly cable: Cable;
  private readonly mem: Mem;
  private readonly base: number;
  private readonly cut: PacketCutter;
  // By place in the queue: where the packet lies, its bytes, and its mss; 0: it is a frame.
  private readonly at = new Int32Array(PACKETS);
  private readonly len = new Int32Array(PACKETS);
  private readonly mss = new Int32Array(PACKETS);
  private head = 0;
  private count = 0;
  /** End of the newest packet; true: it lies in front of the oldest. */
  private tail = 0;
  private wrapped = false;
  /** The oldest packet is being cut. */
  private cutting = false;
  private bursts = 0;
  /** Of a burst's time, what cutting takes. */
  private share = 0.5;

  constructor(space: PrivateMemory, cable: Cable) {
    this.cable = cable;
    this.port = new StationPort(cable, HOLD_NS);
    this.mem = space.mem;
    this.base = space.mapPrivate(RING_BYTES);
    this.cut = new PacketCutter(space);
  }

  /** Packets that wait. */
  get pending(): number {
    return this.count;
  }

  /** @returns byte offset of room for a packet, a multiple of 64; -1: the queue is full */
  reserve(bytes: number): number {
    if (this.count === PACKETS) return -1;
    const need = roomFor(bytes);
    if (this.count === 0) {
      // An empty queue begins at its beginning: the same memory stays in the cache.
      this.tail = 0;
      this.wrapped = false;
      return need <= RING_BYTES ? this.base : -1;
    }
    const oldest = this.at[this.head] - this.base;
    const end = this.wrapped ? oldest : RING_BYTES;
    if (this.tail + need <= end) return this.base + this.tail;
    return !this.wrapped && need <= oldest ? this.base : -1;
  }

  /** Queues the packet that was written where `reserve` said. Short ones are padded.
   *  @param mss 0: it is a frame; else payload bytes of the frames that it is to be cut into: it is TCP, and its
   *    checksum is not filled in */
  send(at: number, bytes: number, mss = 0): void {
    let n = bytes;
    if (n < ETH_MIN_FRAME) {
      this.mem.u8.fill(0, at + n, at + ETH_MIN_FRAME);
      n = ETH_MIN_FRAME;
    }
    if (at === this.base && this.count > 0) this.wrapped = true;
    const slot = (this.head + this.count++) & (PACKETS - 1);
    this.at[slot] = at;
    this.len[slot] = n;
    this.mss[slot] = mss;
    this.tail = at - this.base + roomFor(n);
  }

  /** Gives the NIC what it takes, in one burst. @returns frames that are off the queue */
  transmit(): number {
    if (this.count === 0) return 0;
    const { cable, cut, port } = this;
    cable.open();
    // Some bursts are timed, to tell apart what cutting and transferring take.
    const timed = (++this.bursts & (TIMED_BURSTS - 1)) === 0;
    const begunNs = timed ? nowNs() : 0;
    let cutNs = 0;
    let cutFrames = 0;
    let done = 0;
    while (this.count > 0 && done < BURST_FRAMES) {
      const { head } = this;
      if (this.mss[head] > 0 && !this.cutting) {
        this.cutting = true;
        const packet = this.at[head];
        cut.begin(packet, this.len[head], tcpAt(this.mem, packet, this.len[head]), this.mss[head]);
        port.next(cut);
      }
      const { cutting } = this;
      const status = cutting ? port.offerPiece(cut) : port.offer(this.at[head], this.len[head]);
      if (status === WAITS) break;
      done += cutting ? cut.frames : 1;
      if (cutting) {
        if (cut.frames === 1) cutFrames++;
        const before = timed ? nowNs() : 0;
        const more = port.next(cut);
        if (timed) cutNs += nowNs() - before - CLOCK_NS;
        if (more) continue;
      }
      this.pop();
    }
    if (timed && done > BURST_FRAMES / 2) {
      const share = Math.min(1, cutNs / Math.max(1, nowNs() - begunNs));
      this.share += (share - this.share) / 8;
    }
    cable.closeStation(cutFrames > 0 ? this.share * (cutFrames / done) : 0);
    return done;
  }

  /** Before the loop sleeps. @returns true: do not sleep */
  arm(): boolean {
    const next = this.cutting ? Math.min(this.cut.bytes, this.cut.header + this.cut.mss) : this.len[this.head];
    return this.port.arm(this.count > 0 ? next : 0);
  }

  private pop(): void {
    const before = this.at[this.head];
    this.cutting = false;
    this.head = (this.head + 1) & (PACKETS - 1);
    this.count--;
    if (this.wrapped && this.count > 0 && this.at[this.head] < before) this.wrapped = false;
  }
}

const roomFor = (bytes: number): number => (Math.max(bytes, ETH_MIN_FRAME) + 63) & ~63;
