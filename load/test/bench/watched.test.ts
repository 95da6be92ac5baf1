import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import t from 'tap';
import { judgeCheck } from '../../src/bench/checks.js';
import { keptCheck, variantsOf, WATCHERS, type Watcher } from '../../src/bench/watched.js';
import type { Bed } from '../../src/runner/bed.js';

t.test('each watcher runs alone against nobody, and all together where there are several', (t) => {
  const [a, b] = ['a', 'b'].map((name) => ({ name }) as Watcher) as [Watcher, Watcher];
  t.same(
    variantsOf([a]).map((v) => v.name),
    ['nobody', 'a'],
  );
  t.same(
    variantsOf([a, b]).map((v) => [v.name, v.watchers.length]),
    [
      ['nobody', 0],
      ['a', 1],
      ['b', 1],
      ['a and b', 2],
    ],
  );
  t.end();
});

t.test('what is judged is the median of the ratios of neighbours, in per cent, with their spread', (t) => {
  const check = keptCheck('x', [100, 50, 40], [98, 55, 30]);
  t.same([check.value, check.min, check.max], [98, 75, 110.00000000000001]);
  t.equal(judgeCheck(check), 'PASS');
  t.equal(judgeCheck(keptCheck('x', [100], [96.9])), 'short');
  t.end();
});

t.test('the metrics watcher asks every service at once, then each second; one that shows none fails it', async (t) => {
  const asked: string[] = [];
  let body = '# TYPE grantline_build_info gauge\n';
  const server = createServer((request, response) => {
    asked.push(request.url ?? '');
    response.end(body);
  }).listen(0, '127.0.0.1');
  t.teardown(() => server.close());
  await new Promise((resolve) => server.once('listening', resolve));
  const http = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const bed = {
    services: [
      { name: 'nic', http },
      { name: 'guest1', http },
    ],
  } as unknown as Bed;
  const metrics = WATCHERS.find((w) => w.name === 'metrics')!;
  const watching = await metrics.start(bed);
  while (asked.length < 2) await new Promise((resolve) => setTimeout(resolve, 5));
  t.equal(await watching.stop(), 2);
  t.same(asked, ['/metrics', '/metrics']);
  body = 'hello';
  const failing = await metrics.start(bed);
  while (asked.length < 4) await new Promise((resolve) => setTimeout(resolve, 5));
  await t.rejects(failing.stop(), /shows no metrics/);
});
