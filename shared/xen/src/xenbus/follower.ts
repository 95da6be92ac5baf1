/** Runs a state machine's steps one at a time. What changes during a step is looked at after it, so the latest change
 *  wins; a step that failed is tried again, so that nothing hangs because of one refused request. */
import type { Logs } from '@grantline/machine';
import type { XenbusStore } from './offer.js';

/** Between a step that failed and the next, milliseconds. */
const RETRY_MS = 100;

export interface FollowerOptions {
  step: () => Promise<void>;
  /** Told of each failure that is not the same as the one before. */
  failed: (err: unknown) => void;
  /** Waits before a step is tried again; a test gives its own. */
  pause?: () => Promise<void>;
}

/** What both ends of a vif's handshake are made of. */
export interface VifEndOptions {
  store: XenbusStore;
  /** The vif's directories. */
  back: string;
  front: string;
  log: Logs<'warn'>;
  /** As in FollowerOptions. */
  pause?: () => Promise<void>;
}

export class Follower {
  private readonly o: FollowerOptions;
  private looking: Promise<void> | null = null;
  private again = false;
  private ended = false;
  private lastFailure = '';

  constructor(options: FollowerOptions) {
    this.o = options;
  }

  /** Follows one end of a vif. */
  static ofVif(o: VifEndOptions, step: () => Promise<void>): Follower {
    const failed = (err: unknown): void => o.log.warn({ err }, 'a step of the vif failed');
    return new Follower({ step, failed, ...(o.pause && { pause: o.pause }) });
  }

  /** Something may have changed. @returns when all is looked at */
  look(): Promise<void> {
    this.again = true;
    if (!this.ended) this.looking ??= this.follow();
    return this.looking ?? Promise.resolve();
  }

  /** No step begins any more. @returns when the one under way is done */
  async end(): Promise<void> {
    this.ended = true;
    await this.looking;
  }

  private async follow(): Promise<void> {
    // A step that looks again at once must find `looking` set.
    await Promise.resolve();
    while (this.again && !this.ended) {
      this.again = false;
      try {
        await this.o.step();
        this.lastFailure = '';
      } catch (err) {
        this.tell(err);
        await (this.o.pause ?? pause)();
        this.again = true;
      }
    }
    // Here, not in a `finally` of the caller's: a look between the loop's last check and this line would be lost.
    this.looking = null;
  }

  private tell(err: unknown): void {
    const text = String(err);
    if (text !== this.lastFailure && !this.ended) this.o.failed(err);
    this.lastFailure = text;
  }
}

const pause = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, RETRY_MS));
