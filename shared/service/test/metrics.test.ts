import { rmSync } from 'node:fs';
import t from 'tap';
import {
  COUNTER_FILE_BYTES,
  CounterFile,
  cpuLayout,
  GUEST_CPU,
  AddressSpace,
  makeMemory,
  LATENCY,
} from '@grantline/machine';
import {
  NIC_QUEUE_COUNTERS,
  HYPERCALL_COUNTERS,
  APP_COUNTERS,
  NETBACK_COUNTERS,
  type Reading,
} from '@grantline/observe';
import { createHttp } from '../src/http.js';
import { quiet } from './fake-hypervisor.js';
import { testDir } from '@grantline/machine/testkit';
import { parsePage } from '@grantline/observe/testkit';

const dir = testDir();
t.teardown(() => rmSync(dir, { recursive: true }));

function service(domain: string, gauges: () => Reading[] = () => []) {
  const file = new CounterFile(new AddressSpace(1 << 20), makeMemory('test', COUNTER_FILE_BYTES));
  const ready = (): boolean => true;
  const app = createHttp({
    name: 'test',
    domain,
    log: quiet,
    counterFile: file,
    ...{ listen: { host: '127.0.0.1', port: 0 }, names: [], key: 'k' },
    ready,
    dump: () => ({}),
    gauges,
  });
  t.teardown(() => app.close());
  const page = async (): Promise<Map<string, number>> => parsePage(t, (await app.inject('/metrics')).body);
  const reset = (): Promise<unknown> =>
    app.inject({ method: 'POST', url: '/counters/reset', headers: { authorization: 'Bearer k' } });
  return { app, file, page, reset };
}

t.test('counters in base units with their labels and the domain; blocks made later appear', async (t) => {
  const { app, file, page } = service('hypervisor');
  const calls = file.block(HYPERCALL_COUNTERS, { domain: '1000' });
  calls.v[HYPERCALL_COUNTERS.names.indexOf('transportNs')] = 2.5e9;
  calls.v[HYPERCALL_COUNTERS.names.indexOf('copyOps')] = 4;
  calls.commit();
  const cpu = file.block(cpuLayout(GUEST_CPU));
  cpu.v[3] = 1e9;
  cpu.commit();
  file.block({ kind: 'somethingNew', names: ['frames'] });
  await app.inject('/metrics');
  const late = file.block(NIC_QUEUE_COUNTERS, { queue: 'a"\\b' });
  late.v[NIC_QUEUE_COUNTERS.names.indexOf('dropNoBuffer')] = 7;
  late.commit();
  t.match((await app.inject('/metrics')).headers['content-type'], /^text\/plain; version=0\.0\.4/);
  const samples = await page();
  const expected = {
    'grantline_hypercall_seconds_total{component="transport",domain="driver-domain"}': 2.5,
    'grantline_grant_operations_total{domain="driver-domain",op="copy"}': 4,
    'grantline_copies_total{component="hypervisor",domain="driver-domain"}': 4,
    'grantline_refused_grants_total{domain="driver-domain",reason="bad_gntref"}': 0,
    'grantline_cpu_seconds_total{component="netfront",domain="hypervisor"}': 1,
    'grantline_dropped_frames_total{component="nic_queue",domain="hypervisor",queue="a\\"\\\\b",reason="no_buffer"}': 7,
  };
  for (const [series, value] of Object.entries(expected)) t.equal(samples.get(series), value, series);
  t.ok(samples.get('process_cpu_seconds_total{domain="hypervisor"}')! > 0);
  t.ok(samples.get('process_resident_memory_bytes{domain="hypervisor"}')! > 1e6);
  const build = [...samples.keys()].find((s) => s.startsWith('grantline_build_info'));
  t.match(build, /node="\d+\.\d+\.\d+",revision="([0-9a-f]{40}|unknown)",version="0\.1\.0"/);
});

t.test('all that can occur is there with 0 as soon as a block is: reasons, ops, buckets', async (t) => {
  const { file, page } = service('guest1');
  file.block(NETBACK_COUNTERS, { vif: 'vif1.0' });
  file.block(APP_COUNTERS, { vif: 'vif1.0' });
  file.block(LATENCY, { vif: 'vif1.0' });
  const samples = await page();
  const own = [...samples].filter(([name]) => name.startsWith('grantline_') && !name.includes('build_info'));
  t.ok(own.every(([, value]) => value === 0));
  const count = (family: string): number => own.filter(([name]) => name.startsWith(`${family}{`)).length;
  t.same(
    ['dropped_frames', 'netback_grant_operations', 'netback_received_frames', 'faulty_frames', 'ring_faults'].map((f) =>
      count(`grantline_${f}_total`),
    ),
    [5, 5, 2, 5, 2],
  );
  t.same(
    ['bucket', 'sum', 'count'].map((s) => count(`grantline_frame_latency_seconds_${s}`)),
    [26, 1, 1],
  );
});

t.test('a page only grows: a reset of a run does not show in it, whoever resets', async (t) => {
  const { file, page, reset } = service('guest1');
  const app = file.block(APP_COUNTERS, { vif: 'vif1.0' });
  const latency = file.block(LATENCY, { vif: 'vif1.0' });
  let before = await page();
  for (const step of [0, 1, 2, 3]) {
    app.v[0] += 10;
    latency.v[0]++;
    latency.v[1] += 1500;
    latency.v[2] = 1500;
    latency.v[4]++;
    if (step !== 2) app.commit();
    latency.commit();
    if (step === 1) await reset();
    if (step === 2) {
      app.reset();
      latency.reset();
    }
    const now = await page();
    const shrunk = [...before].filter(([name, value]) => name.startsWith('grantline_') && now.get(name)! < value);
    t.same(shrunk, []);
    t.equal(now.get('grantline_delivered_frames_total{domain="guest1"}'), 10 * (step + 1));
    t.equal(now.get('grantline_frame_latency_seconds_count{domain="guest1"}'), step + 1);
    before = now;
  }
  t.equal(file.snapshot()[0].values['frames'], 10, 'the counters of the run began anew');
});

t.test('what the service reads besides is asked at each scrape; series of the same labels add up', async (t) => {
  let used = 3;
  const { file, page } = service('driver-domain', () => [
    { family: 'grantline_ring_slots_used', labels: { vif: 'vif1.0', queue: 'nic', direction: 'rx' }, value: used },
    { family: 'grantline_domain_up', labels: { domain: 'guest2' }, value: 1 },
  ]);
  for (const vif of ['vif1.0', 'vif2.0']) {
    const block = file.block(NETBACK_COUNTERS, { vif });
    block.v[NETBACK_COUNTERS.names.indexOf('localCopies')] = 5;
    block.commit();
  }
  const series = 'grantline_ring_slots_used{direction="rx",domain="driver-domain",queue="nic",vif="vif1.0"}';
  t.equal((await page()).get(series), 3);
  used = 9;
  const [a, b] = await Promise.all([page(), page()]);
  t.equal(a.get(series), 9);
  t.equal(a.get('grantline_domain_up{domain="guest2"}'), 1);
  t.equal(a.get('grantline_copies_total{component="driver_domain",domain="driver-domain"}'), 10);
  t.equal(a.size, b.size, 'two at the same time do not disturb each other');
});
