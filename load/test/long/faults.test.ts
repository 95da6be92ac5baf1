import t from 'tap';
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from '../../src/control/client.js';
import { sum } from '../../src/control/snapshot.js';
import { discover, type Found } from '../../src/testbed/discover.js';
import { REPOSITORY } from '../../src/testbed/paths.js';
import { runLockHolder } from '../../src/testbed/run-lock.js';
import { Bench, CAPTURE, eventually, within } from '../e2e/kit.js';

t.setTimeout(600_000);

for (const [signal, code] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
] as const) {
  t.test(`${signal} during a run stops everything within 3 s and leaves nothing`, async (t) => {
    const bench = new Bench(`interrupt-${code}`);
    t.teardown(() => bench.end());
    const running = bench.start('compare', '--configs', 'optimised', '--seconds', '60', '--no-page');
    await bench.busy();
    running.signal(signal);
    const r = await running.ended;
    t.equal(r.code, code);
    t.ok(r.seconds < within(3), `${r.seconds.toFixed(1)} s`);
    t.match(r.stderr, /interrupted/);
    t.same(bench.leftovers(), []);
  });
}

t.test('a signal while the testbed starts leaves nothing either', async (t) => {
  const bench = new Bench('early');
  t.teardown(() => bench.end());
  const stages: [string, () => boolean][] = [
    ['the directory is there', () => existsSync(join(bench.dir, 'testbed.json'))],
    ['the first service has started', () => bench.services().length > 0],
    ['the domains start', () => bench.services().length > 2],
    ['all have started', () => bench.services().length > 4],
  ];
  for (const [stage, reached] of stages) {
    const running = bench.start('compare', '--configs', 'optimised', '--seconds', '60', '--guests', '2', '--no-page');
    await eventually(stage, reached, 2);
    running.signal('SIGTERM');
    const r = await running.ended;
    t.equal(r.code, 143, stage);
    t.ok(r.seconds < within(3), `${stage}: ${r.seconds.toFixed(1)} s`);
    t.same(bench.leftovers(), [], stage);
  }
});

t.test('a testbed whose reader has gone ends as if it were interrupted', async (t) => {
  const bench = new Bench('unread');
  t.teardown(() => bench.end());
  const running = bench.start('up', '--listen', '127.0.0.1:0', '--no-page');
  running.child.stdout!.destroy();
  const r = await running.ended;
  t.equal(r.code, 143);
  t.equal(r.stderr, 'grantline: interrupted; everything is stopped\n');
  t.same(bench.leftovers(), []);
});

t.test('a second signal does not wait for a service that does not end', async (t) => {
  const bench = new Bench('twice');
  t.teardown(() => bench.end());
  const running = await bench.up(1);
  const guest = bench.services().find((p) => p.script.startsWith('services/guest/'))!;
  process.kill(guest.pid, 'SIGSTOP');
  running.signal('SIGINT');
  await eventually('the others end', () => bench.services().length < 4);
  running.signal('SIGINT');
  t.equal((await running.ended).code, 130);
  await eventually('nothing is left', () => bench.leftovers().length === 0);
});

for (const kind of ['hypervisor', 'driver-domain', 'nic', 'guest']) {
  t.test(`when ${kind} is killed during a run, it is named, and the run fails instead of hanging`, async (t) => {
    const bench = new Bench(`kill-${kind}`);
    t.teardown(() => bench.end());
    const running = bench.start('compare', '--configs', 'optimised', '--seconds', '60', '--no-page');
    await bench.busy();
    running.killService(kind);
    const r = await running.ended;
    t.equal(r.code, 1);
    t.match(r.stderr, new RegExp(`service ${kind === 'guest' ? 'guest1' : kind} died \\(signal SIGKILL\\)`));
    t.ok(r.seconds < within(5), `${r.seconds.toFixed(1)} s`);
    t.same(bench.leftovers(), []);
  });
}

t.test('when the command itself is killed the services end by themselves and take their files with them', async (t) => {
  const bench = new Bench('killed');
  t.teardown(() => bench.end());
  const running = bench.start('compare', '--configs', 'optimised', '--seconds', '60', '--no-page');
  await running.until(/Testbed ready/);
  running.signal('SIGKILL');
  await running.ended;
  await eventually('no service outlives its supervisor, and no file', () => bench.leftovers().length === 0);
});

t.test('on a testbed that stays', async (t) => {
  const bench = new Bench('stays');
  t.teardown(() => bench.end());
  const up = await bench.up(2);
  const { file } = discover(bench.dir) as Extract<Found, { state: 'alive' }>;
  const client = Client.open(file.hypervisor!, file.token);
  const services = await client.services();
  const nic = services.find((s) => s.kind === 'nic')!;
  /** What loads of each kind have counted. */
  const counted = async (): Promise<number[]> => {
    const snap = await client.snapshot(services);
    return [
      ...[sum(snap, 'cable', 'sentFrames'), sum(snap, 'sender', 'frames'), sum(snap, 'requester', 'requests')],
      sum(snap, 'tcpApp', 'receivedBytes'),
    ];
  };
  const long = ['--configs', 'optimised', '--seconds', '60', '--no-page'];
  const loads: [string, string[]][] = [
    ['frames to guests, and faults', ['compare', ...long, '--faults', 'loss=0.01']],
    ['frames of guests', ['compare', ...long, '--direction', 'tx']],
    ['requests beside frames', ['compare', ...long, '--workload', 'rr', '--beside', 'bulk']],
    ['TCP streams', ['compare', ...long, '--workload', 'tcp']],
    ['a capture', ['replay', CAPTURE, '--pace', '0.05']],
  ];
  for (const [what, args] of loads) {
    await t.test(`an interrupt ends ${what}`, async (t) => {
      const running = bench.start(...args);
      let before = await counted();
      await eventually('load runs', async () => {
        const now = await counted();
        const moves = now.some((n, i) => n > before[i]);
        before = now;
        return moves;
      });
      running.signal('SIGINT');
      const r = await running.ended;
      t.equal(r.code, 130, r.stderr);
      t.ok(r.seconds < within(3), `${r.seconds.toFixed(1)} s`);
      const rest = await counted();
      await sleep(200);
      t.same(await counted(), rest, 'nothing is sent any more');
      const { settings } = await client.ask<{ settings: unknown }>(nic, '/faults');
      t.same(settings, { in: null, out: null }, 'no fault is injected any more');
    });
  }

  await t.test('a command that was killed does not keep the next one from measuring', async (t) => {
    const killed = bench.start('compare', ...long, '--direction', 'tx');
    await eventually('it measures', () => /optimised/.test(killed.stderr) || runLockHolder(bench.dir) !== null);
    const second = await bench.run('compare', '--configs', 'optimised');
    t.equal(second.code, 2);
    t.match(second.stderr, /is measuring on the testbed/);
    await eventually('guests send', async () => (await counted())[1] > 0);
    killed.signal('SIGKILL');
    await killed.ended;
    const json = join(bench.home, 'out.json');
    const after = await bench.run(
      ...['compare', '--configs', 'optimised', '--seconds', '0.2', '--warmup', '0.1', '--no-page', '--json', json],
    );
    t.equal(after.code, 0, after.stderr);
    t.equal((await counted())[1], 0, 'what the killed one had begun has ended');
  });

  up.signal('SIGINT');
  t.equal((await up.ended).code, 130);
  t.same(bench.leftovers(), []);
});

t.test('services that stand still when their supervisor is killed end by themselves', async (t) => {
  const bench = new Bench('still');
  t.teardown(() => bench.end());
  const running = await bench.up(1);
  for (const p of bench.services()) process.kill(p.pid, 'SIGSTOP');
  running.signal('SIGKILL');
  await running.ended;
  await eventually('all have ended', () => bench.services().length === 0);
  t.equal((await bench.run('down')).code, 0);
  t.same(bench.leftovers(), []);
});

t.test('what is left when everything was killed at once is refused, and removed by down', async (t) => {
  const bench = new Bench('stale');
  t.teardown(() => bench.end());
  const running = await bench.up(1);
  const pids = bench.services().map((p) => p.pid);
  running.signal('SIGKILL');
  for (const pid of pids) process.kill(pid, 'SIGKILL');
  await running.ended;
  // One that hangs cannot end by itself: down has to find and kill it.
  const hung = spawn(process.execPath, [join(REPOSITORY, 'services/guest/dist/src/main.js')], {
    env: { ...process.env, GRANTLINE_DIR: bench.dir },
    stdio: 'ignore',
  });
  hung.kill('SIGSTOP');
  const again = await bench.run('compare', '--seconds', '1');
  t.equal(again.code, 2);
  t.match(again.stderr, /^grantline: .* - .*: npx grantline down\n$/);
  const down = await bench.run('down');
  t.equal(down.code, 0, down.stderr);
  t.equal((down.stdout.match(/killed services/g) ?? []).length, 1);
  t.match(down.stdout, /removed/);
  t.same(bench.leftovers(), []);
  t.notOk(existsSync(bench.dir));
});
