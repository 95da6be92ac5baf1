import t from 'tap';
import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { Bench, within } from './e2e-kit.js';

t.setTimeout(600_000);

for (const [signal, code] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
] as const) {
  t.test(`${signal} during a run stops everything within 3 s and leaves nothing`, async (t) => {
    const bench = new Bench(`interrupt-${code}`);
    t.teardown(() => bench.end());
    const running = bench.start('compare', '--configs', 'optimised', '--seconds', '60');
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
  for (const after of [100, 400, 900]) {
    const running = bench.start('compare', '--configs', 'optimised', '--seconds', '60', '--guests', '2');
    await sleep(after);
    running.signal('SIGTERM');
    const r = await running.ended;
    t.ok(r.code === 143 || r.code === null, `after ${after} ms: ${r.code}`);
    t.ok(r.seconds < within(3));
    t.same(bench.leftovers(), [], `after ${after} ms`);
  }
});

for (const kind of ['hypervisor', 'driver-domain', 'nic', 'guest']) {
  t.test(`when ${kind} is killed during a run, it is named, and the run fails instead of hanging`, async (t) => {
    const bench = new Bench(`kill-${kind}`);
    t.teardown(() => bench.end());
    const running = bench.start('compare', '--configs', 'optimised', '--seconds', '60');
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
  const running = bench.start('compare', '--configs', 'optimised', '--seconds', '60');
  await running.until(/Testbed ready/);
  running.signal('SIGKILL');
  await running.ended;
  const end = performance.now() + 30_000;
  while (bench.services().length > 0 && performance.now() < end) await sleep(50);
  t.same(bench.services(), [], 'no service outlives its supervisor');
  t.same(bench.leftovers(), []);
});

t.test('a command that was killed on a running testbed does not keep the next one from measuring', async (t) => {
  const bench = new Bench('killed-guest');
  t.teardown(() => bench.end());
  const up = await bench.up(1);
  const killed = bench.start('compare', '--configs', 'optimised', '--seconds', '60');
  await bench.busy();
  const second = await bench.run('compare', '--configs', 'optimised');
  t.equal(second.code, 2);
  t.match(second.stderr, /is measuring on the testbed/);
  killed.signal('SIGKILL');
  await killed.ended;
  const after = await bench.run('compare', '--configs', 'optimised', '--seconds', '0.2', '--warmup', '0.1');
  t.equal(after.code, 0, after.stderr);
  up.signal('SIGINT');
  t.equal((await up.ended).code, 130);
  t.same(bench.leftovers(), []);
});

t.test('what is left when everything was killed at once is refused, and removed by down', async (t) => {
  const bench = new Bench('stale');
  t.teardown(() => bench.end());
  const running = await bench.up(1);
  for (const p of bench.services()) process.kill(p.pid, 'SIGSTOP');
  running.signal('SIGKILL');
  await running.ended;
  // Stopped processes cannot end by themselves: down has to find and kill them.
  const again = await bench.run('compare', '--seconds', '1');
  t.equal(again.code, 2);
  t.match(again.stderr, /^grantline: .* - .*: npx grantline down\n$/);
  const down = await bench.run('down');
  t.equal(down.code, 0, down.stderr);
  t.equal((down.stdout.match(/killed services/g) ?? []).length, 4);
  t.match(down.stdout, /removed/);
  t.same(bench.leftovers(), []);
  t.notOk(existsSync(bench.dir));
});
