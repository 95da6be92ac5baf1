/** Taking the directory: one hypervisor at a time, and what a killed one left is seen.
 *
 *  The proof that nobody uses it is a lock on hypervisor.pid, which the kernel lets go of when its holder dies. A pid says
 *  nothing between containers: each has its own numbers. */
import {
  closeSync,
  fstatSync,
  ftruncateSync,
  openSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { lockFile } from '@grantline/shared/mem/libc.js';
import { UsageError } from '@grantline/shared/service/usage-error.js';

/** Something about the directory that the operator must put right: one line that says what and what to do. */
export class DirectoryError extends UsageError {}

/** Everything that a hypervisor makes, in the directory. */
export const MADE_HERE = [
  'domain',
  'evtchn',
  'dma',
  'join',
  'hypervisor.sock',
  'token',
  'testbed.json',
  'hypervisor.pid',
] as const;

/** @param reclaim remove what a killed hypervisor left; otherwise that is an error
 *  @returns the descriptor that holds the lock: closing it gives the directory up
 *  @throws DirectoryError when it is in use, cannot be taken, or was left by a run that was killed */
export function claimDirectory(dir: string, reclaim: boolean): number {
  const left = readdirSync(dir).filter(
    (name) => (MADE_HERE as readonly string[]).includes(name) && name !== 'testbed.json',
  );
  const pidFile = join(dir, 'hypervisor.pid');
  const fd = locked(dir, pidFile);
  if (left.length > 0 && !reclaim) {
    // The file stays for whoever looks for the living, unless it is ours.
    if (!left.includes('hypervisor.pid')) rmSync(pidFile, { force: true });
    closeSync(fd);
    throw new DirectoryError(
      `${dir} was left by a run that was killed: remove it (grantline down, or rm -r ${dir}) and start again`,
    );
  }
  for (const name of left) if (name !== 'hypervisor.pid') rmSync(join(dir, name), { recursive: true, force: true });
  ftruncateSync(fd, 0);
  writeSync(fd, `${process.pid} ${startTimeOf(String(process.pid))}\n`, 0);
  return fd;
}

function locked(dir: string, pidFile: string): number {
  for (;;) {
    let fd: number;
    try {
      // Nobody else's: who can open it, to read alone, can lock it and keep the next hypervisor out.
      fd = openSync(pidFile, 'a+', 0o600);
    } catch (error) {
      throw new DirectoryError(
        `cannot take ${dir} (${(error as Error).message}): set GRANTLINE_DIR to another directory`,
      );
    }
    if (!lockFile(fd)) {
      const [pid = ''] = readFileSync(fd, 'utf8').trim().split(' ');
      closeSync(fd);
      throw new DirectoryError(
        `${dir} is in use by the hypervisor with pid ${pid}: stop it, or set GRANTLINE_DIR to another directory`,
      );
    }
    // A predecessor that was just ending may have removed the file between the two steps: then this lock is of no file.
    if (statSync(pidFile, { throwIfNoEntry: false })?.ino === fstatSync(fd).ino) return fd;
    closeSync(fd);
  }
}

/** When the process started, in clock ticks since boot; with the pid it names one process for good.
 *  @returns '' when there is no such process */
function startTimeOf(pid: string): string {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The name in parentheses may hold spaces; the start time is field 22, the 20th after it.
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? '';
  } catch {
    return '';
  }
}
