/** Finds a testbed by its directory, and tells whether it is alive. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { NotOursError, openOwnDir, readOwnFile, startTimeOf } from '@grantline/base';
import { UserError } from '../base/errors.js';
import { quoted } from '../base/format.js';
import { isUsualDir } from './paths.js';
import { fileIdentity, isSupervisor } from './proc.js';
import { isDraft, parseTestbedFile, TESTBED_FILE, type TestbedFile } from './testbed-file.js';

export type Found =
  | { state: 'none' }
  | { state: 'alive'; dir: string; file: TestbedFile }
  | { state: 'stale'; dir: string; file: TestbedFile | null };

/** Alive: the supervisor runs. Stale: the directory has content and no living owner (it was killed).
 *  @throws UserError when the directory is not ours, or its testbed.json is none that a supervisor of ours wrote: nothing that it
 *  says is then believed */
export function discover(dir: string): Found {
  for (;;) {
    const found = look(dir);
    if (found !== null) return found;
  }
}

/** @returns null when the supervisor wrote its file anew or ended between two of the looks that this takes: the next sees that */
function look(dir: string): Found | null {
  const path = join(dir, TESTBED_FILE);
  let identity: string | null;
  let names: string[];
  let text: string | null;
  try {
    if (openOwnDir(dir) === null) return { state: 'none' };
    names = readdirSync(dir);
    identity = fileIdentity(path);
    text = readOwnFile(path);
  } catch (error) {
    if (error instanceof NotOursError) throw error;
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw new UserError(`cannot read ${dir}`, 'choose another directory with --dir');
  }
  if (names.length === 0) return { state: 'none' };
  if (text === null) return { state: 'stale', dir, file: null };
  const file = parseTestbedFile(dir, text);
  // A number that nobody has, or somebody else by now: its writer has ended.
  if (startTimeOf(file.pid) !== file.startTime) return { state: 'stale', dir, file };
  if (isSupervisor(file.pid, dir)) return { state: 'alive', dir, file };
  if (startTimeOf(file.pid) !== file.startTime || fileIdentity(path) !== identity) return null;
  throw new UserError(
    `${path} names process ${file.pid}, which is not this testbed's`,
    'nothing was ended; see who wrote it, and remove the directory by hand',
  );
}

/** A testbed that has started. */
interface Usable {
  dir: string;
  file: TestbedFile & { hypervisor: string };
}

/** @returns the testbed that may be used, or null when a new one has to be started.
 *  @throws UserError when the directory is stale or busy */
export function usable(dir: string): Usable | null {
  const found = discover(dir);
  if (found.state === 'alive' && found.file.use === 'own')
    throw new UserError(
      `process ${found.file.pid} is running its own testbed in ${dir}`,
      'wait until it has ended, or choose another directory with --dir',
    );
  return found.state === 'none' ? null : started(found);
}

/** As usable, for commands that need a running testbed. */
export function required(dir: string): Usable {
  const found = discover(dir);
  if (found.state === 'none')
    throw new UserError(`no testbed is running in ${dir}`, 'start one with: npx grantline up');
  return started(found);
}

function started(found: Exclude<Found, { state: 'none' }>): Usable {
  if (found.state === 'stale') throw staleError(found);
  const { dir, file } = found;
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

/** What the hypervisor that took the directory says of itself.
 *  @returns null when none runs. @throws NotOursError when somebody else wrote it */
export function hypervisorIn(dir: string): { pid: number; port: number } | null {
  const [pid = 0, start = NaN, port = 0] = (readOwnFile(join(dir, 'hypervisor.pid')) ?? '')
    .trim()
    .split(' ')
    .map(Number);
  return startTimeOf(pid) === start ? { pid, port } : null;
}

/** True when the hypervisor that took the directory still runs, whoever started it. */
export function hypervisorAlive(dir: string): boolean {
  try {
    return hypervisorIn(dir) !== null;
  } catch {
    return false;
  }
}

function dirHint(dir: string): string {
  return isUsualDir(dir) ? '' : ` --dir ${quoted(dir)}`;
}

const OURS = new Set([
  TESTBED_FILE,
  'token',
  'hypervisor.pid',
  'join',
  'hypervisor.sock',
  'shared.sock',
  'logs',
  'run.lock',
  // Of older versions, which had files for what domains share.
  'domain',
  'evtchn',
  'dma',
]);

/** True when nothing in it has a name that a testbed does not use: the guard before anything is removed. */
export function looksLikeTestbed(dir: string): boolean {
  return readdirSync(dir).every((name) => OURS.has(name) || isDraft(name));
}
