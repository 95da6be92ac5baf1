/** Removes what a killed run left: service processes of its directory, then the directory. */
import { rmSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { ProcessHandle } from '@grantline/machine';
import { openOwnDir, startTimeOf } from '@grantline/base';
import { UserError } from '../base/errors.js';
import { discover, looksLikeTestbed } from './discover.js';
import { serviceProcess, serviceProcesses } from './proc.js';
import type { TestbedFile } from './testbed-file.js';

const STOP_LIMIT_MS = 4000;

/** Stops the testbed in `dir`, or clears up after one. Ends nothing that is not provably this testbed's: it is looked at after a
 *  descriptor of it was opened, which stays that process's when the number is given away.
 *  @returns what was done, one line each; none when there was nothing. @throws UserError when the directory is not ours or not a
 *  testbed's: nothing was done then */
export async function bringDown(dir: string): Promise<string[]> {
  const said: string[] = [];
  const found = discover(dir);
  if (found.state === 'none') return said;
  if (!looksLikeTestbed(dir))
    throw new UserError(
      `${dir} holds files that are not a testbed's; they were not touched`,
      'choose another directory with --dir',
    );
  if (found.state === 'alive') said.push(await endSupervisor(dir, found.file));
  for (const p of serviceProcesses(dir)) {
    // Only if it is the same one still.
    if (end(p.pid, 'SIGKILL', () => serviceProcess(p.pid)?.dir === dir))
      said.push(`killed ${p.script} (process ${p.pid})`);
  }
  await until(() => serviceProcesses(dir).length === 0, 2000);
  if (openOwnDir(dir) !== null) {
    rmSync(dir, { recursive: true, force: true, maxRetries: 3 });
    said.push(`removed ${dir}`);
  }
  return said;
}

async function endSupervisor(dir: string, { pid, startTime }: TestbedFile): Promise<string> {
  const isIt = (): boolean => startTimeOf(pid) === startTime;
  const process = ProcessHandle.open(pid);
  try {
    const now = discover(dir);
    if (process !== null && isIt() && now.state === 'alive' && now.file.pid === pid) {
      send(process, 'SIGTERM');
      if (!(await until(() => !isIt(), STOP_LIMIT_MS))) {
        send(process, 'SIGKILL');
        return `stopped the testbed of process ${pid} (it did not end by itself and was killed)`;
      }
    }
  } finally {
    process?.close();
  }
  return `stopped the testbed of process ${pid}`;
}

/** @returns false when it was not there, or another, any more */
function end(pid: number, signal: NodeJS.Signals, isIt: () => boolean): boolean {
  const process = ProcessHandle.open(pid);
  if (process === null) return false;
  try {
    return isIt() && send(process, signal);
  } finally {
    process.close();
  }
}

function send(process: ProcessHandle, signal: NodeJS.Signals): boolean {
  const how = process.signal(signal);
  if (how === 'refused')
    throw new UserError(`process ${process.pid} belongs to another user`, 'run as that user, or as root');
  return how === 'sent';
}

async function until(so: () => boolean, limitMs: number): Promise<boolean> {
  const end = performance.now() + limitMs;
  while (!so()) {
    if (performance.now() > end) return false;
    await sleep(20);
  }
  return true;
}
