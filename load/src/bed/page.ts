/** What commands with a live page share. The page's code is loaded only where there is a page. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { LivePage } from '../live/live-page.js';
import type { Closing } from '../control/session.js';

/** Where a live page is served, and under which names. */
export interface PageChoice {
  /** null: not said; the usual port, or a free one. */
  at: { host: string; port: number } | null;
  names: readonly string[];
}

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
