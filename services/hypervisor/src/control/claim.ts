/** Taking the directory: one hypervisor at a time, and what a killed one left is seen. The proof that nobody uses it is the lock on
 *  hypervisor.pid. */
import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { FileLock } from '@grantline/machine';
import { startTimeOf, UsageError } from '@grantline/base';

/** Something about the directory that the operator must put right: one line that says what and what to do. */
export class DirectoryError extends UsageError {}

/** There is not enough memory for what domains share: one line that says how much is missing. */
export class MemoryError extends UsageError {
  readonly code = 'ENOMEM';
}

/** Everything that a hypervisor makes, in the directory. */
export const MADE_HERE = ['join', 'hypervisor.sock', 'shared.sock', 'token', 'testbed.json', 'hypervisor.pid'] as const;

/** @param reclaim remove what a killed hypervisor left; otherwise that is an error
 *  @returns the lock: releasing it gives the directory up
 *  @throws DirectoryError when it is in use, cannot be taken, or was left by a run that was killed */
export function claimDirectory(dir: string, reclaim: boolean): FileLock {
  const left = readdirSync(dir).filter(
    (name) => (MADE_HERE as readonly string[]).includes(name) && name !== 'testbed.json',
  );
  const lock = locked(dir);
  if (left.length > 0 && !reclaim) {
    // The file stays for commands that look for the living, unless it is ours.
    lock.release(!left.includes('hypervisor.pid'));
    throw new DirectoryError(
      `${dir} was left by a run that was killed: remove it (grantline down, or rm -r ${dir}) and start again`,
    );
  }
  for (const name of left) if (name !== 'hypervisor.pid') rmSync(join(dir, name), { recursive: true, force: true });
  lock.write(holderLine(0));
  return lock;
}

/** What hypervisor.pid holds: the process, when it started, and the port at which it answers.
 *  @param port 0: it does not answer yet */
export const holderLine = (port: number): string => `${process.pid} ${startTimeOf(process.pid) ?? ''} ${port}\n`;

function locked(dir: string): FileLock {
  let taken: FileLock | string;
  try {
    taken = FileLock.take(join(dir, 'hypervisor.pid'));
  } catch (error) {
    if (error instanceof UsageError) throw error;
    throw new DirectoryError(
      `cannot take ${dir} (${(error as Error).message}): set GRANTLINE_DIR to another directory`,
    );
  }
  if (taken instanceof FileLock) return taken;
  const [pid = ''] = taken.trim().split(' ');
  throw new DirectoryError(
    `${dir} is in use by the hypervisor with pid ${pid}: stop it, or set GRANTLINE_DIR to another directory`,
  );
}
