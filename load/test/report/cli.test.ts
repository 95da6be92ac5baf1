import t, { type Test } from 'tap';
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { UserError } from '../../src/base/errors.js';
import { readSources } from '../../src/report/read.js';
import { writeReport } from '../../src/report/write.js';
import { here, type Ran } from '../cli/cli-kit.js';
import { LADDER, resultsOf } from './kit.js';

const home = `/dev/shm/grantline-test-${process.pid}-report`;
mkdirSync(home, { recursive: true });
t.teardown(() => rmSync(home, { recursive: true, force: true }));

process.chdir(home);
const run = (...args: string[]): Promise<Ran> => here({}, 'report', ...args);

/** A folder with these files: text as it is, all else as JSON. */
function folder(name: string, files: Record<string, unknown>): string {
  const dir = join(home, name);
  mkdirSync(dir, { recursive: true });
  for (const [path, value] of Object.entries(files)) {
    mkdirSync(dirname(join(dir, path)), { recursive: true });
    writeFileSync(join(dir, path), typeof value === 'string' ? value : JSON.stringify(value));
  }
  return dir;
}

async function refused(t: Test, args: string[], what: RegExp): Promise<void> {
  const r = await run(...args);
  t.equal(r.code, 2, `${args.join(' ')}: ${r.stderr}`);
  t.match(r.stderr, /^grantline: .+ - .+\n$/, 'one line: what is wrong and what to do');
  t.equal(r.stderr.split('\n').length, 2);
  t.match(r.stderr, what);
  t.equal(r.stdout, '');
}

const good = (): ReturnType<typeof resultsOf> => resultsOf(LADDER);

t.test('what is no results folder, or no results file, is one line and exit code 2; nothing is written', async (t) => {
  const file = good();
  writeFileSync(join(home, 'a-file'), '');
  const [first] = file.runs;
  const lacking: Record<string, unknown> = { ...first };
  delete lacking['perFrame'];
  const cases: [string, Record<string, unknown>, RegExp][] = [
    ['empty', {}, /holds no compare\.json/],
    ['replay', { 'replay.json': {} }, /holds a replay/],
    ['broken', { 'compare.json': JSON.stringify(file).slice(0, -20) }, /is no JSON/],
    ['list', { 'compare.json': [] }, /no JSON object/],
    ['bare', { 'compare.json': {} }, /has no schema.*grantline\.compare\/1/],
    ['newer', { 'compare.json': { ...file, schema: 'grantline.compare/2' } }, /schema is "grantline\.compare\/2"/],
    ['bench', { 'compare.json': { ...file, schema: 'grantline.bench/1' } }, /schema is "grantline\.bench\/1"/],
    ['control', { 'compare.json': { ...file, schema: '\u001b[2J\n' } }, /schema is "\\u001b\[2J\\n"/],
    ['lacking', { 'compare.json': { ...file, runs: [lacking] } }, /runs\.0 lacks perFrame/],
    ['type', { 'compare.json': { ...file, runs: [{ ...first, lost: 'none' }] } }, /runs\.0\.lost/],
    ['infinite', { 'compare.json': JSON.stringify(file).replace(/"gbps":[\d.]+/, '"gbps":1e999') }, /gbps/],
    [
      'placement',
      { 'compare.json': { ...file, placement: { asked: 'here', placement: 'apart', before: null, after: null } } },
      /placement/,
    ],
    ['no runs', { 'compare.json': { ...file, runs: [] } }, /runs/],
    [
      'two',
      { 'a/compare.json': file, 'b/compare.json': resultsOf(LADDER, { seconds: 5 }) },
      /differ in seconds \(3 and 5\)/,
    ],
    [
      'factors',
      {
        'a/compare.json': file,
        'b/compare.json': { ...file, runs: file.runs.map((r) => ({ ...r, factors: { ...r.factors, lro: true } })) },
      },
      /"baseline" has other factors/,
    ],
    ['one of two', { 'a/compare.json': file, 'b/compare.json': '{' }, /b\/compare\.json is no JSON/],
  ];
  for (const [name, files, what] of cases) {
    const dir = folder(name, files);
    const before = readdirSync(dir).sort();
    await refused(t, [dir], what);
    const refusal = t.throws(() => writeReport(dir, { csv: true }), { name: 'UserError', message: what });
    t.type(refusal, UserError);
    t.same(readdirSync(dir).sort(), before, 'nothing is written');
  }
  await refused(t, [], /missing required argument/);
  await refused(t, [join(home, 'missing')], /there is no folder/);
  await refused(t, [join(home, 'a-file')], /is no folder/);
  await refused(t, [home, '--pdf'], /unknown option/);
});

t.test('a report is written whole or not at all', async (t) => {
  const dir = folder('blocked', { 'compare.json': good(), 'report.md/keep': 'x' });
  await refused(t, [dir], /report\.md: it is a directory/);
  t.same(readdirSync(dir).sort(), ['compare.json', 'report.md']);
});

t.test(
  'a folder that cannot be written is told',
  { skip: process.getuid?.() === 0 && 'root may write everywhere' },
  async (t) => {
    const dir = folder('read-only', { 'compare.json': good() });
    chmodSync(dir, 0o555);
    await refused(t, [dir], /cannot write a report.*EACCES/);
    chmodSync(dir, 0o755);
  },
);

t.test(
  'report writes page, text, plots and CSV, again with the same bytes, and clears plots that are out of date',
  async (t) => {
    const dir = folder('good', { 'compare.json': good(), 'guests.svg': 'of an earlier report' });
    const r = await run(dir, '--csv');
    t.equal(r.code, 0, r.stderr);
    t.equal(
      r.stdout,
      'Report: good/report.html, with report.md, throughput.svg, cpu-per-frame.svg, latency.svg, report.csv\n',
    );
    t.notOk(existsSync(join(dir, 'guests.svg')));
    const read = (): string[] =>
      readdirSync(dir)
        .sort()
        .map((f) => `${f}: ${readFileSync(join(dir, f), 'utf8')}`);
    const before = read();
    t.equal((await run(dir, '--csv')).code, 0);
    t.same(read(), before);
  },
);

t.test('several comparisons that differ in guests only become one report', async (t) => {
  const dir = folder('guests', {
    '1/compare.json': good(),
    '4/compare.json': resultsOf(LADDER.slice(2), { guests: 4, repeat: 3 }),
    'compare-8.json': resultsOf(LADDER.slice(3), { guests: 8 }),
    'notes.json': 'not ours',
  });
  t.same(
    readSources(dir).map((s) => s.path),
    ['compare-8.json', '1/compare.json', '4/compare.json'],
  );
  t.equal((await run(dir)).code, 0);
  const page = readFileSync(join(dir, 'report.html'), 'utf8');
  t.match(page, /More guests/);
  t.match(page, /href="\.\/4\/compare\.json"/);
  t.ok(existsSync(join(dir, 'guests.svg')));
});

t.test(
  'where data threads ran, and what cores handed over, stand in the report; a file without says nothing of it',
  async (t) => {
    const before = { cores: [0, 1], aloneGbps: 165, handoverGbps: 80, roundTripNs: 140, wakeUs: 40 };
    const placement = { asked: 'auto' as const, placement: 'apart' as const, before, after: null };
    const dir = folder('placed', { 'compare.json': { ...good(), placement } });
    t.equal((await run(dir)).code, 0);
    const text = readFileSync(join(dir, 'report.md'), 'utf8');
    t.match(text, '| placement | apart (auto) |');
    t.match(text, '| cores before | one core copies 165 Gb/s by itself, 80 Gb/s reach the other,');
    t.match(text, '| cores afterwards | what cores hand to each other could not be measured |');
    const bare = folder('not-placed', { 'compare.json': good() });
    t.equal((await run(bare)).code, 0);
    t.notMatch(readFileSync(join(bare, 'report.md'), 'utf8'), '| placement |');
  },
);
