/** Takes care of a NIC queue that gave up: its user says `broken`, and it is attached anew. One owner, so that no two
 *  do it at once; the pause before grows as long as it does not hold, so that a NIC that is out of its mind costs little. */
import { slots, type CounterBlock, type Logs } from '@grantline/machine';
import { DRIVER_COUNTERS } from '@grantline/observe';

const C = slots(DRIVER_COUNTERS);
/** Milliseconds before the first try, and at most. */
export const FIRST_PAUSE_MS = 100;
export const LONGEST_PAUSE_MS = 5000;
/** A queue that held for so long is one that breaks for the first time. */
export const HELD_MS = 10_000;

export interface HealerOptions {
  /** As in messages: default queue. */
  name: string;
  /** Takes the queue off the NIC and attaches another. Not waited for. */
  renew: () => void;
  counters: CounterBlock;
  log: Logs<'warn'>;
  /** Milliseconds; a test gives its own. */
  now?: () => number;
  after?: (ms: number, then: () => void) => () => void;
}

export class Healer {
  private readonly o: HealerOptions;
  private readonly now: () => number;
  private readonly after: (ms: number, then: () => void) => () => void;
  private cancel: (() => void) | null = null;
  private pauseMs = FIRST_PAUSE_MS;
  private renewedAt = -Infinity;

  constructor(options: HealerOptions) {
    this.o = options;
    this.now = options.now ?? (() => performance.now());
    this.after = options.after ?? later;
  }

  /** The queue gave up. May be called from inside a poll, and again while the try is waited for. */
  broken(reason: string): void {
    if (this.cancel !== null) return;
    const { name, log, counters, renew } = this.o;
    this.pauseMs =
      this.now() - this.renewedAt > HELD_MS ? FIRST_PAUSE_MS : Math.min(LONGEST_PAUSE_MS, this.pauseMs * 2);
    log.warn({ queue: name, reason, ms: this.pauseMs }, 'a NIC queue gave up: it is attached anew');
    this.cancel = this.after(this.pauseMs, () => {
      this.cancel = null;
      this.renewedAt = this.now();
      counters.v[C.reattached]++;
      counters.commit();
      renew();
    });
  }

  /** The NIC is gone, or the service ends: whoever owns the queue sees to it. */
  forget(): void {
    this.cancel?.();
    this.cancel = null;
  }
}

function later(ms: number, then: () => void): () => void {
  const timer = setTimeout(then, ms);
  return () => clearTimeout(timer);
}
