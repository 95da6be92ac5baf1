/** What the command says of a report. */
import { join, relative } from 'node:path';

/** "Report: results/x/report.html, with report.md, throughput.svg" and a newline; the page's path from where the user is.
 *  @param names files of the report, its page first */
export function reportLine(dir: string, names: readonly string[]): string {
  const [page, ...others] = names;
  return `Report: ${relative(process.cwd(), join(dir, page)) || '.'}, with ${others.join(', ')}\n`;
}
