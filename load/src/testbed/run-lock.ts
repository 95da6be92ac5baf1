/** One measurement at a time on a running testbed: a second one would change the configuration under the first. */
import { join } from 'node:path';
import { FileLock } from '@grantline/machine';
import { readOwnFile, startTimeOf } from '@grantline/base';
import { UserError } from '../base/errors.js';

/** Takes the lock; the kernel gives up that of a dead holder. @returns how to give it back. @throws UserError when held */
export function takeRunLock(dir: string): () => void {
  const path = join(dir, 'run.lock');
  const taken = lock(path, dir);
  if (!(taken instanceof FileLock)) {
    const [pid = 0] = holder(taken);
    throw new UserError(`process ${pid} is measuring on the testbed in ${dir}`, 'wait until it has ended');
  }
  taken.write(`${process.pid} ${startTimeOf(process.pid) ?? 0}\n`);
  return () => taken.release(true);
}

function lock(path: string, dir: string): FileLock | string {
  try {
    return FileLock.take(path);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EACCES' || code === 'EROFS')
      throw new UserError(`${dir} belongs to another user`, 'run as that user, or choose another directory with --dir');
    throw error;
  }
}

/** @returns the process that measures on the testbed now, or null */
export function runLockHolder(dir: string): number | null {
  const [pid = 0, start = NaN] = holder(readOwnFile(join(dir, 'run.lock')) ?? '');
  return startTimeOf(pid) === start ? pid : null;
}

const holder = (text: string): number[] => text.trim().split(' ').map(Number);
