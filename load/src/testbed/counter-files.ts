/** Where the services' counters lie, and how the command reads them without asking the services: it costs them nothing. */
import { join } from 'node:path';
import { readCounterFile } from '@grantline/shared/counters/file.js';
import { nowNs } from '@grantline/shared/clock/clock.js';
import type { ServiceName, ServiceSnapshot } from '../runner/snapshot.js';

/** Path of a domain's counter file: docs/wire/control-plane.md section 2. The one place that knows it. */
export const counterFileOf = (dir: string, domid: number): string => join(dir, 'domain', String(domid), 'counters');

/** Which domain's counters. */
export interface CounterOwner {
  name: ServiceName;
  kind: ServiceSnapshot['kind'];
  domid: number;
}

/** Counters of all that can be read; a domain that is being born or has just died is left out. What only the process
 *  itself can tell (its CPU time, its memory) is 0. */
export function readCounters(dir: string, owners: readonly CounterOwner[]): ServiceSnapshot[] {
  const out: ServiceSnapshot[] = [];
  for (const { name, kind, domid } of owners) {
    try {
      const blocks = readCounterFile(counterFileOf(dir, domid));
      out.push({ name, kind, domid, atNs: nowNs(), processCpuNs: 0, dataThreadCpuNs: 0, rssBytes: 0, blocks });
    } catch {
      // Looked at again in half a second.
    }
  }
  return out;
}
