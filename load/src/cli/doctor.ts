/** grantline doctor: what this machine has and lacks, and what to do about it. */
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { cpus, release, totalmem } from 'node:os';
import { join } from 'node:path';
import type { Command } from 'commander';
import { DIR_OPTION } from './options.js';
import { discover, hypervisorAlive, looksLikeTestbed } from '../testbed/discover.js';
import { entryOf, SERVICES, testbedDir } from '../testbed/paths.js';
import { neededBytes } from '../testbed/preflight.js';
import { serviceProcesses } from '../testbed/proc.js';
import { closedFor, setprivPath } from '../testbed/service-env.js';
import { availableMemory, MAX_GUESTS } from '@grantline/base';
import { counted } from '../base/format.js';

export interface Finding {
  /** 'lacks': it cannot run so. 'note': it runs, with this difference. */
  level: 'ok' | 'note' | 'lacks';
  what: string;
  /** What to do, for notes and lacks. */
  todo?: string;
}

export interface Machine {
  platform: string;
  arch: string;
  node: string;
  kernel: string;
  cores: number;
  cpu: string;
  memoryBytes: number;
  uid: number;
  /** Something that domains need and that other users may not read or pass through; null: there is nothing. */
  closed: string | null;
  /** Services can be started as other users. */
  setpriv: boolean;
  dir: string;
  freeBytes: number;
  testbed: 'none' | 'alive' | 'stale';
  /** Why the directory is not one that can be used; null: it is. */
  refused: string | null;
  /** Service processes whose testbed is gone. */
  orphans: { pid: number; script: string; dir: string }[];
  /** Left directories besides the chosen one. */
  otherDirs: string[];
  unbuilt: string[];
  docker: string | null;
}

const ok = (what: string): Finding => ({ level: 'ok', what });
const note = (what: string, todo: string): Finding => ({ level: 'note', what, todo });
const lacks = (what: string, todo: string): Finding => ({ level: 'lacks', what, todo });

/** Judges a machine. Pure. */
export function judge(m: Machine): Finding[] {
  const mib = (bytes: number): string => `${Math.floor(bytes / 1048576)} MiB`;
  const guests = mostGuests(m.freeBytes);
  return [
    m.platform === 'linux'
      ? ok(`Linux ${m.kernel}`)
      : lacks(`Linux is needed, this is ${m.platform}`, 'run it in Docker'),
    m.arch === 'x64' || m.arch === 'arm64'
      ? ok(`${m.arch}, ${m.cores} cores (${m.cpu}), ${mib(m.memoryBytes)} memory`)
      : lacks(`processor ${m.arch} is not supported`, 'use x64 or arm64: memory ordering is argued for these two'),
    ...(m.cores < 2
      ? [note('one core only', 'it works, but sender and receiver take turns: expect about half the rate')]
      : []),
    // Others the command has refused before this is loaded (bin/node-range.mjs).
    ok(`Node ${m.node}`),
    ...(m.refused === null ? [] : [lacks(m.refused, 'choose another directory with --dir or GRANTLINE_DIR')]),
    guests < 1
      ? lacks(
          `${mib(m.freeBytes)} of memory available, one guest needs ${mib(neededBytes(1))}`,
          'free some, or raise the limit: docker run --memory',
        )
      : ok(`${mib(m.freeBytes)} of memory available: enough for ${counted(guests, 'guest')}`),
    ...usersOf(m),
    ...(m.testbed === 'alive' ? [ok(`a testbed is running in ${m.dir}`)] : []),
    ...(m.testbed === 'stale' ? [leftBehind(m.dir, '')] : []),
    ...m.otherDirs.map((d) => leftBehind(d, ` --dir ${d}`)),
    ...m.orphans.map((p) =>
      note(`process ${p.pid} (${p.script}) was left by a killed run`, `end it with: npx grantline down --dir ${p.dir}`),
    ),
    m.unbuilt.length === 0
      ? ok('all services are built')
      : lacks(`not built: ${m.unbuilt.join(', ')}`, 'run npm start or npm run build'),
    ok(m.docker === null ? 'no docker (not needed here)' : `docker ${m.docker} (not needed here)`),
  ];
}

const leftBehind = (dir: string, option: string): Finding =>
  note(`${dir} was left by a killed run`, `remove it with: npx grantline down${option}`);

/** Who domains run as. */
function usersOf(m: Machine): Finding[] {
  const shared =
    'The system does not keep a guest from the memory of another; grant checks, the DMA table and mappings work as always';
  if (m.uid !== 0)
    return [
      note(
        `not root: all domains run under one uid. ${shared}`,
        'nothing for measuring; run as root or in containers for real isolation',
      ),
    ];
  if (m.closed !== null)
    return [
      note(
        `root, but other users may not read or pass through ${m.closed}: all domains run as root. ${shared}`,
        'nothing for measuring; for real isolation put the clone elsewhere, as below /opt, and let others read it (chmod -R go+rX)',
      ),
    ];
  return [
    ok('started as root: each domain runs under its own uid, and the system refuses it the memory of others'),
    ...(m.setpriv
      ? []
      : [
          note(
            'setpriv is not installed: domains begin as root and give it up themselves',
            'install util-linux, and they begin as who they are to be',
          ),
        ]),
  ];
}

function mostGuests(free: number): number {
  let n = 0;
  while (n < MAX_GUESTS && neededBytes(n + 1) <= free) n++;
  return n;
}

function look(dir: string): Machine {
  const { state, refused } = stateOf(dir);
  const uid = process.getuid?.() ?? 0;
  const others = existsSync('/dev/shm')
    ? readdirSync('/dev/shm')
        .filter((n) => n.startsWith('grantline-'))
        .map((n) => join('/dev/shm', n))
    : [];
  return {
    ...{ platform: process.platform, arch: process.arch, node: process.versions.node, kernel: release() },
    cores: cpus().length,
    cpu: cpus()[0]?.model.trim() || 'unknown',
    memoryBytes: totalmem(),
    uid,
    closed: closedFor(dir),
    setpriv: setprivPath() !== null,
    dir,
    freeBytes: availableMemory(),
    testbed: state,
    refused,
    orphans: serviceProcesses().filter((p) => discoverQuietly(p.dir) !== 'alive'),
    otherDirs: others.filter((d) => d !== dir && discoverQuietly(d) === 'stale'),
    unbuilt: SERVICES.filter((s) => {
      try {
        entryOf(s);
        return false;
      } catch {
        return true;
      }
    }).map((s) => `services/${s}`),
    docker: dockerVersion(),
  };
}

/** A directory that is not ours says nothing of a testbed; that is said. */
function stateOf(dir: string): { state: Machine['testbed']; refused: string | null } {
  try {
    return { state: discover(dir).state, refused: null };
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    return { state: 'none', refused: error.message };
  }
}

function discoverQuietly(dir: string): 'none' | 'alive' | 'stale' {
  try {
    const { state } = discover(dir);
    if (state !== 'stale') return state;
    if (hypervisorAlive(dir)) return 'alive';
    return looksLikeTestbed(dir) ? 'stale' : 'none';
  } catch {
    return 'none';
  }
}

function dockerVersion(): string | null {
  try {
    const text = execFileSync('docker', ['--version'], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
      timeout: 3000,
    });
    return /\d+\.\d+[.\d]*/.exec(text)?.[0] ?? 'found';
  } catch {
    return null;
  }
}

const MARK = { ok: 'ok   ', note: 'note ', lacks: 'LACKS' } as const;

export function addDoctor(command: Command): void {
  command.option(...DIR_OPTION).action((args: { dir?: string }) => {
    const findings = judge(look(testbedDir(args.dir)));
    for (const f of findings)
      process.stdout.write(`${MARK[f.level]}  ${f.what}${f.todo === undefined ? '' : `\n         -> ${f.todo}`}\n`);
    if (findings.some((f) => f.level === 'lacks')) process.exitCode = 2;
  });
}
