import t from 'tap';
import { EXPERIMENT_DIRECTIONS } from '@grantline/observe';
import { XENBUS } from '@grantline/xen';
import { CONFIG_LABELS, Experiment, PHASES, type RunFigures, type Stage } from '../../src/control/experiment.js';
import { bed, type Bed } from './bed.js';

const stage = (over: Partial<Stage> = {}): Stage => ({
  run: '2026-01-31T120000-0123abc',
  config: 'baseline',
  round: 0,
  phase: 'measure',
  frameBytes: 1514,
  guests: 2,
  linkGbps: null,
  ...over,
});
const figures = (over: Partial<RunFigures> = {}): RunFigures => ({
  run: stage().run,
  config: 'baseline',
  round: 0,
  gbps: 8,
  framesPerSecond: 660_000,
  offeredFramesPerSecond: 670_000,
  lost: 12,
  cpuNsPerFrame: { 'driver_domain.netback': 450, 'guest.application': 90 },
  perFrame: { grant_ops: 3, hypercalls: 0.1, copies: 2, notifications: 0.2, suppressed: 0.8, wakeups: 0.01 },
  latencyUs: { p50: 20, p90: 40, p99: 80, p999: 200, max: 1000 },
  ...over,
});

/** Values by series, without `domain="hypervisor"`. */
async function page(b: Bed): Promise<Map<string, number>> {
  const text = await (await fetch(`${b.url}/metrics`)).text();
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return new Map(
    lines.map((line) => {
      const at = line.lastIndexOf(' ');
      return [line.slice(0, at).replace(/domain="hypervisor",?/, ''), Number(line.slice(at + 1))];
    }),
  );
}

t.test('what the experimenter says is told again, with the time at which the phase began', async (t) => {
  const b = await bed(t);
  t.match((await b.api('GET', '/api/experiment')).body, { run: null, phase: 'idle', config: 'baseline', results: [] });
  t.same(await b.api('PUT', '/api/experiment', stage({ linkGbps: 10 })), { status: 200, body: {} });
  t.same(await b.api('POST', '/api/experiment/results', figures()), { status: 200, body: {} });
  const told = (await b.api('GET', '/api/experiment')).body as unknown as { phaseStartMs: number };
  t.match(told, { ...stage({ linkGbps: 10 }), direction: 'rx', results: [{ ...figures(), direction: 'rx' }] });
  const asked = { run: stage().run, config: 'loopback', scenario: 'bytes:1M', round: 0, requestsPerSecond: 900 };
  t.same(await b.api('POST', '/api/experiment/requests', asked), { status: 200, body: {} });
  await b.api('PUT', '/api/experiment', stage({ direction: 'http' }));
  t.match((await b.api('GET', '/api/experiment')).body, { direction: 'http', requests: [asked] });
  t.ok(Math.abs(told.phaseStartMs - Date.now()) < 60_000);
});

t.test("the experimenter needs the operator's token, and what is wrong is refused with the reason", async (t) => {
  const b = await bed(t);
  t.equal((await b.api('PUT', '/api/experiment', stage(), 'wrong')).status, 401);
  t.equal((await b.api('POST', '/api/experiment/results', figures(), '')).status, 401);
  const refused = async (method: 'PUT' | 'POST', body: unknown): Promise<unknown> => {
    const path = method === 'PUT' ? '/api/experiment' : '/api/experiment/results';
    const r = await b.api(method, path, body);
    return [r.status, r.body.message];
  };
  t.same(await refused('POST', figures()), [409, 'no run is under way: say so first, with PUT /api/experiment']);
  for (const [field, values] of Object.entries({
    run: ['', 'a b', 'x'.repeat(101), 'a\nb', 7],
    config: ['turbo', 'BASELINE', null],
    direction: ['sideways', null, 1],
    round: [-1, 0.5, '1'],
    phase: ['run', undefined],
    frameBytes: [-1, 70000, '1514'],
    guests: [33, -1, 1.5],
    linkGbps: [0, -1, '10', false],
  }))
    for (const value of values)
      t.match(await refused('PUT', { ...stage(), [field]: value }), [400, new RegExp(`^${field} must be `)], field);
  t.match(await refused('PUT', { ...stage(), frames: 1 }), [
    400,
    /^'frames' is none of run, config, direction, round, phase/,
  ]);
  t.match(await refused('PUT', []), [400, /^the body must be an object with run, config/]);
  t.equal((await b.api('GET', '/api/experiment')).body.value, undefined);
  t.match((await b.api('GET', '/api/experiment')).body, { run: null }, 'nothing was taken over');

  await b.api('PUT', '/api/experiment', stage());
  const many = Object.fromEntries(
    Array.from({ length: 65 }, (_, i) => [`guest.${'abcdefghij'[i % 10]}${'x'.repeat(i / 10)}`, 1]),
  );
  for (const [field, values] of Object.entries({
    direction: ['TX'],
    gbps: [-1, '8', null],
    lost: [0.5],
    cpuNsPerFrame: [{ Netback: 1 }, { 'driver_domain.netback': '1' }, { 'a"b.c': 1 }, many, null],
    perFrame: [{}, { ...figures().perFrame, syscalls: 1 }],
    latencyUs: [{ p50: 1 }, 5],
  }))
    for (const value of values)
      t.match(await refused('POST', { ...figures(), [field]: value }), [400, new RegExp(`^${field} must `)], field);
  const requests = { run: stage().run, config: 'optimised', scenario: 'json', round: 0, requestsPerSecond: 1 };
  for (const [field, values] of Object.entries({
    config: ['turbo'],
    scenario: ['', 'a b', 'x'.repeat(41)],
    requestsPerSecond: [-1, '1'],
  }))
    for (const value of values) {
      const r = await b.api('POST', '/api/experiment/requests', { ...requests, [field]: value });
      t.match([r.status, r.body.message], [400, new RegExp(`^${field} must `)], field);
    }
  t.equal((await b.api('POST', '/api/experiment/requests', { ...requests, run: 'other' })).status, 409);
  t.same(await refused('POST', figures({ run: 'other' })), [409, `the run under way is '${stage().run}', not 'other'`]);
});

t.test('one run at a time is kept: the last figures of each configuration; a new run forgets', (t) => {
  let now = 1000;
  const e = new Experiment(() => now);
  e.enter(stage());
  for (let round = 0; round < 50; round++)
    for (const config of CONFIG_LABELS) {
      e.finish(figures({ config, round, gbps: round }));
      e.finish(figures({ config, direction: 'tx', round, gbps: -round }));
    }
  t.same(
    e.list().map((f) => [f.direction, f.config, f.gbps]),
    [...CONFIG_LABELS.map((config) => ['rx', config, 49]), ...CONFIG_LABELS.map((config) => ['tx', config, -49])],
    'a transmit run does not replace the receive run of its configuration',
  );
  for (let i = 0; i < 1000; i++) {
    const asked = {
      run: stage().run,
      config: 'direct',
      scenario: `bytes:${i}`,
      round: 0,
      requestsPerSecond: 1,
    } as const;
    if (i < 256) e.finishRequests(asked);
    else t.throws(() => e.finishRequests(asked), /at most 32 scenarios/);
  }
  t.equal(e.requests().length, 256, 'what is kept stays small');
  now = 2000;
  e.enter(stage());
  t.equal(e.phaseStartMs, 1000, 'the same again is no new phase');
  e.enter(stage({ round: 1 }));
  t.equal(e.phaseStartMs, 2000);
  t.equal(e.list().length, 14, 'a new round is the same run');
  now = 2500;
  e.enter(stage({ round: 1, direction: 'tx' }));
  t.equal(e.phaseStartMs, 2500, 'another direction is a new phase');
  now = 3000;
  e.enter(stage({ run: 'next', phase: 'configure' }));
  t.same([...e.list(), ...e.requests()], []);
  t.same(
    [
      e.enteredMs('measure', 'baseline'),
      e.enteredMs('measure', 'baseline', 'tx'),
      e.enteredMs('configure', 'baseline'),
      e.enteredMs('drain', 'native'),
    ],
    [2000, 2500, 3000, 0],
  );
  t.throws(() => e.finish(figures()), /the run under way is 'next'/);
  t.end();
});

t.test(
  'the experiment as metrics: every phase and configuration from the start, results with the run that they are of',
  async (t) => {
    const b = await bed(t);
    const before = await page(b);
    for (const phase of PHASES)
      for (const config of CONFIG_LABELS)
        for (const direction of EXPERIMENT_DIRECTIONS)
          t.equal(
            before.get(`grantline_phase_info{phase="${phase}",config="${config}",direction="${direction}"}`),
            phase === 'idle' && config === 'baseline' && direction === 'rx' ? 1 : 0,
            `${phase} ${config} ${direction}`,
          );
    t.equal(before.get('grantline_configuration_info{config="custom"}'), 0);
    t.equal(before.get('grantline_configuration_info{config="baseline"}'), 1);
    t.equal(before.get('grantline_paper_bytes_per_second{config="optimised"}'), 1.25e9);
    t.equal(before.get('grantline_experiment_line_rate_bytes_per_second{}'), 0);
    t.notOk([...before.keys()].some((s) => /run_info|_result_/.test(s)));

    await b.api('PUT', '/api/experiment', stage({ linkGbps: 10 }));
    await b.api('POST', '/api/experiment/results', figures());
    await b.api('POST', '/api/experiment/results', figures({ config: 'native', latencyUs: null }));
    await b.api('POST', '/api/experiment/results', figures({ direction: 'tx', gbps: 4, latencyUs: null }));
    const asked = { run: stage().run, config: 'optimised', scenario: 'bytes:1M', round: 0, requestsPerSecond: 900 };
    await b.api('POST', '/api/experiment/requests', asked);
    const after = await page(b);
    const own = `run="${stage().run}",config="baseline",direction="rx"`;
    const expected: Record<string, number> = {
      [`grantline_run_info{${own}}`]: 1,
      'grantline_phase_info{phase="measure",config="baseline",direction="rx"}': 1,
      'grantline_phase_info{phase="idle",config="baseline",direction="rx"}': 0,
      'grantline_phase_start_timestamp_seconds{phase="drain",config="baseline",direction="tx"}': 0,
      'grantline_experiment_frame_bytes{}': 1514,
      'grantline_experiment_guests{}': 2,
      'grantline_experiment_line_rate_bytes_per_second{}': (1.25e9 * 1514) / 1538,
      [`grantline_result_bytes_per_second{${own}}`]: 1e9,
      [`grantline_result_bytes_per_second{${own.replace('"rx"', '"tx"')}}`]: 5e8,
      [`grantline_result_requests_per_second{run="${stage().run}",config="optimised",scenario="bytes:1M"}`]: 900,
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
    t.ok(
      after.get('grantline_phase_start_timestamp_seconds{phase="measure",config="baseline",direction="rx"}')! > 1.7e9,
    );
    t.equal([...after.keys()].filter((s) => s.startsWith('grantline_result_latency')).length, 5, 'none without frames');

    await b.api('PUT', '/api/experiment', stage({ run: 'next', config: 'optimised', phase: 'configure' }));
    const next = await page(b);
    t.notOk(
      [...next.keys()].some((s) => s.includes(stage().run)),
      'series of the run before have ended',
    );
    t.equal(
      [...next.keys()].filter((s) => s.startsWith('grantline_phase_info')).length,
      PHASES.length * CONFIG_LABELS.length * EXPERIMENT_DIRECTIONS.length,
    );
  },
);

t.test('domains and vifs as metrics, and as targets for Prometheus: the dead are not scraped', async (t) => {
  const b = await bed(t);
  const dd = await b.open('driver-domain');
  const g = await b.open('guest');
  await b.create('guest');
  const [guestAt, driverAt] = [new URL(await g.announce()).host, new URL(await dd.announce('127.0.0.2')).host];
  await dd.ask('xs.write', { path: '/local/domain/1000/backend/vif/1/0/state', value: String(XENBUS.connected) });
  await dd.ask('xs.write', { path: '/local/domain/1000/backend/vif/1/0/error', value: 'an impossible index' });
  const series = await page(b);
  const expected: Record<string, number> = {
    'grantline_domain_up{domain="guest1"}': 1,
    'grantline_domain_up{domain="guest2"}': 0,
    'grantline_domain_up{domain="driver-domain"}': 1,
    'grantline_domain_starts_total{domain="guest1"}': 1,
    'grantline_domain_starts_total{domain="guest2"}': 0,
    'grantline_vif_state{domain="guest1",vif="vif1.0",component="backend"}': 4,
    'grantline_vif_state{domain="guest1",vif="vif1.0",component="frontend"}': 1,
    'grantline_vif_disabled{domain="guest1",vif="vif1.0"}': 1,
    'grantline_vif_disabled{domain="guest2",vif="vif2.0"}': 0,
    'grantline_active_grants{domain="guest1"}': 0,
    'grantline_mappings{domain="driver-domain"}': 0,
    'grantline_dma_entries{}': 0,
    'grantline_refused_grants_total{domain="guest2",reason="bad_gntref"}': 0,
    'grantline_control_refusals_total{reason="garbage"}': 0,
  };
  for (const [name, value] of Object.entries(expected)) t.equal(series.get(name), value, name);

  const targets = async (): Promise<unknown> => (await b.api('GET', '/prometheus/targets', undefined, '')).body;
  const own = { targets: [new URL(b.url).host], labels: { domain: 'hypervisor', kind: 'hypervisor' } };
  const driver = { targets: [driverAt], labels: { domain: 'driver-domain', kind: 'driver-domain' } };
  t.same(await targets(), [own, { targets: [guestAt], labels: { domain: 'guest1', kind: 'guest' } }, driver]);
  await b.api('DELETE', '/api/domains/1');
  t.same(await targets(), [own, driver]);
  t.notOk((await page(b)).has('grantline_domain_up{domain="guest1"}'));
});

t.test('the documentation has the new calls', async (t) => {
  const b = await bed(t);
  const { paths } = (await b.api('GET', '/documentation/json')).body as unknown as {
    paths: Record<string, Record<string, { summary?: string; requestBody?: unknown; responses?: unknown }>>;
  };
  for (const [path, method] of [
    ['/api/experiment', 'put'],
    ['/api/experiment', 'get'],
    ['/api/experiment/results', 'post'],
    ['/api/experiment/requests', 'post'],
    ['/prometheus/targets', 'get'],
  ] as const) {
    const call = paths[path]?.[method];
    t.ok(call?.summary && call.responses, `${method} ${path}`);
    t.equal(call?.requestBody !== undefined, method !== 'get', path);
  }
});
