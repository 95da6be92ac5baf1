/** Puts a report into a results folder: report.html, report.md, the plots, report.csv. Each file whole or not at all. */
import { rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { UserError } from '../base/errors.js';
import { reportCsv } from './csv.js';
import { documentOf } from './document.js';
import { reportHtml } from './html.js';
import { reportMarkdown } from './markdown.js';
import { LADDER_FILES, laddersOf, modelOf } from './model.js';
import { readSources, type Source } from './read.js';
import { renderPlot } from './svg.js';
import { stageFile, type Staged } from '../base/user-file.js';

export interface ReportOptions {
  csv: boolean;
}

/** Plots that a report may or may not have: one of an earlier report must not stay beside a later one. */
const OPTIONAL = [
  ...['throughput', 'cpu-per-frame', 'latency', 'guests'].flatMap((n) => LADDER_FILES.map((f) => `${n}${f}.svg`)),
  'round-trips.svg',
];

/** The files of a report by name. Pure: the same results give the same bytes. */
export function reportFiles(sources: readonly Source[], options: ReportOptions): Map<string, string> {
  const model = modelOf(sources);
  const doc = documentOf(model, laddersOf(sources), options.csv);
  const files = new Map<string, string>();
  files.set('report.html', reportHtml(doc));
  files.set('report.md', reportMarkdown(doc));
  for (const { figure } of doc.sections)
    if (figure !== null) files.set(`${figure.plot.name}.svg`, `${renderPlot(figure.plot, 'file').text}\n`);
  if (options.csv) files.set('report.csv', reportCsv(model));
  return files;
}

/** Reads the results in a folder and writes the report beside them.
 *  @returns names of the files, report.html first
 *  @throws UserError when the folder holds no results, or cannot be written */
export function writeReport(dir: string, options: ReportOptions): string[] {
  const files = reportFiles(readSources(dir), options);
  const names = [...files.keys()];
  for (const name of names)
    if (statSync(join(dir, name), { throwIfNoEntry: false })?.isDirectory() === true)
      throw new UserError(`cannot write ${join(dir, name)}: it is a directory`, 'move it away');
  const staged: Staged[] = [];
  try {
    for (const [name, text] of files) staged.push(stageFile(join(dir, name), text));
    // All are written: from here on nothing is left but to give them their names.
    for (let one = staged.shift(); one !== undefined; one = staged.shift()) one.commit();
    for (const name of OPTIONAL) if (!files.has(name)) rmSync(join(dir, name), { force: true });
  } catch (error) {
    throw new UserError(
      `cannot write a report in ${dir} (${(error as NodeJS.ErrnoException).code})`,
      'make room, or copy the results to a folder that can be written',
    );
  } finally {
    for (const one of staged) one.drop();
  }
  return names;
}
