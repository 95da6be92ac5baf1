/** Drives a stack from Node's event loop, where no data loop does: time, timers, and work that applications make. */
import type { Clock } from '@grantline/base';
import type { NetStack } from '../src/net-stack.js';

export class StackDriver {
  private readonly stack: NetStack;
  private readonly clock: Clock;
  private readonly receive: () => void;
  private scheduled = false;
  private stopped = false;
  private timer: NodeJS.Timeout | null = null;
  private timerNs = Infinity;
  private readonly onTurn = (): void => {
    this.scheduled = false;
    this.turn();
  };

  /** @param receive hands frames that have arrived to the stack's `input` */
  constructor(stack: NetStack, clock: Clock, receive: () => void = () => {}) {
    this.stack = stack;
    this.clock = clock;
    this.receive = receive;
    stack.tcp.context.onWork = () => this.schedule();
    stack.poll(clock.nowNs());
  }

  /** There is something to do: frames to be given in, room on the link, or something written. Runs in this turn of the
   *  event loop, once. */
  schedule(): void {
    if (this.scheduled || this.stopped) return;
    this.scheduled = true;
    setImmediate(this.onTurn);
  }

  /** One round, at once. */
  turn(): void {
    if (this.stopped) return;
    this.stack.poll(this.clock.nowNs());
    this.receive();
    this.stack.flush();
    const next = this.stack.nextDeadlineNs;
    if (next >= this.timerNs) return;
    this.timerNs = next;
    if (this.timer) clearTimeout(this.timer);
    const ms = Math.max(0, Math.ceil((next - this.clock.nowNs()) / 1e6));
    this.timer = setTimeout(() => {
      this.timerNs = Infinity;
      this.turn();
    }, ms).unref();
  }

  stop(): void {
    this.stopped = true;
    if (this.timer) clearTimeout(this.timer);
  }
}
