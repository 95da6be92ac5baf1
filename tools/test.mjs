// npm test: sets up a fresh clone and runs the tests. There are three suites, none of which should take much more than two minutes:
//   npm test              units, properties, services as processes, the main jobs from end to end
//   npm run test:long     the other jobs from end to end: kills and interrupts, TCP, HTTP, transmit, round trips, captures
//   npm run test:views    what people look at: Prometheus and dashboards, the live page and the report in a browser
// Other arguments go to tap: files, or --reporter=NAME to see it tap's way.
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { root, setup, step } from './setup.mjs';

setup();
const tap = join(root, 'node_modules', 'tap', 'dist', 'esm', 'run.mjs');
// A fresh install of tap has its TypeScript loader built in; .taprc leaves it out, and this makes it so.
const built = join(root, 'node_modules', '.tap-is-built');
if (!existsSync(built)) {
  step('preparing the test runner (tap build)', process.execPath, [tap, 'build']);
  writeFileSync(built, '');
}
const SUITES = {
  long: /^load\/dist\/test\/long\//,
  views: /^dashboards\/dist\/test\/prometheus|^load\/dist\/test\/(live-page|report-browser)/,
};

/** @param {string | null} suite null: what is in none of the others @returns compiled tests */
function filesOf(suite) {
  const packages = ['shared', ...readdirSync(join(root, 'services')).map((s) => `services/${s}`), 'load', 'dashboards'];
  // The compiler leaves the output of sources that are gone.
  const isThere = (f) => existsSync(join(root, f.replace('/dist/test/', '/test/').replace(/\.js$/, '.ts')));
  const all = packages.flatMap((p) => testsBelow(join(p, 'dist', 'test'))).filter(isThere);
  return all.filter((f) => (suite === null ? !Object.values(SUITES).some((s) => s.test(f)) : SUITES[suite].test(f)));
}

/** @param {string} dir @returns {string[]} */
function testsBelow(dir) {
  return readdirSync(join(root, dir), { withFileTypes: true }).flatMap((e) =>
    e.isDirectory() ? testsBelow(join(dir, e.name)) : e.name.endsWith('.test.js') ? [join(dir, e.name)] : [],
  );
}

const suite = /^--suite=(\w+)$/.exec(process.argv[2] ?? '')?.[1] ?? null;
const args = process.argv.slice(suite === null ? 2 : 3);
if (!args.some((a) => !a.startsWith('-'))) args.push(...filesOf(suite));
if (args.some((a) => a.startsWith('--reporter') || a.startsWith('-R'))) {
  process.exit(spawnSync(process.execPath, [tap, ...args], { cwd: root, stdio: 'inherit' }).status ?? 1);
}

const { tellTap } = await import('./tap-lines.mjs');
const started = Date.now();
const child = spawn(process.execPath, [tap, '--reporter=tap', ...args], {
  cwd: root,
  stdio: ['ignore', 'pipe', 'inherit'],
});
// An interrupt reaches tap too, which ends its tests; this waits for the last of them to tell.
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => child.kill(signal));
const ended = new Promise((done) => child.once('close', done));
const { passed, failed, skipped } = await tellTap(child.stdout, (line) => console.log(line));
const status = await ended;
console.log(
  `tests: ${passed} passed, ${failed} failed, ${skipped} skipped (${Math.round((Date.now() - started) / 1000)} s)`,
);
process.exit(status ?? 1);
