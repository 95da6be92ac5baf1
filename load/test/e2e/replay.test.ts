import t from 'tap';
import { Bench, CAPTURE } from './kit.js';

t.setTimeout(180_000);

t.test('a capture is replayed at its own pace on a testbed that is there for it alone', async (t) => {
  const bench = new Bench('replay-own');
  t.teardown(() => bench.end());
  const r = await bench.run('replay', CAPTURE);
  t.equal(r.code, 0, `${r.stderr}${r.stdout}`);
  t.match(r.stdout, /guest1 \([0-9a-f:]+\): 2738 of 2738 frames, .*every frame arrived byte for byte/);
  // The capture is 1.6 s long.
  t.ok(Number(/in ([\d.]+) s/.exec(r.stdout)?.[1]) > 1.5);
  t.same(bench.leftovers(), []);
});
