/** A station lives at the far end of the cable for as long as the testbed does: the outer TCP/IP stack, a TAP device. It takes the
 *  frames that the NIC sends and that are not the measuring sink's (FarEndSwitch), and sends frames into the NIC beside any load
 *  (StationPort). */
import { WIRE_OVERHEAD_BYTES, isMacAt, type Mac, type PacketCutter } from '@grantline/frames';
import { slots, NIC_CPU, type CounterBlock, type Mem, type Laps, type Poller } from '@grantline/machine';
import { MAX_BULK_FRAMES } from '@grantline/measure';
import { CABLE_COUNTERS, EGRESS_COUNTERS } from '@grantline/observe';
import type { FarEnd } from '../../hardware/data/cable-out.js';
import { MAX_QUEUES, RETRY_NS } from '../../hardware/data/nic.js';
import { NO_BUFFER, UNFIT } from '../../hardware/data/nic-queue.js';
import type { Cable } from './cable.js';

const C = slots(CABLE_COUNTERS);
const E = slots(EGRESS_COUNTERS);
const CPU = slots(NIC_CPU);

/** A poller of the data loop. */
export interface Station extends FarEnd, Poller {
  readonly name: string;
  /** When it must be polled although no event comes, on the meter's clock, nanoseconds; Infinity: never. Asked right
   *  before the loop sleeps; a station that waits for buffers of the NIC has to be `scheduled` then. */
  dueAtNs(): number;
  /** True while it waits for what only Node's event loop brings (sockets, file descriptors): the loop then sleeps there. */
  readonly waiting: boolean;
  describe(): Record<string, unknown>;
  /** Ends everything that it holds. */
  close(): Promise<void> | void;
}

interface SwitchParts {
  mem: Mem;
  sink: FarEnd;
  /** Address of the sink. */
  mac: Mac;
  station: FarEnd;
  /** The cable's, named as EGRESS_COUNTERS. */
  counters: CounterBlock;
  meter: Pick<Laps, 'lap'>;
}

/** Who gets the frames that come out of the cable: those for the generator's address are the measuring sink's, all others,
 *  broadcasts among them, the station's. So a measured run and a station can be side by side. */
export class FarEndSwitch implements FarEnd {
  // Asked for each frame: fields of its own.
  private readonly mem: Mem;
  private readonly mac: Mac;
  private readonly sink: FarEnd;
  private readonly station: FarEnd;
  private readonly counters: CounterBlock;
  private readonly meter: SwitchParts['meter'];
  private forStation = false;

  constructor({ mem, mac, sink, station, counters, meter }: SwitchParts) {
    this.mem = mem;
    this.mac = mac;
    this.sink = sink;
    this.station = station;
    this.counters = counters;
    this.meter = meter;
  }

  get room(): number {
    return this.sink.room < this.station.room ? this.sink.room : this.station.room;
  }

  takesPackets(at: number): boolean {
    return this.station.takesPackets?.(at) === true && !isMacAt(this.mem, at, this.mac);
  }

  wholePacket(at: number, bytes: number, l4: number, header: number, mss: number): void {
    this.counters.v[E.toStation] += Math.ceil((bytes - header) / mss);
    this.forStation = true;
    this.station.wholePacket?.(at, bytes, l4, header, mss);
  }

  frame(head: number, headBytes: number, body: number, bodyBytes: number): void {
    if (isMacAt(this.mem, head, this.mac)) {
      this.sink.frame(head, headBytes, body, bodyBytes);
      return;
    }
    this.counters.v[E.toStation]++;
    this.forStation = true;
    this.station.frame(head, headBytes, body, bodyBytes);
  }

  settle(nowNs: number): void {
    this.sink.settle(nowNs);
    if (!this.forStation) return;
    this.forStation = false;
    this.meter.lap(CPU.farEnd);
    this.station.settle(nowNs);
    this.meter.lap(CPU.outer);
  }
}

// What became of a station's frame: the NIC has it; it is dropped, and counted; it has to wait, and those behind it with it.
// Local, so that the engine folds them into the code: see shared/frames/src/flow-templates.ts.
const SENT = 0;
const GIVEN_UP = 1;
const WAITS = 2;
export const OFFER_WAITS = WAITS;

/** How a station gives its frames to the NIC: one after the other, at the link's speed.
 *
 *  A frame that finds no buffer is held, and with it those behind it, as 802.3x has it; but not for long: then frames for that queue
 *  are dropped and counted until it takes one again, so that a guest that is stuck does not hold the others' traffic. */
export class StationPort {
  /** When it wants to go on, on the cable's clock; Infinity: it has nothing to send. Of the last `arm`. */
  dueAtNs = Infinity;
  private readonly cable: Cable;
  private readonly holdNs: number;
  /** By queue (the last: frames without one): since when it has refused frames; 0: it takes them. */
  private readonly refusedSince = new Float64Array(MAX_QUEUES + 1);
  /** Whose buffers the frame at hand waits for; -1: it waits for the wire. */
  private blockedOn = -1;

  /** @param holdNs longest that a frame waits for a buffer */
  constructor(cable: Cable, holdNs: number) {
    this.cable = cable;
    this.holdNs = holdNs;
  }

  /** Inside a burst. @returns SENT, GIVEN_UP or WAITS */
  offer(at: number, bytes: number): number {
    this.blockedOn = -1;
    if (!this.cable.wireFree(bytes)) return WAITS;
    const { nic, counters } = this.cable;
    if (nic.receive(at, bytes) !== NO_BUFFER) return this.sent(bytes, bytes, 1);
    if (this.holds(nic.lastQueue)) return WAITS;
    counters.v[C.dropHeld]++;
    return GIVEN_UP;
  }

  /** Makes the next piece of a packet that is being cut: of as many frames as the NIC takes in one, or one.
   *  @returns false when there is none */
  next(cut: PacketCutter): boolean {
    const { mss } = cut;
    const frames = Math.floor((this.cable.nic.packetBytes(cut.head) - cut.header) / mss);
    return cut.next(Math.max(1, Math.min(frames, MAX_BULK_FRAMES)) * mss);
  }

  /** As `offer`, the piece at hand of a packet that is being cut. It counts, and is paced, as the frames that it stands for. What is not
   *  taken in one piece becomes a frame first. */
  offerPiece(cut: PacketCutter): number {
    const { at, bytes, frames } = cut;
    if (frames > 1) {
      const { cable } = this;
      const { header, mss } = cut;
      const all = bytes + (frames - 1) * header;
      const wire = all + (frames - 1) * WIRE_OVERHEAD_BYTES;
      this.blockedOn = -1;
      if (!cable.wireFree(wire)) return WAITS;
      const status = cable.nic.receivePacket(at, bytes, header, mss, frames);
      if (status === NO_BUFFER && this.holds(cable.nic.lastQueue)) return WAITS;
      if (status !== UNFIT && status !== NO_BUFFER) return this.sent(all, wire, frames);
      cut.shorten();
    }
    return this.offer(cut.at, cut.bytes);
  }

  /** The queue has no buffer. @returns true: what is at hand waits for one */
  private holds(queue: number): boolean {
    const { cable, refusedSince } = this;
    const at = queue < 0 ? MAX_QUEUES : queue;
    if (refusedSince[at] === 0) refusedSince[at] = cable.now;
    if (cable.now - refusedSince[at] >= this.holdNs) return false;
    this.blockedOn = at;
    return true;
  }

  /** The NIC has taken it, or dropped and counted it. @param bytes of its frames @param wire what they are on the wire, but for one's
   *  overhead */
  private sent(bytes: number, wire: number, frames: number): number {
    const { cable, refusedSince } = this;
    const queue = cable.nic.lastQueue;
    refusedSince[queue < 0 ? MAX_QUEUES : queue] = 0;
    cable.take(wire);
    const v = cable.counters.v;
    v[C.stationFrames] += frames;
    v[C.stationBytes] += bytes;
    return SENT;
  }

  /** Before the loop sleeps: asks to be told of buffers, and looks again.
   *  @param bytes of the frame at hand, or of one of those that it stands for; 0: there is none @returns true: do not sleep */
  arm(bytes: number): boolean {
    const { cable } = this;
    this.dueAtNs = Infinity;
    if (bytes > 0 && this.blockedOn < 0) {
      this.dueAtNs = cable.now + cable.wireNs(bytes);
      if (this.dueAtNs <= cable.now) return true;
    } else if (bytes > 0) {
      if (cable.awaitBuffers(this.blockedOn)) return true;
      this.dueAtNs = cable.now + RETRY_NS;
    }
    cable.nic.moderate(true);
    return false;
  }
}
