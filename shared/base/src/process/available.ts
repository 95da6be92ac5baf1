/** How much memory this process may still take: of the machine, and within the limits of its control groups. Pages of files
 *  that the kernel can drop count as free: a build leaves a container full of them. */
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** @param root where /proc and /sys are, in tests @returns bytes */
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
