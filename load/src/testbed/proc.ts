/** What /proc tells about processes. All of it is best effort: a process may end between two reads. */
import { readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { startTimeOf, DOMID_FIRST_RESERVED } from '@grantline/base';
import { TESTBED_FILE } from './testbed-file.js';

/** uid of domain d is this + d: services/hypervisor/src/control/testbed-files.ts. */
const DOMAIN_UIDS = 64000;

/** Is the process the one that started the testbed in `dir`? It is ours, and has the directory's testbed.json open, as nobody has who
 *  does not supervise it. When not, see whether the file is still the same: it may just have been written anew. */
export function isSupervisor(pid: number, dir: string): boolean {
  try {
    if (effectiveUid(pid) !== process.geteuid?.()) return false;
    const file = fileIdentity(join(dir, TESTBED_FILE));
    if (file === null) return false;
    return readdirSync(`/proc/${pid}/fd`).some((fd) => fileIdentity(`/proc/${pid}/fd/${fd}`) === file);
  } catch {
    return false;
  }
}

/** @returns what no other file has, nor what is written in its place; null: there is none */
export function fileIdentity(path: string): string | null {
  const s = statSync(path, { throwIfNoEntry: false });
  return s === undefined ? null : `${s.dev}:${s.ino}:${s.mtimeMs}`;
}

/** @throws Error when there is no such process */
function effectiveUid(pid: number): number {
  return Number(/^Uid:\s+\d+\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1] ?? NaN);
}

export interface ServiceProcess {
  pid: number;
  /** The last parts of the script's path: services/guest/dist/src/main.js. */
  script: string;
  dir: string;
}

/** Processes of services that run for a testbed directory (any, when none is given): those that have GRANTLINE_DIR in
 *  their environment and a service's entry point on their command line, and are ours. */
export function serviceProcesses(dir?: string): ServiceProcess[] {
  return readdirSync('/proc').flatMap((name) => {
    const pid = Number(name);
    const found = Number.isInteger(pid) && pid !== process.pid ? serviceProcess(pid) : null;
    return found === null || (dir !== undefined && found.dir !== dir) ? [] : [found];
  });
}

/** As serviceProcesses, of one. */
export function serviceProcess(pid: number): ServiceProcess | null {
  try {
    const args = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
    const script = args.find((a) => /services\/(hypervisor|driver-domain|guest|nic)\/dist\/src\/main\.js$/.test(a));
    if (script === undefined || inContainer(pid) || !isOurs(effectiveUid(pid))) return null;
    const env = readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0');
    const dir = env.find((e) => e.startsWith('GRANTLINE_DIR='))?.slice('GRANTLINE_DIR='.length);
    if (dir === undefined || startTimeOf(pid) === null) return null;
    return { pid, script: script.split('/').slice(-5).join('/'), dir };
  } catch {
    // Gone, or another user's.
    return null;
  }
}

/** Root's domains have users of their own: docs/wire/control-plane.md section 2. */
function isOurs(uid: number): boolean {
  const me = process.geteuid?.() ?? 0;
  return uid === me || (me === 0 && uid > DOMAIN_UIDS && uid < DOMAIN_UIDS + DOMID_FIRST_RESERVED);
}

/** Processes of containers have numbers of their own: not ours to judge or to end. */
function inContainer(pid: number): boolean {
  return readlinkSync(`/proc/${pid}/ns/pid`) !== readlinkSync('/proc/self/ns/pid');
}

/** Processes that come from this one, however many others stand between, the nearest first, with their arguments. */
export function descendants(of = process.pid): { pid: number; args: string[] }[] {
  const children = new Map<number, number[]>();
  for (const name of readdirSync('/proc')) {
    const pid = Number(name);
    const parent = Number.isInteger(pid) ? parentOf(pid) : null;
    if (parent !== null) children.set(parent, [...(children.get(parent) ?? []), pid]);
  }
  const out: { pid: number; args: string[] }[] = [];
  for (let near = children.get(of) ?? []; near.length > 0; near = near.flatMap((pid) => children.get(pid) ?? []))
    for (const pid of near) {
      try {
        out.push({ pid, args: readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0') });
      } catch {
        // Gone.
      }
    }
  return out;
}

/** Field 4 of stat; null when there is no such process. */
function parentOf(pid: number): number | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
  } catch {
    return null;
  }
}

export interface CpuTimes {
  /** Clock ticks of all cores. */
  total: number;
  steal: number;
}

/** The first line of /proc/stat. */
export function cpuTimes(): CpuTimes {
  const line = readFileSync('/proc/stat', 'latin1').split('\n', 1)[0] ?? '';
  const f = line.trim().split(/\s+/).slice(1, 9).map(Number);
  return { total: f.reduce((a, b) => a + b, 0), steal: f[7] ?? 0 };
}

export interface MachineTimes extends CpuTimes {
  /** Waiting for a disk is idle, too. */
  idle: number;
}

/** Of all cores, from the first line of /proc/stat. */
export function machineTimes(): MachineTimes {
  const f = (readFileSync('/proc/stat', 'latin1').split('\n', 1)[0] ?? '').trim().split(/\s+/).map(Number);
  return { ...cpuTimes(), idle: (f[4] ?? 0) + (f[5] ?? 0) };
}
