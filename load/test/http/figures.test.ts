/** From runs by HTTP to verdicts, summaries and tables; and what is typed. */
import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { checksOf } from '../../src/bench/scenarios.js';
import { judgeCheck } from '../../src/bench/checks.js';
import { UserError } from '../../src/base/errors.js';
import { parseConnections, parseRates } from '../../src/cli/options.js';
import { Latencies } from '../../src/http/tally.js';
import { type Generated, type LoadErrors, type HttpFile, type HttpRun, parseScenarios } from '../../src/http/plan.js';
import { LOOPBACK } from '../../src/runner/observer.js';
import { httpVerdict, summariseHttp, faultOf, notesOf, refusalOf } from '../../src/http/verdict.js';
import { urlOf } from '../../src/control/load-api.js';
import { httpReportFiles, writeHttpReport } from '../../src/report/write.js';
import { httpTable } from '../../src/report/table.js';

const NONE: LoadErrors = { connection: 0, timeout: 0, status: 0, wrong: 0, unanswered: 0 };

function generated(answered: number, cpuShare: number, more: Partial<Generated> = {}): Generated {
  const latencies = new Latencies();
  for (let i = 1; i <= 1000; i++) latencies.record(i / 1000);
  return {
    ...{ mode: 'closed', seconds: 2, answered, bodyBytes: 0, latencyUs: latencies.read(), waiting: 0, serviceUs: null },
    ...{ total: { sent: answered, answered }, errors: NONE, generator: { cpuShare, lateShare: 0 } },
    ...more,
  };
}

function run(target: string, requestsPerSecond: number, more: Partial<HttpRun> = {}): HttpRun {
  return {
    ...{ target, factors: null, scenario: 'json', mode: 'closed', rate: null, round: 0, connections: 50, guests: 1 },
    ...{ requestsPerSecond, gbps: 0, generated: generated(requestsPerSecond * 2, 0.4), cpuNsPerRequest: null },
    ...{ serverNsPerRequest: 20_000, cpuShare: {}, idleShare: 0.4, stealShare: 0, refused: null, notes: [] },
    ...more,
  };
}

t.test('the benchmark judges each round against its own loopback, and void runs count for nothing', (t) => {
  const large = { scenario: 'bytes:1M', gbps: 2.5 };
  const runs = [
    ...[run(LOOPBACK, 9000), run('optimised', 3600), run(LOOPBACK, 600, large), run('optimised', 300, large)],
    ...[run(LOOPBACK, 3000, { round: 1 }), run('optimised', 900, { round: 1 })],
    ...[run(LOOPBACK, 9000, { round: 2 }), run('optimised', 9000, { round: 2, refused: 'the generator' })],
    run('optimised', 3600, { round: 3, generated: generated(7200, 0.4, { errors: { ...NONE, wrong: 1 } }) }),
  ];
  const figures = checksOf(runs).map((c) => [c.name.replace(/^HTTP[:,] /, ''), c.value, judgeCheck(c)]);
  t.same(figures, [
    ['optimised, small JSON, 50 connections: share of loopback, same round', 35, 'PASS'],
    ['optimised, small JSON', 3600, 'PASS'],
    ['loopback, small JSON', 9000, 'PASS'],
    ['optimised, body of 1 MB', 2.5, 'PASS'],
    ['loopback, body of 1 MB', 2.5, 'PASS'],
    ['runs with answers lost, wrong or late', 1, 'short'],
    ['runs that are void', 1, 'short'],
  ]);
  const none = checksOf([run(LOOPBACK, 9000)]).filter((c) => c.name.includes('optimised, body') || c.unit === '%');
  t.same(none.map(judgeCheck), ['short', 'short'], 'nothing measured is nothing reached');
  t.end();
});

t.test('a run is void where the generator is full and the server is not, and only there', (t) => {
  const of = (cpuShare: number, serverShare: number): string | null =>
    refusalOf({ generated: generated(1000, cpuShare), rate: null, serverShare });
  t.match(of(0.99, 0.6), /the generator used 99 % of a core.*60 %/);
  t.equal(of(0.99, 0.98), null, 'both are full: the server is at its limit, too');
  t.equal(of(0.6, 0.3), null, 'neither: the path between them is slow');
  const late = generated(1000, 0.5, { generator: { cpuShare: 0.5, lateShare: 0.2 } });
  t.match(refusalOf({ generated: late, rate: 500, serverShare: 0.5 }), /20 % of the requests late/);
  t.equal(refusalOf({ generated: late, rate: null, serverShare: 0.5 }), null, 'a closed loop has no schedule');
  t.match(refusalOf({ generated: generated(0, 0), rate: null, serverShare: 0 }), /no request was answered/);
  t.match(notesOf({ generated: generated(1000, 0.1), rate: 900, serverShare: 0.5 }, 0.5), ['500 of 900 requests/s']);
  t.same(notesOf({ generated: generated(1000, 0.1), rate: 500, serverShare: 0.5 }, 0.5), []);
  t.match(notesOf({ generated: generated(1000, 0.1), rate: null, serverShare: 0.5 }, 0.01), ['no core']);
  t.end();
});

t.test('the ratio is that of medians of sound runs of the same scenario; a void run has none', (t) => {
  const runs = [
    ...[30_000, 10_000, 29_000].map((r) => run(LOOPBACK, r)),
    ...[9000, 12_000, 10_000].map((r) => run('optimised', r)),
    run('baseline', 50_000, { refused: 'the generator' }),
    run('direct', 500, { rate: 500, mode: 'open' }),
  ];
  const all = summariseHttp(runs);
  const of = (target: string) => all.find((s) => s.target === target);
  t.equal(of('optimised')?.requestsPerSecond, 10_000);
  t.equal(of('optimised')?.ratio, 10_000 / 29_000);
  t.same(of('optimised')?.spread.requestsPerSecond, { min: 9000, max: 12_000 });
  t.equal(of('baseline')?.ratio, null);
  t.equal(of('direct')?.ratio, null, 'loopback was not run at that rate');
  const oneVoid = summariseHttp([run('direct', 90_000, { refused: 'x' }), run('direct', 100)]);
  t.equal(oneVoid[0].requestsPerSecond, 100, 'a run that stands goes before a void one');
  const settings = { scenarios: [], rates: [500], capacity: true, connections: 50, guests: 1, seconds: 2, warmup: 1, repeat: 3 }; // prettier-ignore
  const text = httpTable({
    settings,
    capacity: all.filter((s) => s.mode === 'closed'),
    atRate: all.filter((s) => s.mode === 'open'),
  });
  t.match(text, /optimised +│ +10000 \(9000-12000\) +│ +34 % /);
  t.match(text, /baseline +│ +void /);
  t.match(text, /json at 500\/s │ direct/);
  t.ok(text.indexOf('closed loop') < text.indexOf('open loop'), 'apart');
  t.match(text, /│ +500 │ +900 │ +990 │ +999 │/, 'percentiles in microseconds');
  t.end();
});

t.test('wrong, lost and void answers fail the command, and name where', (t) => {
  t.equal(httpVerdict([run('optimised', 5)]), null);
  const lost = generated(10, 0.1, { errors: { ...NONE, unanswered: 2, wrong: 1 } });
  t.equal(faultOf(lost), '1 answers were wrong, 2 requests were not answered (of 10 requests)');
  const error = httpVerdict([run('optimised', 5, { generated: lost }), run('direct', 5, { refused: 'it is full' })]);
  t.match(error?.message, /optimised, json: 1 answers were wrong[^]*direct, json: void: it is full/);
  t.equal(httpVerdict([run(LOOPBACK, 5, { refused: 'it is full' })]), null, 'a void yardstick takes the ratio only');
  t.end();
});

const refuses = (t: Test, f: () => unknown, what: RegExp): void => {
  t.throws(f, UserError);
  t.throws(f, { message: what });
};

t.test('scenarios, rates and addresses as they are typed', (t) => {
  t.same(parseScenarios('json, bytes:2M,upload,chunked:1M/4K,ws'), [
    { kind: 'json', name: 'json' },
    { kind: 'bytes', name: 'bytes:2M', bytes: 2 << 20 },
    { kind: 'upload', name: 'upload', bytes: 1 << 20 },
    { kind: 'chunked', name: 'chunked:1M/4K', bytes: 1 << 20, chunk: 4096 },
    { kind: 'ws', name: 'ws', bytes: 128 },
  ]);
  for (const bad of ['', 'soap', 'json:5', 'bytes:', 'bytes:1M/4', 'ws:5/5']) refuses(t, () => parseScenarios(bad), /unknown scenario/); // prettier-ignore
  for (const bad of ['bytes:0', 'bytes:1G', 'bytes:65M', 'bytes:-1', 'chunked:1M/1M', 'ws:8']) refuses(t, () => parseScenarios(bad), /out of range/); // prettier-ignore
  refuses(t, () => parseScenarios('json,json'), /twice/);
  t.same(parseRates('100,2500.5'), [100, 2500.5]);
  for (const bad of ['0', '-1', '1e3', 'x', '1,', '1000001']) refuses(t, () => parseRates(bad), /rate/);
  for (const bad of ['0', '1001', '1.5', 'many']) refuses(t, () => parseConnections(bad), /connections/);
  t.equal(urlOf('127.0.0.1:8080', 'http://nic:7600'), 'http://127.0.0.1:8080');
  t.equal(urlOf('0.0.0.0:8080', 'http://nic:7600'), 'http://nic:8080', 'any address is reached at the NIC');
  t.end();
});

t.test('the report of http.json is the same bytes from the same file, and shows void runs as void', (t) => {
  const capacity = summariseHttp([
    run(LOOPBACK, 30_000),
    run('optimised', 12_000),
    run('<b>', 1, { refused: 'the generator | was full' }),
  ]);
  const host = { cpu: 'c', cores: 2, memoryBytes: 1, kernel: 'k', arch: 'x64', node: '20', v8: '11', versions: { grantline: '0' }, commit: 'abc', dirty: false }; // prettier-ignore
  const settings = { scenarios: [], rates: [], capacity: true, connections: 50, guests: 1, seconds: 2, warmup: 1, repeat: 1 }; // prettier-ignore
  const file: HttpFile = {
    ...{ schema: 'grantline.http/1', date: '2026-01-31T12:00:00.000Z', commandLine: ['http'], host, settings },
    ...{ capacity, atRate: [], runs: [] },
  };
  const files = httpReportFiles(file);
  t.same([...files.keys()], ['http.html', 'http.md', 'http.svg']);
  t.same([...httpReportFiles(file).values()], [...files.values()]);
  t.match(files.get('http.md'), /\*\*json over optimised: 12,000 requests\/s, 40 % of plain loopback\.\*\*/);
  t.match(files.get('http.md'), /Void: the generator \\\| was full/);
  t.match(files.get('http.svg'), /12,000\/s, 40 % of loopback/);
  for (const name of ['http.html', 'http.svg']) t.notMatch(files.get(name), /<b>/, 'names are escaped');

  const dir = `/dev/shm/grantline-test-${process.pid}-http-report`;
  mkdirSync(dir, { recursive: true });
  t.teardown(() => rmSync(dir, { recursive: true, force: true }));
  for (const [text, what] of [
    ['{', /is no JSON/],
    ['{"schema":"grantline.http/2"}', /is no results file of this version/],
    [JSON.stringify({ ...file, capacity: [{ target: 'x' }] }), /is no results file of this version: \/capacity\/0/],
  ] as const) {
    writeFileSync(join(dir, 'http.json'), text);
    refuses(t, () => writeHttpReport(dir), what);
  }
  writeFileSync(join(dir, 'http.json'), JSON.stringify(file));
  t.same(writeHttpReport(dir), [...files.keys()]);
  t.same(readdirSync(dir).sort(), ['http.html', 'http.json', 'http.md', 'http.svg']);
  t.end();
});
