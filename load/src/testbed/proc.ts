/** What /proc tells about processes. All of it is best effort: a process may end between two reads. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

/** @returns start time in clock ticks since boot (field 22 of stat), or null when there is no such process or it is a
 *  zombie. Together with the pid it names a process for good: a pid alone is used again. */
export function startTimeOf(pid: number): number | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    const rest = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    if (rest[0] === 'Z' || rest[0] === 'X') return null;
    return Number(rest[19]);
  } catch {
    return null;
  }
}

export interface ServiceProcess {
  pid: number;
  /** The last parts of the script's path: services/guest/dist/src/main.js. */
  script: string;
  dir: string;
}

/** Processes of services that run for a testbed directory (any, when none is given): those that have GRANTLINE_DIR in
 *  their environment and a service's entry point on their command line. */
export function serviceProcesses(dir?: string): ServiceProcess[] {
  const out: ServiceProcess[] = [];
  for (const name of readdirSync('/proc')) {
    const pid = Number(name);
    if (!Number.isInteger(pid) || pid === process.pid) continue;
    try {
      const args = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
      const script = args.find((a) => /services\/(hypervisor|driver-domain|guest|nic)\/dist\/src\/main\.js$/.test(a));
      if (script === undefined || inContainer(name)) continue;
      const env = readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0');
      const of = env.find((e) => e.startsWith('GRANTLINE_DIR='))?.slice('GRANTLINE_DIR='.length);
      if (of === undefined || (dir !== undefined && of !== dir) || startTimeOf(pid) === null) continue;
      out.push({ pid, script: script.split('/').slice(-5).join('/'), dir: of });
    } catch {
      // Gone, or another user's.
    }
  }
  return out;
}

/** Processes of containers have numbers of their own: not ours to judge or to end. */
function inContainer(pid: string): boolean {
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
