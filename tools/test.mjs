// npm test: sets up a fresh clone, runs the tests, and tells of them what a person wants to see. None of the first three suites should
// take much more than two minutes:
//   npm test                units, properties, services as processes, the main jobs from end to end
//   npm run test:long       the other jobs from end to end: kills and interrupts, TCP, HTTP, transmit, round trips, captures
//   npm run test:views      what people look at: Prometheus and dashboards, the live page and the report in a browser
//   npm run check:tap       TAP devices against the Linux kernel, and a hostile far end; needs root, and programs that it names
//   npm run check:compose   the testbed in containers, for ten minutes and more; needs Docker and the base images (GRANTLINE_PULL=1)
// Other arguments are compiled test files. Each is a TAP program of its own: `node FILE` runs it, too.
import { spawn } from 'node:child_process';
import { existsSync, readdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { root, setup } from './setup.mjs';

await setup({ develop: true });
// Not before: on a fresh clone it is the set-up that brings its packages.
const { Parser } = await import('tap-parser');
// Tap's runner puts loaders for coverage and mocks into each process, of which we use neither: they cost a second for each file.
/** A suite is the folder `test/SUITE` of a package; what stands in none of these is in the first. */
const SUITES = ['long', 'views', 'tap', 'containers'];
const suiteOf = (file) => SUITES.find((s) => file.includes(`/dist/test/${s}/`)) ?? null;

/** @param {string | null} suite null: what is in none of the others @returns compiled tests */
function filesOf(suite) {
  // A checkout may keep what an older build left: no package.
  const below = (dir) =>
    readdirSync(join(root, dir))
      .map((name) => `${dir}/${name}`)
      .filter((p) => existsSync(join(root, p, 'package.json')));
  const packages = [...below('shared'), ...below('services'), 'load', 'dashboards'];
  // The compiler leaves the output of sources that are gone.
  const isThere = (f) => existsSync(join(root, f.replace('/dist/test/', '/test/').replace(/\.js$/, '.ts')));
  const all = packages.flatMap((p) => testsBelow(join(p, 'dist', 'test'))).filter(isThere);
  return all.filter((f) => suiteOf(f) === suite);
}

/** @param {string} dir @returns {string[]} */
function testsBelow(dir) {
  return readdirSync(join(root, dir), { withFileTypes: true }).flatMap((e) =>
    e.isDirectory() ? testsBelow(join(dir, e.name)) : e.name.endsWith('.test.js') ? [join(dir, e.name)] : [],
  );
}

/** End-to-end tests hold a testbed to its promises: nothing else may take its cores meanwhile. */
const ALONE = /^load\/dist\/test\/(e2e|long|tap|containers)\/|^dashboards\/dist\/test\//;
/** Of files with many steps in minutes a line is said for each. */
const STEPS = /^load\/dist\/test\/(tap|containers)\//;
/** Of a whole file, in ms: each test in it has TAP_TIMEOUT seconds or what it asks for. */
const PATIENCE = 600_000;
const STEPS_PATIENCE = 3_600_000;
const LONGEST = Math.max(PATIENCE, STEPS_PATIENCE);
/** What a test gets for ending its processes and containers, in ms. */
const GRACE = 60_000;

const SHM = '/dev/shm';

/** What tests keep in shared memory has their process's number in its name. Removes what one that is over has left, or, for any, what is
 *  older than a test may last: one that was killed with its runner did not clean up.
 *  @param {number} [pid] @returns {string | null} what was there */
function sweep(pid) {
  const left = (existsSync(SHM) ? readdirSync(SHM) : []).filter((name) => {
    const of = Number(/^grantline-test-(\d+)-/.exec(name)?.[1] ?? NaN);
    return pid === undefined ? of > 0 && !existsSync(`/proc/${of}`) && isOld(join(SHM, name)) : of === pid;
  });
  for (const name of left) rmSync(join(SHM, name), { recursive: true, force: true });
  return left.length === 0 ? null : `left behind in ${SHM}: ${left.join(', ')}`;
}

/** Ours, and of no test that runs, whatever numbers its processes have where it does. @param {string} path */
function isOld(path) {
  const s = statSync(path, { throwIfNoEntry: false });
  return s !== undefined && s.uid === process.getuid?.() && Date.now() - s.mtimeMs > LONGEST;
}

/** @type {Set<import('node:child_process').ChildProcess>} */
const running = new Set();
let interrupted = false;

/** @param {string} file compiled test */
async function run(file) {
  const child = spawn(process.execPath, ['--enable-source-maps', file], {
    cwd: root,
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, TAP: '1', TAP_TIMEOUT: '240' },
  });
  running.add(child);
  const patience = STEPS.test(file) ? STEPS_PATIENCE : PATIENCE;
  const timers = [
    globalThis.setTimeout(() => child.kill('SIGTERM'), patience - GRACE),
    globalThis.setTimeout(() => child.kill('SIGKILL'), patience),
  ];
  /** @type {Promise<string | null>} */
  const ended = new Promise((done) => {
    child.once('error', (error) => done(`does not start: ${error.message}`));
    child.once('close', (code, signal) => {
      const left = sweep(child.pid);
      done(code === 0 ? left : `ended with ${signal ?? `exit code ${code}`}`);
    });
  });
  const tally = await tell(file, child.stdout, ended);
  for (const timer of timers) globalThis.clearTimeout(timer);
  running.delete(child);
  for (const kind of Object.keys(total)) total[kind] += tally[kind];
}

/** @typedef {import('tap-parser').Result} Result */

const INDENT = '       ';
const DIAGNOSTIC_LINES = 40;

/** @typedef {{ passed: number, failed: number, skipped: number }} Tally */

/** A line for a test file as it ends, every failure with its path and details, every skip with its reason.
 *  @param {string} file such as shared/xen/dist/test/ring/ring.prop.test.js @param {NodeJS.ReadableStream} tap what it prints
 *  @param {Promise<string | null>} ended how it ended; null: as it should @returns {Promise<Tally>} of assertions */
async function tell(file, tap, ended) {
  const started = Date.now();
  const seen = { passed: 0, failed: 0, skipped: 0 };
  /** @type {string[]} */
  const details = [];
  /** @type {import('tap-parser').FinalResults} */
  const results = await new Promise((done) => {
    const parser = new Parser(done);
    follow(parser, [], seen, details);
    if (STEPS.test(file)) tellSteps(parser, 0);
    tap.pipe(parser);
  });
  const how = await ended;
  // A file that is killed, or throws before its first test, fails without an assertion that does.
  const wrong = how ?? (results.ok ? null : results.bailout ? 'bailed out' : 'its TAP is not as planned');
  if (seen.failed === 0 && wrong !== null) {
    seen.failed++;
    details.push(`failed: ${wrong}`);
  }
  const seconds = ((Date.now() - started) / 1000).toFixed(1);
  const title = file.replace('/dist/test/', '/').replace(/\.test\.js$/, '');
  console.log(`${seen.failed === 0 ? 'ok  ' : 'FAIL'} ${title} (${seconds} s, ${seen.passed} assertions)`);
  for (const line of details) console.log(INDENT + line);
  return seen;
}

/** @param {Parser} parser @param {string[]} path @param {Tally} seen @param {string[]} details */
function follow(parser, path, seen, details) {
  parser.on('child', (child) => follow(child, [...path, child.name], seen, details));
  parser.on('assert', (result) => {
    if (result.skip) {
      seen.skipped++;
      details.push(`skipped: ${[...path, result.name].join(' > ')}${result.skip === true ? '' : `: ${result.skip}`}`);
    } else if (result.ok) seen.passed++;
    // Of a test whose assertions have been told, no more than that.
    else if (seen.failed === 0 || !isOfSubtest(result)) note(result, path, seen, details);
  });
  parser.on('bailout', (reason) => details.push(`bail out: ${reason}`));
}

/** @param {Result} result @param {string[]} path @param {Tally} seen @param {string[]} details */
function note(result, path, seen, details) {
  seen.failed++;
  details.push(`failed: ${[...path, result.name].join(' > ')}`);
  const { diff = '', at, ...rest } = result.diag ?? {};
  if (at !== undefined) details.push(`  at ${at.fileName}:${at.lineNumber}`);
  for (const bulky of ['source', 'stack']) if (diff !== '') delete rest[bulky];
  const lines = [...JSON.stringify(rest, null, 2).split('\n').slice(1, -1), ...diff.trimEnd().split('\n')];
  details.push(...lines.filter(Boolean).slice(0, DIAGNOSTIC_LINES));
}

/** A line for each test in the file's own as it ends, with the time since the one before it; before the line what it comments, and what
 *  fails. @param {Parser} parser */
function tellSteps(parser, depth = 0, started = Date.now()) {
  const say = (line) => console.log(INDENT + '  '.repeat(depth - 1) + line);
  parser.on('child', (child) => {
    tellSteps(child, depth + 1, started);
    if (depth === 0) return;
    child.on('complete', ({ ok }) => {
      say(`${ok ? 'ok  ' : 'FAIL'} ${child.name} (${((Date.now() - started) / 1000).toFixed(1)} s)`);
      started = Date.now();
    });
  });
  if (depth === 0) return;
  parser.on('comment', (comment) => comment.startsWith('# Subtest: ') || say(comment.trimEnd()));
  parser.on('assert', (result) => result.ok || result.time !== null || say(`failed: ${result.name}`));
}

/** @param {Result} result */
const isOfSubtest = (result) =>
  result.time !== null && result.diag?.at === undefined && result.diag?.error === undefined;

/** @param {string[]} files @param {number} width how many at once */
async function runAll(files, width) {
  const left = [...files];
  const next = async () => {
    for (let file = left.shift(); file !== undefined && !interrupted; file = left.shift()) await run(file);
  };
  await Promise.all(Array.from({ length: width }, next));
}

const suite = /^--suite=(\w+)$/.exec(process.argv[2] ?? '')?.[1] ?? null;
const args = process.argv.slice(suite === null ? 2 : 3);
const unknown = args.find((a) => !existsSync(join(root, a)));
if (unknown !== undefined) {
  process.stderr.write(
    `grantline: there is no test ${unknown} - give compiled tests, such as shared/xen/dist/test/ring/ring.prop.test.js\n`,
  );
  process.exit(2);
}
const files = args.length > 0 ? args : filesOf(suite);
const total = { passed: 0, failed: 0, skipped: 0 };
const started = Date.now();
// A test ends its own processes when it is asked to.
for (const signal of /** @type {const} */ (['SIGINT', 'SIGTERM', 'SIGHUP']))
  process.on(signal, () => {
    interrupted = true;
    for (const child of running) child.kill(signal);
  });
sweep();
await runAll(
  files.filter((f) => !ALONE.test(f)),
  2,
);
await runAll(
  files.filter((f) => ALONE.test(f)),
  1,
);
console.log(
  `tests: ${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped (${Math.round((Date.now() - started) / 1000)} s)`,
);
process.exit(interrupted ? 130 : total.failed > 0 ? 1 : 0);
