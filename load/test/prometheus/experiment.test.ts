import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { createServer, request } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { LABEL_NAMES, type Family } from '@grantline/machine';
import { UserError } from '../../src/base/errors.js';
import { LivePage } from '../../src/live/live-page.js';
import { observerKey, remotePage } from '../../src/live/board.js';
import { Experiment, EXPERIMENT_FAMILIES } from '../../src/prometheus/experiment.js';
import { showExperiment } from '../../src/prometheus/server.js';
import { Client } from '../../src/control/client.js';
import { CONFIG_LABELS, EXPERIMENT_DIRECTIONS, PHASES, observers } from '../../src/runner/observer.js';
import type { Progression } from '../../page/messages.js';
import type { RunRecord } from '../../src/runner/record.js';
import { REPOSITORY } from '../../src/testbed/paths.js';
import { takeRunLock } from '../../src/testbed/run-lock.js';

const at = (over: Partial<Progression> = {}): Progression => ({
  ...{ run: 'r1', config: 'baseline', direction: 'rx', round: 0, phase: 'measure' },
  ...{ frameBytes: 1514, guests: 2, linkGbps: null },
  ...over,
});
const record = (over: Partial<RunRecord> = {}): RunRecord => ({
  ...{ config: 'baseline', direction: 'rx', round: 0, guests: 2, frameBytes: 1514, seconds: 1 },
  factors: {
    ...{ path: 'split', nicQueues: 'single', grants: 'per-frame', bufferBytes: 4096 },
    ...{ lro: false, batching: false, tso: false },
  },
  offered: { framesPerSecond: 670_000, gbps: 8.1 },
  delivered: { frames: 660_000, bytes: 1e9, framesPerSecond: 660_000, gbps: 8 },
  ...{ deliveredBy: {}, sent: 100, received: 88, lost: 12, duplicate: 0, reordered: 0, corrupt: 0, drops: {} },
  conservation: 'ok',
  cpuNsPerFrame: {
    ...{ nic: 1, driverDomain: 450, hypervisor: 0, guest: 90, total: 540, hypervisorByCaller: {} },
    components: { 'driverDomain.netback': 450, 'guest.application': 90, 'guest.idle': 1 },
  },
  ...{ stealShare: 0, pausedShare: 0, cpuShare: {}, cpuAccounted: {}, cpuAccountedOk: true },
  perFrame: {
    ...{ grantOps: 3, hypercalls: 0.1, copies: 2, copiedBytes: 99, notifications: 0.2, suppressed: 0.8, wakeups: 0.01 },
    copiesBy: { hypervisor: 1, driverDomain: 0, application: 1 },
  },
  latencyUs: { p50: 20, p90: 40, p99: 80, p999: 200, max: 1000 },
  ...{ rssBytes: {}, notes: [], raw: { a: [], b: [], c: [] } },
  ...over,
});
const asked = { config: 'loopback', scenario: 'bytes:1M', round: 0, requestsPerSecond: 900 };

/** Values by series. */
const shown = (e: Experiment): Map<string, number> =>
  new Map(
    e.readings().map(({ family, labels = {}, value }) => {
      const all = Object.entries(labels).map(([name, of]) => `${name}="${of}"`);
      return [`${family}{${all.join(',')}}`, value];
    }),
  );

t.test('every phase and configuration is there from the start, results with the run that they are of', async (t) => {
  const e = new Experiment(() => 1_700_000_000_500);
  const before = shown(e);
  for (const phase of PHASES)
    for (const config of CONFIG_LABELS)
      for (const direction of EXPERIMENT_DIRECTIONS)
        t.equal(
          before.get(`grantline_phase_info{phase="${phase}",config="${config}",direction="${direction}"}`),
          0,
          'nobody has said anything',
        );
  t.equal(before.get('grantline_paper_bytes_per_second{config="baseline"}'), 2.9e9 / 8);
  t.equal(before.get('grantline_paper_bytes_per_second{config="optimised"}'), 1.25e9);
  t.equal(before.get('grantline_experiment_line_rate_bytes_per_second{}'), 0);
  t.notOk([...before.keys()].some((s) => /run_info|_result_/.test(s)));

  await e.phase(at({ linkGbps: 10 }));
  await e.finished('r1', record());
  await e.finished('r1', record({ config: 'native', latencyUs: null }));
  await e.finished('r1', record({ direction: 'tx', latencyUs: null, delivered: { ...record().delivered, gbps: 4 } }));
  await e.answered('r1', asked);
  const after = shown(e);
  const own = 'run="r1",config="baseline",direction="rx"';
  const expected: Record<string, number> = {
    [`grantline_run_info{${own}}`]: 1,
    'grantline_phase_info{phase="measure",config="baseline",direction="rx"}': 1,
    'grantline_phase_info{phase="idle",config="baseline",direction="rx"}': 0,
    'grantline_phase_start_timestamp_seconds{phase="measure",config="baseline",direction="rx"}': 1_700_000_000.5,
    'grantline_phase_start_timestamp_seconds{phase="drain",config="baseline",direction="tx"}': 0,
    'grantline_experiment_frame_bytes{}': 1514,
    'grantline_experiment_guests{}': 2,
    'grantline_experiment_line_rate_bytes_per_second{}': (1.25e9 * 1514) / 1538,
    [`grantline_result_bytes_per_second{${own}}`]: 1e9,
    [`grantline_result_bytes_per_second{${own.replace('"rx"', '"tx"')}}`]: 5e8,
    'grantline_result_requests_per_second{run="r1",config="loopback",scenario="bytes:1M"}': 900,
    [`grantline_result_frames_per_second{${own}}`]: 660_000,
    [`grantline_result_offered_frames_per_second{${own}}`]: 670_000,
    [`grantline_result_lost_frames{${own}}`]: 12,
    [`grantline_result_cpu_seconds_per_frame{${own},component="driver_domain.netback"}`]: 450e-9,
    [`grantline_result_cpu_seconds_per_frame{${own},component="driver_domain.grant_calls"}`]: 0,
    [`grantline_result_operations_per_frame{${own},op="grant_ops"}`]: 3,
    [`grantline_result_latency_seconds{${own},quantile="0.999"}`]: 200e-6,
    [`grantline_result_latency_seconds{${own},quantile="1"}`]: 1e-3,
  };
  for (const [series, value] of Object.entries(expected)) t.equal(after.get(series), value, series);
  t.equal([...after.keys()].filter((s) => s.startsWith('grantline_result_latency')).length, 5, 'none without frames');
});

t.test('configurations that are none of the ladder are custom; streams of TCP stand apart', async (t) => {
  const e = new Experiment();
  await e.phase(at({ config: 'lro=false' }));
  t.equal(shown(e).get('grantline_run_info{run="r1",config="custom",direction="rx"}'), 1);
  for (const [direction, tcp] of [
    ['tx', undefined],
    ['guest-to-guest', undefined],
    ['rr', undefined],
    ['rx', true],
    ['tx', true],
  ] as const)
    await e.finished('r1', record({ config: 'lro=false', direction, ...(tcp ? { tcp } : {}) }));
  for (const config of ['optimised', 'lso=false']) await e.answered('r1', { ...asked, config });
  const lost = [...shown(e).keys()].filter((s) => /^grantline_result_(lost|requests)/.test(s));
  t.same(lost, [
    ...['tx', 'guest-to-guest', 'rr', 'tcp-rx', 'tcp-tx'].map(
      (direction) => `grantline_result_lost_frames{run="r1",config="custom",direction="${direction}"}`,
    ),
    ...['optimised', 'custom'].map(
      (config) => `grantline_result_requests_per_second{run="r1",config="${config}",scenario="bytes:1M"}`,
    ),
  ]);
});

t.test('one run at a time is kept: the last figures of each configuration; a new run forgets', async (t) => {
  let now = 1000;
  const e = new Experiment(() => now);
  const began = (phase: string, config = 'baseline', direction = 'rx'): number =>
    shown(e).get(
      `grantline_phase_start_timestamp_seconds{phase="${phase}",config="${config}",direction="${direction}"}`,
    )!;
  await e.phase(at());
  for (let lost = 0; lost < 50; lost++)
    for (const config of CONFIG_LABELS)
      for (const direction of ['rx', 'tx'] as const) await e.finished('r1', record({ config, direction, lost }));
  const results = (): [string, number][] => [...shown(e)].filter(([s]) => s.includes('result_lost'));
  t.equal(results().length, 2 * CONFIG_LABELS.length, 'a transmit run does not replace the receive run');
  t.ok(results().every(([, lost]) => lost === 49));
  for (let i = 0; i < 1000; i++) {
    const told = e.answered('r1', { ...asked, scenario: `bytes:${i}` });
    await (i < 256 ? told : t.rejects(told, /too many scenarios/));
  }
  now = 2000;
  await e.phase(at());
  t.equal(began('measure'), 1, 'the same again is no new phase');
  await e.phase(at({ round: 1 }));
  t.equal(began('measure'), 2);
  t.equal(results().length, 2 * CONFIG_LABELS.length, 'a new round is the same run');
  now = 2500;
  await e.phase(at({ round: 1, direction: 'tx' }));
  t.equal(began('measure', 'baseline', 'tx'), 2.5, 'another direction is a new phase');
  now = 3000;
  await e.phase(at({ run: 'next', phase: 'configure' }));
  t.notOk(
    [...shown(e).keys()].some((s) => s.includes('_result_') || s.includes('"r1"')),
    'series of the run have ended',
  );
  t.same([began('measure'), began('configure'), began('drain', 'native')], [2, 3, 0]);
  await t.rejects(e.finished('r1', record()), { message: "the run under way is 'next', not 'r1'", statusCode: 409 });
  await t.rejects(new Experiment().finished('r1', record()), { message: 'no run is under way', statusCode: 409 });
  await t.resolves(observers(e).finished('r1', record()), 'no reason to fail the run');
});

t.test('metrics keep the rules of names and labels, and docs/wire/metrics.md has them all', (t) => {
  const families: Readonly<Record<string, Family>> = EXPERIMENT_FAMILIES;
  for (const [name, { help }] of Object.entries(families)) {
    t.match(name, /^grantline(_[a-z]+)+$/);
    t.notMatch(name, /_(total|ns|us|ms|bits?|gbps|kb|mb|count|sum|bucket)(_|$)/);
    t.match(help, /^\S.{8,120}\.$/);
  }
  const readings = new Experiment().readings();
  for (const { family, labels = {} } of readings)
    for (const label of Object.keys(labels))
      t.ok((LABEL_NAMES as readonly string[]).includes(label) && families[family].labels.includes(label as never));
  const page = readFileSync(join(REPOSITORY, 'docs/wire/metrics.md'), 'utf8');
  const section = page.slice(page.indexOf('\n## 4.'), page.indexOf('\n## 5.'));
  const told = section.split('\n').filter((line) => line.startsWith('| `grantline_'));
  const names = told.flatMap((row) => [...row.split('|')[1].matchAll(/`(\w+)`/g)].map((m) => m[1]));
  t.same(names.sort(), Object.keys(families).sort());
  t.end();
});

/** The answer of a server. Not fetch: it does not let the Host header be chosen. */
function ask(
  url: string,
  { method = 'GET', host, key, body }: { method?: string; host?: string; key?: string; body?: unknown } = {},
): Promise<{ status: number; text: string }> {
  const headers = {
    ...(host === undefined ? {} : { host }),
    ...(key === undefined ? {} : { authorization: `Bearer ${key}` }),
    ...(body === undefined ? {} : { 'content-type': 'application/json' }),
  };
  return new Promise((done, fail) => {
    const r = request(url, { method, headers, agent: false }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (part: string) => (text += part));
      response.on('end', () => done({ status: response.statusCode ?? 0, text }));
    });
    r.on('error', fail);
    r.end(body === undefined ? undefined : JSON.stringify(body));
  });
}

async function pageOn(t: Test, mode: 'up' | 'compare' = 'up'): Promise<{ page: LivePage; dir: string }> {
  const dir = `/dev/shm/grantline-test-${process.pid}-${t.name.length}`;
  mkdirSync(dir, { recursive: true });
  const page = await LivePage.open({ listen: { host: '127.0.0.1', port: 0 }, mode, dir });
  t.teardown(async () => {
    await page.close('');
    rmSync(dir, { recursive: true });
  });
  page.attach({ client: new Client('http://127.0.0.1:1', 'secret'), token: 'secret', keeper: null });
  return { page, dir };
}

t.test('the live page shows Prometheus what another process tells it, for as long as that measures', async (t) => {
  const { page, dir } = await pageOn(t);
  const release = takeRunLock(dir);
  const remote = remotePage(page.url, 'secret');
  await remote.phase(at());
  await remote.finished('r1', record());
  await remote.answered!('r1', asked);
  const metrics = async (): Promise<string> => (await ask(`${page.url}metrics`)).text;
  const own = 'domain="experimenter",run="r1",config="baseline",direction="rx"';
  const text = await metrics();
  for (const line of [
    '# TYPE grantline_result_latency_seconds summary',
    `grantline_run_info{${own}} 1`,
    'grantline_phase_info{domain="experimenter",phase="measure",config="baseline",direction="rx"} 1',
    `grantline_result_bytes_per_second{${own}} 1000000000`,
    'grantline_result_requests_per_second{domain="experimenter",run="r1",config="loopback",scenario="bytes:1M"} 900',
  ])
    t.ok(text.split('\n').includes(line), line);
  // It was killed: nothing is said.
  release();
  const after = await metrics();
  t.match(after, 'phase_info{domain="experimenter",phase="idle",config="baseline",direction="rx"} 1');
  t.match(after, 'phase_info{domain="experimenter",phase="measure",config="baseline",direction="rx"} 0');
  t.match(after, `grantline_result_bytes_per_second{${own}} 1000000000`, 'its results stay');
});

t.test('a comparison in the page’s own process is shown, and its phase is its own to end', async (t) => {
  const { page } = await pageOn(t, 'compare');
  await page.observer.phase(at());
  await page.observer.finished('r1', record());
  await page.observer.answered!('r1', asked);
  const { text } = await ask(`${page.url}metrics`);
  t.match(text, 'grantline_phase_info{domain="experimenter",phase="measure",config="baseline",direction="rx"} 1');
  t.match(text, /^grantline_result_lost_frames\{[^}]*\} 12$/m);
  t.match(text, /^grantline_result_requests_per_second\{[^}]*\} 900$/m);
});

t.test('only the operator may tell, and what is wrong is refused with the field', async (t) => {
  const { page } = await pageOn(t);
  const key = observerKey('secret');
  const tell = async (what: string, body: unknown, as = key): Promise<[number, string]> => {
    const { status, text } = await ask(`${page.url}observer/${what}`, { method: 'POST', key: as, body });
    const {
      statusCode,
      error,
      message = '',
    } = JSON.parse(text) as { statusCode?: number; error?: string; message?: string };
    if (status !== 200) t.ok(statusCode === status && error !== undefined, 'in the form of all refusals');
    return [status, message];
  };
  const told = { run: 'r1', record: record() };
  for (const [what, body] of Object.entries({ phase: at(), finished: told, answered: { run: 'r1', ...asked } }))
    for (const wrong of ['', 'secret', observerKey('guess')])
      t.equal((await tell(what, body, wrong))[0], 401, `${what} with "${wrong}"`);
  t.same(await tell('finished', told), [409, 'no run is under way']);
  for (const [field, values] of Object.entries({
    run: ['', 'a b', 'x'.repeat(101), 'a\nb', 7],
    config: ['', 'x'.repeat(201), null],
    direction: ['sideways', null, 1],
    round: [-1, 0.5, '1'],
    phase: ['run', undefined],
    frameBytes: [-1, 70_000, '1514'],
    guests: [33, 0, 1.5],
    linkGbps: [0, -1, '10', false],
  }))
    for (const value of values)
      t.match(await tell('phase', { ...at(), [field]: value }), [400, new RegExp(field)], `${field} ${String(value)}`);
  t.equal((await tell('phase', []))[0], 400);
  t.notMatch((await ask(`${page.url}metrics`)).text, /run_info\{/, 'nothing was taken over');

  t.equal((await tell('phase', at()))[0], 200);
  const many = Object.fromEntries(
    Array.from({ length: 65 }, (_, i) => [`guest.${'x'.repeat(1 + (i % 32))}${i > 31 ? '' : 'y'}`, 1]),
  );
  const { cpuNsPerFrame, perFrame, delivered } = record();
  for (const [field, values] of Object.entries({
    direction: ['TX', 'http', undefined],
    delivered: [
      { ...delivered, gbps: -1 },
      { ...delivered, gbps: '8' },
      { ...delivered, framesPerSecond: null },
    ],
    lost: ['1'],
    cpuNsPerFrame: [{ netback: 1 }, { 'driverDomain.netback': '1' }, { 'a"b.c': 1 }, { 'a.b\n': 1 }, many].map(
      (components) => ({ ...cpuNsPerFrame, components }),
    ),
    perFrame: [{}, { ...perFrame, wakeups: null }],
    latencyUs: [{ p50: 1 }, 5],
  }))
    for (const value of values)
      t.match(await tell('finished', { run: 'r1', record: { ...record(), [field]: value } }), [400, new RegExp(field)]);
  for (const [field, values] of Object.entries({
    config: [7],
    scenario: ['', 'a b', 'x'.repeat(41)],
    requestsPerSecond: [-1, '1'],
  }))
    for (const value of values)
      t.match(await tell('answered', { run: 'r1', ...asked, [field]: value }), [400, new RegExp(field)], field);
  t.same(await tell('answered', { ...asked, run: 'other' }), [409, "the run under way is 'r1', not 'other'"]);
  t.same(await tell('finished', { ...told, run: 'other' }), [409, "the run under way is 'r1', not 'other'"]);
  t.notMatch((await ask(`${page.url}metrics`)).text, /_result_/, 'nothing was taken over');
});

t.test('without a live page a process shows its own experiment, and takes nothing', async (t) => {
  const env = { GRANTLINE_METRICS: '127.0.0.1:0', GRANTLINE_HTTP_NAMES: 'experimenter' };
  const other = createServer().listen(0, '127.0.0.1');
  await new Promise((done) => other.once('listening', done));
  t.teardown(() => other.close());
  const taken = (other.address() as AddressInfo).port;
  await t.rejects(
    showExperiment({ GRANTLINE_METRICS: `127.0.0.1:${taken}` }),
    /cannot show metrics at .* \(EADDRINUSE\)/,
  );
  await t.rejects(showExperiment({ GRANTLINE_METRICS: 'somewhere' }), UserError);
  const shownHere = await showExperiment(env);
  const { experiment, url } = shownHere;
  t.teardown(() => shownHere.close());
  await experiment.phase(at());
  t.match(await ask(`${url}/metrics`, { host: 'experimenter:7680' }), { status: 200, text: /run_info\{[^}]*\} 1/ });
  t.match(await ask(`${url}/metrics`, { host: 'evil.example' }), { status: 421, text: /is not a name of this server/ });
  for (const path of ['/observer/phase', '/observer/finished', '/metrics', '/'])
    t.equal((await ask(`${url}${path}`, { method: 'POST', body: at() })).status, 404, path);
});
