/** What is running: version, revision of the source, Node. */
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export interface BuildInfo {
  version: string;
  /** Commit of a checkout, else GRANTLINE_REVISION (an image has no checkout), else `unknown`. */
  revision: string;
  node: string;
}

const REVISION = /^[0-9a-f]{40}$/;
let known: BuildInfo | null = null;

/** Labels of grantline_build_info; found out once. */
export function buildInfo(): BuildInfo & Record<string, string> {
  known ??= findOut();
  return { ...known };
}

function findOut(): BuildInfo {
  // dist/src/process/ → the package, shared/base of the repository.
  const base = join(dirname(fileURLToPath(import.meta.url)), '../../..');
  return {
    version: versionOf(join(base, 'package.json')),
    revision: revisionOf(join(base, '../../.git')) ?? (process.env['GRANTLINE_REVISION'] || 'unknown').slice(0, 40),
    node: process.versions.node,
  };
}

function versionOf(file: string): string {
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
}

/** Reads the files of git instead of asking it: a process for a label would be much. @returns null without a checkout */
export function revisionOf(git: string): string | null {
  try {
    const head = readFileSync(join(git, 'HEAD'), 'utf8').trim();
    const ref = /^ref: (refs\/\S+)$/.exec(head)?.[1];
    if (ref === undefined) return REVISION.test(head) ? head : null;
    const loose = join(git, ref);
    if (existsSync(loose)) return readFileSync(loose, 'utf8').trim();
    const packed = readFileSync(join(git, 'packed-refs'), 'utf8').split('\n');
    return packed.find((line) => line.endsWith(` ${ref}`))?.slice(0, 40) ?? null;
  } catch {
    return null;
  }
}
