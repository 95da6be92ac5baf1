/** Between the socket and the grant operations: result buffers, what each message costs, and the batches, also of rings, that must
 *  wait until the NIC has let go of what they unmapped. */
import { type DomId, nowNs } from '@grantline/base';
import { HYPERCALL_REPLY_MAX_BYTES } from '@grantline/xen';
import type { BatchOutcome, GrantOps } from '../data/grant-ops.js';
import type { PendingUnmap } from '../data/map-ops.js';
import type { Account, Accounting } from './accounting.js';

/** A reply and the buffer it stands in, which serves again and again. */
export interface Reply {
  readonly buffer: Buffer;
  bytes: number;
}

/** A NIC that is in one and the same burst for so long, and for so many looks, stands still: a burst is 64 frames. */
const STUCK_MS = 5000;
const STUCK_LOOKS = 3000;

interface Held {
  readonly sinceNs: number;
  looks: number;
  readonly pending: PendingUnmap;
  readonly account: Account | undefined;
  readonly onSettled: () => void;
}

/** Buffers kept for use again. */
const SPARE_BUFFERS = 32;
/** A burst of the NIC takes microseconds; a NIC that is still in one after so many looks has been stopped. */
const EAGER_POLLS = 1000;

export class HypercallRunner {
  private readonly ops: GrantOps;
  private readonly accounting: Accounting;
  private readonly spare: Reply[] = [];
  private held: Held[] = [];
  private polling = false;
  private polls = 0;
  private readonly stuckNs: number;
  private readonly onStuck: () => void;
  private readonly onImmediate = (): void => this.poll();

  /** @param onStuck the NIC has stood still in a burst for `stuckMs`; it is to be declared dead, which settles all */
  constructor(ops: GrantOps, accounting: Accounting, onStuck: () => void, stuckMs = STUCK_MS) {
    this.onStuck = onStuck;
    this.stuckNs = stuckMs * 1e6;
    this.ops = ops;
    this.accounting = accounting;
  }

  /** Executes one message.
   *  @param onReleased called later with the reply when this returns 'held'
   *  @returns the reply; give it to free() once it is written */
  run(caller: DomId, message: Buffer, onReleased: (reply: Reply) => void): Reply | 'held' | 'garbage' {
    const reply = this.spare.pop() ?? { buffer: Buffer.allocUnsafeSlow(HYPERCALL_REPLY_MAX_BYTES), bytes: 0 };
    const account = this.accounting.of(caller);
    const execute = (): BatchOutcome => this.ops.executeMessage(caller, message, reply.buffer);
    const { replyBytes, pending } = account === undefined ? execute() : this.accounting.spend(account, execute);
    if (account !== undefined) account.messages++;
    if (replyBytes === 0) {
      this.free(reply);
      return 'garbage';
    }
    reply.bytes = replyBytes;
    if (pending === null) return reply;
    this.wait(pending, caller, () => onReleased(reply));
    return 'held';
  }

  /** The reply has been written: its buffer serves again. */
  free(reply: Reply): void {
    if (this.spare.length < SPARE_BUFFERS) this.spare.push(reply);
  }

  /** Finishes `pending` as soon as the NIC has let go, then calls `onSettled`. Also for the death of a domain: pins of
   *  others hang on it, so it is finished whether or not anybody still waits for it. @param domid who is charged for it */
  wait(pending: PendingUnmap, domid: DomId, onSettled: () => void): void {
    this.held.push({ pending, account: this.accounting.of(domid), onSettled, sinceNs: nowNs(), looks: 0 });
    this.polls = 0;
    this.kick();
  }

  get waiting(): number {
    return this.held.length;
  }

  private kick(): void {
    if (this.polling) return;
    this.polling = true;
    if (this.polls++ < EAGER_POLLS) setImmediate(this.onImmediate);
    else setTimeout(this.onImmediate, 1);
  }

  private poll(): void {
    this.polling = false;
    const held = this.held;
    this.held = [];
    let stuck = false;
    for (const h of held) {
      if (this.ops.settled(h.pending)) {
        this.accounting.spend(h.account ?? null, () => this.ops.finishUnmap(h.pending));
        h.onSettled();
      } else {
        this.held.push(h);
        if (++h.looks > STUCK_LOOKS && nowNs() - h.sinceNs > this.stuckNs) stuck = true;
      }
    }
    if (stuck) this.onStuck();
    if (this.held.length > 0) this.kick();
  }
}
