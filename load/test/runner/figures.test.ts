import t from 'tap';
import { CONFIGURATIONS } from '@grantline/base';
import { checkConservation, dropsOf } from '../../src/runner/conservation.js';
import { checkCpu } from '../../src/runner/per-frame.js';
import { figures, type RunInput, voidRules, type RunConditions } from '../../src/runner/figures.js';
import type { ServiceSnapshot } from '../../src/control/snapshot.js';
import { baselineAt } from './hand-made.js';

const near = (a: number, b: number): boolean => Math.abs(a - b) < 1e-6 * Math.max(1, Math.abs(b));

const input = (over: Partial<RunInput> = {}): RunInput => ({
  config: 'baseline',
  direction: 'rx',
  factors: CONFIGURATIONS.baseline,
  round: 0,
  guests: 1,
  frameBytes: 1514,
  seconds: 2,
  linkGbps: null,
  flowControl: true,
  stealShare: 0,
  a: baselineAt(500_000, 1),
  b: baselineAt(1_500_000, 3),
  c: baselineAt(1_600_000, 3.3),
  ...over,
});

t.test('rates come from A to B by the services own clocks', (t) => {
  const r = figures(input());
  t.equal(r.delivered.frames, 1_000_000);
  t.ok(near(r.delivered.framesPerSecond, 500_000));
  t.ok(near(r.delivered.gbps, (500_000 * 1514 * 8) / 1e9));
  t.ok(near(r.offered.framesPerSecond, 500_000));
  t.ok(near(r.deliveredBy['guest1'] ?? 0, 500_000));
  t.end();
});

t.test('of TCP streams each receiver has its share of the segments', (t) => {
  const net = (n: number): RunInput['a'] =>
    baselineAt(0, n).map((s) =>
      s.kind === 'guest' ? { ...s, blocks: [{ kind: 'net', labels: {}, values: { tcpIn: n * 1000 } }] } : s,
    );
  const r = figures(input({ tcp: true, a: net(1), b: net(3), c: net(3) }));
  t.ok(near(r.delivered.framesPerSecond, 1000));
  t.ok(near(r.deliveredBy['guest1'] ?? 0, 1000));
  t.end();
});

t.test('loss is what was sent less what arrived whole and once, over the whole run', (t) => {
  t.equal(figures(input()).lost, 0);
  const c = baselineAt(1_600_000, 3.3, { 'guest1/app.duplicate': 7, 'guest1/app.corrupt': 2, 'guest1/app.foreign': 1 });
  const r = figures(input({ c }));
  t.equal(r.lost, 10);
  t.equal(r.duplicate, 7);
  t.equal(r.corrupt, 2);
  t.end();
});

t.test(
  'CPU per frame is each process whole time; total leaves the NIC out; the hypervisor is charged to its caller',
  (t) => {
    const { cpuNsPerFrame: cpu } = figures(input());
    t.ok(near(cpu.nic, 170 * 1.1));
    t.ok(near(cpu.driverDomain, 300 * 1.1));
    t.ok(near(cpu.hypervisor, 150 * 1.1));
    t.ok(near(cpu.guest, 300 * 1.1));
    t.ok(near(cpu.total, 750 * 1.1));
    t.ok(near(cpu.components['driverDomain.netback'] ?? 0, 150));
    t.ok(near(cpu.components['guest.runtime'] ?? 0, 30));
    t.ok(near(cpu.hypervisorByCaller['driverDomain'] ?? 0, 140));
    t.ok(near(cpu.hypervisorByCaller['own'] ?? 0, 25));
    t.end();
  },
);

t.test('operations per frame are exact quotients of the counters', (t) => {
  const { perFrame: p } = figures(input());
  t.equal(p.grantOps, 1);
  t.equal(p.hypercalls, 0.02);
  t.equal(p.copies, 2);
  t.same(p.copiesBy, { hypervisor: 1, driverDomain: 0, application: 1 });
  t.equal(p.copiedBytes, 1514 + 1472);
  t.ok(near(p.notifications, 0.01 + 0.01 + 0.02 + 0.01));
  t.ok(near(p.wakeups, 0.005 + 0.01), 'the NIC does not count');
  t.end();
});

t.test('latency is that of the measured time alone', (t) => {
  const { latencyUs } = figures(input());
  t.equal(latencyUs?.p50, 65.536);
  t.equal(latencyUs?.max, 65.536);
  t.end();
});

t.test('a run in which nothing arrived gives zeros, not NaN', (t) => {
  const same = input({ b: baselineAt(500_000, 3), c: baselineAt(500_000, 3.3) });
  const r = figures(same);
  t.equal(r.delivered.gbps, 0);
  t.equal(r.latencyUs, null);
  JSON.stringify(r, (key, value: unknown) => {
    if (typeof value === 'number' && !Number.isFinite(value)) t.fail(`${key} is ${value}`);
    return value;
  });
  t.end();
});

t.test('conservation holds for a run in which everything adds up', (t) => {
  t.equal(checkConservation(baselineAt(1_000_000, 1), 'split', 'rx'), 'ok');
  t.end();
});

t.test('a frame that vanishes at any hop is found, and the hop is named with its numbers', (t) => {
  const cases: [string, number, RegExp][] = [
    ['nic/nic.inFrames', -1, /cable to NIC: in 1000000 .*out 999999 .*difference 1/],
    ['nic/nicQueue.frames', -3, /NIC to queues/],
    ['driver-domain/driver.frames', -1, /default queue to driver/],
    ['driver-domain/bridge.inFrames', -1, /driver to bridge/],
    ['driver-domain/bridge.forwarded', -1, /bridge/],
    ['driver-domain/netback.bridgeFrames', -1, /bridge to netback/],
    ['driver-domain/netback.outFrames', -1, /netback/],
    ['guest1/netfront.frames', -1, /netback to netfront/],
    ['guest1/netfront.toStack', -1, /netfront/],
    ['guest1/stack.inFrames', -1, /netfront to stack/],
    ['guest1/stack.toSocket', -1, /stack/],
    ['guest1/app.frames', -1, /stack to application/],
    ['guest1/app.frames', 1, /stack to application.*difference -1/],
  ];
  for (const [where, by, pattern] of cases) {
    const found = checkConservation(baselineAt(1_000_000, 1, { [where]: by }), 'split', 'rx');
    t.ok(Array.isArray(found), where);
    t.ok(
      (found as string[]).some((v) => pattern.test(v)),
      `${where}: ${String(found)}`,
    );
  }
  t.end();
});

t.test('a counted drop is conserved and listed with its reason', (t) => {
  const snap = baselineAt(1_000_000, 1, {
    'driver-domain/netback.outFrames': -5,
    'driver-domain/netback.dropQueueFull': 5,
    'guest1/netfront.frames': -5,
    'guest1/netfront.toStack': -5,
    'guest1/stack.inFrames': -5,
    'guest1/stack.toSocket': -5,
    'guest1/app.frames': -5,
  });
  t.equal(checkConservation(snap, 'split', 'rx'), 'ok');
  t.same(dropsOf(snap), { 'netback.dropQueueFull': 5 });
  t.end();
});

t.test('parts that add up to the CPU time within 5 % pass, others are named', (t) => {
  const good = checkCpu(baselineAt(0, 0), baselineAt(1_000_000, 1));
  t.equal(good.ok, true);
  t.ok(near(good.accounted['guest1'] ?? 0, 1));
  const b = baselineAt(1_000_000, 1);
  const guest = b.find((s) => s.name === 'guest1') as ServiceSnapshot;
  (guest.blocks[0] as { values: Record<string, number> }).values['netfront'] = 40e6;
  const bad = checkCpu(baselineAt(0, 0), b);
  t.equal(bad.ok, false);
  t.match(bad.notes[0], /guest1/);
  t.end();
});

t.test('a process that did next to nothing is not judged', (t) => {
  const check = checkCpu(baselineAt(0, 0), baselineAt(10, 1));
  t.same(Object.values(check.accounted), [null, null, null, null]);
  t.equal(check.ok, true);
  t.end();
});

const calm: RunConditions = {
  direction: 'rx',
  stealShare: 0.001,
  linkGbps: 10,
  frameBytes: 1514,
  offeredFramesPerSecond: 812_743,
  pausedShare: 0,
  flowControl: true,
  nicCpuShare: 0.5,
  wantedSeconds: 3,
  measuredSeconds: 3.01,
  corrupt: 0,
  duplicate: 0,
};

t.test('a calm run has no notes', (t) => {
  t.same(voidRules(calm), []);
  t.end();
});

t.test('steal, a generator that lags, bad timing, corrupt and double frames are noted', (t) => {
  t.match(voidRules({ ...calm, stealShare: 0.03 })[0], /3\.0 %.*steal/);
  t.match(voidRules({ ...calm, offeredFramesPerSecond: 700_000, pausedShare: 0.2 })[0], /86\.1 % of the link.*20\.0 %/);
  t.match(voidRules({ ...calm, offeredFramesPerSecond: 0, linkGbps: null })[0], /nothing/);
  t.match(voidRules({ ...calm, measuredSeconds: 3.5 })[0], /3\.50 s instead of 3 s/);
  t.match(voidRules({ ...calm, linkGbps: null, nicCpuShare: 0.99 })[0], /bottleneck/);
  t.equal(voidRules({ ...calm, corrupt: 1, duplicate: 2 }).length, 2);
  t.end();
});
