/** Takes the pictures of the live page that the documentation shows: node load/dist/test/views/live-shots.js [FOLDER].
 *  A comparison of all configurations, `optimised` last, so that the picture shows its path while it is measured. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { REPOSITORY } from '../../src/testbed/paths.js';
import { chromiumPath, launch, NO_CHROMIUM } from './chromium.js';
import { Bench } from '../e2e/kit.js';

const WIDTH = 1440;
const PHONE_WIDTH = 390;
const CONFIGS = 'baseline,multiqueue,grant-reuse,direct,native,optimised';

const folder = process.argv[2] ?? join(REPOSITORY, 'docs/images');
mkdirSync(folder, { recursive: true });
const path = chromiumPath();
if (path === null) throw new Error(NO_CHROMIUM);
const bench = new Bench('shots');
const browser = await launch(path);
try {
  const compare = bench.start('compare', '--configs', CONFIGS, '--guests', '2', '--seconds', '6');
  await compare.until(/Live page: http/);
  const page = await browser.newPage({ viewport: { width: WIDTH, height: 1000 }, colorScheme: 'light' });
  await page.goto(/Live page: (\S+)/.exec(compare.stderr)?.[1] ?? '');
  await page.locator('#state', { hasText: 'optimised, measuring' }).waitFor({ timeout: 180_000 });
  await sleep(2500);
  await page.screenshot({ path: join(folder, 'live-light.png'), fullPage: true });
  await page.emulateMedia({ colorScheme: 'dark' });
  await sleep(700);
  await page.screenshot({ path: join(folder, 'live-dark.png'), fullPage: true });
  if (process.argv[2] !== undefined) {
    await page.setViewportSize({ width: PHONE_WIDTH, height: 844 });
    await sleep(1000);
    await page.screenshot({ path: join(folder, 'live-phone.png'), fullPage: true });
  }
  await compare.ended;
} finally {
  await browser.close();
  await bench.end();
}
