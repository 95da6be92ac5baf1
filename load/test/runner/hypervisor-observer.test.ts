import t from 'tap';
import { HypervisorObserver, type ExperimentResult } from '../../src/runner/hypervisor-observer.js';
import type { Progression } from '../../src/runner/observer.js';
import type { RunRecord } from '../../src/runner/record.js';

const at = (over: Partial<Progression> = {}): Progression => ({
  ...{ run: 'r1', config: 'optimised', round: 1, phase: 'measure', frameBytes: 1514, guests: 1, linkGbps: 10 },
  ...over,
});
const record = {
  config: 'lro=false',
  direction: 'rx',
  round: 2,
  delivered: { gbps: 9, framesPerSecond: 7e5 },
  offered: { framesPerSecond: 8e5 },
  lost: 3,
  cpuNsPerFrame: { components: { 'driverDomain.grantCalls': 5, 'guest.idle': 1 } },
  perFrame: { grantOps: 1, hypercalls: 2, copies: 3, copiedBytes: 99, notifications: 4, suppressed: 5, wakeups: 6 },
  latencyUs: null,
} as unknown as RunRecord;

function client(fail = false) {
  const said: Progression[] = [];
  const results: ExperimentResult[] = [];
  const answered: unknown[] = [];
  const reply = (): Promise<unknown> => (fail ? Promise.reject(new Error('gone')) : Promise.resolve({}));
  return {
    said,
    results,
    answered,
    putExperiment: (p: Progression) => (said.push(p), reply()),
    postResult: (r: ExperimentResult) => (results.push(r), reply()),
    postRequests: (r: unknown) => (answered.push(r), reply()),
  };
}

t.test('the hypervisor is told in its own words: labels in snake case, changed configurations as custom', async (t) => {
  const c = client();
  const o = new HypervisorObserver(c);
  await o.phase(at());
  await o.phase(at({ config: 'lro=false' }));
  await o.finished('r1', record);
  t.same(c.said, [at(), at({ config: 'custom' })]);
  t.same(c.results, [
    {
      run: 'r1',
      config: 'custom',
      direction: 'rx',
      round: 2,
      gbps: 9,
      framesPerSecond: 7e5,
      offeredFramesPerSecond: 8e5,
      lost: 3,
      cpuNsPerFrame: { 'driver_domain.grant_calls': 5, 'guest.idle': 1 },
      perFrame: { grant_ops: 1, hypercalls: 2, copies: 3, notifications: 4, suppressed: 5, wakeups: 6 },
      latencyUs: null,
    },
  ]);
});

t.test(
  'results say which way frames went, streams of TCP apart; requests over HTTP are told with loopback',
  async (t) => {
    const c = client();
    const o = new HypervisorObserver(c);
    for (const [direction, tcp] of [
      ['tx', undefined],
      ['guest-to-guest', undefined],
      ['rr', undefined],
      ['rx', true],
      ['tx', true],
    ] as const)
      await o.finished('r1', { ...record, direction, ...(tcp ? { tcp } : {}) });
    t.same(
      c.results.map((r) => r.direction),
      ['tx', 'guest-to-guest', 'rr', 'tcp-rx', 'tcp-tx'],
    );
    for (const config of ['optimised', 'lso=false', 'loopback'])
      await o.answered('r1', { config, scenario: 'bytes:1M', round: 0, requestsPerSecond: 7 });
    t.same(
      c.answered,
      ['optimised', 'custom', 'loopback'].map((config) => ({
        ...{ run: 'r1', config, scenario: 'bytes:1M', round: 0, requestsPerSecond: 7 },
      })),
    );
  },
);

t.test('when the work ends early the phase is idle, and what comes late is not told', async (t) => {
  const c = client();
  const o = new HypervisorObserver(c);
  await o.end();
  t.same(c.said, [], 'nobody was told of anything');
  const running = new HypervisorObserver(c);
  await running.phase(at());
  await running.end();
  await running.phase(at({ phase: 'drain' }));
  t.same(
    c.said.map((p) => p.phase),
    ['measure', 'idle'],
  );
  const lost = new HypervisorObserver(client(true));
  await t.rejects(lost.phase(at()), /gone/);
  await t.resolves(lost.end(), 'the testbed may have gone first');
});
