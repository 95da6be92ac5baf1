/** How a service ends: what it set up is undone in reverse order, within a limit, whatever the reason.
 *
 *  Reasons: SIGTERM, SIGINT, stdin closed (when asked for: a killed supervisor then leaves nothing), the hypervisor gone. */
import { UsageError } from '@grantline/base';
import { leaveProcessGroup } from '@grantline/machine';
import { createLog, currentLog, flushLog, type Log } from './log.js';
import type { ServiceKind } from './env.js';

const LIMIT_MS = 2000;

interface LifelineOptions {
  log: Log;
  /** There is a supervisor: end when stdin closes, and leave signals of the terminal to it. */
  stdin?: boolean;
  /** Replaced in tests. */
  exit?: (code: number) => void;
  /** Milliseconds that the undo functions have together. */
  limitMs?: number;
}

export class Lifeline {
  private readonly log: Log;
  private readonly exit: (code: number) => void;
  private readonly limitMs: number;
  private readonly undo: (() => void | Promise<void>)[] = [];
  private ending: Promise<void> | null = null;
  private readonly onSignal = (signal: string): void => {
    if (this.ending !== null) return this.exit(1);
    void this.stop(signal);
  };
  private readonly onHangUp = (): void => {};
  private readonly onStdinEnd = (): void => void this.stop('stdin closed');

  constructor(o: LifelineOptions) {
    this.log = o.log;
    this.exit = o.exit ?? ((code) => process.exit(code));
    this.limitMs = o.limitMs ?? LIMIT_MS;
    process.on('SIGTERM', this.onSignal);
    process.on('SIGINT', this.onSignal);
    if (o.stdin) {
      leaveProcessGroup();
      // The kernel sends it to a group that was stopped when its supervisor died, and then lets it go on: to the end of stdin.
      process.on('SIGHUP', this.onHangUp);
      // An ended stdin, a broken one and one that was never open all mean the same.
      process.stdin.on('end', this.onStdinEnd).on('close', this.onStdinEnd).on('error', this.onStdinEnd).resume();
    }
  }

  /** Registers what undoes a step just taken: last pushed, first run. After the end began it runs at once. A function of its own for
   *  each step: `forget` knows it by that. */
  onStop(fn: () => void | Promise<void>): void {
    if (this.ending === null) this.undo.push(fn);
    else void this.run(fn);
  }

  /** Somebody else undoes the step. @returns false when nobody may: it is not known, or the end has begun and comes to it by itself */
  forget(fn: () => void | Promise<void>): boolean {
    const at = this.ending === null ? this.undo.lastIndexOf(fn) : -1;
    if (at >= 0) this.undo.splice(at, 1);
    return at >= 0;
  }

  get stopping(): boolean {
    return this.ending !== null;
  }

  /** Undoes all and exits. Calls after the first join it. A second signal exits at once.
   *  @param code exit code */
  stop(reason: string, code = 0): Promise<void> {
    this.ending ??= this.end(reason, code);
    return this.ending;
  }

  /** Takes the handlers off again, for tests. */
  release(): void {
    process.off('SIGTERM', this.onSignal);
    process.off('SIGINT', this.onSignal);
    process.off('SIGHUP', this.onHangUp);
    process.stdin.off('end', this.onStdinEnd).off('close', this.onStdinEnd).off('error', this.onStdinEnd);
  }

  private async end(reason: string, code: number): Promise<void> {
    this.log.info({ reason }, 'stopping');
    let timer: NodeJS.Timeout | undefined;
    const limit = new Promise<'late'>((resolve) => {
      timer = setTimeout(() => resolve('late'), this.limitMs);
    });
    const outcome = await Promise.race([this.undoAll(), limit]);
    clearTimeout(timer);
    if (outcome === 'late') this.log.warn({ left: this.undo.length }, 'not all was undone in time');
    else this.log.info('stopped');
    await flushLog();
    this.exit(outcome === 'late' && code === 0 ? 1 : code);
  }

  private async undoAll(): Promise<'done'> {
    // A turn first, so that a part which called stop() from inside its own set-up is not undone under its feet.
    await Promise.resolve();
    for (let fn = this.undo.pop(); fn !== undefined; fn = this.undo.pop()) await this.run(fn);
    return 'done';
  }

  private async run(fn: () => void | Promise<void>): Promise<void> {
    try {
      await fn();
    } catch (err) {
      this.log.warn({ err }, 'a step of stopping failed');
    }
  }
}

/** What every main does the same way: bad input is one line and exit code 2, our own fault is a logged stack and 1.
 *  Afterwards the process lives as long as what main started. One that has nothing to do before main is through has failed, too.
 *  Started programs do not await this: joined in CommonJS they cannot (tools/started-form.mjs).
 *  @param kind names the service in the one line */
export async function runMain(kind: ServiceKind, main: () => Promise<void> | void): Promise<void> {
  const end = (err: unknown): void => void report(kind, err);
  process.once('uncaughtException', end);
  process.once('unhandledRejection', end);
  const onIdle = (): void => end(new Error('it waits for what can never come'));
  process.once('beforeExit', onIdle);
  try {
    await main();
    process.off('beforeExit', onIdle);
  } catch (err) {
    await report(kind, err);
  }
}

async function report(kind: ServiceKind, err: unknown): Promise<never> {
  if (err instanceof UsageError) {
    process.stderr.write(`grantline ${kind}: ${oneLine(err.message)}\n`);
    process.exit(2);
  }
  const log = currentLog() ?? createLog({ kind, domid: null, log: 'info' });
  log.fatal({ err }, 'the service failed');
  process.stderr.write(`grantline ${kind}: failed: ${oneLine(err instanceof Error ? err.message : String(err))}\n`);
  await flushLog();
  process.exit(1);
}

const oneLine = (text: string): string => text.replace(/\s*\n\s*/g, '; ');
