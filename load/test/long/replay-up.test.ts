import t from 'tap';
import { configurationName } from '@grantline/base';
import { Bench, CAPTURE } from '../e2e/kit.js';

t.setTimeout(180_000);

t.test('a real capture on a running testbed', async (t) => {
  const bench = new Bench('replay');
  t.teardown(() => bench.end());
  const up = await bench.up(2);
  const doors = [...up.stdout.matchAll(/^(http:\/\/\S+) -> guest\d$/gm)].map((m) => m[1]);
  t.equal(doors.length, 2);

  for (const config of ['baseline', 'multiqueue', 'grant-reuse', 'optimised', 'direct']) {
    await t.test(`arrives byte for byte in ${config}`, async (t) => {
      const r = await bench.run('replay', CAPTURE, '--config', config, '--pace', 'max');
      t.equal(r.code, 0, `${r.stderr}${r.stdout}`);
      t.match(r.stdout, /guest1 \([0-9a-f:]+\): 2738 of 2738 frames, .*every frame arrived byte for byte/);
      t.match(r.stdout, /conservation at each hop: ok/);
    });
  }

  await t.test('goes with both ends to different guests, several times, at a factor of its pace', async (t) => {
    const r = await bench.run('replay', CAPTURE, '--guests', '2', '--pace', '8', '--loops', '3');
    t.equal(r.code, 0, `${r.stderr}${r.stdout}`);
    // The one broadcast frame goes to both.
    t.match(r.stdout, /sent 8214 frames/);
    t.equal((r.stdout.match(/every frame arrived byte for byte/g) ?? []).length, 2);
  });

  await t.test('says before it begins what will take long', async (t) => {
    const running = bench.start('replay', CAPTURE, '--pace', '0.1');
    await running.until(/^At this pace the capture takes 15\.\d s; with --pace max it is sent at once\.$/m);
    running.signal('SIGINT');
    t.equal((await running.ended).code, 130);
  });

  await t.test('leaves to the bridge the hosts that no mapping names', async (t) => {
    const map = '3a:fd:14:79:39:01=guest1';
    const r = await bench.run('replay', CAPTURE, '--map', map, '--config', 'baseline', '--pace', 'max');
    t.equal(r.code, 0, `${r.stderr}${r.stdout}`);
    t.match(r.stdout, /guest1 .*: 1787 of 1787 frames/);
  });

  await t.test(
    'and leaves it as it was: both guests are reached from the host, in the configuration that was there',
    async (t) => {
      for (const url of doors)
        t.equal((await fetch(url, { signal: AbortSignal.timeout(30_000) })).status, 200, 'a guest answers at its door');
      const { factors } = await bench.client().config();
      t.equal(factors && configurationName(factors), 'baseline');
      t.match(await bench.client().run(), { run: { mode: 'off' } });
    },
  );

  t.equal((await bench.run('down')).code, 0);
  t.same(bench.leftovers(), []);
});
