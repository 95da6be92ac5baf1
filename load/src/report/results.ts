/** Writes results: JSON (runner/record.ts has its shape) into results/<date>-<commit>/, and where --json says. */
import { join, relative } from 'node:path';
import { UserError } from '../base/errors.js';
import type { Direction, RunRecord, Summary } from '../runner/record.js';
import type { CompareResults } from './read.js';
import { resultsRoot } from '../testbed/paths.js';
import { terminalProgress } from '../base/progress.js';
import { hostInfo, type HostInfo } from '../testbed/host.js';
import type { PlacementRecord } from '../testbed/placement.js';
import { checkTarget, replaceFile, tryToMakeBeside, writeUserFile } from '../base/user-file.js';

/** As a report reads them, and more closely. */
export interface CompareSettings extends Omit<CompareResults['settings'], 'workload'> {
  /** What carried the load: frames, or streams or requests (--workload). */
  workload?: 'load' | 'guest-to-guest' | 'rr' | 'tcp';
  /** Which ladders were run, in this order. */
  directions?: Direction[];
}

export interface CompareFile {
  schema: 'grantline.compare/1';
  date: string;
  commandLine: string[];
  host: HostInfo;
  settings: CompareSettings;
  /** Where the testbed's data threads ran, and what its cores hand to each other; not given: it was on another machine, or in containers. */
  placement?: PlacementRecord;
  /** One per configuration: the median run by delivered frames per second, and the spread over all. */
  results: Summary[];
  /** Every run in the order in which it was made, with the raw counters. */
  runs: RunRecord[];
}

/** results/2026-01-31T120000-0123abc, made when something is put there.
 *  @throws UserError when it could not be made after the run */
export function resultsDir(host: HostInfo, now: Date): string {
  checkMakable(resultsRoot());
  const date = now.toISOString().slice(0, 19).replaceAll(':', '');
  const commit = host.commit === 'unknown' ? 'nocommit' : host.commit.slice(0, 7);
  return join(resultsRoot(), `${date}-${commit}${host.dirty ? '-dirty' : ''}`);
}

function checkMakable(path: string): void {
  try {
    tryToMakeBeside(join(path, 'results'));
  } catch (error) {
    throw new UserError(
      `cannot write results in ${path} (${(error as NodeJS.ErrnoException).code})`,
      'set GRANTLINE_RESULTS to a folder that can be written',
    );
  }
}

/** What begins every file of results. */
export const fileHead = <S extends string>(schema: S, host: HostInfo) => ({
  ...{ schema, date: new Date().toISOString(), commandLine: process.argv.slice(2), host },
});

/** What a command that measures has before it begins: where its results go, the machine, and what is seen meanwhile.
 *  @param path of --json @throws UserError when results could not be written afterwards */
export function beginResults(path: string | undefined) {
  const json = jsonOut(path);
  const host = hostInfo();
  const dir = resultsDir(host, new Date());
  return { json, host, dir, logDir: join(dir, 'logs'), progress: terminalProgress() };
}

/** Whole or not at all: a reader never sees half a file. */
export const writeJson = (path: string, value: unknown): void => replaceFile(path, jsonText(value));

/** As it stands in every file. */
const jsonText = (value: unknown): string => `${JSON.stringify(value, null, 1)}\n`;

/** Writes results into their folder and where --json says. @returns the line that says so */
export async function tellResults(dir: string, name: string, json: JsonOut, value: unknown): Promise<string> {
  const path = join(dir, name);
  replaceFile(path, jsonText(value));
  await json.write(value);
  return `Results: ${relative(process.cwd(), path) || path}${json.also}\n`;
}

/** Where --json says. */
export interface JsonOut {
  /** Writes it. @throws UserError */
  write(value: unknown): Promise<void>;
  /** What people read: on the standard output, unless that is where the results go. */
  readonly text: NodeJS.WriteStream;
  /** " and FILE". */
  readonly also: string;
}

/** Checks before the run that --json can be written after it. @param path null: it was not given @throws UserError */
export function jsonOut(path: string | undefined): JsonOut {
  if (path === undefined) return { write: () => Promise.resolve(), text: process.stdout, also: '' };
  const target = checkTarget(path, '--json');
  const waiting = (): void => void process.stderr.write(`waiting for a reader of ${path}\n`);
  return {
    write: (value) => writeUserFile(path, jsonText(value), '--json', waiting),
    text: target.kind === 'descriptor' && target.fd === 1 ? process.stderr : process.stdout,
    also: ` and ${path}`,
  };
}

/** "Report: results/x/report.html, with report.md, throughput.svg" and a newline; the page's path from where the user is.
 *  @param names files of the report, its page first */
export function reportLine(dir: string, names: readonly string[]): string {
  const [page, ...others] = names;
  return `Report: ${relative(process.cwd(), join(dir, page)) || '.'}, with ${others.join(', ')}\n`;
}
