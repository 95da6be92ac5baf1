// npm test: sets up a fresh clone and runs all tests. Arguments go to tap: files, or --reporter=NAME to see it tap's way.
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
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
const args = process.argv.slice(2);
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
