/** Removes what a killed run left: service processes of its directory, then the directory. */
import { existsSync, rmSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { UserError } from '../cli/errors.js';
import { discover, looksLikeTestbed } from './discover.js';
import { serviceProcesses, startTimeOf } from './proc.js';

const STOP_LIMIT_MS = 4000;

/** Stops the testbed in `dir`, or clears up after one. @returns what was done, one line each; none when there was nothing */
export async function bringDown(dir: string): Promise<string[]> {
  const said: string[] = [];
  const found = discover(dir);
  if (found.state === 'alive') {
    signal(found.file.pid, 'SIGTERM');
    const gone = await until(() => startTimeOf(found.file.pid) !== found.file.startTime, STOP_LIMIT_MS);
    if (!gone) signal(found.file.pid, 'SIGKILL');
    said.push(
      `stopped the testbed of process ${found.file.pid}${gone ? '' : ' (it did not end by itself and was killed)'}`,
    );
  }
  for (const p of serviceProcesses(dir)) {
    signal(p.pid, 'SIGKILL');
    said.push(`killed ${p.script} (process ${p.pid})`);
  }
  await until(() => serviceProcesses(dir).length === 0, 2000);
  if (existsSync(dir)) {
    if (!looksLikeTestbed(dir)) {
      throw new UserError(
        `${dir} holds files that are not a testbed's; they were not touched`,
        'choose another directory with --dir',
      );
    }
    rmSync(dir, { recursive: true, force: true, maxRetries: 3 });
    said.push(`removed ${dir}`);
  }
  return said;
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EPERM') {
      throw new UserError(`process ${pid} belongs to another user`, 'run as that user, or as root');
    }
  }
}

async function until(so: () => boolean, limitMs: number): Promise<boolean> {
  const end = performance.now() + limitMs;
  while (!so()) {
    if (performance.now() > end) return false;
    await sleep(20);
  }
  return true;
}
