/** What commands with a live page share. The page's code is loaded only where there is a page. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { LivePage } from '../live/live-page.js';
import type { PageChoice } from '../cli/options.js';
import type { Closing } from '../control/session.js';

/** For commander's option(). */
export const PAGE_OPTION = [
  '--page <host:port>',
  'where the live page is served; who can reach it can use its controls (default: 127.0.0.1:7680, or a free port)',
] as const;
export const PAGE_NAME_OPTION = [
  '--page-name <names>',
  'names under which the live page may be opened beside its address, with commas: lab1.example.org; behind a TLS proxy with its port, where that is not 443',
] as const;
export const NO_PAGE_OPTION = ['--no-page', 'no live page'] as const;

/** Listens, so that a port in use is said before anything is started. @returns null when no page is wanted
 *  @throws UserError when the address cannot be had */
export async function openPage(
  choice: PageChoice | null,
  mode: 'up' | 'compare',
  dir: string,
): Promise<LivePage | null> {
  if (choice === null) return null;
  const live = await import('../live/live-page.js');
  return live.LivePage.open({ listen: choice.at, names: choice.names, mode, dir });
}

/** Closes the page first, so that browsers hear of the end, and then the rest. */
export function withPage(closing: Closing, page: LivePage | null): Closing {
  if (page === null) return closing;
  return {
    ...(closing.unwindMs === undefined ? {} : { unwindMs: closing.unwindMs }),
    stop: async (interrupted) => {
      await Promise.all([page.close('The testbed has ended.'), closing.stop(interrupted)]);
    },
    killNow: () => closing.killNow(),
  };
}

/** The operator's token; '' where it may not be read. */
export function tokenAt(path: string): string {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    return '';
  }
}

/** Of the testbed in that directory. */
export const tokenOf = (dir: string): string => tokenAt(join(dir, 'token'));
