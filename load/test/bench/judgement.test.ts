/** What scenarios make of what they measured: sums, ratios of the same round, and what other programs have said. */
import t from 'tap';
import fc from 'fast-check';
import { bodyChecks } from '../../src/bench/bodies.js';
import type { BodyRun } from '../../src/bench/body-client-main.js';
import { benchMarkdown, checkOf, coresTable, judgeCheck, lowerTable } from '../../src/bench/checks.js';
import { costOf, costTable, rowOf } from '../../src/bench/cost.js';
import { meanMs } from '../../src/bench/ping.js';
import { mustFit } from '../../src/bench/scenario.js';
import { OWN_TESTBED } from '../../src/bed/with-bed.js';
import { ResponseReader } from '../../src/bench/response-reader.js';
import { hostInfo } from '../../src/testbed/host.js';
import type { RunRecord } from '../../src/runner/record.js';

const COMPONENTS = {
  ...{ 'nic.generator': 50, 'nic.nic': 90, 'nic.outer': 3, 'nic.idle': 20, 'nic.runtime': 4, 'nic.control': 1 },
  ...{ 'driverDomain.netback': 30, 'driverDomain.grantCalls': 7, 'driverDomain.bridge': 5, 'driverDomain.wakeup': 2 },
  ...{ 'guest.netfront': 30, 'guest.driver': 6, 'guest.stack': 60, 'guest.application': 150, 'guest.idle': 8 },
  ...{ 'hypervisor.hypercalls': 11, 'hypervisor.transport': 12, 'hypervisor.idle': 1, 'hypervisor.control': 2 },
};
const runOf = (config: string, components: Record<string, number>): RunRecord =>
  ({ config, frameBytes: 1514, cpuNsPerFrame: { components } }) as unknown as RunRecord;

t.test('each component of a frame is in one row, and the sum is of all that every service used', (t) => {
  const { rows, sum } = costOf(runOf('optimised', COMPONENTS));
  const all = Object.values(COMPONENTS).reduce((a, b) => a + b, 0);
  t.equal(sum, all);
  t.equal(
    [...rows.values()].reduce((a, b) => a + b, 0),
    all,
  );
  t.equal(rows.get('hypervisor'), 26, 'with its own waiting');
  t.equal(rows.get('NIC'), 93);
  t.equal(rows.get('netfront'), 36, "in direct the NIC's driver is the guest's");
  t.equal(rows.get('waking, looking, event loop, runtime'), 35);
  t.equal(rowOf('driverDomain.driver'), 'driver and bridge');
  t.equal(rowOf('guest.somethingNew'), 'waking, looking, event loop, runtime', 'nothing is left out of the sum');
  t.end();
});

t.test('the table of costs has medians by configuration, and a dash where there is nothing', (t) => {
  const runs = [100, 300, 120].map((ns) => runOf('optimised', { 'nic.nic': ns, 'guest.stack': 0.2 }));
  const table = costTable(1514, runs);
  const column = table.columns.findIndex((c) => c.head === 'optimised');
  const cell = (row: string): string | undefined => table.rows.find(([name]) => name === row)?.[column];
  t.same([cell('NIC'), cell('stack'), cell('sum')], ['120', '-', '120']);
  t.end();
});

const bodyRun = (
  job: string,
  target: 'edge' | 'loopback',
  round: number,
  gbps: number,
  more: Partial<BodyRun> = {},
) => ({
  ...{ job, target, round, seconds: 2, bytes: (gbps * 2e9) / 8, answers: 100, faults: 0, cpuSeconds: 1 },
  ...more,
});

t.test('bodies are judged beside loopback of the same round, and by the CPU time of a MB', (t) => {
  const checks = bodyChecks([
    // Rounds of a machine that gets slower: the ratio stays.
    ...[bodyRun('one', 'loopback', 0, 20), bodyRun('one', 'edge', 0, 9, { cpuSeconds: 1 })],
    ...[bodyRun('one', 'edge', 1, 4.5, { cpuSeconds: 0.5 }), bodyRun('one', 'loopback', 1, 10)],
    ...[bodyRun('many', 'edge', 0, 4.9), bodyRun('many', 'loopback', 0, 20)],
    ...[bodyRun('small', 'edge', 0, 0, { answers: 69 }), bodyRun('small', 'loopback', 0, 0)],
    bodyRun('upload', 'edge', 0, 2, { faults: 1 }),
  ]);
  const of = (part: string) => {
    const check = checks.find((c) => c.name.includes(part))!;
    return [check.value, judgeCheck(check)];
  };
  t.same(of('1 GB: over loopback'), [0.45, 'PASS']);
  // 9 Gb/s for 2 s are 2250 MB.
  t.ok(Math.abs((of('1 GB: CPU time')[0] as number) - 1000 / 2250) < 1e-9);
  t.same(of('bodies of 1 MB, optimised')[1], 'short');
  t.same(of('small answers: share'), [69, 'short']);
  t.same(of('broken connections'), [1, 'short']);
  t.same(of('uploads of 16 MB: over')[1], 'short', 'a round without its loopback proves nothing');
  t.end();
});

t.test('of what ping says the mean counts; of one that heard nothing there is none', (t) => {
  const said = (tail: string): string => `--- 10.77.0.1 ping statistics ---\n5 packets transmitted\n${tail}\n`;
  t.equal(meanMs(said('rtt min/avg/max/mdev = 0.041/0.052/0.093/0.011 ms, ipg/ewma 0.06/0.05 ms')), 0.052);
  t.equal(meanMs(said('round-trip min/avg/max = 0.041/2.5/0.093 ms')), 2.5, 'of busybox');
  t.ok(Number.isNaN(meanMs(said(''))));
  t.equal(judgeCheck(checkOf('ping', 'ms', [NaN], { below: 0.5 })), 'short', 'and is no pass');
  t.end();
});

t.test('responses are counted alike however the connection cuts them', (t) => {
  const lengths = fc.array(fc.integer({ min: 0, max: 300 }), { minLength: 1, maxLength: 12 });
  const cuts = fc.array(fc.integer({ min: 1, max: 90 }), { minLength: 1, maxLength: 400, size: 'max' });
  const property = fc.property(lengths, cuts, (bodies, parts) => {
    const text = bodies.map((n) => `HTTP/1.1 200 OK\r\nContent-Length: ${n}\r\nX: y\r\n\r\n${'b'.repeat(n)}`).join('');
    const reader = new ResponseReader();
    const bytes = Buffer.from(text, 'latin1');
    let ended = 0;
    for (let at = 0, i = 0; at < bytes.length; i++) {
      const piece = bytes.subarray(at, at + parts[i % parts.length]);
      // What lies behind in a buffer that is used again is not read.
      ended += reader.take(Buffer.concat([piece, Buffer.from('HTTP/1.1 500 \r\n\r\n')]), piece.length);
      at += piece.length;
    }
    const sum = bodies.reduce((a, b) => a + b, 0);
    return ended === bodies.length && reader.answers === ended && reader.bytes === sum && reader.faults === 0;
  });
  t.doesNotThrow(() => fc.assert(property));
  t.end();
});

t.test('another status, a body without a length and a head without an end are faults, once', (t) => {
  for (const head of [
    'HTTP/1.1 404 Not Found\r\nContent-Length: 1\r\n\r\nx',
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n',
    `HTTP/1.1 200 OK\r\n${'x'.repeat(40_000)}`,
  ]) {
    const reader = new ResponseReader();
    const bytes = Buffer.from(head, 'latin1');
    for (let at = 0; at < bytes.length; at += 1000) reader.take(bytes.subarray(at), Math.min(1000, bytes.length - at));
    t.same([reader.faults, reader.answers, reader.bytes], [1, 0, 0], head.slice(0, 40));
  }
  t.end();
});

t.test('tables stand below the checks, on the screen and in the Markdown, with what cores handed over', (t) => {
  const before = { cores: [0, 1], aloneGbps: 165.4, handoverGbps: 80.2, roundTripNs: 140, wakeUs: 40 };
  const one = { ...before, cores: [0], handoverGbps: null, roundTripNs: null };
  const table = coresTable([
    { scenario: 'ladder', placement: { asked: 'auto', placement: 'apart', before, after: null } },
    { scenario: 'cost', placement: { asked: 'auto', placement: 'none', before: one, after: one } },
    { scenario: 'elsewhere', placement: null },
  ]);
  t.same(table.rows, [
    ['ladder', 'apart (auto)', '165 / -', '80 / -', '140 / -', '40 / -'],
    ['cost', 'none (auto)', '165 / 165', '- / -', '- / -', '40 / 40'],
  ]);
  t.match(lowerTable(table), /ladder +│ apart \(auto\) +│ +165 \/ - │/);
  const text = benchMarkdown([], [table], { ...hostInfo(), dirty: false }, { runs: 1 }, '2026-01-31', []);
  t.match(text, '| ladder | apart (auto) | 165 / - | 80 / - | 140 / - | 40 / - |');
  t.equal(judgeCheck(checkOf('x', 'ns', [400], { atMost: 400 })), 'PASS');
  t.equal(judgeCheck(checkOf('x', 'ns', [400.1], { atMost: 400 })), 'short');
  t.end();
});

t.test('what is to be on one core is not measured on a testbed that has others', (t) => {
  const cost = { name: 'cost', oneCore: true } as const;
  t.doesNotThrow(() => mustFit(cost, { testbed: OWN_TESTBED }));
  t.throws(() => mustFit(cost, { testbed: 'running, of pid 7' }), { message: /cost needs a testbed of its own/ });
  t.doesNotThrow(() => mustFit({ name: 'order' }, { testbed: 'running, of pid 7' }));
  t.end();
});
