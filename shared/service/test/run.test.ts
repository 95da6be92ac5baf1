import t, { type Test } from 'tap';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { readCounterFile } from '@grantline/observe/testkit';
import { FakeHypervisor } from './fake-hypervisor.js';
import { until } from '@grantline/machine/testkit';

// Some twenty processes start here one after the other.
t.setTimeout(180_000);

const FIXTURE = fileURLToPath(new URL('./fixture.js', import.meta.url));

class Run {
  out = '';
  err = '';
  readonly child: ChildProcess;
  readonly ended: Promise<{ code: number | null; signal: string | null }>;
  constructor(t: Test, what: string, env: Record<string, string> = {}) {
    this.child = spawn(process.execPath, [FIXTURE, what], { env: { PATH: process.env.PATH, ...env } });
    this.child.stdout!.on('data', (d: Buffer) => (this.out += d.toString()));
    this.child.stderr!.on('data', (d: Buffer) => (this.err += d.toString()));
    this.ended = once(this.child, 'close').then(([code, signal]) => ({
      code: code as number | null,
      signal: signal as string | null,
    }));
    t.teardown(() => void this.child.kill('SIGKILL'));
  }
  async says(text: string): Promise<void> {
    await until(() => this.err.includes(text) || this.child.exitCode !== null);
    if (!this.err.includes(text)) throw new Error(`it ended without saying ${text}: ${this.err}${this.out}`);
  }
}

t.test('bad input is one line on stderr and exit code 2', async (t) => {
  const run = new Run(t, 'usage');
  t.equal((await run.ended).code, 2);
  t.equal(run.err, 'grantline guest: first line; second line\n');
  t.equal(run.out, '');
  const env = new Run(t, 'env', { GRANTLINE_TOKEN: 't', GRANTLINE_LOG: 'loud' });
  t.equal((await env.ended).code, 2);
  t.match(env.err, /^grantline guest: GRANTLINE_LOG=loud is not valid: it must be one of .*\n$/);
});

t.test('a fault of our own is exit code 1 with its stack in the log, also when it comes later', async (t) => {
  for (const what of ['fault', 'later']) {
    const run = new Run(t, what);
    t.equal((await run.ended).code, 1);
    const line = JSON.parse(run.out) as { level: number; service: string; err: { stack: string } };
    t.equal(line.level, 60);
    t.equal(line.service, 'guest');
    t.match(line.err.stack, 'test/fixture');
    t.equal(run.err, 'grantline guest: failed: our own fault\n');
  }
});

t.test('a start that waits for what can never come is such a fault', async (t) => {
  const run = new Run(t, 'never');
  t.equal((await run.ended).code, 1);
  t.equal(run.err, 'grantline guest: failed: it waits for what can never come\n');
});

t.test('a signal undoes all, last step first; a step that fails does not stop the others', async (t) => {
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    const run = new Run(t, 'stop');
    await run.says('up');
    run.child.kill(signal);
    t.same(await run.ended, { code: 0, signal: null });
    t.equal(run.err, 'up\nsecond\nfirst\n');
    const log = run.out
      .trim()
      .split('\n')
      .map((l) => JSON.parse(l) as { msg: string; reason?: string });
    t.same(
      log.map((l) => l.msg),
      ['stopping', 'a step of stopping failed', 'stopped'],
    );
    t.equal(log[0].reason, signal);
  }
});

t.test('a closed stdin ends a service that hangs on it, and only such a one', async (t) => {
  const run = new Run(t, 'stop', { GRANTLINE_LIFELINE: 'stdin' });
  await run.says('up');
  run.child.stdin!.end();
  t.equal((await run.ended).code, 0);
  const free = new Run(t, 'stop');
  await free.says('up');
  free.child.stdin!.end();
  await new Promise((resolve) => setTimeout(resolve, 50));
  t.equal(free.child.exitCode, null);
});

t.test('a second signal ends the service at once, a step that hangs after the limit', async (t) => {
  const twice = new Run(t, 'hang');
  await twice.says('up');
  twice.child.kill('SIGTERM');
  await twice.says('second');
  twice.child.kill('SIGTERM');
  t.equal((await twice.ended).code, 1);
  const once = new Run(t, 'hang');
  await once.says('up');
  once.child.kill('SIGTERM');
  t.equal((await once.ended).code, 1);
  t.match(once.out, 'not all was undone in time');
});

t.test('privileges are dropped whole', { skip: process.getuid!() !== 0 && 'needs root' }, async (t) => {
  const run = new Run(t, 'drop');
  await run.ended;
  t.match(run.err, /^\[64003,64003,\[(64003,64000|64000,64003|64000)\]\]\n/);
});

t.test(
  'without root a uid to drop to is a usage error',
  { skip: process.getuid!() === 0 && 'needs to be no root' },
  async (t) => {
    const run = new Run(t, 'drop');
    t.equal((await run.ended).code, 2);
  },
);

async function hypervisor(t: Test): Promise<{ fake: FakeHypervisor; env: Record<string, string> }> {
  const fake = new FakeHypervisor();
  t.teardown(() => fake.close());
  await fake.listen();
  // It executes no grant operations, so it has no ring either.
  const settings = { GRANTLINE_DIR: fake.dir, GRANTLINE_DOMID: '3', GRANTLINE_HYPERCALLS: 'messages' };
  return { fake, env: { ...settings, GRANTLINE_SECRET: fake.secret } };
}

t.test('a service comes up, announces itself, answers, and ends with the hypervisor', async (t) => {
  const { fake, env } = await hypervisor(t);
  const run = new Run(t, 'app', env);
  await run.says('url ');
  const url = /url (.*)\n/.exec(run.err)![1];
  const announced = fake.asked.filter(({ op }) => op === 'service.announce');
  t.same(announced, [{ op: 'service.announce', args: { http: url, pid: run.child.pid } }]);
  t.equal((await fetch(`${url}/health/ready`)).status, 200);
  const dump = (await (await fetch(`${url}/dump`, { headers: { authorization: 'Bearer the key' } })).json()) as object;
  t.same(dump, { domid: 3, kind: 'guest', ports: [], own: true });
  t.same(
    readCounterFile(fake.countersPath).map((b) => b.kind),
    ['cpu', 'loop', 'capture'],
  );
  const rung = new Promise<void>((resolve) => fake.ws!.once('close', () => resolve()));
  fake.ws!.close();
  await rung;
  t.equal((await run.ended).code, 0);
  t.match(run.err, /undone\n$/);
});

t.test('SIGTERM closes the socket, so that the hypervisor knows', async (t) => {
  const { fake, env } = await hypervisor(t);
  const run = new Run(t, 'app', env);
  await run.says('url ');
  const closed = once(fake.ws!, 'close');
  run.child.kill('SIGTERM');
  t.equal((await closed)[0], 1000);
  t.equal((await run.ended).code, 0);
});

t.test("a port in use, and a directory that is not the hypervisor's, are one line and exit code 2", async (t) => {
  const { fake, env } = await hypervisor(t);
  const other = new FakeHypervisor();
  t.teardown(() => other.close());
  const busy = await other.listenTcp();
  const run = new Run(t, 'app', { ...env, GRANTLINE_HTTP: `127.0.0.1:${busy}` });
  t.equal((await run.ended).code, 2);
  t.equal(run.err, `grantline guest: 127.0.0.1:${busy} is in use: stop what listens there, or set GRANTLINE_HTTP\n`);
  await until(() => fake.ws!.readyState === 3);
  const lost = new Run(t, 'app', {
    ...env,
    GRANTLINE_DIR: '/dev/shm/none',
    GRANTLINE_HYPERVISOR: `ws+unix://${fake.socket}`,
  });
  t.equal((await lost.ended).code, 2);
  t.match(
    lost.err,
    /^grantline guest: cannot connect to \/dev\/shm\/none\/shared.sock \(ENOENT\): is GRANTLINE_DIR the hypervisor's\?\n$/,
  );
});
