/** What the guest's application does: follows /tool/run (docs/wire/control-plane.md section 8) and puts the application
 *  that the run wants behind the stack. */
import type { Logs } from '@grantline/machine';
import { domainPath, type XenstoreClient } from '@grantline/xen';
import { type DomId, RUN_PATH, parseRun, type Run } from '@grantline/base';
import { startApp, type Apps, type RxStack, type SendRun, flowsOfSender, parseSend, sendRun } from '@grantline/measure';

/** Nothing is done with frames. */
const REST = { mode: 'off', seed: 0, frameSizes: [] } as const satisfies Partial<Run>;

export interface AppControlOptions {
  domid: DomId;
  xenstore: Pick<XenstoreClient, 'read' | 'write' | 'watch'>;
  stack: Pick<RxStack, 'app'>;
  apps: Apps;
  /** Own addresses, and who sends where a run wants it. */
  own: { mac: string; ip: string };
  sender: { prepare(run: SendRun): void };
  /** True when frames can be received: only then is the guest ready for a run. */
  vifReady: () => boolean;
  /** A run begins. */
  onRun?: (run: Pick<Run, 'mode'>) => void;
  log: Logs<'warn'>;
}

export class AppControl {
  run: Run | null = null;
  private readonly o: AppControlOptions;
  private announced: string | null = null;

  constructor(options: AppControlOptions) {
    this.o = options;
  }

  /** Follows /tool/run from now on. */
  async begin(): Promise<void> {
    await this.o.xenstore.watch(RUN_PATH, () => void this.look());
  }

  /** Writes run-ready when there is a run for this guest that it can receive, and it has not been written. Called again
   *  when the vif gets ready. */
  async announce(): Promise<void> {
    const { run, o } = this;
    if (run === null || run.id === this.announced || !o.vifReady()) return;
    this.announced = run.id;
    await o.xenstore.write(`${domainPath(o.domid)}/data/run-ready`, run.id).catch((err: unknown) => {
      this.announced = null;
      o.log.warn({ err }, 'run-ready was not written');
    });
  }

  describe(): Record<string, unknown> {
    const { record } = this.o.apps;
    return { run: this.run, announced: this.announced, recorded: record.count, notKept: record.notKept };
  }

  /** A run of others has begun: the one that this guest took part in is over, and its frames are its own again. */
  private leave(): void {
    if (this.run === null) return;
    this.run = null;
    startApp(this.o.stack, this.o.apps, REST);
    this.o.onRun?.(REST);
  }

  private async look(): Promise<void> {
    const { xenstore, domid, own, sender, log } = this.o;
    const text = await xenstore.read(RUN_PATH).catch(() => null);
    const run = parseRun(text);
    if (run === null || run.id === this.run?.id) return;
    if (!run.guests.includes(domid)) return this.leave();
    try {
      startApp(this.o.stack, this.o.apps, run);
      const part = parseSend(text, domid);
      if (part !== null) sender.prepare(sendRun(part, flowsOfSender(part, run.guests.indexOf(domid), own)));
    } catch (err) {
      log.warn({ err, run: run.id }, 'the run cannot be received');
      return;
    }
    this.run = run;
    this.o.onRun?.(run);
    await this.announce();
  }
}
