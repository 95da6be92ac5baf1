/** What the end-to-end tests share: the command as a process, in a directory of its own. */
import { spawn, type ChildProcess } from 'node:child_process';
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

export const CAPTURE = join(REPOSITORY, 'load/captures/lan-http.pcap');

/** What is promised for a machine that has nothing else to do, in seconds here: much longer where others want its cores too. */
export const within = (seconds: number): number => (loadavg()[0] > availableParallelism() ? 10 : 1) * seconds;

/** Waits until it is so. @throws after the limit */
export async function eventually(
  what: string,
  so: () => boolean | Promise<boolean>,
  lookMs = 20,
  limitMs = 60_000,
): Promise<void> {
  for (const end = performance.now() + limitMs; !(await so()); await sleep(lookMs))
    if (performance.now() > end) throw new Error(`not within ${limitMs / 1000} s: ${what}`);
}

export interface Ended {
  code: number | null;
  stdout: string;
  stderr: string;
  /** From the last signal (or the start) to the end. */
  seconds: number;
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

export class Bench {
  readonly home: string;
  /** The testbed's directory; not made here. */
  readonly dir: string;

  constructor(name: string) {
    this.home = `/dev/shm/grantline-test-${process.pid}-${name}`;
    this.dir = join(this.home, 'bed');
    mkdirSync(this.home, { recursive: true });
  }

  /** Starts the command. @param words its arguments, and what to set in its environment */
  start(...words: (string | NodeJS.ProcessEnv)[]): Running {
    const env = Object.assign({}, ...words.filter((w) => typeof w !== 'string')) as NodeJS.ProcessEnv;
    return new Running(
      this,
      words.filter((w) => typeof w === 'string'),
      env,
    );
  }

  run(...args: string[]): Promise<Ended> {
    return this.start(...args).ended;
  }

  /** Starts a testbed that stays, for several commands. */
  async up(guests: number, ...more: string[]): Promise<Running> {
    const up = this.start('up', '--guests', String(guests), '--listen', '127.0.0.1:0', '--no-page', ...more);
    await up.until(/Running in/);
    return up;
  }

  /** Waits until frames move on the testbed. */
  async busy(limitMs = 90_000): Promise<void> {
    const end = performance.now() + limitMs;
    for (;;) {
      const found = discover(this.dir);
      if (found.state === 'alive' && found.file.hypervisor !== null) {
        const client = Client.open(found.file.hypervisor, found.file.token);
        const snap = await client.snapshot(await client.services());
        if (sum(snap, 'cable', 'sentFrames') > 0 && sum(snap, 'app', 'frames') > 0) return;
      }
      if (performance.now() > end) throw new Error(`no frame has moved for ${limitMs} ms`);
      await sleep(20);
    }
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

  end(): void {
    for (const p of this.services()) process.kill(p.pid, 'SIGKILL');
    rmSync(this.home, { recursive: true, force: true });
  }
}

export class Running {
  readonly child: ChildProcess;
  readonly ended: Promise<Ended>;
  stdout = '';
  stderr = '';
  private readonly bench: Bench;
  private since = performance.now();

  constructor(bench: Bench, args: string[], more: NodeJS.ProcessEnv) {
    this.bench = bench;
    const env: NodeJS.ProcessEnv = {
      ...process.env,
      GRANTLINE_DIR: bench.dir,
      GRANTLINE_RESULTS: join(bench.home, 'results'),
      ...more,
    };
    delete env['NODE_OPTIONS'];
    this.child = spawn(process.execPath, [join(REPOSITORY, 'load/bin/grantline.mjs'), ...args], {
      env,
      cwd: bench.home,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.child.stdout?.setEncoding('utf8').on('data', (text: string) => (this.stdout += text));
    this.child.stderr?.setEncoding('utf8').on('data', (text: string) => (this.stderr += text));
    this.ended = new Promise((done) => {
      this.child.once('close', (code) => {
        done({ code, stdout: this.stdout, stderr: this.stderr, seconds: (performance.now() - this.since) / 1000 });
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
      if (this.child.exitCode !== null) throw new Error(`the command ended: ${this.stderr}${this.stdout}`);
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
