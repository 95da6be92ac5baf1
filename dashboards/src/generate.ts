/** Writes the dashboards to dashboards/grafana/dashboards: npm run dashboards. */
import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { asFile, DASHBOARDS } from './all.js';
import { JSON_DIR } from './shipped.js';

mkdirSync(JSON_DIR, { recursive: true });
for (const old of readdirSync(JSON_DIR)) if (!Object.hasOwn(DASHBOARDS, old)) rmSync(join(JSON_DIR, old));
for (const [name, dashboard] of Object.entries(DASHBOARDS)) {
  writeFileSync(join(JSON_DIR, name), asFile(dashboard));
  process.stdout.write(`${name}: ${dashboard.panels?.length ?? 0} panels\n`);
}
