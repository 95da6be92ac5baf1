/** The TCP/IP stack at the far end of the cable (docs/tcp.md): a machine of its own, with its own addresses. What it
 *  receives lies in the NIC's packet memory until `settle`; what it sends goes through StationSender. Nobody verifies
 *  checksums for it: it does so itself. */
import { slots, type CounterBlock, type Mem, type PrivateMemory, NIC_CPU, type Laps } from '@grantline/machine';
import { type HostAddress, type NetLink, type Secret, NetStack } from '@grantline/tcpip';
import type { Cable } from './cable.js';
import type { Station } from './station.js';
import { StationSender } from './station-sender.js';

const CPU = slots(NIC_CPU);
/** Frames between two settles. */
const ROOM = 256;
const MTU = 1500;
/** Longest IP packet that is cut into frames here: what IP can say, less the Ethernet header. */
const MAX_PACKET = 65521;

export interface OuterStackOptions {
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
    this.end[this.frames++] = this.pieces = n;
    this.room--;
  }

  /** The stack works on what has come; its answers wait for the next poll. */
  settle(nowNs: number): void {
    const { stack, off, len, end } = this;
    stack.poll(nowNs);
    let from = 0;
    for (let i = 0; i < this.frames; i++) {
      stack.inputParts(off, len, from, end[i]);
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
    const due = Math.min(this.stack.nextDeadlineNs, this.sender.dueAtNs);
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
