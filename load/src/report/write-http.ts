/** Puts the report of a load by HTTP into a results folder: http.html, http.md, http.svg. */
import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { Type } from '@sinclair/typebox';
import { Value } from '@sinclair/typebox/value';
import { UserError } from '../base/errors.js';
import type { HttpFile } from '../http/record.js';
import { reportHtml } from './html.js';
import { HTTP_FILE, httpDocument } from './http-report.js';
import { reportMarkdown } from './markdown.js';
import { renderPlot } from './svg.js';
import { replaceFile } from '../base/user-file.js';
import { readJson } from '../base/user-input.js';

const Summary = Type.Object({
  target: Type.String(),
  scenario: Type.String(),
  rate: Type.Union([Type.Number(), Type.Null()]),
  requestsPerSecond: Type.Number(),
  gbps: Type.Number(),
  ratio: Type.Union([Type.Number(), Type.Null()]),
  serverNsPerRequest: Type.Number(),
  cpuShare: Type.Record(Type.String(), Type.Number()),
  idleShare: Type.Number(),
  refused: Type.Union([Type.String(), Type.Null()]),
  notes: Type.Array(Type.String()),
  spread: Type.Object({ requestsPerSecond: Type.Object({ min: Type.Number(), max: Type.Number() }) }),
  generated: Type.Object({
    total: Type.Object({ sent: Type.Number(), answered: Type.Number() }),
    errors: Type.Record(Type.String(), Type.Number()),
    generator: Type.Object({ cpuShare: Type.Number() }),
  }),
});
/** What the report needs of the file. */
const File = Type.Object({
  schema: Type.Literal('grantline.http/1'),
  date: Type.String(),
  commandLine: Type.Array(Type.String()),
  host: Type.Object({ commit: Type.String(), cpu: Type.String(), versions: Type.Record(Type.String(), Type.String()) }),
  settings: Type.Object({ connections: Type.Number(), guests: Type.Number(), seconds: Type.Number() }),
  capacity: Type.Array(Summary),
  atRate: Type.Array(Summary),
});

/** @returns false also when `dir` is no directory: its reader says so */
export function hasHttp(dir: string): boolean {
  const file = join(dir, HTTP_FILE);
  return existsSync(file) && statSync(file).isFile();
}

/** The files of the report by name. Pure. */
export function httpReportFiles(file: HttpFile): Map<string, string> {
  const doc = httpDocument(file);
  const files = new Map([
    ['http.html', reportHtml(doc)],
    ['http.md', reportMarkdown(doc)],
  ]);
  for (const { figure } of doc.sections)
    if (figure !== null) files.set(`${figure.plot.name}.svg`, `${renderPlot(figure.plot, 'file').text}\n`);
  return files;
}

/** @returns names of the files, http.html first @throws UserError when http.json is no results, or cannot be written */
export function writeHttpReport(dir: string): string[] {
  const path = join(dir, HTTP_FILE);
  const files = httpReportFiles(readHttp(path));
  try {
    for (const [name, text] of files) replaceFile(join(dir, name), text);
  } catch (error) {
    throw new UserError(
      `cannot write a report in ${dir} (${(error as NodeJS.ErrnoException).code})`,
      'make room, or copy the results to a folder that can be written',
    );
  }
  return [...files.keys()];
}

function readHttp(path: string): HttpFile {
  const value = readJson(path);
  if (!Value.Check(File, value) || value.capacity.length + value.atRate.length === 0) {
    const first = Value.Errors(File, value).First();
    throw new UserError(
      `${path} is no results file of this version${first ? `: ${first.path || 'it'} ${first.message}` : ''}`,
      'repeat the measurement with this version',
    );
  }
  return value as unknown as HttpFile;
}
