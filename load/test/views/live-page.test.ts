/** The live page in a real browser, on a real testbed. LIVE_SHOTS=DIR keeps pictures of it. */
import t from 'tap';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Page } from 'playwright-core';
import { readPackets } from '@grantline/observe/testkit';
import type { CompareFile } from '../../src/report/results.js';
import { chromiumPath, faultsOf, launch, NO_CHROMIUM } from './chromium.js';
import { Bench, within, freePort } from '../e2e/kit.js';

t.setTimeout(600_000);

const path = chromiumPath();
const skip = path === null ? NO_CHROMIUM : false;
// Before any testbed: a comparison does not wait for a browser.
const browser = path === null ? null : await launch(path);
t.teardown(() => browser?.close());
const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

interface Violation {
  id: string;
  impact: string;
  nodes: { html: string; failureSummary: string }[];
}

/** What axe finds to be serious or critical. */
async function barriers(page: Page): Promise<string[]> {
  await page.evaluate(axe);
  const { violations } = await page.evaluate<{ violations: Violation[] }>('axe.run()');
  return violations
    .filter((v) => v.impact === 'serious' || v.impact === 'critical')
    .map((v) => `${v.id}: ${v.nodes.map((n) => `${n.html} ${n.failureSummary}`).join('; ')}`);
}

async function shot(page: Page, name: string): Promise<void> {
  const dir = process.env['LIVE_SHOTS'];
  if (dir) await page.screenshot({ path: join(dir, `${name}.png`), fullPage: true });
}

const text = (page: Page, id: string): Promise<string> => page.locator(`#${id}`).innerText();

/** Text and full value of each cell of a table's rows. */
async function cells(page: Page, id: string): Promise<[string, string | null][][]> {
  const rows = `Array.from(document.querySelectorAll('#${id} tbody tr'), (row) =>
    Array.from(row.children, (c) => [c.textContent, c.getAttribute('data-value')]))`;
  return page.evaluate<[string, string | null][][]>(rows);
}

/** Waits until the page has been drawn anew and no transition is under way: colours in between have contrasts of their own. */
const settled = (page: Page): Promise<unknown> =>
  page.evaluate(`new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(() => requestAnimationFrame(drawn))))
    .then(() => Promise.allSettled(document.getAnimations()
      .filter((a) => a.effect.getTiming().iterations !== Infinity).map((a) => a.finished))).then(() => 0)`);

/** Waits until an element's text matches. */
async function says(page: Page, id: string, what: RegExp): Promise<string> {
  for (let i = 0; i < 600; i++) {
    const now = await text(page, id);
    if (what.test(now)) return now;
    await sleep(50);
  }
  throw new Error(`#${id} says "${await text(page, id)}", not ${String(what)}`);
}

t.test(
  'the page shows a testbed, its controls work, and its figures are those of the results file',
  { skip },
  async (t) => {
    const bench = new Bench('page');
    t.teardown(() => bench.end());
    const port = await freePort('127.0.0.1');
    const words = ['up', '--guests', '1', '--listen', '127.0.0.1:0', '--page', `127.0.0.1:${port}`];
    const up = bench.start(...words);
    await up.until(/Running in/);
    t.match(up.stdout, new RegExp(`^live page +http://127\\.0\\.0\\.1:${port}/$`, 'm'));

    const page = await browser!.newPage({ viewport: { width: 1440, height: 1000 }, colorScheme: 'light' });
    // While the server is away, the browser itself logs that it cannot connect.
    const faults = faultsOf(page, /WebSocket connection to .* failed|ERR_CONNECTION_REFUSED/);
    await page.goto(`http://127.0.0.1:${port}/`);
    await says(page, 'link-state', /^live$/);

    await t.test('controls change the running testbed, and say so when they cannot', async (t) => {
      await page.click('#c-load');
      t.match(await says(page, 'answer', /./), /Load started: 1514-byte frames, link unlimited/);
      await says(page, 'now-gbps', /[1-9]/);
      t.equal(await text(page, 'c-load'), 'Stop load');
      await page.fill('#c-guests', '2');
      await page.selectOption('#c-config', 'optimised');
      await page.selectOption('#c-link', '1');
      await page.click('#c-apply');
      t.match(await says(page, 'answer', /optimised/i), /2 guests.*link 1 Gb\/s; load goes on/);
      t.equal(bench.services().filter((p) => p.script.startsWith('services/guest/')).length, 2);
      await says(page, 'state', /^optimised, load of 1514-byte frames, link 1 Gb\/s$/);
      await page
        .locator('#guests tbody tr', { hasText: 'guest2' })
        .filter({ hasText: /[1-9]\d?\.\d %/ })
        .waitFor();
      t.match(await text(page, 'guests'), /vif2\.0 . connected/);

      await page.fill('#c-frame', '20000');
      await page.click('#c-apply');
      t.match(await says(page, 'answer', /frame size/), /from 60 to 9014/);
      t.equal(await page.getAttribute('#answer', 'data-ok'), 'false');
      await page.check('#c-imix');
      await page.fill('#c-guests', '1');
      await page.click('#c-apply');
      t.match(await says(page, 'answer', /1 guest, IMIX/), /load goes on/);
      t.equal(bench.services().filter((p) => p.script.startsWith('services/guest/')).length, 1, 'a guest has gone');
      await page.click('#c-load');
      await says(page, 'answer', /Load stopped/);
      await says(page, 'now-gbps', /^0\.00$/);
    });

    await t.test('a capture is taken and fetched: what the page says of it is what the file holds', async (t) => {
      await page.selectOption('#cap-hop', 'guest');
      await page.click('#cap-go');
      await says(page, 'cap-answer', /Capturing vif1\.0 at guest/);
      t.ok(await page.locator('#cap-file').isHidden(), 'nothing to fetch yet');
      await page.click('#c-load');
      const frames = /guest ([\d,]+) frames/;
      await says(page, 'cap-state', /guest [1-9]/);
      await page.click('#c-load');
      await says(page, 'answer', /Load stopped/);
      await page.click('#cap-go');
      await says(page, 'cap-answer', /frames of vif1\.0 captured/);
      const [download] = await Promise.all([page.waitForEvent('download'), page.click('#cap-file')]);
      t.match(download.suggestedFilename(), /^vif1\.0-guest-\d{8}T\d{6}\.pcapng$/);
      const { packets } = readPackets(readFileSync(await download.path()));
      const said = Number(frames.exec(await text(page, 'cap-state'))?.[1].replaceAll(',', ''));
      t.ok(said > 0);
      t.equal(packets.length, said);
      const gone = await fetch(`http://127.0.0.1:${port}/capture/00000000-0000-0000-0000-000000000000.pcapng`);
      t.equal(gone.status, 404, 'a name that was not told opens nothing');
      t.equal((await fetch(`http://127.0.0.1:${port}/capture/x`)).status, 404);
    });

    const json = join(bench.home, 'out.json');
    await t.test('a comparison of another process is followed, controls are off meanwhile', async (t) => {
      const words = ['--configs', 'baseline,optimised', '--repeat', '2', '--seconds', '1', '--warmup', '0.2'];
      const compare = bench.start('compare', ...words, '--json', json);
      t.match(await says(page, 'blocked', /comparison/), /A comparison is running \(process \d+\)/);
      t.ok(await page.locator('#c-apply').isDisabled());
      await says(page, 'state', /measuring: 1 guest, 1514-byte frames, link unlimited/);
      await page.locator('#results tbody tr').first().waitFor();
      await shot(page, 'running');
      const done = await compare.ended;
      t.equal(done.code, 0, done.stderr);
      t.match(done.stderr, new RegExp(`Live page: http://127\\.0\\.0\\.1:${port}/`));
      await says(page, 'blocked', /^$/);
      t.notOk(await page.locator('#c-apply').isDisabled());
    });

    await t.test('the figures on the page are those of the results file', async (t) => {
      const { results } = JSON.parse(readFileSync(json, 'utf8')) as CompareFile;
      await page.locator('#results tbody tr', { hasText: /optimised2/ }).waitFor();
      // In the page's own words: rounded as shown, in full in data-value.
      const rows = await cells(page, 'results');
      t.equal(rows.length, results.length);
      for (const [i, r] of results.entries()) {
        const full = [
          ...[r.runs, r.delivered.gbps, r.delivered.framesPerSecond, r.offered.gbps, r.lost],
          ...[r.cpuNsPerFrame.driverDomain, r.cpuNsPerFrame.hypervisor, r.cpuNsPerFrame.guest, r.cpuNsPerFrame.total],
          ...[r.perFrame.hypercalls, r.perFrame.grantOps, r.perFrame.copies, r.latencyUs?.p50, r.latencyUs?.p99],
        ];
        t.equal(rows[i]?.[0]?.[0], r.config);
        t.same(
          rows[i]?.flatMap(([, value]) => (value === null ? [] : [Number(value)])),
          full,
          r.config,
        );
        const shown = rows[i]?.map(([words]) => words);
        t.equal(shown?.[2], r.delivered.gbps.toFixed(2));
        t.equal(shown?.[3], `${r.spread.gbps.min.toFixed(2)} to ${r.spread.gbps.max.toFixed(2)}`);
        const bar = page.locator(`#cpu g[data-config="${r.config}"] [data-value]`);
        t.equal(Number(await bar.getAttribute('data-value')), r.cpuNsPerFrame.total);
      }
      await page.locator('#cpu-h ~ details summary').click();
      const parts = await cells(page, 'cpu-table');
      const wanted = Object.keys(results[0]?.cpuNsPerFrame.components ?? {});
      t.equal(parts.length, new Set([...wanted, ...Object.keys(results[1]?.cpuNsPerFrame.components ?? {})]).size + 5);
      t.same(
        parts[3]?.slice(1).map(([, value]) => Number(value)),
        results.map((r) => r.cpuNsPerFrame.total),
      );
    });

    await t.test('nobody is kept out: axe finds nothing serious, in both themes, wide and on a phone', async (t) => {
      await page.evaluate(`for (const d of document.querySelectorAll('details')) d.open = true`);
      await page.click('#c-load');
      await says(page, 'now-gbps', /[1-9]/);
      for (const [theme, width] of [
        ['light', 1440],
        ['dark', 1440],
        ['dark', 390],
        ['light', 390],
      ] as const) {
        await page.selectOption('#theme', theme);
        await page.setViewportSize({ width, height: width === 390 ? 844 : 1000 });
        await settled(page);
        t.same(await barriers(page), [], `${theme}, ${width}`);
        const wide = await page.evaluate('document.documentElement.scrollWidth');
        t.ok(Number(wide) <= width, `${theme}, ${width}: the page is not wider than the screen`);
        await shot(page, `${theme}-${width}`);
      }
      await page.selectOption('#theme', 'system');
      await page.setViewportSize({ width: 1440, height: 1000 });
      await page.focus('#c-config');
      const order: unknown[] = [];
      for (let i = 0; i < 5; i++) {
        order.push(await page.evaluate('document.activeElement.id'));
        await page.keyboard.press('Tab');
      }
      t.same(order, ['c-config', 'c-guests', 'c-imix', 'c-link', 'c-apply'], 'controls are reached by keyboard');
    });

    await t.test('pause holds the figures still', async (t) => {
      await page.click('#pause');
      await says(page, 'link-state', /^paused$/);
      await settled(page);
      const before = await text(page, 'path-table');
      // Two samples and more.
      await sleep(1200);
      t.equal(await text(page, 'path-table'), before);
      t.equal(await text(page, 'link-state'), 'paused');
      await page.click('#pause');
      await says(page, 'link-state', /^live$/);
    });

    await t.test('when the testbed ends its last figures stay; when one comes back the page finds it', async (t) => {
      up.signal('SIGTERM');
      const { code, seconds } = await up.ended;
      t.equal(code, 143);
      t.ok(seconds < within(5), 'a browser holds nothing up');
      t.same(bench.leftovers(), []);
      t.match(await says(page, 'notice', /./), /The testbed has ended.*last figures/);
      t.equal(await text(page, 'link-state'), 'ended');
      t.match(await text(page, 'results'), /optimised/);
      t.ok(await page.locator('#c-apply').isDisabled());
      await shot(page, 'ended');
      const again = bench.start(...words);
      await again.until(/Running in/);
      await says(page, 'link-state', /^live$/);
      await says(page, 'state', /baseline, no load/);
      t.equal(await page.locator('#notice').isVisible(), false);
      again.signal('SIGTERM');
      await again.ended;
    });

    t.same(faults, [], 'the console is silent');
  },
);

t.test('a comparison with its own testbed has a page that ends with it', { skip }, async (t) => {
  const bench = new Bench('own');
  t.teardown(() => bench.end());
  const page = await browser!.newPage({ viewport: { width: 1000, height: 800 } });
  const faults = faultsOf(page, /WebSocket connection to .* failed|ERR_CONNECTION_REFUSED/);
  const json = join(bench.home, 'out.json');
  const compare = bench.start('compare', '--configs', 'native', '--seconds', '6', '--warmup', '0.2', '--json', json);
  await compare.until(/Live page: http/);
  await page.goto(/Live page: (\S+)/.exec(compare.stderr)?.[1] ?? '');
  t.match(await says(page, 'blocked', /./), /comparison is running/);
  const { code } = await compare.ended;
  t.equal(code, 0);
  await says(page, 'link-state', /ended/);
  const result = (JSON.parse(readFileSync(json, 'utf8')) as CompareFile).results[0];
  t.equal(await page.locator('#results td').nth(1).getAttribute('data-value'), String(result?.delivered.gbps));
  t.same(bench.leftovers(), []);
  t.same(faults, []);
});
