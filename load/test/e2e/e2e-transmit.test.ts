import t from 'tap';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { CompareFile } from '../../src/report/results.js';
import { Bench } from '../e2e-kit.js';

t.setTimeout(180_000);

t.test(
  'compare --direction both: both ladders, every frame accounted for, no grant operation where grants stand',
  async (t) => {
    const bench = new Bench('transmit');
    t.teardown(() => bench.end());
    const json = join(bench.home, 'out.json');
    const r = await bench.run(
      ...[
        'compare',
        '--direction',
        'tx',
        '--guests',
        '2',
        '--seconds',
        '0.4',
        '--warmup',
        '0.3',
        '--json',
        json,
        '--no-page',
      ],
    );
    t.equal(r.code, 0, r.stderr);
    t.match(r.stdout, /transmit: from the guests/);
    t.same(bench.leftovers(), []);
    const file = JSON.parse(readFileSync(json, 'utf8')) as CompareFile;
    t.same(
      file.results.map((x) => [x.direction, x.config]),
      ['baseline', 'multiqueue', 'grant-reuse', 'optimised', 'direct', 'native'].map((c) => ['tx', c]),
    );
    for (const x of file.results) {
      t.equal(x.conservation, 'ok', x.config);
      t.ok(x.delivered.frames > 0, `${x.config} delivers`);
      t.equal(x.lost + x.corrupt + x.duplicate + x.reordered, 0, `${x.config}: all arrive, whole and in order`);
      const perFrame = x.config === 'baseline' || x.config === 'multiqueue';
      if (perFrame) t.ok(Math.abs(x.perFrame.grantOps - 3) < 0.3, `${x.config}: copy, map and unmap for a frame`);
      else t.equal(x.perFrame.grantOps, 0, `${x.config}: no grant operation`);
      if (!perFrame) t.ok(x.perFrame.hypercalls < 0.001, `${x.config}: no hypercall`);
    }
  },
);

t.test('guest to guest: over the bridge by grant copies, every frame accounted for and whole', async (t) => {
  const bench = new Bench('between');
  t.teardown(() => bench.end());
  const json = join(bench.home, 'out.json');
  const r = await bench.run(
    ...['compare', '--workload', 'guest-to-guest', '--seconds', '0.4', '--warmup', '0.3', '--json', json, '--no-page'],
  );
  t.equal(r.code, 0, r.stderr);
  const file = JSON.parse(readFileSync(json, 'utf8')) as CompareFile;
  t.same(
    file.results.map((x) => x.config),
    ['baseline', 'multiqueue', 'grant-reuse', 'optimised', 'direct'],
  );
  for (const x of file.results) {
    t.equal(x.direction, 'guest-to-guest');
    t.equal(x.conservation, 'ok', x.config);
    t.ok(x.delivered.frames > 0, `${x.config} delivers`);
    t.equal(x.corrupt + x.duplicate + x.reordered, 0, x.config);
    const { hypervisor } = x.perFrame.copiesBy;
    if (x.config === 'direct') t.equal(hypervisor, 0, 'the NIC switches: nobody copies by grant');
    // A bulk packet that is not cut: one copy per page, and one for its header.
    else if (x.config === 'optimised') t.ok(hypervisor > 0.2 && hypervisor < 1, `one copy per page: ${hypervisor}`);
    else t.ok(hypervisor >= 1, `${x.config}: grant copies`);
  }
  t.match(
    (await bench.run('compare', '--workload', 'guest-to-guest', '--configs', 'native')).stderr,
    /native has no guests to send to each other - take baseline/,
  );
  t.same(bench.leftovers(), []);
});

t.test('frames of each size, and both directions after another on one testbed', async (t) => {
  const bench = new Bench('transmit-sizes');
  t.teardown(() => bench.end());
  for (const [frame, protocol] of [
    ['60', 'auto'],
    ['9014', 'auto'],
    ['imix', 'udp'],
  ] as const) {
    const r = await bench.run(
      ...['compare', '--direction', 'both', '--configs', 'baseline,optimised', '--frame', frame],
      ...['--protocol', protocol, '--seconds', '0.15', '--warmup', '0.1', '--no-page'],
    );
    t.equal(r.code, 0, `${frame}: ${r.stderr}`);
    t.match(r.stdout, /Conservation at each hop: ok/);
  }
  t.match((await bench.run('compare', '--direction', 'up')).stderr, /unknown direction "up" - give rx/);
  t.same(bench.leftovers(), []);
});
