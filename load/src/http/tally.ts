/** Whose turn it is to send, and what comes of it: counts of a run and of its measured part, latencies, and the process' own CPU time. */
import { build, encodeIntoCompressedBase64, type Histogram } from 'hdr-histogram-js';
import type { HttpLatency, Generated, LoadErrors, LoadPlan, PhaseTold } from './plan.js';

const LONGEST_US = 120_000_000;

/** Latencies in microseconds, by HdrHistogram: three significant digits, a microsecond to two minutes. */
export class Latencies {
  private readonly histogram: Histogram = build({
    lowestDiscernibleValue: 1,
    highestTrackableValue: LONGEST_US,
    numberOfSignificantValueDigits: 3,
    useWebAssembly: false,
  });

  /** @param ms milliseconds */
  record(ms: number): void {
    this.histogram.recordValue(Math.min(LONGEST_US, Math.max(1, Math.round(ms * 1000))));
  }

  /** @returns null when nothing was recorded */
  read(): HttpLatency | null {
    const h = this.histogram;
    if (h.totalCount === 0) return null;
    // A percentile is the upper end of its bucket, which may lie above the largest value.
    const at = (percentile: number): number => Math.min(h.maxValue, h.getValueAtPercentile(percentile));
    return {
      ...{ p50: at(50), p90: at(90), p99: at(99), p999: at(99.9) },
      max: h.maxValue,
      mean: h.mean,
      count: h.totalCount,
      hdr: encodeIntoCompressedBase64(h),
    };
  }
}

/** A connection, as far as turns go. `send` starts its next request. */
export interface Turn {
  send(): void;
  /** Milliseconds on performance.now()'s clock at which the request should have been sent; set before `send`. */
  dueAt: number;
  sentAt: number;
}

/** A timer fires a millisecond or two late; what is due within that is sent as on time. Milliseconds. */
const GRAIN_MS = 2;

/** Whose turn it is to send: at once in a closed loop, by a schedule in an open one.
 *
 *  The schedule is one request each 1/rate seconds. One that finds no connection free waits, and its latency counts from
 *  where the schedule wanted it, so a server that stalls for a second shows a second and not one slow request. */
export class Turns {
  private readonly rate: number | null;
  private readonly free: Turn[] = [];
  private timer: NodeJS.Timeout | null = null;
  private startedAt = 0;
  private started = 0;
  private ended = false;
  /** Requests that were sent late although a connection was free: the generator's own fault. */
  late = 0;
  /** Requests sent. */
  sent = 0;

  constructor(rate: number | null) {
    this.rate = rate;
  }

  /** A connection can take the next request. */
  ready(turn: Turn): void {
    if (this.ended) return;
    if (this.rate === null) return this.go(turn, performance.now());
    this.free.push(turn);
    if (this.timer === null) {
      this.startedAt = performance.now();
      this.timer = setInterval(() => this.send(false), 1);
    } else {
      this.send(true);
    }
  }

  /** A connection is gone. */
  gone(turn: Turn): void {
    const at = this.free.indexOf(turn);
    if (at >= 0) this.free.splice(at, 1);
  }

  /** Nothing more is sent. */
  end(): void {
    this.ended = true;
    if (this.timer) clearInterval(this.timer);
  }

  /** When those were due that were not sent until then, by the schedule. */
  *unsent(until: number): Generator<number> {
    if (this.rate === null || this.timer === null) return;
    for (let n = this.started; ; n++) {
      const dueAt = this.startedAt + (n * 1000) / this.rate;
      if (dueAt >= until) return;
      yield dueAt;
    }
  }

  /** @param freed a connection has just become free: what waits has waited for it */
  private send(freed: boolean): void {
    const rate = this.rate ?? 1;
    const now = performance.now();
    while (this.free.length > 0) {
      const dueAt = this.startedAt + (this.started * 1000) / rate;
      if (dueAt > now) return;
      const turn = this.free.shift();
      if (turn === undefined) return;
      this.started++;
      const behind = now - dueAt;
      if (behind > GRAIN_MS && !freed) this.late++;
      this.go(turn, behind > GRAIN_MS ? dueAt : now);
    }
  }

  private go(turn: Turn, dueAt: number): void {
    turn.dueAt = dueAt;
    turn.sentAt = performance.now();
    this.sent++;
    turn.send();
  }
}

export class Tally {
  readonly errors: LoadErrors = { connection: 0, timeout: 0, status: 0, wrong: 0, unanswered: 0 };
  private readonly open: boolean;
  private readonly latency = new Latencies();
  private readonly service = new Latencies();
  private measuring = false;
  private waiting = 0;
  private all = 0;
  private answered = 0;
  private bodyBytes = 0;
  private startedAt = Infinity;
  private endedAt = Infinity;
  private cpuUs = 0;

  constructor(open: boolean) {
    this.open = open;
  }

  /** A whole and right answer. Times in milliseconds on performance.now()'s clock. */
  answer(dueAt: number, sentAt: number, bytes: number): void {
    this.all++;
    const now = performance.now();
    if (this.measuring) {
      this.answered++;
      this.bodyBytes += bytes;
    }
    // By the schedule: what was due in the measured time counts, whenever it was answered. Else a stall at its end, the
    // longest waits of all, would be left out.
    if (this.open ? !this.wasDue(dueAt) : !this.measuring) return;
    this.latency.record(now - dueAt);
    if (this.open) this.service.record(now - sentAt);
  }

  /** Requests of the schedule that had found no connection when the measured time was over. */
  waited(dueAt: Iterable<number>): void {
    for (const due of dueAt) {
      if (!this.wasDue(due)) continue;
      this.waiting++;
      this.latency.record(this.endedAt - due);
    }
  }

  begin(): void {
    this.measuring = true;
    this.startedAt = performance.now();
    this.cpuUs = cpuNow();
  }

  end(): void {
    this.measuring = false;
    this.endedAt = performance.now();
    this.cpuUs = cpuNow() - this.cpuUs;
  }

  private wasDue(dueAt: number): boolean {
    return dueAt >= this.startedAt && dueAt < this.endedAt;
  }

  /** @param late requests that the generator itself sent late */
  result(sent: number, late: number): Generated {
    const ms = Math.max(1, this.endedAt - this.startedAt);
    const wrong = this.errors.status + this.errors.wrong;
    return {
      mode: this.open ? 'open' : 'closed',
      seconds: ms / 1000,
      answered: this.answered,
      bodyBytes: this.bodyBytes,
      latencyUs: this.latency.read(),
      waiting: this.waiting,
      serviceUs: this.open ? this.service.read() : null,
      total: { sent, answered: this.all + wrong },
      errors: this.errors,
      generator: { cpuShare: this.cpuUs / 1000 / ms, lateShare: this.open ? late / Math.max(1, sent) : 0 },
    };
  }
}

function cpuNow(): number {
  const { user, system } = process.cpuUsage();
  return user + system;
}

/** Warm-up, measured time, and rest: the same for all loads. @param lines the connections @param tell told when measuring starts and ends
 *  @param ended ends it early */
export async function phases(
  plan: LoadPlan,
  { tally, turns, lines }: { tally: Tally; turns: Turns; lines: readonly { busy: boolean }[] },
  tell: (phase: PhaseTold) => void,
  ended: Promise<unknown>,
): Promise<void> {
  await pass(plan.warmup * 1000, ended);
  tally.begin();
  tell('begin');
  await pass(plan.seconds * 1000, ended);
  tally.end();
  tell('end');
  turns.end();
  tally.waited(turns.unsent(performance.now()));
  const limit = performance.now() + REST_LIMIT_MS;
  while (lines.some((line) => line.busy) && performance.now() < limit) await pass(5, ended);
  for (const line of lines) if (line.busy) tally.errors.unanswered++;
}

/** Answers that are under way at the end get so long. */
const REST_LIMIT_MS = 5000;

/** Waits so long, but not past `ended`. */
async function pass(ms: number, ended: Promise<unknown>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  await Promise.race([ended, new Promise<void>((done) => (timer = setTimeout(done, ms)))]);
  clearTimeout(timer);
}
