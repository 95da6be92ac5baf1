import t from 'tap';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { CompareFile } from '../../src/report/results.js';
import { Bench } from '../e2e/kit.js';

t.setTimeout(300_000);

t.test('what guests send', async (t) => {
  const bench = new Bench('transmit');
  t.teardown(() => bench.end());
  const up = await bench.up(2);
  const json = join(bench.home, 'out.json');
  /** Runs a comparison. @returns its results, and what it said */
  const compare = async (...args: string[]): Promise<{ results: CompareFile['results']; said: string }> => {
    const r = await bench.run('compare', ...args, '--json', json, '--no-page');
    t.equal(r.code, 0, r.stderr);
    return { results: (JSON.parse(readFileSync(json, 'utf8')) as CompareFile).results, said: r.stdout };
  };

  await t.test('every frame accounted for, no grant operation where grants stand', async (t) => {
    const { results, said } = await compare(
      ...['--direction', 'tx', '--guests', '2', '--seconds', '0.3', '--warmup', '0.2'],
    );
    t.match(said, /transmit: from the guests/);
    t.same(
      results.map((x) => [x.direction, x.config]),
      ['baseline', 'multiqueue', 'grant-reuse', 'optimised', 'direct', 'native'].map((c) => ['tx', c]),
    );
    for (const x of results) {
      t.equal(x.conservation, 'ok', x.config);
      t.ok(x.delivered.frames > 0, `${x.config} delivers`);
      t.equal(x.lost + x.corrupt + x.duplicate + x.reordered, 0, `${x.config}: all arrive, whole and in order`);
      const perFrame = x.config === 'baseline' || x.config === 'multiqueue';
      if (perFrame) t.ok(Math.abs(x.perFrame.grantOps - 3) < 0.3, `${x.config}: copy, map and unmap for a frame`);
      else t.equal(x.perFrame.grantOps, 0, `${x.config}: no grant operation`);
      if (!perFrame) t.ok(x.perFrame.hypercalls < 0.001, `${x.config}: no hypercall`);
    }
  });

  await t.test('to each other it goes over the bridge by grant copies, whole', async (t) => {
    const { results } = await compare('--workload', 'guest-to-guest', '--seconds', '0.3', '--warmup', '0.2');
    t.same(
      results.map((x) => x.config),
      ['baseline', 'multiqueue', 'grant-reuse', 'optimised', 'direct'],
    );
    for (const x of results) {
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
  });

  await t.test('frames of each size, and both directions after another', async (t) => {
    for (const [frame, protocol] of [
      ['60', 'auto'],
      ['9014', 'auto'],
      ['imix', 'udp'],
    ] as const) {
      const { said } = await compare(
        ...['--direction', 'both', '--configs', 'baseline,optimised', '--frame', frame],
        ...['--protocol', protocol, '--seconds', '0.15', '--warmup', '0.1'],
      );
      t.match(said, /Conservation at each hop: ok/, frame);
    }
    t.match((await bench.run('compare', '--direction', 'up')).stderr, /unknown direction "up" - give rx/);
  });

  up.signal('SIGINT');
  t.equal((await up.ended).code, 130);
  t.same(bench.leftovers(), []);
});
