/** A real browser for tests: Debian's Chromium, or what CHROMIUM names. */
import { existsSync } from 'node:fs';
import { chromium, type Browser, type Page } from 'playwright-core';

/** Path of the browser, or null: the test then says that it was skipped. */
export function chromiumPath(): string | null {
  const named = process.env['CHROMIUM'];
  const paths = named ? [named] : ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];
  return paths.find((path) => existsSync(path)) ?? null;
}

export const NO_CHROMIUM = 'no Chromium here: install Debian\'s package "chromium", or set CHROMIUM to its path';

export function launch(executablePath: string): Promise<Browser> {
  return chromium.launch({
    executablePath,
    args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--no-first-run'],
  });
}

/** Everything that the page's console says from now on that is a fault. */
export function faultsOf(page: Page, allowed = /^$/): string[] {
  const faults: string[] = [];
  page.on('console', (message) => {
    if (message.type() !== 'error' && message.type() !== 'warning') return;
    if (!allowed.test(message.text())) faults.push(message.text());
  });
  page.on('pageerror', (error) => faults.push(String(error)));
  return faults;
}
