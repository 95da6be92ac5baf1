/** Docker as this machine has it: which Compose there is, and whether the daemon answers. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { version, type IDockerComposeOptions } from 'docker-compose';
import { UserError } from '../base/errors.js';
import { REPOSITORY } from '../testbed/paths.js';

const run = promisify(execFile);

/** How to call Compose. */
export interface Engine {
  /** 'docker compose' or 'docker-compose', for messages. */
  command: string;
  options: Pick<IDockerComposeOptions, 'cwd' | 'executable'>;
}

/** Oldest that are known to work. */
const OLDEST = { plugin: [2, 0], binary: [1, 29], engine: [20, 10] } as const;
const INSTALL = 'install Docker with Compose (https://docs.docker.com/engine/install/), or leave out --compose';

/** The plugin where there is one, else the old binary. @throws UserError when there is neither, when it is too old, or
 *  when the daemon does not answer */
export async function findEngine(): Promise<Engine> {
  await checkDaemon();
  const plugin = { cwd: REPOSITORY };
  const binary = { cwd: REPOSITORY, executable: { standalone: true as const } };
  const found = await versionOf(plugin);
  if (found !== null && isAtLeast(found, OLDEST.plugin)) return { command: 'docker compose', options: plugin };
  const old = await versionOf(binary);
  if (old !== null && isAtLeast(old, OLDEST.binary)) return { command: 'docker-compose', options: binary };
  const seen = found ?? old;
  if (seen === null) throw new UserError('this Docker has no Compose', 'install the docker compose plugin');
  throw new UserError(`Docker Compose ${seen} is too old`, 'install 1.29 or newer, best the docker compose plugin');
}

/** docker with these arguments. @returns its output; null when it failed */
export async function docker(...args: string[]): Promise<string | null> {
  try {
    return (await run('docker', args, { timeout: 60_000, maxBuffer: 256 << 20 })).stdout.trim();
  } catch {
    return null;
  }
}

/** What a container has written. @returns null when it cannot be read */
export async function containerLog(name: string): Promise<{ out: string; err: string } | null> {
  try {
    const { stdout, stderr } = await run('docker', ['logs', name], { timeout: 60_000, maxBuffer: 256 << 20 });
    return { out: stdout, err: stderr };
  } catch {
    return null;
  }
}

async function checkDaemon(): Promise<void> {
  let server: string;
  try {
    server = (await run('docker', ['version', '--format', '{{.Server.Version}}'], { timeout: 20_000 })).stdout.trim();
  } catch (error) {
    const { code, stderr = '' } = error as { code?: unknown; stderr?: string };
    if (code === 'ENOENT') throw new UserError('Docker is not installed', INSTALL);
    if (/permission denied/i.test(stderr))
      throw new UserError('this user may not talk to the Docker daemon', 'join the group docker, or use sudo');
    throw new UserError('the Docker daemon does not answer', 'start it, for example: sudo systemctl start docker');
  }
  if (!isAtLeast(server, OLDEST.engine))
    throw new UserError(`Docker ${server} is too old`, `install ${OLDEST.engine.join('.')} or newer`);
}

async function versionOf(options: IDockerComposeOptions): Promise<string | null> {
  try {
    const text = (await version(options)).data.version.replace(/^v/, '');
    return /^\d+\.\d+/.test(text) ? text : null;
  } catch {
    return null;
  }
}

/** Pure. @param text such as 20.10.24+dfsg1 */
export function isAtLeast(text: string, [major, minor]: readonly [number, number]): boolean {
  const [a = 0, b = 0] = text.split('.').map((part) => Number.parseInt(part, 10));
  return a > major || (a === major && b >= minor);
}
