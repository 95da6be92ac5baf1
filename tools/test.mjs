// npm test: sets up a fresh clone and runs all tests. Arguments go to tap.
import { spawnSync } from 'node:child_process';
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
const done = spawnSync(process.execPath, [tap, ...process.argv.slice(2)], { cwd: root, stdio: 'inherit' });
process.exit(done.status ?? 1);
