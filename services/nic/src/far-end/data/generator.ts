/** Sends generated frames: guests in turn, a train of frames of one flow each, sizes fixed or mixed in a seeded order.
 *
 *  A guest whose queue is full keeps its frame and is passed over; the others go on. The same seed gives the same frames
 *  in the same order, as long as no guest is passed over. */
import { Rng, nowNs } from '@grantline/base';
import { IMIX_WEIGHTS, ETH_MAX_FRAME, type FlowTemplates } from '@grantline/frames';
import type { Cable, Sender } from './cable.js';
import { BURST_FRAMES, RETRY_NS } from '../../hardware/data/nic.js';
import { DELIVERED, NO_BUFFER } from '../../hardware/data/nic-queue.js';

/** How often each of IMIX_BYTES stands in twelve. */
const IMIX_TIMES = IMIX_WEIGHTS.map((n) => n / 4);
const IMIX_ROUNDS = 100;
/** Room for one held frame. */
export const HOLD_BYTES = Math.ceil(ETH_MAX_FRAME / 64) * 64;
/** Frames of one flow in a row. */
const TRAIN_FRAMES = 32;
/** Frames that are made and lost in one poll at most when the packet memory overran. */
const OVERRUN_FRAMES = 4096;
/** One burst in so many tells apart, by the clock, what making frames and transferring them take. */
const TIMED_BURSTS = 256;
const CLOCK_READS = 32;
const READY = 1;
const NOT_DUE = 0;
const NOTHING_LEFT = -1;

/** What is to be sent. Flow g * flowsPerGuest + k of the templates is guest g's. */
interface GeneratorPlan {
  readonly guests: number;
  readonly flowsPerGuest: number;
  /** Size indices of the templates, in the order of sending; each guest walks it by itself. */
  readonly order: Uint8Array;
  /** Infinity: until stopped. */
  readonly maxFrames: number;
  /** Byte offset of guests * HOLD_BYTES bytes of private memory. */
  readonly holdAt: number;
}

export class Generator implements Sender {
  scheduled = false;
  done = false;
  dueAtNs = 0;
  private readonly cable: Cable;
  private readonly templates: FlowTemplates;
  private readonly u8: Uint8Array;
  private readonly guests: number;
  private readonly flowsPerGuest: number;
  // Whose turn it is: guests one after the other, each with a train of frames of one of its flows. One that cannot take its frame is
  // passed over for the rest of a poll.
  private guest: number;
  private flow = 0;
  /** Frames that the train has still to bring. */
  private trainLeft = 0;
  private readonly flowTurn: Uint32Array;
  /** Guests passed over in this poll; for each whether, and the queue that had no room. */
  private blockedCount = 0;
  private readonly blocked: Uint8Array;
  private readonly blockedOn: Int16Array;
  private readonly order: Uint8Array;
  private readonly maxFrames: number;
  private readonly holdAt: number;
  private readonly meanBytes: number;
  private readonly orderAt: Uint32Array;
  private readonly heldLen: Uint32Array;
  private made = 0;
  private taken = 0;
  /** The frame at hand. */
  private off = 0;
  private len = 0;
  /** Of this burst, what the NIC has taken or dropped. */
  private burstFrames = 0;
  private burstBytes = 0;
  /** The link has a rate. */
  private paced = false;
  private bursts = 0;
  private share = 0.5;

  constructor(u8: Uint8Array, cable: Cable, templates: FlowTemplates, plan: GeneratorPlan) {
    this.u8 = u8;
    this.cable = cable;
    this.templates = templates;
    this.guests = plan.guests;
    this.flowsPerGuest = plan.flowsPerGuest;
    this.guest = plan.guests - 1;
    this.flowTurn = new Uint32Array(plan.guests);
    this.blocked = new Uint8Array(plan.guests);
    this.blockedOn = new Int16Array(plan.guests);
    this.order = plan.order;
    this.maxFrames = plan.maxFrames;
    this.holdAt = plan.holdAt;
    this.meanBytes = plan.order.reduce((sum, size) => sum + templates.lengths[size], 0) / plan.order.length;
    // Guests start at different places of the order, else all would send the same size at the same time.
    this.orderAt = Uint32Array.from({ length: plan.guests }, (_, g) => (g * 97) % plan.order.length);
    this.heldLen = new Uint32Array(plan.guests);
  }

  /** Waits for buffers impatiently, but for the wire by the clock. */
  get patient(): boolean {
    return !this.done && this.blockedCount === this.guests;
  }

  /** Frames that the NIC took or dropped, and frames that wait for a buffer. */
  progress(): { sentFrames: number; heldFrames: number } {
    return { sentFrames: this.taken, heldFrames: this.made - this.taken };
  }

  stop(): void {
    this.done = true;
    this.dueAtNs = Infinity;
  }

  poll(): number {
    if (this.done) return 0;
    const cable = this.cable;
    cable.arrived();
    this.paced = !cable.pacer.unlimited;
    // One time for all of the burst, where the wire does not give each frame its own.
    this.templates.setTime(cable.pacer.sendNs());
    let progress = 0;
    if (cable.pacer.overrun()) progress = this.overrun();
    this.blockedCount = 0;
    this.blocked.fill(0);
    cable.open();
    progress += ++this.bursts % TIMED_BURSTS === 0 ? this.timedBurst() : this.burst();
    if (this.burstFrames > 0) cable.sent(this.burstBytes, this.burstFrames);
    this.burstFrames = this.burstBytes = 0;
    cable.close(progress > 0, this.share);
    if (this.taken >= this.maxFrames) this.stop();
    return progress;
  }

  arm(): boolean {
    const { cable } = this;
    if (!this.done && this.blockedCount > 0 && this.armQueues()) return true;
    cable.nic.moderate(true);
    if (this.done) return false;
    if (this.blockedCount === this.guests) {
      cable.held();
      this.dueAtNs = cable.now + RETRY_NS;
    } else {
      this.dueAtNs = cable.now + cable.pacer.dueNs(cable.now, this.meanBytes);
    }
    return false;
  }

  /** @returns true when a queue has got buffers meanwhile */
  private armQueues(): boolean {
    const { nic } = this.cable;
    const { guests, blocked, blockedOn } = this;
    let room = false;
    this.cable.open();
    for (let g = 0; g < guests; g++) {
      if (blocked[g] === 0) continue;
      const queue = nic.queue(blockedOn[g]);
      // A frame without a queue is not held; one whose queue was detached goes elsewhere now.
      if (queue === null ? this.heldLen[g] !== 0 : queue.arm()) room = true;
    }
    nic.guard.end();
    return room;
  }

  private burst(): number {
    let progress = 0;
    for (let n = 0; n < BURST_FRAMES && this.select(); n++) {
      const ready = this.make();
      if (ready === NOT_DUE) break;
      if (ready === READY) progress += this.offer();
    }
    return progress;
  }

  /** As `burst`, with a clock read after each step: each step is measured with one read on top, which is known. */
  private timedBurst(): number {
    let progress = 0;
    let making = 0;
    let transferring = 0;
    const first = nowNs();
    let before = first;
    for (let i = 0; i < CLOCK_READS; i++) before = nowNs();
    const clockNs = (before - first) / CLOCK_READS;
    let n = 0;
    for (; n < BURST_FRAMES && this.select(); n++) {
      const ready = this.make();
      if (ready === NOT_DUE) break;
      const between = nowNs();
      making += between - before;
      if (ready === READY) progress += this.offer();
      before = nowNs();
      transferring += before - between;
    }
    making -= n * clockNs;
    transferring -= n * clockNs;
    if (progress > BURST_FRAMES / 2 && making > 0 && transferring > 0)
      this.share += (making / (making + transferring) - this.share) / 8;
    return progress;
  }

  /** Gets the guest's next frame: the one that it holds, or a new one. */
  private make(): number {
    const g = this.guest;
    if (this.heldLen[g] !== 0) {
      this.off = this.holdAt + g * HOLD_BYTES;
      this.len = this.heldLen[g]!;
      return READY;
    }
    if (this.made >= this.maxFrames) return this.pass(NOTHING_LEFT);
    const at = this.orderAt[g];
    const size = this.order[at];
    const { templates } = this;
    const len = templates.lengths[size];
    if (this.paced && !this.isDue(len)) return NOT_DUE;
    this.orderAt[g] = at + 1 === this.order.length ? 0 : at + 1;
    this.off = templates.make(this.flow, size);
    this.len = len;
    this.made++;
    return READY;
  }

  /** @returns true when the wire has a frame of `len` bytes now; it has the wire's time then */
  private isDue(len: number): boolean {
    const { pacer } = this.cable;
    if (!pacer.ready(len)) return false;
    this.templates.setTime(pacer.sendNs());
    pacer.take(len);
    return true;
  }

  /** Gives the frame at hand to the NIC. @returns 1 when that brought the load on */
  private offer(): number {
    const { cable, len } = this;
    const status = cable.nic.receive(this.off, len);
    if (status === NO_BUFFER) return this.hold();
    this.heldLen[this.guest] = 0;
    this.trainLeft--;
    this.taken++;
    this.burstFrames++;
    this.burstBytes += len;
    // Flow control without a rate: a guest that nobody waits for any more would otherwise be sent to as fast as frames
    // can be dropped. One frame in a poll shows whether it is back.
    if (status !== DELIVERED && cable.unlimited && cable.nic.flowControl) return this.pass(0);
    return 1;
  }

  /** Keeps the frame at hand: its template will be used again. */
  private hold(): number {
    const at = this.holdAt + this.guest * HOLD_BYTES;
    if (this.off !== at) this.u8.copyWithin(at, this.off, this.off + this.len);
    this.heldLen[this.guest] = this.len;
    return this.pass(0);
  }

  /** The guest gets nothing more in this poll. */
  private pass(result: number): number {
    this.blocked[this.guest] = 1;
    this.blockedOn[this.guest] = this.cable.nic.lastQueue;
    this.blockedCount++;
    this.trainLeft = 0;
    return result;
  }

  /** @returns true when there is a guest to send to */
  private select(): boolean {
    return this.trainLeft > 0 || this.nextTrain();
  }

  private nextTrain(): boolean {
    let g = this.guest;
    for (let i = 0; i < this.guests; i++) {
      g = g + 1 === this.guests ? 0 : g + 1;
      if (this.blocked[g] !== 0 || this.isStillBlocked(g)) continue;
      const turn = this.flowTurn[g];
      this.flowTurn[g] = turn + 1 === this.flowsPerGuest ? 0 : turn + 1;
      this.guest = g;
      this.flow = g * this.flowsPerGuest + turn;
      this.trainLeft = TRAIN_FRAMES;
      return true;
    }
    return false;
  }

  /** @returns true when the frame that the guest holds would find no buffer now either: it is passed over without being offered */
  private isStillBlocked(g: number): boolean {
    if (this.heldLen[g] === 0) return false;
    const { nic } = this.cable;
    // What the injector does with a frame, it does whether there is a buffer or not.
    const queue = nic.faults === null ? nic.queue(this.blockedOn[g]) : null;
    if (queue === null || !queue.isStillStarved) return false;
    this.blocked[g] = 1;
    this.blockedCount++;
    return true;
  }

  /** Frames that found the packet memory full: they were sent, so their numbers are used up. */
  private overrun(): number {
    let lost = 0;
    const { cable } = this;
    while (lost < OVERRUN_FRAMES && this.made < this.maxFrames && cable.pacer.overrun() && this.select()) {
      if (this.make() !== READY) break;
      this.trainLeft--;
      this.taken++;
      cable.lost(this.len);
      lost++;
    }
    return lost;
  }
}

/** Size indices for IMIX, a mix of frame sizes as on the Internet, shuffled by the seed: exactly 7:4:1 in each round of 1200. */
export function imixOrder(seed: number): Uint8Array {
  const order = new Uint8Array(12 * IMIX_ROUNDS);
  let n = 0;
  for (let round = 0; round < IMIX_ROUNDS; round++)
    for (let size = 0; size < IMIX_TIMES.length; size++) for (let i = 0; i < IMIX_TIMES[size]; i++) order[n++] = size;
  const rng = new Rng(seed);
  for (let i = order.length - 1; i > 0; i--) {
    const j = rng.below(i + 1);
    const swap = order[i];
    order[i] = order[j]!;
    order[j] = swap;
  }
  return order;
}
