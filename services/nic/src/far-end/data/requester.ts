/** Who asks, at the far end of the cable: sends requests to the guests in turn and takes the answers' times, by one clock.
 *
 *  Closed loop (no rate): so many requests are out at any time; the next goes out when an answer comes, so a slow path
 *  is asked less often. Open loop (a rate): requests fall due by the clock whatever becomes of those before, and time
 *  counts from when one was due, also when it had to wait: coordinated omission does not hide what a stall did. */
import { createHistogram, type RecordableHistogram } from 'node:perf_hooks';
import { nowNs } from '@grantline/base';
import { slots, type CounterBlock } from '@grantline/machine';
import { REQUESTER_COUNTERS } from '@grantline/observe';
import type { FlowTemplates } from '@grantline/frames';
import type { Cable, Sender } from './cable.js';
import { RETRY_NS } from '../../hardware/data/nic.js';
import { NO_BUFFER } from '../../hardware/data/nic-queue.js';

/** Requests that timed out and are remembered: a late answer is told from one that was never asked for. */
const REMEMBERED = 1024;

/** Requests that are out: who they are and since when. Few enough (RequestPlan.inFlight) to be looked through. */
class InFlight {
  count = 0;
  private readonly flows: Int32Array;
  private readonly sequences: Int32Array;
  private readonly times: Float64Array;
  private readonly goneFlows = new Int32Array(REMEMBERED).fill(-1);
  private readonly goneSequences = new Int32Array(REMEMBERED);
  private gone = 0;
  /** No request is older than this. */
  private oldestNs = Infinity;

  /** @param most requests at once */
  constructor(most: number) {
    this.flows = new Int32Array(most);
    this.sequences = new Int32Array(most);
    this.times = new Float64Array(most);
  }

  /** A request goes out; the caller knows that there is room. */
  add(flow: number, sequence: number, timeNs: number): void {
    const i = this.count++;
    this.flows[i] = flow;
    this.sequences[i] = sequence;
    this.times[i] = timeNs;
    if (timeNs < this.oldestNs) this.oldestNs = timeNs;
  }

  /** An answer came. @returns when its request went out; -1 when it is not out */
  take(flow: number, sequence: number): number {
    for (let i = 0; i < this.count; i++) {
      if (this.sequences[i] !== sequence || this.flows[i] !== flow) continue;
      const time = this.times[i];
      this.remove(i);
      return time;
    }
    return -1;
  }

  /** @returns true when that request timed out not long ago; it is forgotten then */
  wasGone(flow: number, sequence: number): boolean {
    for (let i = 0; i < REMEMBERED; i++) {
      if (this.goneFlows[i] !== flow || this.goneSequences[i] !== sequence) continue;
      this.goneFlows[i] = -1;
      return true;
    }
    return false;
  }

  /** When the oldest request will be so old, or earlier; Infinity when none is out. */
  dueNs(ageNs: number): number {
    return this.count === 0 ? Infinity : this.oldestNs + ageNs;
  }

  /** Gives up what went out before a time. @returns how many requests that was */
  expire(beforeNs: number): number {
    if (this.count === 0 || this.oldestNs > beforeNs) return 0;
    let n = 0;
    let oldest = Infinity;
    for (let i = this.count - 1; i >= 0; i--) {
      const time = this.times[i];
      if (time > beforeNs) {
        if (time < oldest) oldest = time;
        continue;
      }
      this.goneFlows[this.gone] = this.flows[i]!;
      this.goneSequences[this.gone] = this.sequences[i]!;
      this.gone = this.gone + 1 === REMEMBERED ? 0 : this.gone + 1;
      this.remove(i);
      n++;
    }
    this.oldestNs = oldest;
    return n;
  }

  private remove(i: number): void {
    const last = --this.count;
    this.flows[i] = this.flows[last]!;
    this.sequences[i] = this.sequences[last]!;
    this.times[i] = this.times[last]!;
    if (last === 0) this.oldestNs = Infinity;
  }
}

const C = slots(REQUESTER_COUNTERS);
/** Requests in one burst at most. */
const BURST = 32;

export interface RequestPlan {
  /** Flows of the templates, one for each guest; all frames have one size. */
  readonly flows: number;
  /** Most requests that are out at once. */
  readonly inFlight: number;
  /** Requests per second; null: closed loop. */
  readonly perSecond: number | null;
  /** A request without an answer for so long is given up. */
  readonly timeoutNs: number;
}

export class Requester implements Sender {
  scheduled = false;
  done = false;
  dueAtNs = 0;
  /** Round trips since `measure`, nanoseconds: HDR, three figures. */
  readonly rtt: RecordableHistogram = createHistogram({ lowest: 1, highest: 60e9, figures: 3 });
  private readonly cable: Cable;
  private readonly templates: FlowTemplates;
  private readonly counters: CounterBlock;
  private readonly plan: RequestPlan;
  private readonly clock: () => number;
  private readonly out: InFlight;
  private readonly next: Int32Array;
  private readonly gapNs: number;
  private flow = 0;
  private startNs = 0;
  /** Requests that fell due, open loop. */
  private made = 0;
  private frameAt = -1;
  private frameNs = 0;

  constructor(cable: Cable, templates: FlowTemplates, counters: CounterBlock, plan: RequestPlan, clock = nowNs) {
    this.cable = cable;
    this.templates = templates;
    this.counters = counters;
    this.plan = plan;
    this.clock = clock;
    this.out = new InFlight(plan.inFlight);
    this.next = new Int32Array(plan.flows);
    this.gapNs = plan.perSecond === null ? 0 : 1e9 / plan.perSecond;
  }

  /** By the clock in the open loop; else an answer is waited for as all frames are. */
  get patient(): boolean {
    return this.plan.perSecond === null;
  }

  get inFlight(): number {
    return this.out.count;
  }

  progress(): { sentFrames: number; heldFrames: number } {
    return { sentFrames: this.counters.v[C.requests], heldFrames: this.frameAt < 0 ? 0 : 1 };
  }

  /** From now on times count. */
  measure(): void {
    this.rtt.reset();
  }

  stop(): void {
    this.done = true;
    this.dueAtNs = Infinity;
    this.commit();
  }

  /** A right answer came out of the cable. */
  answered(flow: number, sequence: number): void {
    const v = this.counters.v;
    const since = this.out.take(flow, sequence);
    if (since >= 0) {
      v[C.answered]++;
      this.rtt.record(Math.max(1, Math.round(this.clock() - since)));
    } else if (this.out.wasGone(flow, sequence)) v[C.late]++;
    else v[C.repeated]++;
    if (this.done) this.commit();
    else this.scheduled = true;
  }

  poll(): number {
    if (this.done) return 0;
    const now = this.clock();
    if (this.startNs === 0) this.startNs = now;
    this.counters.v[C.timeouts] += this.out.expire(now - this.plan.timeoutNs);
    if (this.waitNs(now) > 0) return 0;
    const { cable } = this;
    cable.arrived();
    cable.open();
    let sent = 0;
    while (sent < BURST && this.waitNs(now) <= 0 && this.ask(now)) sent++;
    cable.close(sent > 0, 0.5);
    // A request is worth a notification at once: nothing more may come to share it with.
    if (sent > 0) cable.nic.moderate(true);
    this.commit();
    return sent;
  }

  arm(): boolean {
    const { cable } = this;
    if (this.done) return false;
    const now = this.clock();
    const wait = this.waitNs(now);
    if (wait <= 0) {
      // A request waits for a buffer.
      cable.open();
      const queue = cable.nic.queue(cable.nic.lastQueue);
      const room = queue !== null && queue.arm();
      cable.nic.guard.end();
      if (room) return true;
    }
    cable.nic.moderate(true);
    this.dueAtNs = Math.min(wait <= 0 ? now + RETRY_NS : now + wait, this.out.dueNs(this.plan.timeoutNs));
    this.commit();
    return false;
  }

  /** Until the next request may go out; 0: now, Infinity: not before an answer or a timeout. */
  private waitNs(now: number): number {
    if (this.frameAt >= 0) return 0;
    if (this.out.count >= this.plan.inFlight) return Infinity;
    return this.gapNs === 0 ? 0 : this.startNs + this.made * this.gapNs - now;
  }

  /** @returns false when the NIC has no buffer for it: it is kept */
  private ask(now: number): boolean {
    const { cable, templates, flow } = this;
    const bytes = templates.lengths[0];
    if (this.frameAt < 0) {
      this.frameNs = this.gapNs === 0 ? this.clock() : Math.min(now, this.startNs + this.made * this.gapNs);
      this.frameAt = templates.next(flow, 0, this.frameNs);
      this.made++;
    }
    if (cable.nic.receive(this.frameAt, bytes) === NO_BUFFER) return false;
    this.frameAt = -1;
    cable.take(bytes);
    cable.sent(bytes);
    this.counters.v[C.requests]++;
    this.out.add(flow, this.next[flow]++, this.frameNs);
    this.flow = flow + 1 === this.plan.flows ? 0 : flow + 1;
    return true;
  }

  private commit(): void {
    this.counters.v[C.inFlight] = this.out.count;
    this.counters.commit();
  }
}
