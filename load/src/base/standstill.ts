/** Waiting for others for as long as they get on. A fixed limit would be missed by a slow machine, or by many guests, though all is well. */
import { setTimeout as sleep } from 'node:timers/promises';
import { RunError } from './errors.js';

interface Patience {
  /** So long nothing may change, milliseconds of those in which we looked. */
  standMs: number;
  /** Between two looks. */
  everyMs?: number;
  /** Replaced in tests. */
  now?: () => number;
  pause?: (ms: number) => Promise<unknown>;
}

/** Of the time between two looks no more than this counts: what held us up held the others up, too. */
const LOOK_MAX_MS = 1000;

/** Looks again and again until nothing is left. Each answer that was not there before is progress: what goes to and fro is not.
 *  @param look says what is left and how far that is; null: nothing
 *  @throws RunError with the last answer, when there was no progress for `standMs` */
export async function untilNothingLeft(look: () => Promise<string | null>, patience: Patience): Promise<void> {
  const { standMs, everyMs = 20, now = () => performance.now(), pause = sleep } = patience;
  const seen = new Set<string>();
  let stoodMs = 0;
  let before = now();
  for (;;) {
    const left = await look();
    if (left === null) return;
    const at = now();
    stoodMs = seen.has(left) ? stoodMs + Math.min(at - before, LOOK_MAX_MS) : 0;
    before = at;
    seen.add(left);
    if (stoodMs > standMs) throw new RunError(`no progress for ${standMs / 1000} s: ${left}`);
    await pause(everyMs);
  }
}
