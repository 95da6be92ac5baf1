/** What the end-to-end tests share: the command and other programs as processes, in a directory of their own. */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { availableParallelism, loadavg } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { configurationNames } from '@grantline/base';
import type { CompareFile } from '../../src/report/results.js';
import { Client } from '../../src/control/client.js';
import { sum } from '../../src/control/snapshot.js';
import { discover } from '../../src/testbed/discover.js';
import { REPOSITORY } from '../../src/testbed/paths.js';
import { serviceProcesses, type ServiceProcess } from '../../src/testbed/proc.js';

export const COMMAND = join(REPOSITORY, 'load/bin/grantline.mjs');
export const CAPTURE = join(REPOSITORY, 'load/captures/lan-http.pcap');

/** What is promised for a machine that has nothing else to do, in seconds here: much longer where others want its cores too. */
export const within = (seconds: number): number => (loadavg()[0] > availableParallelism() ? 10 : 1) * seconds;

/** Waits until it is so; what cannot be asked is not so yet. @throws after the limit */
export async function eventually(
  what: string,
  so: () => boolean | Promise<boolean>,
  lookMs = 20,
  limitMs = 60_000,
): Promise<void> {
  let why = '';
  const isSo = async (): Promise<boolean> => {
    why = '';
    try {
      return await so();
    } catch (error) {
      why = `: ${String(error)}`;
      return false;
    }
  };
  for (const end = performance.now() + limitMs; !(await isSo()); await sleep(lookMs))
    if (performance.now() > end) throw new Error(`not within ${limitMs / 1000} s: ${what}${why}`);
}

/** Programs that a test asks for, and the Debian packages that have them. @returns why it cannot be tried; false: it can */
export function lacking(programs: Readonly<Record<string, string>>): string | false {
  for (const [program, pack] of Object.entries(programs))
    if (spawnSync('sh', ['-c', `command -v ${program}`]).status !== 0)
      return `no ${program} here: apt-get install ${pack}`;
  return false;
}

export interface Ended {
  code: number | null;
  stdout: string;
  stderr: string;
  /** From the last signal (or the start) to the end. */
  seconds: number;
}

/** The start of a long text and its end: a verdict stands before the table, a stack behind it. */
const ends = (text: string, most = 1500): string =>
  text.length <= 2 * most
    ? text
    : `${text.slice(0, most)}\n[${text.length - 2 * most} characters]\n${text.slice(-most)}`;

/** @returns what a program printed @throws when it has failed */
export function succeeded({ code, stdout, stderr }: Ended, what = 'it'): string {
  if (code !== 0) throw new Error(`${what} ended with ${code}: ${ends(stderr.trim())}\n${ends(stdout.trim())}`);
  return stdout;
}

/** A machine that does much else may find the HTTP generator full, or answer nothing in a short run: a void run is no fault of
 *  the path. */
export const voided = ({ code, stderr }: Ended): boolean =>
  code === 1 && /: void: (the generator|no request was answered in time)/.test(stderr);

/** Who got frames in a run. */
export const served = (x: CompareFile['results'][0]): string[] =>
  Object.keys(x.deliveredBy).filter((name) => x.deliveredBy[name] > 0);

/** Configuration, guests that got frames, verdict on all hops, of a comparison of all configurations with two guests. */
export const carried = (results: CompareFile['results']): unknown[] =>
  results.map((x) => [x.config, served(x).length, x.conservation]);
export const ALL_CARRY = configurationNames.map((config) => [config, config === 'native' ? 1 : 2, 'ok']);

/** Those whose end is not over: a test that is interrupted ends them. */
const benches = new Set<Bench>();
let interrupted = false;
// Not `once`: tap ends a process whose listeners are gone. And one interrupt is several signals: a terminal's to all processes, those
// that npm and the runner pass on. Each of them waits for the same ends.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
  process.on(signal, () => {
    interrupted = true;
    void Promise.allSettled([...benches].map((bench) => bench.end())).then(() => process.exit(1));
  });

export class Bench {
  readonly home: string;
  /** The testbed's directory; not made here. */
  readonly dir: string;
  /** What programs have in their environment besides. */
  readonly env: NodeJS.ProcessEnv;
  /** What programs get for ending themselves when a test is over. */
  protected readonly graceMs: number = 3000;
  /** Processes that run. */
  private readonly running = new Set<Running>();
  /** Its end, once that has begun. */
  private ending: Promise<void> | null = null;

  constructor(name: string, env: NodeJS.ProcessEnv = {}) {
    if (interrupted) throw new Error('the tests are interrupted');
    this.env = env;
    this.home = `/dev/shm/grantline-test-${process.pid}-${name}`;
    this.dir = join(this.home, 'bed');
    mkdirSync(this.home, { recursive: true });
    benches.add(this);
  }

  /** Starts the command. @param words its arguments, and what to set in its environment */
  start(...words: (string | NodeJS.ProcessEnv)[]): Running {
    const env = Object.assign({}, ...words.filter((w) => typeof w !== 'string')) as NodeJS.ProcessEnv;
    return this.spawn([process.execPath, COMMAND, ...words.filter((w) => typeof w === 'string')], env);
  }

  run(...args: string[]): Promise<Ended> {
    return this.start(...args).ended;
  }

  /** Starts another program. @param line its words, without quotes, @param more arguments as they are: paths may have spaces */
  program(line: string, ...more: string[]): Running {
    return this.spawn([...words(line), ...more], {});
  }

  call(line: string, ...more: string[]): Promise<Ended> {
    return this.program(line, ...more).ended;
  }

  /** @returns what it printed @throws when it fails */
  async must(line: string, ...more: string[]): Promise<string> {
    return succeeded(await this.call(line, ...more), line);
  }

  /** As call, for clear(): also when the test is over. In a session of its own, which a terminal does not interrupt. */
  protected clearBy(line: string, ...more: string[]): Promise<Ended> {
    return new Running(this, [...words(line), ...more], {}, true).ended;
  }

  private spawn(command: string[], env: NodeJS.ProcessEnv): Running {
    // A test that is interrupted may go on while it is cleared up.
    if (this.ending !== null) throw new Error('the test is over');
    const running = new Running(this, command, env);
    this.running.add(running);
    void running.ended.then(() => this.running.delete(running));
    return running;
  }

  /** Starts a testbed that stays, for several commands. */
  async up(guests: number, ...more: string[]): Promise<Running> {
    const up = this.start('up', '--guests', String(guests), '--listen', '127.0.0.1:0', '--no-page', ...more);
    await up.until(/Running in/);
    return up;
  }

  /** Waits until frames move on the testbed. */
  busy(limitMs = 90_000): Promise<void> {
    const moves = async (): Promise<boolean> => {
      const client = this.client();
      const snap = await client.snapshot(await client.services());
      return sum(snap, 'cable', 'sentFrames') > 0 && sum(snap, 'app', 'frames') > 0;
    };
    return eventually('frames move', moves, 20, limitMs);
  }

  /** Of the testbed that is up. */
  client(): Client {
    const found = discover(this.dir);
    if (found.state !== 'alive' || found.file.hypervisor === null) throw new Error(`no testbed is up in ${this.dir}`);
    return Client.open(found.file.hypervisor, found.file.token);
  }

  services(): ServiceProcess[] {
    return serviceProcesses(this.dir);
  }

  /** What is left: processes and files, as text. Empty when nothing is. */
  leftovers(): string[] {
    return [
      ...this.services().map((p) => `process ${p.pid} ${p.script}`),
      ...(existsSync(this.dir) ? readdirSync(this.dir).map((n) => join(this.dir, n)) : []),
    ];
  }

  /** Ends what runs, and removes what it has made: once, however often it is asked to. */
  end(): Promise<void> {
    this.ending ??= this.endAll().finally(async () => {
      try {
        await this.clear();
      } finally {
        rmSync(this.home, { recursive: true, force: true });
        benches.delete(this);
      }
    });
    return this.ending;
  }

  private async endAll(): Promise<void> {
    for (const { child } of [...this.running].reverse()) child.kill('SIGTERM');
    await eventually('all have ended', () => this.running.size === 0, 20, this.graceMs).catch(() => {});
    for (const { child } of this.running) child.kill('SIGKILL');
    for (const p of this.services()) killIfThere(p.pid);
  }

  /** Removes what is elsewhere than in its directory. */
  async clear(): Promise<void> {}
}

const words = (line: string): string[] => line.split(' ').filter(Boolean);

/** A process may end between the look at it and this. */
function killIfThere(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

export class Running {
  readonly child: ChildProcess;
  readonly ended: Promise<Ended>;
  stdout = '';
  stderr = '';
  private readonly bench: Bench;
  private since = performance.now();

  /** @param detached in a session of its own */
  constructor(bench: Bench, [file, ...args]: string[], more: NodeJS.ProcessEnv, detached = false) {
    this.bench = bench;
    const env: NodeJS.ProcessEnv = {
      ...process.env,
      GRANTLINE_DIR: bench.dir,
      GRANTLINE_RESULTS: join(bench.home, 'results'),
      ...bench.env,
      ...more,
    };
    delete env['NODE_OPTIONS'];
    this.child = spawn(file, args, {
      env,
      cwd: bench.home,
      detached,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.child.stdout?.setEncoding('utf8').on('data', (text: string) => (this.stdout += text));
    this.child.stderr?.setEncoding('utf8').on('data', (text: string) => (this.stderr += text));
    this.ended = new Promise((done) => {
      const end = (code: number | null): void =>
        done({ code, stdout: this.stdout, stderr: this.stderr, seconds: (performance.now() - this.since) / 1000 });
      this.child.once('close', end);
      this.child.once('error', (error) => {
        this.stderr += error.message;
        end(127);
      });
    });
  }

  signal(name: NodeJS.Signals): void {
    this.since = performance.now();
    this.child.kill(name);
  }

  /** Waits until all services of a testbed with that many guests run and the command has said `text`. */
  async until(text: RegExp, limitMs = 90_000): Promise<void> {
    const end = performance.now() + limitMs;
    while (!text.test(this.stdout) && !text.test(this.stderr)) {
      if (this.child.exitCode !== null || this.child.signalCode !== null)
        throw new Error(`the command ended: ${this.stderr}${this.stdout}`);
      if (performance.now() > end) throw new Error(`nothing matches ${String(text)}: ${this.stderr}${this.stdout}`);
      await sleep(20);
    }
  }

  /** Kills one service. */
  killService(kind: string): void {
    const found = this.bench.services().find((p) => p.script.startsWith(`services/${kind}/`));
    if (!found) throw new Error(`no ${kind} is running`);
    this.since = performance.now();
    process.kill(found.pid, 'SIGKILL');
  }
}

/** @returns a port that is free now */
export async function freePort(host: string): Promise<number> {
  const server = createServer();
  await new Promise<void>((done, fail) => {
    server.once('error', fail);
    server.listen({ host, port: 0 }, done);
  });
  const address = server.address();
  await new Promise((done) => server.close(done));
  return address !== null && typeof address === 'object' ? address.port : 0;
}

const EXCHANGE_LIMIT_MS = 60_000;

/** Over a connection: sends all, then ends. @returns what came back; rejected with what went wrong */
export function exchange(at: { host: string; port: number }, body: Buffer): Promise<Buffer> {
  return new Promise((done, fail) => {
    const socket = connect({ ...at, allowHalfOpen: true });
    const chunks: Buffer[] = [];
    const timer = setTimeout(() => {
      const bytes = chunks.reduce((n, c) => n + c.length, 0);
      const seconds = EXCHANGE_LIMIT_MS / 1000;
      socket.destroy(new Error(`no end within ${seconds} s: ${bytes} bytes of ${body.length} came back`));
    }, EXCHANGE_LIMIT_MS);
    socket.on('data', (chunk) => chunks.push(chunk));
    socket.on('error', fail);
    socket.on('end', () => done(Buffer.concat(chunks)));
    socket.on('close', () => clearTimeout(timer));
    socket.end(body);
  });
}
