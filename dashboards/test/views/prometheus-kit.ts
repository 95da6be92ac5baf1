/** A Prometheus of a test's own, and a testbed for it to look at: both as processes, on free ports, in one folder. */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { createServer } from 'node:net';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { embeddedConfig, REPOSITORY } from '../../src/shipped.js';

/** Why there is no Prometheus to test with, or false. */
export function missing(): string | false {
  for (const name of ['prometheus', 'promtool'])
    if (spawnSync(name, ['--version']).error) return `${name} is not installed`;
  return false;
}

type Labels = Record<string, string>;

export interface Series {
  metric: Labels;
  /** Of an instant query. */
  value?: [time: number, value: string];
  /** Of a range. */
  values?: [time: number, value: string][];
}

export interface Sample {
  /** When the scrape began, seconds since the epoch: what Prometheus stamps the sample with. */
  time: number;
  /** When it ended. The service read its counters in between; a busy one takes its time. */
  until: number;
  value: number;
}

export class Lab {
  readonly home: string;
  readonly bed: string;
  private hypervisor = '';
  private page = '';
  private web = '';
  private readonly children: ChildProcess[] = [];
  private readonly said = new Map<ChildProcess, string>();

  constructor(name: string) {
    this.home = `/dev/shm/grantline-test-${process.pid}-${name}`;
    this.bed = join(this.home, 'bed');
    mkdirSync(this.home, { recursive: true });
  }

  /** Starts a testbed and waits until all of it runs. */
  async startTestbed(guests: number): Promise<void> {
    this.hypervisor = `127.0.0.1:${await freePort()}`;
    this.page = `127.0.0.1:${await freePort()}`;
    const up = this.grantline('up', '--guests', String(guests), '--listen', this.hypervisor, '--page', this.page);
    await this.until(up, () => this.said.get(up)!.includes('Running in'), 90_000);
  }

  /** Starts Prometheus on the shipped configuration. @param hypervisor host:port of another than the testbed's
   *  @param page the same of its live page */
  async startPrometheus(hypervisor = this.hypervisor, page = this.page): Promise<void> {
    const config = join(this.home, 'prometheus.yml');
    writeFileSync(config, embeddedConfig(hypervisor, page));
    const listen = `127.0.0.1:${await freePort()}`;
    this.web = `http://${listen}`;
    const child = this.start('prometheus', [
      `--config.file=${config}`,
      `--storage.tsdb.path=${join(this.home, 'tsdb')}`,
      `--web.listen-address=${listen}`,
      '--log.level=warn',
    ]);
    await this.until(child, async () => (await fetch(`${this.web}/-/ready`)).ok, 60_000);
  }

  /** Runs the command to its end. @returns what it said @throws when it fails */
  async run(...args: string[]): Promise<string> {
    const child = this.grantline(...args);
    const code = await new Promise<number | null>((done) => child.once('close', done));
    const said = this.said.get(child)!;
    if (code !== 0) throw new Error(`grantline ${args.join(' ')} ended with ${code}: ${said}`);
    return said;
  }

  /** Asks Prometheus' API. @throws what Prometheus says against it */
  async ask<T>(path: string, args: Record<string, string | number> = {}): Promise<T> {
    const body = new URLSearchParams(Object.entries(args).map(([k, v]): [string, string] => [k, String(v)]));
    const post = path.startsWith('query');
    const reply = await fetch(
      `${this.web}/api/v1/${path}${post ? '' : `?${body.toString()}`}`,
      post ? { method: 'POST', body } : {},
    );
    const answer = (await reply.json()) as { status: string; error?: string; data: T };
    if (answer.status !== 'success') throw new Error(`${args['query'] ?? path}: ${answer.error}`);
    return answer.data;
  }

  async atMoment(query: string, time: number): Promise<Series[]> {
    return (await this.ask<{ result: Series[] }>('query', { query, time })).result;
  }

  async overRange(query: string, start: number, end: number): Promise<Series[]> {
    return (await this.ask<{ result: Series[] }>('query_range', { query, start, end, step: 1 })).result;
  }

  /** What was scraped, sample by sample. */
  async samples(selector: string, seconds: number, end: number): Promise<{ labels: Labels; samples: Sample[] }[]> {
    const window = `[${Math.ceil(seconds)}s]`;
    const found = await this.atMoment(`${selector}${window}`, end);
    const took = new Map<string, number>();
    for (const { metric, values } of await this.atMoment(`scrape_duration_seconds${window}`, end))
      for (const [time, value] of values ?? []) took.set(`${metric['instance']} ${time}`, Number(value));
    return found.map(({ metric, values }) => ({
      labels: metric,
      samples: (values ?? []).map(([time, value]) => ({
        time,
        until: time + (took.get(`${metric['instance']} ${time}`) ?? 0),
        value: Number(value),
      })),
    }));
  }

  /** Waits until a question has the wanted answer. @throws after the limit */
  async eventually(what: string, is: () => Promise<boolean>, limitMs = 60_000): Promise<void> {
    const end = performance.now() + limitMs;
    while (!(await is())) {
      if (performance.now() > end) throw new Error(`not within ${limitMs / 1000} s: ${what}`);
      await sleep(200);
    }
  }

  /** Ends everything, in the reverse order, and leaves nothing. */
  async end(): Promise<void> {
    for (const child of this.children.reverse()) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      const closed = new Promise((done) => child.once('close', done));
      child.kill('SIGINT');
      if ((await Promise.race([closed, sleep(10_000, 'late')])) === 'late') child.kill('SIGKILL');
    }
    rmSync(this.home, { recursive: true, force: true });
  }

  private grantline(...args: string[]): ChildProcess {
    return this.start(process.execPath, [join(REPOSITORY, 'load/bin/grantline.mjs'), ...args]);
  }

  private start(command: string, args: string[]): ChildProcess {
    const env: NodeJS.ProcessEnv = {
      ...process.env,
      GRANTLINE_DIR: this.bed,
      GRANTLINE_RESULTS: join(this.home, 'results'),
    };
    delete env['NODE_OPTIONS'];
    const child = spawn(command, args, { cwd: this.home, env, stdio: ['ignore', 'pipe', 'pipe'] });
    this.children.push(child);
    this.said.set(child, '');
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding('utf8').on('data', (text: string) => this.said.set(child, this.said.get(child)! + text));
    return child;
  }

  private async until(child: ChildProcess, is: () => boolean | Promise<boolean>, limitMs: number): Promise<void> {
    const end = performance.now() + limitMs;
    for (;;) {
      if (await Promise.resolve(is()).catch(() => false)) return;
      if (child.exitCode !== null || performance.now() > end)
        throw new Error(`${child.spawnargs.join(' ')} did not start: ${this.said.get(child)}`);
      await sleep(50);
    }
  }
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const { port } = server.address() as { port: number };
  await new Promise((done) => server.close(done));
  return port;
}

/** What samples say of a quantity: it lies between the two. */
export interface Span {
  low: number;
  high: number;
}

/** Growth of a counter from one moment to another, from its samples: at least what those in between say, at most what those around
 *  them say. Whatever the machine did meanwhile, it lies between the two.
 *  @param rest from when to when nothing moves after `to`: a sample in it has the final value, and `resting` is said
 *  @returns NaN with fewer than two samples in between, or none on either side */
export function growth(
  samples: readonly Sample[],
  from: number,
  to: number,
  rest: readonly [begin: number, end: number],
): Span & { resting: boolean } {
  const inside = samples.filter((s) => s.time >= from && s.until <= to);
  const before = samples.filter((s) => s.until < from).at(-1);
  const after = samples.find((s) => s.time > to);
  const resting = samples.find((s) => s.time >= rest[0] && s.until <= rest[1]);
  const [first, last] = [inside[0], inside.at(-1)];
  if (!first || !last || !before || !after || inside.length < 2) return { low: NaN, high: NaN, resting: false };
  return {
    low: (resting ?? last).value - first.value,
    high: (resting ?? after).value - before.value,
    resting: resting !== undefined,
  };
}
