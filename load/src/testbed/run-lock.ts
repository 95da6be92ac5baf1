/** One measurement at a time on a running testbed: a second one would change the configuration under the first. */
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { UserError } from '../cli/errors.js';
import { startTimeOf } from './proc.js';

/** Takes the lock; one whose holder is dead is taken over. @returns how to give it back. @throws UserError when held */
export function takeRunLock(dir: string): () => void {
  const path = join(dir, 'run.lock');
  const mine = `${process.pid} ${startTimeOf(process.pid) ?? 0}\n`;
  for (let attempt = 0; ; attempt++) {
    try {
      writeFileSync(path, mine, { flag: 'wx', mode: 0o644 });
      return () => rmSync(path, { force: true });
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code;
      if (code === 'EACCES' || code === 'EROFS')
        throw new UserError(
          `${dir} belongs to another user`,
          'run as that user, or choose another directory with --dir',
        );
      if (code !== 'EEXIST') throw error;
      const [pid = 0, start = 0] = holder(path);
      if (attempt > 0 || startTimeOf(pid) === start) {
        throw new UserError(`process ${pid} is measuring on the testbed in ${dir}`, 'wait until it has ended');
      }
      rmSync(path, { force: true });
    }
  }
}

/** @returns the process that measures on the testbed now, or null */
export function runLockHolder(dir: string): number | null {
  const [pid = 0, start = 0] = holder(join(dir, 'run.lock'));
  return pid !== 0 && startTimeOf(pid) === start ? pid : null;
}

function holder(path: string): number[] {
  try {
    return readFileSync(path, 'utf8').trim().split(' ').map(Number);
  } catch {
    return [];
  }
}
