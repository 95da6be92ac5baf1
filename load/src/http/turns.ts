/** Whose turn it is to send: at once in a closed loop, by a schedule in an open one.
 *
 *  The schedule is one request each 1/rate seconds. One that finds no connection free waits, and its latency counts from
 *  where the schedule wanted it, so a server that stalls for a second shows a second and not one slow request. */

/** A connection, as far as turns go. `send` starts its next request. */
export interface Turn {
  send(): void;
  /** Milliseconds on performance.now()'s clock at which the request should have been sent; set before `send`. */
  dueAt: number;
  sentAt: number;
}

/** A timer fires a millisecond or two late; what is due within that is sent as on time. Milliseconds. */
const GRAIN_MS = 2;

export class Turns {
  private readonly rate: number | null;
  private readonly free: Turn[] = [];
  private timer: NodeJS.Timeout | null = null;
  private startedAt = 0;
  private started = 0;
  private over = false;
  /** Requests that were sent late although a connection was free: the generator's own fault. */
  late = 0;
  /** Requests sent. */
  sent = 0;

  constructor(rate: number | null) {
    this.rate = rate;
  }

  /** A connection can take the next request. */
  ready(turn: Turn): void {
    if (this.over) return;
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
    this.over = true;
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
