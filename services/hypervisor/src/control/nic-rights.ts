/** A guest's right to the NIC ends with its reason, the path factor `direct`. A guest that is told so gives its queues and
 *  DMA entries back by itself; from one that does not they are taken. */
import type { DomId } from '@grantline/base';
import type { DomainTable } from '../data/domain-memory.js';
import type { GrantOps } from '../data/grant-ops.js';
import type { Account } from './accounting.js';
import type { HypercallRunner } from './hypercall-runner.js';
import type { NicControl } from './nic-control.js';

/** How long a guest has to leave the NIC by itself: some round trips, and a burst. */
export const LEAVE_MS = 3000;

/** The parts that take part. */
export interface RightsParts {
  readonly memory: DomainTable;
  readonly grants: GrantOps;
  readonly runner: HypercallRunner;
  readonly nic: NicControl;
  guests(): DomId[];
  isDirect(guest: DomId): boolean;
  accountOf(guest: DomId): Account | undefined;
}

export class NicRights {
  private readonly parts: RightsParts;
  private readonly leaveMs: number;
  /** Of the guests that are to leave. */
  private readonly timers = new Map<DomId, NodeJS.Timeout>();

  constructor(parts: RightsParts, leaveMs = LEAVE_MS) {
    this.parts = parts;
    this.leaveMs = leaveMs;
  }

  /** The factors have changed: who has no right to the NIC now is to have left it after a while. */
  changed(): void {
    for (const guest of this.parts.guests()) {
      if (this.parts.isDirect(guest)) {
        // Should it leave once more, it has its whole time again.
        clearTimeout(this.timers.get(guest));
        this.timers.delete(guest);
        continue;
      }
      if (this.timers.has(guest)) continue;
      const timer = setTimeout(() => {
        this.timers.delete(guest);
        this.revoke(guest);
      }, this.leaveMs);
      this.timers.set(guest, timer);
    }
  }

  stop(): void {
    for (const timer of this.timers.values()) clearTimeout(timer);
    this.timers.clear();
  }

  /** The nic closes the port of each queue: that is what the guest sees. */
  private revoke(guest: DomId): void {
    const { nic, grants, runner, memory } = this.parts;
    nic.detachAll(guest);
    const domain = memory.live(guest);
    const pending = domain === null ? null : grants.unmapDevice(domain);
    if (pending !== null) runner.wait(pending, this.parts.accountOf(guest), () => {});
  }
}
