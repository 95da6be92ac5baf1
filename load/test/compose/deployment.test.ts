/** What becomes of containers when the command ends early, against a Docker of a few lines: a container is a file. */
import t, { type Test } from 'tap';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Bench, eventually, type Running, freePort } from '../e2e/kit.js';

t.setTimeout(120_000);
// They wait for the most part.
t.jobs = 3;

/** `up` makes a container each tenth of a second, `run` one after a second, whether or not anybody waits for it. */
const DOCKER = `#!/bin/sh
made="$FAKE_DOCKER/made"
echo "$*" >>"$FAKE_DOCKER/calls"
case "$*" in
  version*) echo 28.0.0 ;;
  'compose version'*) echo 2.30.0 ;;
  'compose ps'*) ls "$made" ;;
  'compose up'*) for n in 1 2 3 4 5 6 7 8 9; do sleep 0.1; : >"$made/00000000000$n"; done ;;
  'compose run'*) sleep 1; : >"$made/ffffffffffff"; sleep 60 ;;
  'compose down'*) rm -f "$made"/* ;;
  inspect*) echo true ;;
  rm*) rm "$made/ffffffffffff" ;;
esac
`;

class FakeDocker {
  readonly bench: Bench;
  readonly port: number;
  private readonly home: string;
  private readonly env: NodeJS.ProcessEnv;

  static async make(t: Test, name: string): Promise<FakeDocker> {
    const bench = new Bench(name);
    t.teardown(() => bench.end());
    const ports = await Promise.all([1, 2, 3, 4].map(() => freePort('127.0.0.1')));
    return new FakeDocker(bench, ports);
  }

  private constructor(bench: Bench, ports: number[]) {
    this.bench = bench;
    this.home = join(bench.home, 'docker');
    mkdirSync(join(this.home, 'made'), { recursive: true });
    writeFileSync(join(this.home, 'docker'), DOCKER, { mode: 0o755 });
    const names = ['GRANTLINE_PORT', 'GRAFANA_PORT', 'PROMETHEUS_PORT', 'EDGE_PORT'];
    this.port = ports[0];
    this.env = {
      PATH: `${this.home}:${process.env['PATH']}`,
      FAKE_DOCKER: this.home,
      ...Object.fromEntries(names.map((name, i) => [name, String(ports[i])])),
    };
  }

  start(...args: string[]): Running {
    return this.bench.start(...args, this.env);
  }

  containers(): string[] {
    return readdirSync(join(this.home, 'made'));
  }

  called(command: string): boolean {
    const calls = join(this.home, 'calls');
    return existsSync(calls) && readFileSync(calls, 'utf8').includes(command);
  }
}

t.test(
  'an interrupt while containers are being made leaves none, though Compose is not interrupted',
  { buffered: true },
  async (t) => {
    const docker = await FakeDocker.make(t, 'compose-up');
    const running = docker.start('up', '--compose');
    await eventually('a container is made', () => docker.containers().length > 0);
    running.signal('SIGTERM');
    const { code, stderr } = await running.ended;
    t.equal(code, 143, stderr);
    await sleep(1500);
    t.same(docker.containers(), []);
  },
);

t.test(
  'an interrupt on a deployment that runs leaves it as it is, and makes no more of it',
  { buffered: true },
  async (t) => {
    const docker = await FakeDocker.make(t, 'compose-more');
    writeFileSync(join(docker.bench.home, 'docker/made/aaaaaaaaaaaa'), '');
    const running = docker.start('up', '--compose');
    await eventually('a container is made', () => docker.containers().length > 1);
    running.signal('SIGTERM');
    t.equal((await running.ended).code, 143);
    const there = docker.containers();
    t.ok(there.includes('aaaaaaaaaaaa') && there.length < 10);
    await sleep(1000);
    t.same(docker.containers(), there);
  },
);

t.test(
  'an interrupt before the container of a measurement is there leaves it to nobody',
  { buffered: true },
  async (t) => {
    const docker = await FakeDocker.make(t, 'compose-run');
    const targets = ['driver-domain', 'nic', 'guest'].map((kind) => ({ targets: ['x'], labels: { kind } }));
    const hypervisor = createServer((_, answer) => answer.end(JSON.stringify(targets)));
    t.teardown(() => hypervisor.close());
    const running = docker.start('compare', '--compose', '--configs', 'optimised');
    await eventually('containers are made', () => docker.called('compose up'));
    hypervisor.listen(docker.port, '127.0.0.1');
    await eventually('the measurement begins', () => docker.called('compose run'));
    running.signal('SIGINT');
    const { code, stderr } = await running.ended;
    t.equal(code, 130, stderr);
    await sleep(1500);
    t.same(docker.containers(), []);
  },
);
