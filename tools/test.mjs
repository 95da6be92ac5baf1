// npm test: sets up a fresh clone and runs the tests. There are three suites, none of which should take much more than two minutes:
//   npm test              units, properties, services as processes, the main jobs from end to end
//   npm run test:long     the other jobs from end to end: kills and interrupts, TCP, HTTP, transmit, round trips, captures
//   npm run test:views    what people look at: Prometheus and dashboards, the live page and the report in a browser
// Other arguments are compiled test files. Each is a TAP program of its own: `node FILE` runs it, too.
import { spawn } from 'node:child_process';
import { existsSync, readdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { root, setup } from './setup.mjs';

setup();
// Not before: on a fresh clone it is the set-up that brings its packages.
const { tellTap } = await import('./tap-lines.mjs');
// Tap's runner puts loaders for coverage and mocks into each process, of which we use neither: they cost a second for each file.
/** A suite is the folder `test/SUITE` of a package; what stands in none of these is in the first. */
const SUITES = ['long', 'views'];
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
const ALONE = /^load\/dist\/test\/(e2e|long)\/|^dashboards\/dist\/test\//;
/** Of a whole file, in ms: each test in it has TAP_TIMEOUT seconds or what it asks for. */
const PATIENCE = 600_000;

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
  return s !== undefined && s.uid === process.getuid?.() && Date.now() - s.mtimeMs > PATIENCE;
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
  const timer = globalThis.setTimeout(() => child.kill('SIGKILL'), PATIENCE);
  /** @type {Promise<string | null>} */
  const ended = new Promise((done) => {
    child.once('error', (error) => done(`does not start: ${error.message}`));
    child.once('close', (code, signal) => {
      const left = sweep(child.pid);
      done(code === 0 ? left : `ended with ${signal ?? `exit code ${code}`}`);
    });
  });
  const tally = await tellTap(file, child.stdout, ended, (line) => console.log(line));
  globalThis.clearTimeout(timer);
  running.delete(child);
  for (const kind of Object.keys(total)) total[kind] += tally[kind];
}

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
