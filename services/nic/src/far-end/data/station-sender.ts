/** How a station sends into the NIC: a queue of packets in private memory, given to the NIC in bursts, at the link's speed. A
 *  TCP packet may be longer than a frame: it is cut where it lies.
 *
 *  A frame that finds no buffer is held, and with it those behind it, as 802.3x has it; but not for long:
 *  then frames for that queue are dropped and counted until it takes one again, so that a guest that is stuck does not
 *  hold the others' traffic. */
import { nowNs } from '@grantline/base';
import { slots, type Mem, type PrivateMemory } from '@grantline/machine';
import { CABLE_COUNTERS } from '@grantline/observe';
import { tcpAt, ETH_MIN_FRAME, PacketCutter } from '@grantline/frames';
import type { Cable } from './cable.js';
import { BURST_FRAMES, RETRY_NS, MAX_QUEUES } from '../../hardware/data/nic.js';
import { NO_BUFFER } from '../../hardware/data/nic-queue.js';

const C = slots(CABLE_COUNTERS);
/** Packets that wait at most; a power of two. */
const PACKETS = 1024;
/** Their memory: what is under way of a few streams. */
const RING_BYTES = 2 << 20;
/** One burst in so many is timed; a power of two. What reading the clock costs. */
const TIMED_BURSTS = 64;
const CLOCK_NS = 55;
/** Longest that a frame waits for a buffer. */
export const HOLD_NS = 500e6;

export class StationSender {
  /** When it wants to go on, on the cable's clock; Infinity: it has nothing to send. */
  dueAtNs = Infinity;
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
  /** By queue (the last: frames without one): since when it has refused frames; 0: it takes them. */
  private readonly refusedSince = new Float64Array(MAX_QUEUES + 1);
  private blockedOn = -1;
  private bursts = 0;
  /** Of a burst's time, what cutting takes. */
  private share = 0.5;

  constructor(space: PrivateMemory, cable: Cable) {
    this.cable = cable;
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
    const { cable, cut, refusedSince } = this;
    const { nic } = cable;
    const v = cable.counters.v;
    cable.open();
    this.blockedOn = -1;
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
        cut.next();
      }
      const at = this.cutting ? cut.at : this.at[head];
      const bytes = this.cutting ? cut.bytes : this.len[head];
      if (!cable.wireFree(bytes)) break;
      const status = nic.receive(at, bytes);
      const queue = nic.lastQueue < 0 ? MAX_QUEUES : nic.lastQueue;
      if (status === NO_BUFFER) {
        if (refusedSince[queue] === 0) refusedSince[queue] = cable.now;
        if (cable.now - refusedSince[queue] < HOLD_NS) {
          this.blockedOn = queue;
          break;
        }
        v[C.dropHeld]++;
      } else {
        refusedSince[queue] = 0;
        cable.take(bytes);
        v[C.stationFrames]++;
        v[C.stationBytes] += bytes;
      }
      done++;
      if (this.cutting) {
        cutFrames++;
        const before = timed ? nowNs() : 0;
        const more = cut.next();
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

  /** Before the loop sleeps: asks to be told of buffers, and looks again. @returns true: do not sleep */
  arm(): boolean {
    const { cable } = this;
    this.dueAtNs = Infinity;
    if (this.count > 0) {
      if (this.blockedOn < 0) {
        this.dueAtNs = cable.now + cable.wireNs(this.cutting ? this.cut.bytes : this.len[this.head]);
        if (this.dueAtNs <= cable.now) return true;
      } else {
        if (cable.awaitBuffers(this.blockedOn)) return true;
        this.dueAtNs = cable.now + RETRY_NS;
      }
    }
    cable.nic.moderate(true);
    return false;
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
