import t from 'tap';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { CompareFile } from '../../src/report/results.js';
import { Bench } from '../e2e/kit.js';

t.setTimeout(180_000);
const SHORT = ['--seconds', '0.2', '--warmup', '0.1', '--no-page'];
/** Where something has to come through. */
const LONGER = ['--seconds', '0.6', '--warmup', '0.1', '--no-page'];

t.test(
  'round trips: all configurations answer every request, alone and beside bulk, verified at both ends',
  async (t) => {
    const bench = new Bench('rr');
    t.teardown(() => bench.end());
    const json = join(bench.home, 'out.json');
    const r = await bench.run('compare', '--workload', 'rr', '--inflight', '1,8', ...SHORT, '--json', json);
    t.equal(r.code, 0, r.stderr);
    t.match(r.stdout, /round trips, 8 in flight, beside bulk/);
    const file = JSON.parse(readFileSync(json, 'utf8')) as CompareFile;
    const names = ['baseline', 'multiqueue', 'grant-reuse', 'optimised', 'direct', 'native'];
    const kinds = ['1 idle', '8 idle', '1 bulk', '8 bulk'];
    t.same(
      file.results.map((x) => `${x.rr?.inFlight} ${x.rr?.beside} ${x.config}`),
      kinds.flatMap((kind) => names.map((name) => `${kind} ${name}`)),
    );
    for (const x of file.results) {
      const name = `${x.config}, ${x.rr?.inFlight} ${x.rr?.beside}`;
      t.equal(x.conservation, 'ok', name);
      // Where the machine did not run one of the services for as long as a run lasts, that run has no answers.
      const l = x.rr!.rttUs;
      t.ok(l === null ? x.rr!.answered === 0 : l.p50 > 0 && l.p50 <= l.p99, name);
      t.equal(x.corrupt + (x.rr?.repeated ?? 1), 0, `${name}: no answer is wrong or comes twice`);
      t.equal(x.rr!.requests, x.rr!.answered + x.rr!.timeouts + x.rr!.unanswered, name);
    }
    for (const name of names) {
      const answered = file.results.filter((x) => x.config === name).reduce((sum, x) => sum + x.rr!.answered, 0);
      t.ok(answered > 0, `${name}: ${answered} answered`);
    }
    t.match(r.stdout, /round-trips\.svg/);
    t.same(bench.leftovers(), []);
  },
);

t.test(
  'faults on the cable: receivers find what was injected, no more and no less; requests that are lost time out',
  async (t) => {
    const bench = new Bench('faults');
    t.teardown(() => bench.end());
    const up = await bench.up(1);
    const json = join(bench.home, 'out.json');
    const faults = ['--faults', 'loss=0.02,duplicate=0.02,corrupt=0.02,reorder=0.02,seed=7'];
    const one = ['--configs', 'baseline,optimised'];
    const load = await bench.run('compare', '--direction', 'both', ...one, ...faults, ...LONGER, '--json', json);
    t.equal(load.code, 0, load.stderr);
    for (const x of (JSON.parse(readFileSync(json, 'utf8')) as CompareFile).results) {
      t.equal(x.conservation, 'ok', `${x.config} ${x.direction}`);
      const way = x.direction === 'rx' ? 'in' : 'out';
      t.equal(x.duplicate, x.faults?.[`${way}.duplicated`] ?? 0);
      t.ok((x.faults?.[`${way}.frames`] ?? 0) > 0);
    }
    const asked = await bench.run(
      ...['compare', '--workload', 'rr', '--configs', 'optimised', '--inflight', '32', '--beside', 'idle'],
      ...['--rate', '2000', ...faults, ...LONGER, '--json', json],
    );
    t.equal(asked.code, 0, asked.stderr);
    const [x] = (JSON.parse(readFileSync(json, 'utf8')) as CompareFile).results;
    t.equal(x.conservation, 'ok');
    t.ok(x.rr!.answered > 0);
    const plain = await bench.run('compare', '--configs', 'optimised', ...SHORT, '--json', json);
    t.equal(plain.code, 0, plain.stderr);
    const [clean] = (JSON.parse(readFileSync(json, 'utf8')) as CompareFile).results;
    t.same(
      [clean.faults, clean.lost, clean.duplicate],
      [undefined, 0, 0],
      'faults end with the run that asked for them',
    );
    for (const [args, why] of [
      [['--faults', 'loss=2'], /loss must be a probability from 0 to 1 - write for example/],
      [['--workload', 'rr', '--inflight', '0'], /requests in flight "0" is out of range/],
      [['--workload', 'rr', '--beside', 'noise'], /unknown company "noise" - give idle/],
      [['--workload', 'rr', '--frame', 'imix'], /requests have one size/],
    ] as const) {
      const r = await bench.run('compare', ...args);
      t.equal(r.code, 2);
      t.match(r.stderr, why);
    }
    up.signal('SIGINT');
    await up.ended;
    t.same(bench.leftovers(), []);
  },
);
