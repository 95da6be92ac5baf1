/** Finds and reads the results files of a folder. Every fault is one line for the operator. */
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { UserError } from '../base/errors.js';
import { asResults, faultIn, type CompareResults } from './schema.js';
import { readJson } from '../base/user-input.js';

/** A results file, and where it lies below the folder that the report is made for. */
export interface Source {
  /** With slashes: "compare.json", "4-guests/compare.json". */
  path: string;
  file: CompareResults;
}

/** All comparisons in a folder: compare.json and compare-*.json in it, and compare.json in the folders in it.
 *  @throws UserError when there is none, one cannot be read, or they do not belong together */
export function readSources(dir: string): Source[] {
  const paths = find(dir);
  if (paths.length === 0) {
    const replay = exists(join(dir, 'replay.json'));
    throw new UserError(
      replay ? `${dir} holds a replay and no comparison` : `${dir} holds no compare.json`,
      'give a folder that "grantline compare" wrote, such as results/<time>-<commit>',
    );
  }
  const sources = paths.map((path) => ({ path, file: readOne(join(dir, path)) }));
  checkTogether(sources);
  return sources;
}

/** Does the folder hold comparisons? */
export const hasCompare = (dir: string): boolean => find(dir).length > 0;

const exists = (path: string): boolean => statSync(path, { throwIfNoEntry: false }) !== undefined;

function find(dir: string): string[] {
  const give = 'give a folder that "grantline compare" wrote, such as results/<time>-<commit>';
  let entries: string[];
  try {
    entries = readdirSync(dir).sort();
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'ENOENT') throw new UserError(`there is no folder ${dir}`, give);
    if (code === 'ENOTDIR') throw new UserError(`${dir} is no folder`, give);
    throw new UserError(`cannot read ${dir} (${code})`, give);
  }
  const here = entries.filter((e) => /^compare(-.+)?\.json$/.test(e) && isFile(join(dir, e)));
  const below = entries.map((e) => join(e, 'compare.json')).filter((p) => isFile(join(dir, p)));
  return [...here, ...below].map((p) => p.replaceAll('\\', '/'));
}

function isFile(path: string): boolean {
  try {
    return statSync(path, { throwIfNoEntry: false })?.isFile() === true;
  } catch {
    return false; // below a file, or not to be looked at
  }
}

function readOne(path: string): CompareResults {
  const value = readJson(path);
  const fault = faultIn(value);
  if (fault !== null)
    throw new UserError(
      `${path} is no results file of this version: ${fault}`,
      'repeat the comparison with this version, or make the report with the version that measured',
    );
  return asResults(value);
}

/** What may differ between files that are put into one report. */
const FREE = new Set(['guests', 'repeat', 'testbed']);

/** @throws UserError when files differ in more than the number of guests and of runs */
export function checkTogether(sources: readonly Source[]): void {
  const [first] = sources;
  for (const other of sources.slice(1)) {
    const a = first.file.settings as Record<string, unknown>;
    const b = other.file.settings as Record<string, unknown>;
    for (const key of Object.keys({ ...a, ...b })) {
      if (FREE.has(key) || JSON.stringify(a[key]) === JSON.stringify(b[key])) continue;
      throw new UserError(
        `${first.path} and ${other.path} differ in ${key} (${shown(a[key])} and ${shown(b[key])})`,
        'a report joins comparisons that differ in the number of guests only: give one of the folders',
      );
    }
  }
  const factors = new Map<string, { path: string; text: string }>();
  for (const { path, file } of sources) {
    for (const run of file.runs) {
      const text = JSON.stringify(run.factors, Object.keys(run.factors).sort());
      const known = factors.get(run.config);
      if (known === undefined) factors.set(run.config, { path, text });
      else if (known.text !== text)
        throw new UserError(
          `configuration ${JSON.stringify(run.config)} has other factors in ${path} than in ${known.path}`,
          'give the folder of one comparison',
        );
    }
  }
}

const shown = (v: unknown): string => (v === undefined ? 'not recorded' : JSON.stringify(v));
