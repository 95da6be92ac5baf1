// npm run check: everything that CI holds against a change, except the tests themselves.
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { root, setup } from './setup.mjs';

setup();
const bin = (name) => join(root, 'node_modules', '.bin', name);
const checks = [
  ['format', bin('prettier'), ['--check', '--log-level', 'warn', '.']],
  ['lint', bin('eslint'), ['--cache', '--cache-location', '.cache/eslint', '.']],
  [
    'architecture',
    bin('depcruise'),
    ['--config', '.dependency-cruiser.cjs', 'shared/src', 'services', 'load/src', 'load/page', 'dashboards/src'],
  ],
  ['architecture rules bite', process.execPath, [join(root, 'tools', 'architecture.mjs')]],
];
let failed = 0;
for (const [title, command, args] of checks) {
  const started = Date.now();
  const done = spawnSync(command, args, { cwd: root, encoding: 'utf8' });
  const ok = done.status === 0;
  console.log(`${ok ? 'ok  ' : 'FAIL'} ${title} (${((Date.now() - started) / 1000).toFixed(1)} s)`);
  if (!ok) {
    failed++;
    console.log(`${done.stdout ?? ''}${done.stderr ?? ''}`.split('\n').slice(0, 60).join('\n'));
  }
}
process.exit(failed === 0 ? 0 : 1);
