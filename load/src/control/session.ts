/** A stretch of work that signals can end: whatever it opened is closed before the command goes. */
import type { BedSession } from './client.js';
import { Interrupted } from '../base/errors.js';

export interface Closing {
  /** Ends it properly, within 3 s. @param interrupted false: the work has ended by itself, and nobody waits for the terminal */
  stop(interrupted?: boolean): Promise<void>;
  /** Ends it at once; for exits that nothing can wait for. */
  killNow(): void;
  /** Milliseconds that work which is ended early has for undoing what it began on something that stays, before `stop`;
   *  none when not given. */
  unwindMs?: number;
}

/** Together with `stop` it has 3 s; a service may not answer. */
export const UNWIND_MS = 1200;

/** A busy machine takes its time with the end of a process that held much memory. */
const DEATH_MS = 1500;

/** Runs `work`; SIGINT, SIGTERM or `failure` end it early: its signal is aborted. Then stops `closing`, in every case, and
 *  gives the result or throws. A second signal while stopping ends it at once. */
export async function session<T>(
  closing: Closing,
  failure: Promise<Error> | null,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const abort = new AbortController();
  let interrupt: (error: Interrupted) => void = () => {};
  const interrupted = new Promise<never>((_, reject) => {
    interrupt = reject;
  });
  interrupted.catch(() => {});
  let signals = 0;
  const onSignal = (signal: NodeJS.Signals): void => {
    signals++;
    if (signals > 1) process.exit(signal === 'SIGINT' ? 130 : 143);
    interrupt(new Interrupted(signal === 'SIGINT' ? 'SIGINT' : 'SIGTERM'));
  };
  // Whoever read what this says has gone: nobody is left to end it.
  const onUnread = (): void => onSignal('SIGTERM');
  const onExit = (): void => closing.killNow();
  process.on('SIGINT', onSignal);
  process.on('SIGTERM', onSignal);
  process.on('SIGHUP', onSignal);
  process.stdout.once('error', onUnread);
  process.on('exit', onExit);
  const watch = watchParent(() => onSignal('SIGTERM'));
  const running = work(abort.signal);
  running.catch(() => {});
  const failed = failure === null ? new Promise<never>(() => {}) : failure.then((error) => Promise.reject(error));
  failed.catch(() => {});
  try {
    return await Promise.race([running, interrupted, failed]).catch(async (error: unknown) => {
      // When a service dies, calls to it and to its neighbours fail first, and with less to say: give its end time to be noticed.
      if (error instanceof Interrupted || failure === null) throw error;
      const late = new Promise<null>((done) => setTimeout(() => done(null), DEATH_MS));
      throw (await Promise.race([failure, late])) ?? error;
    });
  } finally {
    abort.abort();
    if (closing.unwindMs !== undefined) await within(closing.unwindMs, running);
    await closing.stop(signals > 0);
    clearInterval(watch);
    process.stdout.off('error', onUnread);
    process.off('exit', onExit);
    process.off('SIGINT', onSignal);
    process.off('SIGTERM', onSignal);
    process.off('SIGHUP', onSignal);
  }
}

/** Returns when it has ended, however, or after so long. */
export async function within(ms: number, work: Promise<unknown>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<void>((done) => (timer = setTimeout(done, ms)));
  await Promise.race([work.catch(() => {}), late]);
  clearTimeout(timer);
}

/** Ends a session. Interrupted, it does not wait longer than a user does: the hypervisor goes on with it. */
export async function endHeld(held: BedSession | null, interrupted: boolean): Promise<void> {
  const ended = Promise.allSettled([held?.end()]);
  await (interrupted ? within(UNWIND_MS, ended) : ended);
}

const PARENT_LOOK_MS = 250;

/** npm runs commands through a shell, and a signal to npm ends the shell and not what runs in it. So a command that npm
 *  started ends when its parent has gone; one that a user put into the background on purpose does not. */
export function watchParent(gone: () => void): NodeJS.Timeout | undefined {
  if (process.env['npm_command'] === undefined && process.env['npm_lifecycle_event'] === undefined) return undefined;
  const parent = process.ppid;
  const timer = setInterval(() => {
    if (process.ppid === parent) return;
    clearInterval(timer);
    gone();
  }, PARENT_LOOK_MS);
  return timer.unref();
}
