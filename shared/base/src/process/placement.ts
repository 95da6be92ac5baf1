/** Which core each service's data thread runs on. Left to itself, the scheduler moves these threads about while they hand
 *  frames to each other thousands of times a second, and throughput varies by half from run to run. The NIC and the
 *  driver domain pass small things; the guests' copying is the large part and gets what is left. In `native` the driver
 *  domain is the receiver, and takes a guest's core. docs/adr/0012. */
import { readFileSync } from 'node:fs';

export type Placed = 'nic' | 'driver-domain' | 'guest';

/** Cores that this process may use, in order. @returns an empty list when the kernel does not tell */
export function allowedCores(): number[] {
  const line = /^Cpus_allowed_list:\s*(.+)$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '';
  return parseCoreList(line);
}

/** "0-2,5" as numbers. */
export function parseCoreList(text: string): number[] {
  return text.split(',').flatMap((part) => {
    const [from, to] = part.split('-').map((n) => Number.parseInt(n, 10));
    if (from === undefined || Number.isNaN(from)) return [];
    return Array.from({ length: (to ?? from) - from + 1 }, (_, i) => from + i);
  });
}

/** @param nth number of the guest, from 0
 *  @returns the core, or null: leave it to the scheduler. The hypervisor is never pinned: it works for all */
export function coreFor(kind: Placed, nth: number, cores: readonly number[]): number | null {
  if (cores.length < 2) return null;
  const own = cores.length < 4 ? 1 : 2;
  if (kind === 'nic') return cores[0] ?? null;
  if (kind === 'driver-domain') return cores[own - 1] ?? null;
  return cores[own + (nth % (cores.length - own))] ?? null;
}
