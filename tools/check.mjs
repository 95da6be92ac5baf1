// npm run check: everything that CI holds against a change, except the tests themselves.
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { root, setup } from './setup.mjs';

await setup({ develop: true });
const bin = (name) => join(root, 'node_modules', '.bin', name);
// The longest first.
const checks = [
  ['lint', bin('eslint'), ['--cache', '--cache-location', '.cache/eslint', '.']],
  ['format', bin('prettier'), ['--check', '--log-level', 'warn', '.']],
  [
    'architecture',
    bin('depcruise'),
    ['--config', '.dependency-cruiser.cjs', 'shared', 'services', 'load/src', 'load/page', 'dashboards/src'],
  ],
  ['dead code', bin('knip'), ['--no-config-hints', '--no-progress']],
  ['architecture rules bite', process.execPath, [join(root, 'tools', 'architecture.mjs')]],
];
let failed = 0;
const left = [...checks];
/** One after the other; they are independent of each other, and two at a time use both cores of a small machine. */
async function next() {
  for (let check = left.shift(); check !== undefined; check = left.shift()) {
    const [title, command, args] = check;
    const started = Date.now();
    const { ok, said } = await new Promise((done) => {
      execFile(command, args, { cwd: root, maxBuffer: 64 << 20 }, (error, out, err) =>
        done({ ok: error === null, said: `${out}${err}` || String(error) }),
      );
    });
    console.log(`${ok ? 'ok  ' : 'FAIL'} ${title} (${((Date.now() - started) / 1000).toFixed(1)} s)`);
    if (ok) continue;
    failed++;
    console.log(said.split('\n').slice(0, 60).join('\n'));
  }
}
await Promise.all([next(), next()]);
process.exit(failed === 0 ? 0 : 1);
