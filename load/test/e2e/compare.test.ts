import t from 'tap';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { CompareFile } from '../../src/report/results.js';
import { ALL_CARRY, Bench, carried, served } from './kit.js';
import { sameInMetrics, scrape, seriesOf } from './metrics-pages.js';

t.setTimeout(180_000);

t.test('compare measures, accounts for every frame, writes its results and leaves nothing', async (t) => {
  const bench = new Bench('compare');
  t.teardown(() => bench.end());
  const json = join(bench.home, 'out.json');
  const r = await bench.run(
    'compare',
    '--configs',
    'baseline,optimised',
    '--seconds',
    '0.6',
    '--warmup',
    '0.3',
    '--json',
    json,
  );
  t.equal(r.code, 0, r.stderr);
  t.match(r.stdout, /baseline[^]*optimised/);
  t.match(r.stdout, /paper's machine 2\.9 to 10 Gb\/s/);
  t.match(r.stdout, /Conservation at each hop: ok/);
  t.same(bench.leftovers(), []);
  t.notOk(existsSync(bench.dir), 'the directory is gone');

  const report = /^Report: (\S+\/report\.html), with report\.md, throughput\.svg/m.exec(r.stdout)?.[1] ?? '';
  t.match(
    readFileSync(join(bench.home, report), 'utf8'),
    /from baseline to optimised/,
    'the report is beside the results',
  );

  const file = JSON.parse(readFileSync(json, 'utf8')) as CompareFile;
  t.equal(file.schema, 'grantline.compare/1');
  t.same(
    file.results.map((x) => x.config),
    ['baseline', 'optimised'],
  );
  for (const x of file.results) {
    t.equal(x.conservation, 'ok');
    // Flow control holds the sender for the NIC; behind the bridge a full vif queue drops, as everywhere.
    t.equal(
      x.lost,
      Object.values(x.drops).reduce((a, b) => a + b, 0),
      `${x.config}: every lost frame has its reason`,
    );
    t.equal(x.corrupt + x.duplicate + x.reordered, 0, x.config);
    t.ok(x.delivered.gbps > 0.1, `${x.config} delivers`);
    t.ok(x.latencyUs !== null && x.latencyUs.p50 > 0);
    t.ok(x.cpuNsPerFrame.total > 0);
  }
  const [base, best] = file.results as [CompareFile['results'][0], CompareFile['results'][0]];
  t.ok(Math.abs(base.perFrame.copiesBy.hypervisor - 1) < 0.05, 'baseline: one hypervisor copy for a frame');
  t.ok(best.perFrame.copiesBy.hypervisor < 0.001 && best.perFrame.copiesBy.driverDomain < 0.001, 'optimised: none');
  t.equal(best.lost, 0, 'optimised loses nothing while flow control is on');
  t.ok(best.perFrame.grantOps < 0.001, 'optimised: no grant operation in steady state');
});

t.test('comparisons on a running testbed', async (t) => {
  const bench = new Bench('running');
  t.teardown(() => bench.end());
  // What is measured on it leaves it in that configuration.
  const up = await bench.up(2, '--config', 'optimised', '--page', '127.0.0.1:0');
  const pids = bench.services().map((p) => p.pid);
  const hypervisor = /hypervisor\s+(http:\/\/[^/\s]+)/.exec(up.stdout)![1];
  const page = /live page\s+(http:\S+)/.exec(up.stdout)![1];
  const json = join(bench.home, 'out.json');
  const measured = (): CompareFile => JSON.parse(readFileSync(json, 'utf8')) as CompareFile;

  await t.test('every configuration carries frames of mixed sizes to several guests', async (t) => {
    const brief = ['--guests', '2', '--frame', 'imix', '--seconds', '0.2', '--warmup', '0.1', '--json', json];
    const r = await bench.run('compare', ...brief);
    t.equal(r.code, 0, r.stderr);
    t.same(carried(measured().results), ALL_CARRY);
  });

  await t.test('a factor can be switched alone, and guests may be left out', async (t) => {
    const before = seriesOf((await scrape(hypervisor, page)).values());
    const r = await bench.run('compare', '--set', 'lro=false', '--seconds', '0.3', '--warmup', '0.1', '--json', json);
    t.equal(r.code, 0, r.stderr);
    t.same(
      measured().results.map((x) => [x.config, x.factors.lro, served(x)]),
      [
        ['optimised', true, ['guest1']],
        ['custom', false, ['guest1']],
      ],
    );
    await t.test('its metrics tell the same', async (t) =>
      sameInMetrics(t, before, await scrape(hypervisor, page), measured()),
    );
    t.match((await bench.run('compare', '--guests', '3')).stderr, /has 2 guests, 3 are asked for/);
  });

  await t.test('without flow control what does not fit is lost, and counted with its reason', async (t) => {
    const r = await bench.run(
      ...['compare', '--configs', 'baseline', '--no-pause', '--seconds', '0.3', '--warmup', '0.1', '--json', json],
    );
    t.equal(r.code, 0, r.stderr);
    const result = measured().results[0];
    t.equal(result.conservation, 'ok');
    t.equal(
      result.lost,
      Object.values(result.drops).reduce((a, b) => a + b, 0),
      'every lost frame has its reason',
    );
  });

  await t.test('a vif can be dumped, and one that is not there is told', async (t) => {
    const dump = await bench.run('dump', 'vif1.0');
    t.equal(dump.code, 0, dump.stderr);
    t.match(dump.stdout, /vif1\.0: states[^]*netback[^]*grants[^]*event channels[^]*xenstore/);
    t.equal((JSON.parse((await bench.run('dump', 'vif1.0', '--json')).stdout) as { vif: string }).vif, 'vif1.0');
    t.match((await bench.run('dump', 'vif9.0')).stderr, /no vif9\.0 - known are vif1\.0/);
  });

  t.same(
    bench.services().map((p) => p.pid),
    pids,
    'no service was started again',
  );
  const down = await bench.run('down');
  t.equal(down.code, 0, down.stderr);
  t.equal((await up.ended).code, 143);
  t.same(bench.leftovers(), []);
});
