/** One capture: the streams of its hops, merged by time, into one pcapng file with an interface for each hop. */
import { within } from '../control/session.js';
import { nowNs, epochOfClock } from '@grantline/base';
import {
  interfaceBlock,
  sectionBlock,
  statisticsBlock,
  sectionInfo,
  type Statistics,
  type Hop,
} from '@grantline/observe';
import { type HopSource, CaptureSource, type SourceSettings } from './capture-source.js';

interface Waiting {
  timeNs: number;
  block: Buffer;
}

/** Bytes kept at most. */
const HELD_MAX = 64 << 20;

/** Brings the packets of several hops into the order of their times. A packet goes out once every hop has said that nothing
 *  older will come from it; a hop that falls far behind is not waited for. */
export class Merger {
  private readonly queues: Waiting[][];
  private readonly heads: number[];
  /** Nothing older than this will come; Infinity when the hop has ended. */
  private readonly marks: number[];
  private readonly out: (hop: number, block: Buffer) => void;
  private held = 0;

  constructor(hops: number, out: (hop: number, block: Buffer) => void) {
    this.queues = Array.from({ length: hops }, () => []);
    this.heads = new Array<number>(hops).fill(0);
    this.marks = new Array<number>(hops).fill(-Infinity);
    this.out = out;
  }

  /** A packet of a hop, later than all its packets before. */
  push(hop: number, timeNs: number, block: Buffer): void {
    this.queues[hop].push({ timeNs, block });
    this.held += block.length;
  }

  /** All packets of the hop up to this time have been pushed. */
  mark(hop: number, timeNs: number): void {
    if (timeNs > this.marks[hop]) this.marks[hop] = timeNs;
  }

  /** Hands out what is due. @param all hand out everything */
  flush(all = false): void {
    const limit = all || this.held > HELD_MAX ? Infinity : Math.min(...this.marks);
    for (;;) {
      let first = -1;
      for (let i = 0; i < this.queues.length; i++) {
        const next = this.queues[i][this.heads[i]];
        if (next === undefined || next.timeNs > limit) continue;
        if (first < 0 || next.timeNs < this.queues[first][this.heads[first]].timeNs) first = i;
      }
      if (first < 0) break;
      const { block } = this.queues[first][this.heads[first]++];
      this.held -= block.length;
      this.out(first, block);
    }
    for (let i = 0; i < this.queues.length; i++) {
      if (this.heads[i] === 0) continue;
      this.queues[i] = this.queues[i].slice(this.heads[i]);
      this.heads[i] = 0;
    }
  }
}

/** A service that does not say how far it is is not waited for longer at the end. */
const DRAIN_MS = 2000;

interface CaptureSettings extends Omit<SourceSettings, 'epochNs'> {
  /** End after so many frames; Infinity: no limit. */
  frames: number;
}

/** Where blocks go. Either may throw: then the capture is over. */
export interface BlockSink {
  add(block: Buffer): void;
  flush(): void;
  /** What it holds is taken slowly: when there is room again; null: there is. */
  room?(): Promise<void> | null;
}

export interface HopTotals {
  hop: Hop;
  service: string;
  /** Frames in the file, and frames that the ring had no room for. */
  frames: number;
  overflow: number;
}

/** How a capture ended by itself. */
export type Ended = { why: 'frames' } | { why: 'lost'; what: string } | { why: 'failed'; error: Error };

interface HopState extends HopTotals {
  source: CaptureSource | null;
  last: Statistics | null;
  /** Its stream has come as far as the end of the capture. */
  done: () => void;
}

export class CaptureRun {
  /** Fulfilled when it ends without `stop`. */
  readonly ended: Promise<Ended>;
  /** Frames written so far. */
  frames = 0;
  private readonly hops: HopState[];
  private readonly sink: BlockSink;
  private readonly most: number;
  private readonly merger: Merger;
  private readonly epochNs: bigint;
  private readonly startNs: bigint;
  private readonly baseHigh: number;
  private stopAtNs: bigint | null = null;
  private closed = false;
  private end: (how: Ended) => void = () => {};

  /** Begins. @throws RunError, UserError when a hop cannot be captured, or the sink refuses */
  static async open(plans: readonly HopSource[], settings: CaptureSettings, sink: BlockSink): Promise<CaptureRun> {
    const run = new CaptureRun(plans, settings, sink);
    try {
      sink.add(sectionBlock(sectionInfo('grantline capture')));
      for (const { vif, hop, service } of plans)
        sink.add(
          interfaceBlock({
            name: `${vif}:${hop}`,
            description: `${vif} in ${service}; inbound is to the guest`,
            snaplen: settings.snaplen,
          }),
        );
      sink.flush();
      const opened = await Promise.allSettled(plans.map((plan, i) => run.connect(plan, settings, i)));
      const failed = opened.find((o) => o.status === 'rejected');
      if (failed !== undefined) throw failed.reason;
    } catch (error) {
      run.close();
      throw error;
    }
    return run;
  }

  private constructor(plans: readonly HopSource[], settings: CaptureSettings, sink: BlockSink) {
    this.sink = sink;
    this.most = settings.frames;
    this.epochNs = epochOfClock();
    this.startNs = this.now();
    this.baseHigh = Number(this.startNs >> 32n);
    this.merger = new Merger(plans.length, (hop, block) => this.write(hop, block));
    this.ended = new Promise((resolve) => (this.end = resolve));
    this.hops = plans.map(({ hop, service }) => ({
      ...{ hop, service, frames: 0, overflow: 0, source: null, last: null },
      done: () => {},
    }));
  }

  totals(): HopTotals[] {
    return this.hops.map(({ hop, service, frames, overflow }) => ({ hop, service, frames, overflow }));
  }

  /** Takes what was captured until now, writes the statistics, and ends. May be called in any state.
   *  @throws UserError when the file cannot be written */
  async stop(): Promise<HopTotals[]> {
    if (!this.closed) {
      this.stopAtNs = this.now();
      const all = Promise.all(
        this.hops.map((h) => (h.source === null ? Promise.resolve() : new Promise<void>((done) => (h.done = done)))),
      );
      await within(DRAIN_MS, Promise.race([all, this.ended]));
    }
    this.close();
    this.merger.flush(true);
    const atNs = this.now();
    for (const [i, h] of this.hops.entries()) {
      const dropped = BigInt(h.overflow);
      const received = BigInt(h.frames) + dropped;
      this.sink.add(statisticsBlock(i, { startNs: this.startNs, endNs: atNs, atNs, received, dropped }));
    }
    this.sink.flush();
    return this.totals();
  }

  /** Ends at once, without statistics. */
  close(): void {
    this.closed = true;
    for (const h of this.hops) {
      h.source?.close();
      h.source = null;
    }
  }

  private now(): bigint {
    return this.epochNs + BigInt(Math.round(nowNs()));
  }

  private async connect(plan: HopSource, settings: CaptureSettings, i: number): Promise<void> {
    const h = this.hops[i];
    const source = await CaptureSource.open(
      plan,
      { ...settings, epochNs: this.epochNs },
      {
        packet: (block) => {
          block.writeUInt32LE(i, 8);
          const timeNs = (block.readUInt32LE(12) - this.baseHigh) * 2 ** 32 + block.readUInt32LE(16);
          this.merger.push(i, timeNs, block);
        },
        statistics: (now) => this.heard(i, now),
        pause: () => this.guarded(() => this.merger.flush()),
        lost: (what) => {
          h.source = null;
          h.done();
          this.finish({ why: 'lost', what });
        },
      },
    );
    if (this.closed) source.close();
    else h.source = source;
  }

  private heard(i: number, now: Statistics): void {
    const h = this.hops[i];
    h.last = now;
    h.overflow = Number(now.dropped);
    this.merger.mark(i, Number((now.atNs >> 32n) - BigInt(this.baseHigh)) * 2 ** 32 + Number(now.atNs & 0xffffffffn));
    if (this.stopAtNs === null || now.atNs < this.stopAtNs) return;
    // All that came before has come, and no more is wanted of it.
    h.source?.close();
    h.source = null;
    h.done();
  }

  private write(hop: number, block: Buffer): void {
    if (this.frames >= this.most) return;
    this.frames++;
    this.hops[hop].frames++;
    this.sink.add(block);
    if (this.frames >= this.most) this.finish({ why: 'frames' });
  }

  private guarded(work: () => void): void {
    if (this.closed) return;
    try {
      work();
      this.sink.flush();
      const room = this.sink.room?.() ?? null;
      if (room !== null) for (const h of this.hops) h.source?.hold(room);
    } catch (error) {
      this.finish({ why: 'failed', error: error as Error });
    }
  }

  private finish(how: Ended): void {
    if (!this.closed) this.end(how);
    this.close();
  }
}
