/** What a process finds out of itself and its machine: its build, its cores, its memory, when it was started, its parent's end. */
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** What is running: version, revision of the source, Node. */
interface BuildInfo {
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

/** @param module a module's URL @returns the nearest directory above it that holds `name`: a module may lie where tsc put it, or be
 *  part of the started form (tools/started-form.mjs). @throws Error when there is none */
export function above(module: string, name: string): string {
  let dir = dirname(fileURLToPath(module));
  while (!existsSync(join(dir, name))) {
    if (dirname(dir) === dir) throw new Error(`nothing above ${module} holds ${name}`);
    dir = dirname(dir);
  }
  return dir;
}

function findOut(): BuildInfo {
  const repository = above(import.meta.url, 'package-lock.json');
  return {
    version: versionOf(join(repository, 'package.json')),
    revision: revisionOf(join(repository, '.git')) ?? (process.env['GRANTLINE_REVISION'] || 'unknown').slice(0, 40),
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

/** Which core each service's data thread runs on. Left to itself, the scheduler moves these threads about while they hand
 *  frames to each other thousands of times a second, and throughput varies by half from run to run. The NIC and the
 *  driver domain pass small things; the guests' copying is the large part and gets what is left. In `native` the driver
 *  domain is the receiver, and takes a guest's core. docs/adr/0012. */
type Placed = 'nic' | 'driver-domain' | 'guest';

/** together: all of them on one core, which then gives frames to nobody else. apart: as above. none: the scheduler's choice. Which is
 *  best depends on what two cores hand to each other: docs/adr/0024. */
export type Placement = 'together' | 'apart' | 'none';

/** Cores that this process may use, in order. @returns an empty list when the kernel does not tell */
export function allowedCores(): number[] {
  const line = /^Cpus_allowed_list:\s*(.+)$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '';
  return parseCoreList(line);
}

/** "0-2,5" as numbers. */
function parseCoreList(text: string): number[] {
  return text.split(',').flatMap((part) => {
    const [from, to] = part.split('-').map((n) => Number.parseInt(n, 10));
    if (from === undefined || Number.isNaN(from)) return [];
    return Array.from({ length: (to ?? from) - from + 1 }, (_, i) => from + i);
  });
}

/** @param nth number of the guest, from 0
 *  @returns the core, or null: leave it to the scheduler. The hypervisor is never pinned: it works for all */
export function coreFor(
  kind: Placed,
  nth: number,
  cores: readonly number[],
  placement: Placement = 'apart',
): number | null {
  if (cores.length < 2 || placement === 'none') return null;
  if (placement === 'together') return cores[0] ?? null;
  const own = cores.length < 4 ? 1 : 2;
  if (kind === 'nic') return cores[0] ?? null;
  if (kind === 'driver-domain') return cores[own - 1] ?? null;
  return cores[own + (nth % (cores.length - own))] ?? null;
}

/** With the pid it names one process for good: a pid alone is used again.
 *  @returns clock ticks since boot (field 22 of /proc/PID/stat), or null when there is no such process or it is a zombie */
export function startTimeOf(pid: number): number | null {
  if (!Number.isSafeInteger(pid) || pid < 1) return null;
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // The name in parentheses may hold spaces; the start time is field 22, the 20th after it.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    if (fields[0] === 'Z' || fields[0] === 'X') return null;
    const start = Number(fields[19]);
    return Number.isSafeInteger(start) ? start : null;
  } catch {
    return null;
  }
}

/** A process that was started with an IPC channel ends with its parent, whatever happens to that one. */
export function endWithChannel(): void {
  const end = (): void => process.exit(0);
  process.on('disconnect', end);
  // A message to one that has been killed, before the end of the channel was seen: nobody is left to hear of it.
  process.on('error', end);
  // The parent decides on its end.
  process.on('SIGINT', () => {});
}

/** How much memory this process may still take: of the machine, and within the limits of its control groups. Pages of files
 *  that the kernel can drop count as free: a build leaves a container full of them.
 *  @param root where /proc and /sys are, in tests @returns bytes */
export function availableMemory(root = '/'): number {
  const machine = /^MemAvailable:\s+(\d+) kB$/m.exec(text(join(root, 'proc/meminfo')))?.[1];
  return Math.min(machine === undefined ? Infinity : Number(machine) * 1024, ...groupRooms(root));
}

/** Names of the files of both versions of control groups. */
const V1 = { max: 'memory.limit_in_bytes', used: 'memory.usage_in_bytes', file: /^total_(?:in)?active_file (\d+)$/gm };
const V2 = { max: 'memory.max', used: 'memory.current', file: /^(?:in)?active_file (\d+)$/gm };

/** Room in the group that this process is in, and in each above it that sets a limit. */
function groupRooms(root: string): number[] {
  const rooms: number[] = [];
  for (const line of text(join(root, 'proc/self/cgroup')).split('\n')) {
    const [, id, controllers, path] = /^(\d+):([^:]*):(\/.*)$/.exec(line) ?? [];
    if (path === undefined) continue;
    const old = controllers?.split(',').includes('memory');
    if (!old && id !== '0') continue;
    const names = old ? V1 : V2;
    const top = join(root, old ? 'sys/fs/cgroup/memory' : 'sys/fs/cgroup');
    // In a container the path may be the host's, and what is mounted is our own group: then only the top is there.
    for (let at = join(top, path); ; at = dirname(at)) {
      const max = Number(text(join(at, names.max)) || NaN);
      if (Number.isFinite(max)) {
        const droppable = [...text(join(at, 'memory.stat')).matchAll(names.file)].reduce((n, m) => n + Number(m[1]), 0);
        rooms.push(Math.max(0, max - Number(text(join(at, names.used))) + droppable));
      }
      if (at === top || at.length < top.length) break;
    }
  }
  return rooms;
}

/** '' when it cannot be read. */
function text(path: string): string {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    return '';
  }
}
