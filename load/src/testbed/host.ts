/** The machine and the code that a result comes from: what somebody needs to repeat it. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { cpus, release, totalmem } from 'node:os';
import { join } from 'node:path';
import { REPOSITORY } from './paths.js';

export interface HostInfo {
  cpu: string;
  cores: number;
  memoryBytes: number;
  kernel: string;
  arch: string;
  node: string;
  v8: string;
  /** Of this project, and of the library that all shared memory goes through. */
  versions: Record<string, string>;
  /** 'unknown' outside a git checkout. */
  commit: string;
  /** Files were changed since that commit; null outside a checkout. */
  dirty: boolean | null;
}

export function hostInfo(): HostInfo {
  const all = cpus();
  const commit = git(['rev-parse', 'HEAD']);
  const status = git(['status', '--porcelain']);
  return {
    cpu: all[0]?.model.trim() || 'unknown',
    cores: all.length,
    memoryBytes: totalmem(),
    kernel: release(),
    arch: process.arch,
    node: process.versions.node,
    v8: process.versions.v8,
    versions: { grantline: versionOf('package.json'), koffi: versionOf('node_modules/koffi/package.json') },
    commit: commit ?? 'unknown',
    dirty: commit === null || status === null ? null : status !== '',
  };
}

/** @param path of a package.json in the repository. @returns 'unknown' when it cannot be read */
function versionOf(path: string): string {
  try {
    const { version } = JSON.parse(readFileSync(join(REPOSITORY, path), 'utf8')) as { version?: unknown };
    return typeof version === 'string' ? version : 'unknown';
  } catch {
    return 'unknown';
  }
}

/** @returns the output, or null when there is no git or no repository */
function git(args: string[]): string | null {
  try {
    return execFileSync('git', args, {
      cwd: REPOSITORY,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
      timeout: 5000,
    }).trim();
  } catch {
    return null;
  }
}
