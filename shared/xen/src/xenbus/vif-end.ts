/** What both halves of a vif's handshake have in common: the order of their steps, the offer, their state in xenstore. */
import type { Logs } from '@grantline/machine';
import type { XenbusState } from '../abi/xenbus.js';
import { parseNumber, type XenstoreClient, type XenstoreOp } from '../hypervisor/xenstore-client.js';

/** Between a step that failed and the next, milliseconds. */
const RETRY_MS = 100;

interface FollowerOptions {
  step: () => Promise<void>;
  /** Told of each failure that is not the same as the one before. */
  failed: (err: unknown) => void;
  /** Waits before a step is tried again; a test gives its own. */
  pause?: () => Promise<void>;
}

/** Runs a state machine's steps one at a time. What changes during a step is looked at after it, so the latest change
 *  wins; a step that failed is tried again, so that nothing hangs because of one refused request. */
export class Follower {
  private readonly o: FollowerOptions;
  private looking: Promise<void> | null = null;
  private again = false;
  private ended = false;
  private lastFailure = '';

  constructor(options: FollowerOptions) {
    this.o = options;
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

/** What ties a frontend's keys to the InitWait that they answer. docs/wire/xenstore-paths.md section 3.
 *
 *  netback writes `offer` together with InitWait; netfront gives the same text back as `offer-ack` together with its keys
 *  and Connected. Keys with another offer are an answer to what is over: of an earlier generation, or to an earlier
 *  backend. netback does not look at them, so it never uses what netfront is about to take back. These are the keys. */
export const OFFER = 'offer';
export const OFFER_ACK = 'offer-ack';

/** @param number another one for each offer of the vif, also of a driver domain that follows a dead one */
export const makeOffer = (generation: number, number: number): string => `${generation}.${number}`;

/** @returns the generation whose factors are offered; null when the text is no offer */
export function offerGeneration(offer: string | null): number | null {
  return offer === null ? null : parseNumber(offer.split('.', 1)[0]);
}

export const messageOf = (err: unknown): string => (err instanceof Error ? err.message : String(err));

/** What both ends are made of. */
export interface VifEndOptions {
  store: Pick<XenstoreClient, 'read' | 'write' | 'transaction'>;
  /** The vif's directories. */
  back: string;
  front: string;
  log: Logs<'warn'>;
  /** As in FollowerOptions. */
  pause?: () => Promise<void>;
}

/** One end: its own directory, in which it says its state and what is wrong. */
export abstract class VifEnd {
  state: XenbusState;
  error: string | null = null;
  /** What the other end did that is impossible, until a step has dealt with it. */
  protected fault: string | null = null;
  /** A generation that is not tried again. */
  protected refused = -1;
  protected readonly store: VifEndOptions['store'];
  protected readonly follower: Follower;
  private readonly own: string;
  private readonly back: string;

  /** @param own its directory */
  protected constructor(o: VifEndOptions, own: string, state: XenbusState) {
    this.state = state;
    this.own = own;
    this.back = o.back;
    this.store = o.store;
    this.follower = new Follower({
      step: () => this.step(),
      failed: (err) => o.log.warn({ err }, 'a step of the vif failed'),
      ...(o.pause && { pause: o.pause }),
    });
  }

  protected abstract step(): Promise<void>;

  /** Something changed. @returns when all is looked at */
  look(): Promise<void> {
    return this.follower.look();
  }

  /** The other end did something impossible. May be called from inside a poll: it is only noted here. */
  faulted(reason: string): void {
    this.fault ??= reason;
    void this.look();
  }

  protected async become(state: XenbusState): Promise<void> {
    await this.store.write(this.key('state'), state);
    this.state = state;
  }

  protected async tell(reason: string): Promise<void> {
    this.error = reason;
    await this.store.write(this.key('error'), reason.slice(0, 200));
  }

  protected async forgetError(): Promise<void> {
    if (this.error === null) return;
    await this.store.transaction([{ op: 'rm', path: this.key('error') }]);
    this.error = null;
  }

  /** A key of the backend's directory. */
  protected readBack(key: string): Promise<string | null> {
    return this.store.read(`${this.back}/${key}`);
  }

  /** Writes a key of its own directory, in a transaction. */
  protected put(key: string, value: string | number): XenstoreOp {
    return { op: 'write', path: this.key(key), value: String(value) };
  }

  protected key(key: string): string {
    return `${this.own}/${key}`;
  }
}
