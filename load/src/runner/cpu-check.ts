/** Do the measured parts add up to what the system says the process used? Pure.
 *
 *  A process's CPU time is its data thread's (split by component, CpuMeter) and the runtime's own threads': garbage
 *  collection and compiler. The latter is processCpu - dataThreadCpu; so what is checked is that the components
 *  together are the data thread's time. */
import type { CpuAccounted } from './record.js';
import { serviceIn, sum, type ServiceSnapshot, type Snapshot } from '../control/snapshot.js';

/** "The parts add up to the measured CPU of each process within 5 %." */
export const CPU_TOLERANCE = 0.05;
/** A process that used less than this share of a core is too idle to judge: 5 % of it is a few reads of /counters. */
const IDLE_SHARE = 0.01;

export interface CpuParts {
  /** Nanoseconds by component, `runtime` included. */
  parts: Record<string, number>;
  processNs: number;
  elapsedNs: number;
}

/** CPU of one service from a to b. */
export function cpuParts(a: ServiceSnapshot, b: ServiceSnapshot): CpuParts {
  const parts: Record<string, number> = {};
  for (const block of b.blocks) {
    if (block.kind !== 'cpu') continue;
    for (const name of Object.keys(block.values)) parts[name] = sum([b], 'cpu', name) - sum([a], 'cpu', name);
  }
  const processNs = b.processCpuNs - a.processCpuNs;
  parts['runtime'] = Math.max(0, processNs - (b.dataThreadCpuNs - a.dataThreadCpuNs));
  return { parts, processNs, elapsedNs: b.atNs - a.atNs };
}

export interface CpuCheck {
  accounted: CpuAccounted;
  ok: boolean;
  notes: string[];
}

/** Parts over process time for every service. */
export function checkCpu(a: Snapshot, b: Snapshot): CpuCheck {
  const accounted: CpuAccounted = {};
  const notes: string[] = [];
  for (const after of b) {
    const before = serviceIn(a, after.name);
    if (!before) continue;
    const { parts, processNs, elapsedNs } = cpuParts(before, after);
    if (processNs < IDLE_SHARE * elapsedNs) {
      accounted[after.name] = null;
      continue;
    }
    const total = Object.values(parts).reduce((x, y) => x + y, 0);
    const ratio = total / processNs;
    accounted[after.name] = ratio;
    // So that no number is none, too.
    if (!(Math.abs(ratio - 1) <= CPU_TOLERANCE)) {
      notes.push(
        `CPU time of ${after.name}: its parts add up to ${(ratio * 100).toFixed(1)} % of what the process used`,
      );
    }
  }
  return { accounted, ok: notes.length === 0, notes };
}
