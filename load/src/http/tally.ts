/** Counts of a run and of its measured part, and the process' own CPU time over it. */
import { Latencies } from './latencies.js';
import type { Generated, LoadErrors, LoadPlan, PhaseTold } from './plan.js';

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

/** Warm-up, measured time, and rest: the same for all loads. @param tell told when measuring starts and ends */
export async function phases(
  plan: LoadPlan,
  tally: Tally,
  tell: (phase: PhaseTold) => void,
  over: Promise<unknown>,
  atRest: () => boolean,
  stop: () => void,
): Promise<void> {
  await pass(plan.warmup * 1000, over);
  tally.begin();
  tell('begin');
  await pass(plan.seconds * 1000, over);
  tally.end();
  tell('end');
  stop();
  const limit = performance.now() + REST_LIMIT_MS;
  while (!atRest() && performance.now() < limit) await pass(5, over);
}

/** Answers that are under way at the end get so long. */
const REST_LIMIT_MS = 5000;

/** Waits, but no longer than `over`. */
async function pass(ms: number, over: Promise<unknown>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  await Promise.race([over, new Promise<void>((done) => (timer = setTimeout(done, ms)))]);
  clearTimeout(timer);
}
