/** Sessions: one command at a time changes the testbed, and what it found is put back when it ends. That it has ended is seen
 *  here, by its connection, so that a killed one leaves no more than one that ended well. docs/wire/control-plane.md section 11. */
import { setTimeout as sleep } from 'node:timers/promises';
import {
  DOMID_CONTROL,
  DOMID_DRIVER,
  type RunSettings,
  SESSION_PATH,
  sessionAckPath,
  sessionText,
  type SessionStage,
} from '@grantline/base';
import { domainPath } from '@grantline/xen';
import type { Log } from '@grantline/service';
import { DomainError, type Domains } from './domains.js';
import type { Toolstack } from './toolstack.js';
import type { XenStore } from './xenstore.js';

/** How long domains, vifs and receivers are waited for. One that does not answer is not waited for longer: the testbed is
 *  not its own. */
const ACK_LIMIT_MS = 3000;
const SETTLE_LIMIT_MS = 15_000;
const READY_LIMIT_MS = 5000;
const LOOK_MS = 4;

export interface SessionsOptions {
  store: XenStore;
  domains: Domains;
  toolstack: Toolstack;
  /** Lets watches fire. */
  deliver: () => void;
  log: Pick<Log, 'warn'>;
}

interface Session {
  id: number;
  owner: string;
  stage: SessionStage;
  found: { factors: string; limits: ReturnType<Toolstack['limits']>; run: RunSettings | null };
  end: Promise<void> | null;
}

export class Sessions {
  private readonly o: SessionsOptions;
  private session: Session | null = null;
  private last = 0;
  private stopped = false;

  constructor(options: SessionsOptions) {
    this.o = options;
  }

  /** Whose session is on; null: nobody's. */
  get current(): { id: number; owner: string; stage: SessionStage } | null {
    return this.session;
  }

  /** Begins one, after the end of one that is just ending: every domain has looked at what it has. @param owner who, in words
   *  @returns its number @throws DomainError 409 while there is another */
  async begin(owner: string): Promise<number> {
    while (this.session?.end) await this.session.end;
    if (this.session !== null) throw new DomainError(409, `${this.session.owner} is measuring on the testbed`);
    const { toolstack } = this.o;
    const id = ++this.last;
    this.session = {
      ...{ id, owner, stage: 'open', end: null },
      found: { factors: JSON.stringify(toolstack.factors), limits: toolstack.limits(), run: toolstack.run },
    };
    await this.enter(this.session, 'open');
    return id;
  }

  /** Ends it; again for one that has ended, or is ending. @returns when all is as it was found */
  end(id: number): Promise<void> {
    const { session } = this;
    if (session === null || session.id !== id || this.stopped) return Promise.resolve();
    session.end ??= this.putBack(session).finally(() => (this.session = null));
    return session.end;
  }

  /** The testbed ends: nothing is put back any more. */
  stop(): void {
    this.stopped = true;
  }

  private async putBack(session: Session): Promise<void> {
    const { toolstack, deliver, log } = this.o;
    const { factors, limits, run } = session.found;
    await this.enter(session, 'ending');
    toolstack.setLimits(limits);
    if (JSON.stringify(toolstack.factors) !== factors) {
      toolstack.configure(JSON.parse(factors) as Record<string, unknown>);
      deliver();
      if (!(await this.until(SETTLE_LIMIT_MS, () => toolstack.settled())))
        log.warn({ owner: session.owner }, 'the configuration that the session found has not settled');
    }
    if (toolstack.run !== run) await this.startAgain(run);
    await this.enter(session, 'over');
  }

  /** The run that was found is announced anew; where there was none, one in which nothing is done with frames. */
  private async startAgain(found: RunSettings | null): Promise<void> {
    const { toolstack, domains, deliver } = this.o;
    const guests = domains.guests().map((d) => d.domid as number);
    const idle = { seed: 0, mode: 'off' as const, frameSizes: [60], guests };
    toolstack.startRun({ ...(found ?? idle), id: (toolstack.run?.id ?? 0) + 1 });
    deliver();
    if (found === null || found.mode === 'off') return;
    const receivers = found.guests.filter((d) => guests.includes(d));
    const wanted = toolstack.factors.path === 'native' ? [DOMID_DRIVER as number] : receivers;
    await this.until(READY_LIMIT_MS, () => wanted.every((d) => toolstack.ready().some((r) => r === d)));
  }

  private async enter(session: Session, stage: SessionStage): Promise<void> {
    const { store, domains, deliver } = this.o;
    session.stage = stage;
    const text = sessionText(session);
    store.write(DOMID_CONTROL, SESSION_PATH, text);
    deliver();
    const done = (): boolean =>
      domains.live().every((d) => d.http === null || store.peek(sessionAckPath(domainPath(d.domid))) === text);
    if (!(await this.until(ACK_LIMIT_MS, done)) && !this.stopped)
      this.o.log.warn({ session: text }, 'not every domain has followed the session');
  }

  private async until(limitMs: number, isDone: () => boolean): Promise<boolean> {
    for (const end = performance.now() + limitMs; !isDone();) {
      if (this.stopped || performance.now() > end) return false;
      await sleep(LOOK_MS, null, { ref: false });
    }
    return true;
  }
}
