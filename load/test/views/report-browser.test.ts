import t from 'tap';
import { createRequire } from 'node:module';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { reportFiles } from '../../src/report/write.js';
import { chromiumPath, faultsOf, launch, NO_CHROMIUM } from './chromium.js';
import { LADDER, resultsOf, sourcesOf } from '../report/kit.js';

const path = chromiumPath();
const skip = path === null ? NO_CHROMIUM : false;

interface AxeResult {
  violations: { id: string; impact: string | null; nodes: { html: string }[] }[];
}

t.test(
  'the page opens from disk in a browser: no fault, nothing fetched, nothing that axe finds',
  { skip },
  async (t) => {
    const home = `/dev/shm/grantline-test-${process.pid}-report-browser`;
    mkdirSync(home, { recursive: true });
    t.teardown(() => rmSync(home, { recursive: true, force: true }));
    for (const [name, text] of reportFiles(sourcesOf(resultsOf(LADDER), resultsOf(LADDER, { guests: 2 })), {
      csv: false,
    }))
      writeFileSync(join(home, name), text);
    const browser = await launch(path ?? '');
    t.teardown(() => browser.close());

    const axe = createRequire(import.meta.url).resolve('axe-core/axe.min.js');
    for (const colorScheme of ['light', 'dark'] as const) {
      // The page's own policy forbids every script, axe's too.
      const context = await browser.newContext({ colorScheme, bypassCSP: true, viewport: { width: 360, height: 700 } });
      const page = await context.newPage();
      const faults = faultsOf(page);
      const fetched: string[] = [];
      page.on('request', (r) => fetched.push(r.url()));
      const address = pathToFileURL(join(home, 'report.html')).href;
      await page.goto(address);
      t.same(fetched, [address], `${colorScheme}: one file`);
      t.equal(await page.evaluate('document.documentElement.scrollWidth'), 360, 'fits the width of a phone');
      await page.addScriptTag({ path: axe });
      const { violations } = await page.evaluate<AxeResult>('axe.run()');
      t.same(
        violations.map((v) => [v.id, v.impact, v.nodes[0]?.html]),
        [],
        colorScheme,
      );
      t.same(faults, [], colorScheme);
      await page.goto(pathToFileURL(join(home, 'cpu-per-frame.svg')).href);
      t.equal(await page.evaluate('document.documentElement.localName'), 'svg', 'a plot opens alone');
      await context.close();
    }
  },
);
