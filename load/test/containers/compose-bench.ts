/** The testbed in containers under a project name of the test's own, at free ports: what Docker, Prometheus and the hypervisor say of it. */
import { ok as must } from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Test } from 'tap';
import { UserError } from '../../src/base/errors.js';
import { call } from '../../src/base/http.js';
import { docker, findEngine, PORTS } from '../../src/compose/deployment.js';
import { Client } from '../../src/control/client.js';
import type { CompareFile } from '../../src/report/results.js';
import { REPOSITORY } from '../../src/testbed/paths.js';
import { Bench, eventually, freePort, succeeded, type Running } from '../e2e/kit.js';

const PROJECT = `grantline-check-${process.pid}`;
const LABEL = `label=com.docker.compose.project=${PROJECT}`;
/** Which stack a call of Compose is about. */
const STACK = ['--project-directory', REPOSITORY, '--file', join(REPOSITORY, 'docker-compose.yml')];
const LOG_LINES = 15;

/** Why containers cannot be tried here; false: they can. */
export async function missing(): Promise<string | false> {
  try {
    await findEngine();
  } catch (error) {
    if (error instanceof UserError) return error.message;
    throw error;
  }
  if (process.env['GRANTLINE_PULL'] === '1') return false;
  const text = ['docker-compose.yml', 'Dockerfile']
    .map((name) => readFileSync(join(REPOSITORY, name), 'utf8'))
    .join('');
  for (const [, image] of text.matchAll(/^\s*(?:image:|FROM)\s+(\S+:\S+)/gm))
    if ((await docker('image', 'inspect', image)) === null)
      return `the image ${image} is not here: docker pull ${image}, or GRANTLINE_PULL=1`;
  return false;
}

export class ComposeBench extends Bench {
  readonly ports: Record<(typeof PORTS)[number]['variable'], number>;
  /** The command, when it is interrupted, ends its stack. */
  protected override readonly graceMs = 30_000;
  /** How Compose is called here. */
  private readonly compose: string;
  private clearing: Promise<void> = Promise.resolve();

  static async make(t: Test): Promise<ComposeBench> {
    const ports: [string, number][] = [];
    for (const { variable } of PORTS) ports.push([variable, await freePort('127.0.0.1')]);
    const bench = new ComposeBench(Object.fromEntries(ports) as ComposeBench['ports'], (await findEngine()).command);
    t.teardown(() => bench.end());
    return bench;
  }

  private constructor(ports: ComposeBench['ports'], command: string) {
    const variables = Object.entries(ports).map(([name, port]) => [name, String(port)]);
    super('compose', { COMPOSE_PROJECT_NAME: PROJECT, ...(Object.fromEntries(variables) as NodeJS.ProcessEnv) });
    this.ports = ports;
    this.compose = command;
  }

  /** Whatever has happened, nothing of the deployment stays. One at a time: two that end the same containers fail both. */
  override clear(): Promise<void> {
    this.clearing = this.clearing.then(() => this.clearNow());
    return this.clearing;
  }

  private async clearNow(): Promise<void> {
    const { stdout } = await this.clearBy(`docker ps -a -q --filter ${LABEL}`);
    const left = stdout.split('\n').filter(Boolean);
    if (left.length > 0) await this.clearBy('docker rm -f', ...left);
    const down = [...STACK, 'down', '--volumes', '--remove-orphans', '--timeout', '5'];
    // Compose gives up when something else, such as a command that was interrupted, removes what it was about to remove.
    const { code } = await this.clearBy(this.compose, ...down);
    if (code !== 0) await this.clearBy(this.compose, ...down);
  }

  /** Ends all containers, and leaves them. */
  stop(): Promise<string> {
    return this.must(this.compose, ...STACK, 'stop');
  }

  /** What Docker has of this stack. No answer is not an empty one. */
  async ids(what: string, ...filter: string[]): Promise<string[]> {
    return (await this.must(`docker ${what} -q --filter ${LABEL}`, ...filter)).split('\n').filter(Boolean);
  }

  private containersOf(service: string): Promise<string[]> {
    return this.ids('ps -a', '--filter', `label=com.docker.compose.service=${service}`);
  }

  /** A container of that service, whether it runs or not. Each call of Compose takes more than a second of a core: what needs none
   *  of its own goes by Docker. */
  async containerOf(service: string): Promise<string> {
    const [id] = await this.containersOf(service);
    must(id !== undefined, `${service} has no container`);
    return id;
  }

  /** A command in a container. @returns what it printed @throws when it fails */
  async exec(service: string, line: string, ...more: string[]): Promise<string> {
    return this.must(`docker exec ${await this.containerOf(service)} ${line}`, ...more);
  }

  /** A script in a container. @returns the JSON that it printed */
  async inside<T>(service: string, script: string): Promise<T> {
    return JSON.parse(await this.exec(service, 'node -e', script)) as T;
  }

  /** The operator. Its token lies in the deployment, and is a new one each time the hypervisor starts. */
  async operator(): Promise<Client> {
    const token = await this.exec('hypervisor', 'cat /run/grantline/token');
    return new Client(`http://127.0.0.1:${this.ports.GRANTLINE_PORT}`, token.trim());
  }

  /** Values of a query to Prometheus, by domain. */
  async query(expr: string): Promise<Map<string, number>> {
    const path = `/api/v1/query?query=${encodeURIComponent(expr)}`;
    const prometheus = `http://127.0.0.1:${this.ports.PROMETHEUS_PORT}`;
    const { data } = await call<Answer>('Prometheus', prometheus, path);
    return new Map(data.result.map(({ metric, value }) => [metric.domain ?? '', Number(value[1])]));
  }

  until(what: string, so: () => Promise<boolean>, limitMs = 60_000): Promise<void> {
    return eventually(what, so, 200, limitMs);
  }

  /** Prometheus reaches all services, and guests are as many. */
  allUp(guests: number): Promise<void> {
    return this.until(`Prometheus reaches ${guests} guests and all others`, async () => {
      const up = await this.query('up{job="grantline"}');
      const { domains } = await (await this.operator()).testbed();
      const live = domains.filter((d) => d.state === 'running' && d.kind === 'guest');
      const wanted = ['hypervisor', 'driver-domain', 'nic', ...live.map((d) => d.name)];
      return live.length === guests && wanted.every((name) => up.get(name) === 1);
    });
  }

  /** All domains run, and all vifs are connected. */
  settled(what: string, guests: number, limitMs?: number): Promise<void> {
    return this.until(
      what,
      async () => {
        const operator = await this.operator();
        const { domains } = await operator.testbed();
        const running = domains.filter((d) => d.state === 'running' && d.http !== null);
        return running.length === guests + 2 && (await operator.config()).settled;
      },
      limitMs,
    );
  }

  /** Measures in the deployment: every frame is accounted for, none is corrupt, and each guest has some. */
  async compare(t: Test, guests: number, configs: string): Promise<void> {
    const json = join(this.home, `${configs}-${guests}.json`);
    const brief = ['--seconds', '0.5', '--warmup', '0.2', '--json', json];
    const done = await this.run('compare', '--compose', '--guests', String(guests), '--configs', configs, ...brief);
    const runs = existsSync(json) ? (JSON.parse(readFileSync(json, 'utf8')) as CompareFile).runs : [];
    for (const run of runs) if (run.conservation !== 'ok' || run.delivered.frames === 0) tellCounters(t, run);
    succeeded(done);
    t.equal(runs.length, configs.split(',').length, 'runs');
    for (const { config, conservation, corrupt, delivered, deliveredBy } of runs) {
      t.equal(conservation, 'ok', config);
      t.equal(corrupt, 0, `${config}: corrupt frames`);
      t.ok(delivered.frames > 0, `${config}: delivered frames`);
      t.equal(Object.keys(deliveredBy).length, guests, `${config}: receivers`);
    }
  }

  /** Nor may anything come later: what made containers may still be at it. */
  async nothingLeft(t: Test): Promise<void> {
    for (const look of ['now', 'later']) {
      for (const what of ['ps -a', 'network ls', 'volume ls']) t.same(await this.ids(what), [], `${what}, ${look}`);
      if (look === 'now') await sleep(3000);
    }
  }

  /** Runs the command, and interrupts it once it is so far. */
  async interrupted(t: Test, signal: 'SIGINT' | 'SIGTERM', args: string[], soFar: Progress): Promise<void> {
    const running = this.start(...args);
    await this.until('the command is so far', () => soFar(running), 240_000);
    running.signal(signal);
    const { code, stderr } = await running.ended;
    t.equal(code, signal === 'SIGINT' ? 130 : 143, stderr);
    await this.nothingLeft(t);
  }

  /** What the deployment's own services said last, for a failure that is not easily had again. */
  async explain(t: Test): Promise<void> {
    for (const service of ['driver-domain', 'nic', 'guest', 'hypervisor', 'experimenter'])
      for (const id of await this.containersOf(service)) {
        const { stdout, stderr } = await this.call(`docker logs --tail ${LOG_LINES} ${id}`);
        for (const line of `${stdout}${stderr}`.split('\n').filter(Boolean)) t.comment(`${service}: ${line}`);
      }
  }
}

/** Of Prometheus to a query. */
interface Answer {
  data: { result: { metric: { domain?: string }; value: [number, string] }[] };
}
type Progress = (running: Running) => Promise<boolean>;

/** The counters at the end of a run that is not as it should be: every one that is not 0. */
function tellCounters(t: Test, { config, sent, received, conservation, raw }: CompareFile['runs'][0]): void {
  t.comment(`${config}: ${sent} sent, ${received} received, conservation ${JSON.stringify(conservation)}`);
  for (const { name, blocks } of raw.c)
    for (const block of blocks.filter(({ kind }) => !['cpu', 'latency', 'hypercalls'].includes(kind)))
      t.comment(`${name} ${JSON.stringify(block, (_, value: unknown) => (value === 0 ? undefined : value))}`);
}

/** Processes of services in containers, by number: what they are, in which state, and in which container. */
export function containerProcesses(): Map<string, string> {
  const found = new Map<string, string>();
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      const read = (name: string): string => readFileSync(`/proc/${pid}/${name}`, 'utf8');
      const args = read('cmdline').split('\0');
      if (!args.some((a) => /services\/(hypervisor|driver-domain|guest|nic)\/dist\/src\/main\.js$/.test(a))) continue;
      const id = /[0-9a-f]{64}/.exec(read('cgroup'))?.[0];
      const [, state, parent] = /^State:\s*(.*)$[^]*^PPid:\s*(\d+)$/m.exec(read('status')) ?? [];
      if (id !== undefined) found.set(pid, `${args.join(' ').trim()}, ${state}, child of ${parent}, container ${id}`);
    } catch {
      // It has just ended.
    }
  }
  return found;
}
