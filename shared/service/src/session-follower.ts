/** A domain's part in a session: remembers what it had when one began, and puts it back when it ends - however its holder
 *  has ended. docs/wire/control-plane.md section 11. */
import { type DomId, parseSession, SESSION_PATH, sessionAckPath, sessionText, type SessionAt } from '@grantline/base';
import { domainPath, type XenstoreClient } from '@grantline/xen';
import type { Log } from './log.js';

/** What puts something back. */
export interface Found {
  /** Ends what the session has begun, and sets what it was set to. */
  ending?(): void | Promise<void>;
  /** Configuration and run are as they were found: lets go on what was stopped when the session began. */
  over?(): void | Promise<void>;
}

/** Looks at something when a session begins, and stops what would be in its way. */
export type Keep = () => Found;

export class SessionFollower {
  private readonly xenstore: Pick<XenstoreClient, 'read' | 'write' | 'watch'>;
  private readonly domid: DomId;
  private readonly log: Pick<Log, 'warn'>;
  private readonly keeps: Keep[] = [];
  private at: SessionAt | null = null;
  /** Of the session that is on; the last kept comes first. */
  private found: Found[] = [];
  private work: Promise<void> = Promise.resolve();

  constructor(xenstore: Pick<XenstoreClient, 'read' | 'write' | 'watch'>, domid: DomId, log: Pick<Log, 'warn'>) {
    this.xenstore = xenstore;
    this.domid = domid;
    this.log = log;
  }

  /** Registers something that sessions change. Before `begin`. */
  keep(keep: Keep): void {
    this.keeps.push(keep);
  }

  /** Follows sessions from now on. */
  async begin(): Promise<void> {
    await this.xenstore.watch(SESSION_PATH, () => {
      this.work = this.work.then(() => this.look());
    });
  }

  private async look(): Promise<void> {
    const next = parseSession(await this.xenstore.read(SESSION_PATH).catch(() => null));
    if (next === null) return;
    try {
      await this.enter(next);
      await this.xenstore.write(sessionAckPath(domainPath(this.domid)), sessionText(next));
    } catch (err) {
      this.log.warn({ err }, 'the session was not followed');
    }
  }

  private async enter(next: SessionAt): Promise<void> {
    const { at } = this;
    if (at?.id === next.id && at.stage === next.stage) return;
    this.at = next;
    // One that ended unseen.
    if (at !== null && at.id !== next.id && at.stage !== 'over') await this.leave(at.stage, 'over');
    if (next.stage !== 'open') return this.leave(at?.id === next.id ? at.stage : 'over', next.stage);
    this.found = this.keeps.map((keep) => keep()).reverse();
  }

  private async leave(from: SessionAt['stage'], to: SessionAt['stage']): Promise<void> {
    if (from === 'open') for (const f of this.found) await this.step(() => f.ending?.());
    if (from === 'over' || to !== 'over') return;
    for (const f of this.found) await this.step(() => f.over?.());
    this.found = [];
  }

  private async step(fn: () => void | Promise<void>): Promise<void> {
    try {
      await fn();
    } catch (err) {
      this.log.warn({ err }, 'something was not put back after the session');
    }
  }
}
