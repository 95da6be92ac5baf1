/** The transmit side of the NIC: onto the cable goes a packet of each function in turn, of its queues in turn. A function
 *  is what one domain drives: more queues do not get it more of the wire. */
import { slots, type Poller, type PrivateMemory, NIC_CPU, type Laps } from '@grantline/machine';
import { BURST_FRAMES, RETRY_NS, type Nic } from './nic.js';
import type { CableOut } from './cable-out.js';
import type { BurstGuard } from './dma.js';
import { PacketMemory, Segmenter } from './segmenter.js';
import type { TxLine } from './tx-queue.js';
import { HELD, MEMORY_FULL, NOTHING, REFUSED, WIRE_BUSY, type NicTxQueue } from './tx-queue.js';
import { contained, endBurst, moderate, moderateAll } from './nic-queue.js';
import { TxSwitch } from './tx-switch.js';

const CPU = slots(NIC_CPU);
/** Longest that a paced wire makes up for not having been looked at. */
const MOST_SLACK_NS = 2e6;
/** Two for each guest that drives its own, and those of the driver domain. */
export const MAX_TX_QUEUES = 128;
/** Numbers of transmit queues begin here: a number tells the direction. */
export const FIRST_TX_QUEUE = 1000;

/** The queues that one domain drives, and whose turn it is among them. */
interface TxFunction {
  readonly context: number;
  readonly queues: NicTxQueue[];
  turn: number;
}

export class NicTx implements Poller {
  scheduled = false;
  readonly line: TxLine;
  /** When it must look although nobody rings, on the meter's clock; Infinity: never. */
  dueAtNs = Infinity;
  private readonly guard: BurstGuard;
  private readonly meter: Laps;
  /** By number. */
  private readonly queues: (NicTxQueue | null)[] = [];
  private readonly functions: TxFunction[] = [];
  /** A packet waits until another queue has buffers for it: the NIC polls this when a driver has posted some. */
  held = false;
  private turn = 0;
  private lookedNs = 0;

  constructor(space: PrivateMemory, nic: Nic, out: CableOut, meter: Laps) {
    this.guard = nic.guard;
    this.meter = meter;
    const memory = new PacketMemory(space);
    const segmenter = new Segmenter(space.mem, memory);
    this.line = { out, memory, segmenter, local: new TxSwitch(space, nic, out), slackNs: 0 };
  }

  /** A paced wire is waited for by the clock. */
  get patient(): boolean {
    return this.dueAtNs === Infinity;
  }

  /** Microseconds until it must look; Infinity: not before somebody rings. Asked right before the loop sleeps, so it is put back on
   *  the list here: whatever ends the sleep, it looks. */
  dueUs(): number {
    if (this.dueAtNs === Infinity) return Infinity;
    this.scheduled = true;
    return Math.max(0, (this.dueAtNs - this.meter.now) / 1000);
  }

  /** @returns the queue's number; -2 when there are too many */
  attach(queue: NicTxQueue): number {
    let at = this.queues.indexOf(null);
    if (at < 0) at = this.queues.length;
    if (at >= MAX_TX_QUEUES) return -2;
    this.queues[at] = queue;
    const { context } = queue.settings;
    const own = this.functions.find((f) => f.context === context);
    if (own === undefined) this.functions.push({ context, queues: [queue], turn: 0 });
    else own.queues.push(queue);
    return FIRST_TX_QUEUE + at;
  }

  /** Bursts are synchronous: on return nothing reads the queue's buffers, and nothing will. */
  detach(id: number): void {
    const queue = this.queues[id - FIRST_TX_QUEUE] ?? null;
    if (queue === null) return;
    this.queues[id - FIRST_TX_QUEUE] = null;
    const at = this.functions.findIndex((f) => f.queues.includes(queue));
    const { queues } = this.functions[at];
    queues.splice(queues.indexOf(queue), 1);
    if (queues.length === 0) this.functions.splice(at, 1);
    queue.counters.commit();
  }

  poll(): number {
    const { queues, functions, line, guard, meter } = this;
    if (functions.length === 0) return 0;
    const wasWaiting = this.dueAtNs !== Infinity;
    line.slackNs = wasWaiting ? Math.min(MOST_SLACK_NS, meter.now - this.lookedNs) : 0;
    this.lookedNs = meter.now;
    this.dueAtNs = Infinity;
    guard.begin(meter.now);
    this.held = false;
    let frames = 0;
    let idle = 0;
    while (frames < BURST_FRAMES && idle < functions.length) {
      this.turn = this.turn + 1 >= functions.length ? 0 : this.turn + 1;
      const own = functions[this.turn];
      const n = this.sendOf(own);
      if (n > 0 || n === REFUSED) {
        frames += n > 0 ? n : 1;
        idle = 0;
      } else if (n === MEMORY_FULL) {
        // The far end takes what there is; then the same queue goes on.
        this.settle();
        this.again(own);
      } else if (n === WIRE_BUSY) {
        this.again(own);
        this.dueAtNs = meter.now + line.out.waitNs(meter.now);
        break;
      } else idle++;
    }
    for (let i = 0; i < queues.length; i++) if (queues[i] !== null) contained(queues[i]!, endBurst);
    line.local.endBurst();
    guard.end();
    this.finish(false);
    if (frames > 0) this.settle();
    return frames;
  }

  arm(): boolean {
    let more = false;
    if (this.dueAtNs === Infinity) {
      this.guard.begin(this.meter.now);
      for (let i = 0; i < this.queues.length; i++) {
        const queue = this.queues[i];
        if (queue !== null && armed(queue)) more = true;
      }
      this.guard.end();
    }
    if (!more && this.held) this.dueAtNs = this.meter.now + RETRY_NS;
    if (!more) this.finish(true);
    return more;
  }

  describe(): Record<string, string | number | boolean>[] {
    return this.queues.flatMap((q, i) => (q === null ? [] : [{ queue: FIRST_TX_QUEUE + i, ...q.describe() }]));
  }

  /** A packet of one of the function's queues. @returns as NicTxQueue.transmit; NOTHING when none of them has any */
  private sendOf(own: TxFunction): number {
    const { queues } = own;
    for (let i = 0; i < queues.length; i++) {
      own.turn = own.turn + 1 >= queues.length ? 0 : own.turn + 1;
      const n = sendFrom(queues[own.turn]);
      if (n === HELD) this.held = true;
      else if (n !== NOTHING) return n;
    }
    return NOTHING;
  }

  /** The packet did not go: the turn stays with its queue. */
  private again(own: TxFunction): void {
    this.turn = this.turn === 0 ? this.functions.length - 1 : this.turn - 1;
    own.turn = own.turn === 0 ? own.queues.length - 1 : own.turn - 1;
  }

  private finish(sleeping: boolean): void {
    const { queues } = this;
    for (let i = 0; i < queues.length; i++) {
      const queue = queues[i];
      if (queue === null) continue;
      contained(queue, sleeping ? moderateAll : moderate);
      queue.counters.commit();
    }
    this.line.local.moderate(sleeping);
    this.line.out.counters.commit();
  }

  private settle(): void {
    this.meter.lap(CPU.nic);
    this.line.out.farEnd.settle(this.meter.now);
    this.line.memory.clear();
    this.meter.lap(CPU.farEnd);
  }
}

/** As `transmit`; a queue that throws is stopped, and the others go on. */
function sendFrom(queue: NicTxQueue): number {
  try {
    return queue.transmit();
  } catch (err) {
    queue.failed(err);
    return NOTHING;
  }
}

function armed(queue: NicTxQueue): boolean {
  try {
    return queue.arm();
  } catch (err) {
    queue.failed(err);
    return false;
  }
}
