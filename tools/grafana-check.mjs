// npm run check:grafana: Grafana's own data code judges the dashboards (grafana-check/judge.mjs). It weighs 180 MB, so it is not among
// the project's dependencies: it has a lockfile of its own and is installed here. Once it is, npm run test:views judges with it
// what the panels would draw of a real Prometheus' answers.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { requirePlatform, root, step } from './setup.mjs';

requirePlatform();
const home = join(root, 'tools', 'grafana-check');
if (!existsSync(join(home, 'node_modules', '.package-lock.json')))
  step('installing @grafana/data (npm ci)', 'npm', [
    'ci',
    '--prefix',
    home,
    '--ignore-scripts',
    '--no-audit',
    '--no-fund',
  ]);
process.exit(spawnSync(process.execPath, [join(home, 'judge.mjs')], { stdio: 'inherit' }).status ?? 1);
