/** The testbed in containers, as docker-compose.yml describes it: which Compose this machine has and whether the daemon answers; up,
 *  ready, down. */
import { counted } from '../base/format.js';
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { setTimeout as sleep } from 'node:timers/promises';
import { version, buildOne, downAll, execCompose, upAll, upMany, type IDockerComposeOptions } from 'docker-compose';
import { UserError, RunError } from '../base/errors.js';
import { REPOSITORY } from '../testbed/paths.js';
import { untilNothingLeft } from '../base/standstill.js';
import { terminalProgress, type Progress } from '../base/progress.js';
import { session, within } from '../control/session.js';
import { call, callBytes } from '../base/http.js';
import { checkPort } from '../testbed/preflight.js';
import { descendants } from '../testbed/proc.js';

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

/** grantline up --compose: starts the containers and returns once all answer: from then on they run by themselves.
 *  @throws UserError, RunError; then what was started by this is gone again */
export async function upCompose(guests: number): Promise<void> {
  const deployment = await Deployment.open();
  const progress = terminalProgress();
  const wasRunning = await deployment.isRunning();
  let ready = false;
  const stop = async (): Promise<void> => {
    progress.clear();
    if (ready) return;
    // What ran before stays, with as many more guests as there are by now.
    await (wasRunning ? deployment.halt() : deployment.down());
  };
  await session({ stop, killNow: () => {} }, null, async () => {
    await deployment.up(guests, progress);
    await deployment.untilReady(guests, progress);
    ready = true;
  });
  const width = Math.max(...PORTS.map((p) => p.what.length));
  for (const p of PORTS)
    process.stdout.write(`${p.what.padEnd(width)}  ${urlOf(p)}${p.show}${p.what === 'nic' ? ' -> guest1' : ''}\n`);
  process.stdout.write(
    `Running in containers with ${counted(guests, 'guest')}; a cycle of all configurations runs on them. ` +
      `Logs: ${deployment.engine.command} logs. Stop with: npx grantline down --compose\n`,
  );
}

/** grantline down --compose. */
export async function downCompose(): Promise<void> {
  const deployment = await Deployment.open();
  const progress = terminalProgress();
  progress.live('removing containers');
  await deployment.down();
  progress.clear();
  process.stdout.write('Containers, networks and volumes of the testbed are gone.\n');
}

/** Published on 127.0.0.1: what each is, the variable that changes the port, and what answers when it is ready. */
export const PORTS = [
  { what: 'Grafana', variable: 'GRAFANA_PORT', port: 3000, ready: '/api/health', show: '/' },
  { what: 'Prometheus', variable: 'PROMETHEUS_PORT', port: 9090, ready: '/-/ready', show: '/' },
  { what: 'hypervisor', variable: 'GRANTLINE_PORT', port: 7600, ready: '/health/ready', show: '/documentation' },
  { what: 'nic', variable: 'EDGE_PORT', port: 8080, ready: null, show: '/' },
] as const;
type Published = (typeof PORTS)[number];

/** What a measurement needs; the rest is for looking. */
export const CORE_SERVICES = ['hypervisor', 'driver-domain', 'nic', 'guest'];

/** So long no container may get any further. */
const READY_STAND_MS = 120_000;
const LOOK_MS = 250;
const LOOK_LIMIT_MS = 2000;
/** Seconds that containers get to end; they need less. */
const STOP_S = '5';
/** What Compose gets for ending itself, before it is made to. */
const HALT_MS = 5000;
/** What the daemon was told to make before appears within moments. */
const DOWN_TRIES = 3;
const DOWN_PAUSE_MS = 500;

export class Deployment {
  readonly engine: Engine;
  /** Calls of Compose under way; never rejected. */
  private readonly under = new Set<Promise<void>>();
  private halted = false;

  private constructor(engine: Engine) {
    this.engine = engine;
  }

  /** @throws UserError when this machine cannot run containers, or a port's variable is no port */
  static async open(): Promise<Deployment> {
    for (const p of PORTS) portOf(p);
    return new Deployment(await findEngine());
  }

  /** Is a container of that service running? Of the hypervisor's: is the deployment up? */
  async isRunning(service = 'hypervisor'): Promise<boolean> {
    for (const id of await this.containers('-q', service))
      if ((await docker('inspect', '-f', '{{.State.Running}}', id)) === 'true') return true;
    return false;
  }

  /** Builds the image and starts; containers that run already and fit stay. Not ready yet: see untilReady.
   *  @param services all when not given @throws UserError for a port in use; RunError */
  async up(guests: number, progress: Progress, services?: readonly string[]): Promise<void> {
    if (!(await this.isRunning())) {
      const wanted = PORTS.filter((p) => services === undefined || services.includes(p.what));
      for (const p of wanted) await checkPublished(p);
    }
    const telling = (what: string): IDockerComposeOptions => ({
      ...this.engine.options,
      callback: (chunk) => progress.live(`${what}: ${lastLine(chunk.toString())}`),
    });
    // All containers of ours have one image: to build it for each would be the same work again.
    progress.live('building the image');
    await this.compose(() => buildOne('hypervisor', telling('building the image')));
    progress.live('starting containers');
    const options = { ...telling('starting containers'), commandOptions: ['--scale', `guest=${guests}`] };
    await this.compose(() => (services === undefined ? upAll(options) : upMany([...services], options)));
  }

  /** Waits until that many guests and all others answer. @throws RunError when they stand still */
  async untilReady(guests: number, progress: Progress, services?: readonly string[]): Promise<void> {
    const watched = PORTS.filter((p) => services === undefined || services.includes(p.what));
    const look = async (): Promise<string | null> => {
      const missing = await missingOf(guests, watched);
      if (missing !== null) progress.live(`waiting for ${missing}`);
      return missing === null ? null : `${missing} did not get ready; see: ${this.engine.command} logs`;
    };
    await untilNothingLeft(look, { standMs: READY_STAND_MS, everyMs: LOOK_MS });
  }

  /** Ends what Compose is doing for this command. A signal ends the command's own work only, and an `up` that went on would
   *  make containers behind the back of `down`. */
  async halt(): Promise<void> {
    this.halted = true;
    for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
      if (this.under.size === 0) return;
      // Compose may be a child of Docker's command, which does not hand every signal on.
      for (const { pid, args } of descendants()) {
        try {
          if (args.some((arg) => arg.includes('compose'))) process.kill(pid, signal);
        } catch {
          // It has ended.
        }
      }
      await within(HALT_MS, Promise.all(this.under));
    }
  }

  /** Ends and removes containers, networks and volumes, also those that are only just being made. The image stays.
   *  @throws RunError when something stays */
  async down(): Promise<void> {
    await this.halt();
    const commandOptions = ['--volumes', '--remove-orphans', '--timeout', STOP_S];
    for (let tries = 1; ; tries++) {
      const failure = await this.call(() => downAll({ ...this.engine.options, commandOptions })).then(
        () => null,
        (error: Error) => error,
      );
      const left = await this.containers('-aq');
      if (failure === null && left.length === 0) return;
      if (tries === DOWN_TRIES)
        throw failure ?? new RunError(`containers are left: ${left.join(', ')}; remove them with: docker rm -f`);
      await sleep(DOWN_PAUSE_MS);
    }
  }

  /** Ids of containers. @param what as `ps` takes it */
  private async containers(...what: string[]): Promise<string[]> {
    const { out } = await this.call(() => execCompose('ps', what, this.engine.options));
    return out
      .split('\n')
      .map((id) => id.trim())
      .filter((id) => /^[0-9a-f]{12,}$/.test(id));
  }

  async stopService(name: string): Promise<void> {
    await this.compose(() => execCompose('stop', ['--timeout', STOP_S, name], this.engine.options));
  }

  async startService(name: string): Promise<void> {
    await this.call(() => execCompose('start', [name], this.engine.options));
  }

  /** Calls Compose for the command's work: not any more once that has been ended. Its failure in one line. */
  async compose<T>(call: () => Promise<T>): Promise<T> {
    if (this.halted) throw new RunError('the containers are being put back');
    return this.call(call);
  }

  private async call<T>(call: () => Promise<T>): Promise<T> {
    const calling = call();
    const settled = calling.then(
      () => {},
      () => {},
    );
    this.under.add(settled);
    void settled.then(() => this.under.delete(settled));
    try {
      return await calling;
    } catch (error) {
      const { err, out } = error as { err?: string; out?: string };
      if (err === undefined) throw error;
      throw failureOf(this.engine.command, `${out ?? ''}\n${err}`);
    }
  }
}

/** Pure: what a failed Compose said, as something that a user can act on. */
export function failureOf(command: string, text: string): Error {
  const taken = /(?:127\.0\.0\.1|0\.0\.0\.0):(\d+)[^\n]*(?:address already in use|port is already allocated)/.exec(
    text,
  );
  if (taken) {
    const of = PORTS.find((p) => String(portOf(p)) === taken[1]);
    return portInUse(Number(taken[1]), of?.variable ?? 'GRANTLINE_PORT');
  }
  const lines = text.split('\n').map((line) => line.trim());
  const said = lines.filter((line) => /error|denied|cannot|failed|no such/i.test(line)).at(-1);
  return new RunError(`${command} failed: ${said ?? lastLine(text)}`);
}

/** http://127.0.0.1:port of what is published. */
export const urlOf = (p: Published): string => `http://127.0.0.1:${portOf(p)}`;

function portOf({ variable, port }: Published): number {
  const text = process.env[variable];
  if (text === undefined || text === '') return port;
  const n = /^\d+$/.test(text) ? Number(text) : NaN;
  if (!(n >= 1 && n <= 65535))
    throw new UserError(`${variable}=${text} is not a port`, 'give a number from 1 to 65535');
  return n;
}

async function checkPublished(p: Published): Promise<void> {
  try {
    await checkPort('127.0.0.1', portOf(p));
  } catch {
    throw portInUse(portOf(p), p.variable);
  }
}

const portInUse = (port: number, variable: string): UserError =>
  new UserError(`port ${port} on 127.0.0.1 is in use`, `stop what uses it, or set ${variable} to another`);

/** @returns all that does not answer yet */
async function missingOf(guests: number, watched: readonly Published[]): Promise<string | null> {
  const missing: string[] = [];
  for (const p of watched) {
    // A guest does not answer in every configuration.
    if (p.ready === null) continue;
    try {
      await callBytes(p.what, urlOf(p), p.ready, { timeoutMs: LOOK_LIMIT_MS });
    } catch {
      missing.push(p.what);
    }
  }
  // What Prometheus asks: the token lies in the deployment.
  const up = await call<{ labels: { kind: string } }[]>('hypervisor', urlOf(PORTS[2]), '/prometheus/targets').then(
    (groups) => groups.map(({ labels }) => labels.kind),
    (): string[] => [],
  );
  for (const kind of ['driver-domain', 'nic'] as const) if (!up.includes(kind)) missing.push(kind);
  const guestsUp = up.filter((kind) => kind === 'guest').length;
  if (guestsUp < guests) missing.push(`${guests} guests (there are ${guestsUp})`);
  return missing.length === 0 ? null : missing.join(', ');
}

function lastLine(text: string): string {
  return (
    text
      .split(/[\r\n]+/)
      .map((line) => line.trim())
      .filter((line) => line !== '')
      .at(-1) ?? ''
  );
}
