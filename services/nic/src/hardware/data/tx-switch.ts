/** The NIC's embedded switch: what a guest sends through its own function (`direct`) for an address that another queue takes
 *  does not leave by the cable. As a virtual Ethernet bridge in SR-IOV hardware (IEEE 802.1Q, VEB; Linux: `ip link set vf mac,
 *  spoofchk`): the source must be the function's own address, group addresses are limited, unknown ones go to the cable. Read
 *  by DMA from the sender's pages, written by DMA into the receiver's buffers. docs/wire/transmit.md section 8. */
import { NICQ_COMP_LOOPBACK, NICQ_COMP_MULTICAST } from '@grantline/xen';
import * as frames from '@grantline/frames';
import { formatMac, macOf, type Mac, SenderRule, GivenAddresses } from '@grantline/frames';
import type { Mem, PrivateMemory } from '@grantline/machine';
import type { CableOut, FrameOut } from './cable-out.js';
import { NO_QUEUE, type Nic } from './nic.js';
import { NO_BUFFER } from './nic-queue.js';

// Local, so that the engine folds them into the code: see flow-templates.ts.
const { ETH_DST, ETH_MAX_FRAME, isMacAt, macHi, macLo } = frames;
const { HAIRPIN, TO_ONE } = frames;
/** What `judge` says of a packet for an address that no queue takes. */
export const TO_CABLE = TO_ONE;

/** Smallest buffers that drivers post. */
const BUFFER_BYTES = 2048;

/** A sender with an address of its own. All its transmit queues share it, and it outlives them: neither more queues nor
 *  new ones are a way around its limits. */
export interface FunctionPort {
  readonly mac: Mac;
  readonly rule: SenderRule;
}

/** To a group: out of the cable, and to all behind the default queue. */
export class ToAll implements FrameOut {
  /** Frames that went to the default queue. */
  handed = 0;
  private readonly mem: Mem;
  private readonly local: TxSwitch;
  private readonly cable: CableOut;
  private readonly whole: number;

  constructor(space: PrivateMemory, local: TxSwitch, cable: CableOut) {
    this.mem = space.mem;
    this.local = local;
    this.cable = cable;
    this.whole = space.mapPrivate(ETH_MAX_FRAME);
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

  constructor(space: PrivateMemory, nic: Nic, cable: CableOut) {
    this.mem = space.mem;
    this.nic = nic;
    this.given = new GivenAddresses(space.mem);
    this.toAll = new ToAll(space, this, cable);
  }

  /** The function with that address. The toolstack gives few addresses, so they are kept. @param key of the address */
  functionOf(key: number): FunctionPort {
    const mac = macOf(key);
    const source = this.given.ruleOf(mac) ?? this.given.add(formatMac(mac), null);
    let port = this.functions.get(key);
    if (port === undefined) this.functions.set(key, (port = { mac, rule: new SenderRule(this.mem, source) }));
    port.rule.source = source;
    return port;
  }

  /** @param at byte offset of the packet in the NIC's memory, two bytes behind a multiple of 4
   *  @param frames that it is cut into
   *  @returns the queue that takes it, TO_CABLE, or another verdict of sender-rule.ts */
  judge(at: number, bytes: number, from: FunctionPort, nowNs: number, frames: number): number {
    const verdict = from.rule.judge(at, bytes, nowNs, frames);
    if (verdict !== TO_ONE) return verdict;
    const { mem, nic } = this;
    if (isMacAt(mem, at + ETH_DST, from.mac)) return HAIRPIN;
    const queue = nic.queueOf(macHi(mem, at + ETH_DST), macLo(mem, at + ETH_DST));
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
