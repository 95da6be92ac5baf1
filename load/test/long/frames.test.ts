import t from 'tap';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { CompareFile } from '../../src/report/results.js';
import { ALL_CARRY, Bench, carried } from '../e2e/kit.js';

t.setTimeout(180_000);

t.test('every configuration carries the smallest and the largest frames to several guests', async (t) => {
  const bench = new Bench('frames');
  t.teardown(() => bench.end());
  await bench.up(2);
  const json = join(bench.home, 'out.json');
  for (const frame of ['60', '9014']) {
    const brief = ['--guests', '2', '--seconds', '0.2', '--warmup', '0.1', '--json', json];
    const r = await bench.run('compare', '--frame', frame, ...brief);
    t.equal(r.code, 0, `${frame}: ${r.stderr}`);
    t.same(carried((JSON.parse(readFileSync(json, 'utf8')) as CompareFile).results), ALL_CARRY, frame);
  }
});
