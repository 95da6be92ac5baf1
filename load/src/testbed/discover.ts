/** Finds a testbed by its directory, and tells whether it is alive. */
import { existsSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { UserError } from '../cli/errors.js';
import { startTimeOf } from './proc.js';

/** testbed.json: written by the supervisor, read by every command. */
export interface TestbedFile {
  schema: 'grantline.testbed/1';
  /** The supervising process, and when it started (clock ticks since boot). */
  pid: number;
  startTime: number;
  /** http://host:port of the hypervisor; null while it starts. */
  hypervisor: string | null;
  /** File with the operator's token. */
  token: string;
  /** `up`: anybody may use it. `own`: it belongs to the one command that started it. */
  use: 'up' | 'own';
  /** Guests whose stack is a kernel's, behind a TAP device: they take part in no measured run. */
  kernelGuests?: number[];
  /** http://host:port/ of the live page, if there is one. */
  page?: string;
}

export type Found =
  | { state: 'none' }
  | { state: 'alive'; dir: string; file: TestbedFile }
  | { state: 'stale'; dir: string; file: TestbedFile | null };

/** Alive: the supervisor runs. Stale: the directory has content and no living owner (it was killed). */
export function discover(dir: string): Found {
  if (!existsSync(dir)) return { state: 'none' };
  let names: string[];
  try {
    names = readdirSync(dir);
  } catch {
    throw new UserError(`cannot read ${dir}`, 'choose another directory with --dir');
  }
  if (names.length === 0) return { state: 'none' };
  const file = readTestbedFile(dir);
  if (file && startTimeOf(file.pid) === file.startTime) return { state: 'alive', dir, file };
  return { state: 'stale', dir, file };
}

/** @returns the testbed that may be used, or null when a new one has to be started.
 *  @throws UserError when the directory is stale or busy */
export function usable(dir: string): { dir: string; file: TestbedFile & { hypervisor: string } } | null {
  const found = discover(dir);
  if (found.state === 'none') return null;
  if (found.state === 'stale') throw staleError(found);
  const { file } = found;
  if (file.use === 'own') {
    throw new UserError(
      `process ${file.pid} is running its own testbed in ${dir}`,
      'wait until it has ended, or choose another directory with --dir',
    );
  }
  if (file.hypervisor === null) throw new UserError(`the testbed in ${dir} is still starting`, 'try again in a moment');
  return { dir, file: { ...file, hypervisor: file.hypervisor } };
}

/** As usable, for commands that need a running testbed. */
export function required(dir: string): { dir: string; file: TestbedFile & { hypervisor: string } } {
  const found = discover(dir);
  if (found.state === 'none')
    throw new UserError(`no testbed is running in ${dir}`, 'start one with: npx grantline up');
  if (found.state === 'stale') throw staleError(found);
  const { file } = found;
  if (file.hypervisor === null) throw new UserError(`the testbed in ${dir} is still starting`, 'try again in a moment');
  return { dir, file: { ...file, hypervisor: file.hypervisor } };
}

function staleError(found: { dir: string; file: TestbedFile | null }): UserError {
  if (hypervisorAlive(found.dir)) {
    return new UserError(
      `services that nobody supervises are running in ${found.dir}`,
      'end them with: npx grantline down' + dirHint(found.dir),
    );
  }
  // Nothing of ours is removed by `down` either: say it at once rather than send the user there.
  if (!looksLikeTestbed(found.dir))
    return new UserError(`${found.dir} holds files that are not a testbed's`, 'choose another directory with --dir');
  return new UserError(
    `${found.dir} was left by a killed run`,
    'remove it with: npx grantline down' + dirHint(found.dir),
  );
}

/** True when the hypervisor that took the directory still runs, whoever started it. */
export function hypervisorAlive(dir: string): boolean {
  try {
    const [pid = 0, start = 0] = readFileSync(join(dir, 'hypervisor.pid'), 'utf8').trim().split(' ').map(Number);
    return startTimeOf(pid) === start;
  } catch {
    return false;
  }
}

function dirHint(dir: string): string {
  return dir === `/dev/shm/grantline-${process.getuid?.() ?? 0}` || process.env['GRANTLINE_DIR'] === dir
    ? ''
    : ` --dir ${dir}`;
}

const OURS = new Set([
  'testbed.json',
  'token',
  'hypervisor.pid',
  'domain',
  'evtchn',
  'dma',
  'join',
  'hypervisor.sock',
  'logs',
  'run.lock',
]);

/** True when nothing in it has a name that a testbed does not use: the guard before anything is removed. */
export function looksLikeTestbed(dir: string): boolean {
  return readdirSync(dir).every((name) => OURS.has(name));
}

export function readTestbedFile(dir: string): TestbedFile | null {
  try {
    const file = JSON.parse(readFileSync(join(dir, 'testbed.json'), 'utf8')) as TestbedFile;
    return file.schema === 'grantline.testbed/1' && Number.isInteger(file.pid) ? file : null;
  } catch {
    return null;
  }
}

/** Takes the directory: of two commands that start at once, one gets it. @throws UserError for the other */
export function claimTestbedFile(dir: string, file: TestbedFile): void {
  try {
    writeFileSync(join(dir, 'testbed.json'), textOf(file), { mode: 0o644, flag: 'wx' });
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'EEXIST')
      throw new UserError(
        `a testbed is just being started in ${dir}`,
        'wait until it has ended, or choose another directory with --dir',
      );
    throw new UserError(`cannot write in ${dir} (${code})`, 'choose another directory with --dir');
  }
}

/** Changes the file of a testbed that is ours. */
export function writeTestbedFile(dir: string, file: TestbedFile): void {
  writeFileSync(join(dir, 'testbed.json'), textOf(file), { mode: 0o644 });
}

const textOf = (file: TestbedFile): string => `${JSON.stringify(file, null, 2)}\n`;
