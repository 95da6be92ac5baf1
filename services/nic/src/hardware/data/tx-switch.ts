/** The NIC's embedded switch: what a guest sends through its own function (`direct`) for an address that another queue takes
 *  does not leave by the cable. As a virtual Ethernet bridge in SR-IOV hardware (IEEE 802.1Q, VEB; Linux: `ip link set vf mac,
 *  spoofchk`): the source must be the function's own address, group addresses are limited, unknown ones go to the cable. Read
 *  by DMA from the sender's pages, written by DMA into the receiver's buffers. docs/wire/transmit.md section 8. */
import { NICQ_COMP_LOOPBACK, NICQ_COMP_MULTICAST } from '@grantline/xen';
import { parseMac, GivenAddresses, type SourceRule } from '@grantline/frames';
import type { Mem, PrivateMemory } from '@grantline/machine';
import type { CableOut, FrameOut } from './cable-out.js';
import { NO_QUEUE } from './filter.js';
import { MAX_FRAME_BYTES, type Nic } from './nic.js';
import { NO_BUFFER } from './queue-types.js';

/** Verdicts; the number of a queue otherwise. */
export const TO_CABLE = -1;
export const TO_ALL = -2;
export const SPOOFED = -3;
export const STORM = -4;
export const HAIRPIN = -5;

/** Group-addressed frames of one function: so many at once, and so many a second, as for a vif of the bridge. */
const STORM_BURST = 256;
const STORM_PER_SECOND = 1000;
/** Smallest buffers that drivers post. */
const BUFFER_BYTES = 2048;

/** A sender with an address of its own. All its transmit queues share it, and it outlives them: neither more queues nor
 *  new ones are a way around its limits. */
export class FunctionPort {
  /** The address as the frame has it: first four bytes, last two. */
  readonly a: number;
  readonly b: number;
  /** What its frames may say about where they come from. */
  source: SourceRule;
  private tokens = STORM_BURST;
  private filledNs = 0;

  /** @param mac below 2^48 */
  constructor(mac: number, source: SourceRule) {
    this.source = source;
    const byte = (i: number): number => Math.floor(mac / 2 ** (40 - 8 * i)) % 256;
    this.a = (byte(0) | (byte(1) << 8) | (byte(2) << 16) | (byte(3) << 24)) >>> 0;
    this.b = byte(4) | (byte(5) << 8);
  }

  /** @param frames that the packet is cut into: each costs a copy for every receiver */
  mayFlood(nowNs: number, frames: number): boolean {
    this.tokens = Math.min(STORM_BURST, this.tokens + ((nowNs - this.filledNs) * STORM_PER_SECOND) / 1e9);
    this.filledNs = nowNs;
    if (this.tokens < frames) return false;
    this.tokens -= frames;
    return true;
  }
}

/** To a group: out of the cable, and to all behind the default queue. */
export class ToAll implements FrameOut {
  /** Frames that went to the default queue. */
  handed = 0;
  private readonly mem: Mem;
  private readonly local: TxSwitch;
  private readonly cable: CableOut;
  private readonly whole: number;

  constructor(space: PrivateMemory, mem: Mem, local: TxSwitch, cable: CableOut) {
    this.mem = mem;
    this.local = local;
    this.cable = cable;
    this.whole = space.mapPrivate(MAX_FRAME_BYTES);
  }

  send(head: number, headBytes: number, body: number, bodyBytes: number, nowNs: number, slackNs: number): void {
    this.cable.send(head, headBytes, body, bodyBytes, nowNs, slackNs);
    let at = head;
    if (bodyBytes > 0) {
      // In one piece, as a queue takes it; not in front of its body: the far end has not read what lies there.
      at = this.whole;
      this.mem.u8.copyWithin(at, head, head + headBytes);
      this.mem.bulk.copy(at + headBytes, body, bodyBytes);
    }
    if (this.local.handToDefault(at, headBytes + bodyBytes)) this.handed++;
  }
}

export class TxSwitch implements FrameOut {
  /** Something was delivered since `end`. */
  used = false;
  readonly nic: Nic;
  readonly toAll: ToAll;
  /** What the toolstack gave to whom. */
  readonly given: GivenAddresses;
  private readonly mem: Mem;
  private readonly functions = new Map<number, FunctionPort>();
  private to = NO_QUEUE;

  constructor(space: PrivateMemory, mem: Mem, nic: Nic, cable: CableOut) {
    this.mem = mem;
    this.nic = nic;
    this.given = new GivenAddresses(mem);
    this.toAll = new ToAll(space, mem, this, cable);
  }

  /** The function with that address. The toolstack gives few addresses, so they are kept. @param mac below 2^48 */
  functionOf(mac: number): FunctionPort {
    const text = mac
      .toString(16)
      .padStart(12, '0')
      .replace(/..(?=.)/g, '$&:');
    const source = this.given.ruleOf(parseMac(text)) ?? this.given.add(text, null);
    let port = this.functions.get(mac);
    if (port === undefined) this.functions.set(mac, (port = new FunctionPort(mac, source)));
    port.source = source;
    return port;
  }

  /** @param at byte offset of the packet in the NIC's memory, two bytes behind a multiple of 4
   *  @param frames that it is cut into
   *  @returns the queue that takes it, or a verdict */
  judge(at: number, bytes: number, from: FunctionPort, nowNs: number, frames: number): number {
    const { u16 } = this.mem;
    const h = at >> 1;
    if (!from.source.allows(at, bytes)) return SPOOFED;
    const a = (u16[h] | (u16[h + 1] << 16)) >>> 0;
    const b = u16[h + 2];
    if ((a & 1) !== 0) return from.mayFlood(nowNs, frames) ? TO_ALL : STORM;
    if (a === from.a && b === from.b) return HAIRPIN;
    const queue = this.nic.queueOf(a, b);
    return queue === NO_QUEUE ? TO_CABLE : queue;
  }

  /** Frames go to that queue from now on. @returns false: it has no buffers for so many, and is worth waiting for */
  open(queue: number, frames: number, bytes: number): boolean {
    this.to = queue;
    this.used = true;
    return this.nic.queue(queue)?.ready(frames * Math.ceil(bytes / BUFFER_BYTES)) !== false;
  }

  /** A frame as the segmenter makes it. What lies before its body has been delivered: the headers are put there, so that
   *  the frame is one piece, and one transfer. */
  send(head: number, headBytes: number, body: number, bodyBytes: number): void {
    let at = head;
    if (bodyBytes > 0) {
      at = body - headBytes;
      if (at !== head) this.mem.u8.copyWithin(at, head, head + headBytes);
    }
    this.hand(this.to, at, headBytes + bodyBytes);
  }

  /** A group-addressed frame, for all behind the default queue. @returns false: there is none */
  handToDefault(at: number, bytes: number): boolean {
    const queue = this.nic.defaultQueue;
    if (queue === NO_QUEUE) return false;
    this.hand(queue, at, bytes);
    return true;
  }

  /** Inside the burst, at its end. */
  endBurst(): void {
    if (this.used) this.nic.endBurst();
  }

  /** After the burst. @param sleeping hold nothing back */
  moderate(sleeping: boolean): void {
    if (this.used) this.nic.moderate(sleeping);
    if (sleeping) this.used = false;
  }

  private hand(queue: number, at: number, bytes: number): void {
    this.used = true;
    const to = this.nic.queue(queue);
    // Who sends to one queue has asked whether it is ready; a flood waits for nobody.
    const flags = NICQ_COMP_LOOPBACK | ((this.mem.u8[at] & 1) * NICQ_COMP_MULTICAST);
    if (to?.deliver(at, bytes, flags) === NO_BUFFER) to.dropNoBuffer();
  }
}
