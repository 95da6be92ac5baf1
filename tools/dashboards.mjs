// npm run dashboards: writes the Grafana dashboards (dashboards/grafana/dashboards) anew from dashboards/src.
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { root, setup } from './setup.mjs';

setup();
const generate = join(root, 'dashboards', 'dist', 'src', 'generate.js');
process.exit(spawnSync(process.execPath, [generate], { stdio: 'inherit' }).status ?? 1);
