/** A part of one vif on the data path: what it throws is that vif's affair, and so is what its guest does that cannot be. */
import type { CounterBlock, Mem, Notify, Poller, Scheduler } from '@grantline/machine';
import type { CallCosts, Granter } from './grants/batch-turns.js';

/** What every part needs of the outside, as narrow as can be: tests put their own behind it. */
export interface PartOptions {
  mem: Mem;
  counters: CounterBlock;
  guest: Notify;
  loop: Scheduler<Poller>;
  /** The vif must go: its guest did what cannot be. Called once. */
  onFault: (reason: string) => void;
  /** The vif must go: this part of it threw, a fault of ours. Not given: it is thrown on. */
  onError?: (err: unknown) => void;
}

/** What a queue needs beside: it uses the guest's grants. */
export interface QueueOptions extends PartOptions, CallCosts {
  granter: Granter;
}

export abstract class VifPart implements Poller {
  scheduled = false;
  stopped = false;
  private readonly part: PartOptions;
  private readonly ringFaults: number;

  /** @param ringFaults slot of the counter of what cannot be */
  constructor(options: PartOptions, ringFaults: number) {
    this.part = options;
    this.ringFaults = ringFaults;
  }

  abstract poll(): number;
  abstract arm(): boolean;
  /** No more polls. What others still have of it comes back later. */
  abstract stop(): void;
  abstract describe(): Record<string, unknown>;

  /** It threw, so its state may be anything: what can be stopped is, and its vif is told. */
  failed(err: unknown): void {
    try {
      this.stop();
    } catch {
      // The first error is the one to tell.
    }
    if (this.part.onError === undefined) throw err;
    this.part.onError(err);
  }

  protected fault(reason: string): void {
    const { counters, onFault } = this.part;
    counters.v[this.ringFaults]++;
    this.stop();
    counters.commit();
    onFault(reason);
  }
}
