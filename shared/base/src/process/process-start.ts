/** When a process was started. */
import { readFileSync } from 'node:fs';

/** With the pid it names one process for good: a pid alone is used again.
 *  @returns clock ticks since boot (field 22 of /proc/PID/stat), or null when there is no such process or it is a zombie */
export function startTimeOf(pid: number): number | null {
  if (!Number.isSafeInteger(pid) || pid < 1) return null;
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // The name in parentheses may hold spaces; the start time is field 22, the 20th after it.
    const rest = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    if (rest[0] === 'Z' || rest[0] === 'X') return null;
    const start = Number(rest[19]);
    return Number.isSafeInteger(start) ? start : null;
  } catch {
    return null;
  }
}
