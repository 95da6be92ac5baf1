/** What a frame, or a request, takes: CPU time by service and component, and operations. Pure. */
import type { CpuAccounted, CpuNsPerFrame, PerFrame } from './record.js';
import {
  pairs,
  sum,
  blocksOf,
  everywhere,
  grew,
  inDriverDomain,
  inHypervisor,
  type ServiceSnapshot,
  type Snapshot,
  type Where,
} from '../control/snapshot.js';

/** The parts of a process's CPU time add up to it within so much. It is its data thread's (split by component, CpuMeter) and the
 *  runtime's own threads': garbage collection and compiler. The latter is processCpu - dataThreadCpu; so what is checked is that the
 *  components together are the data thread's time. */
const CPU_TOLERANCE = 0.05;
/** A process that used less than this share of a core is too idle to judge: 5 % of it is a few reads of /counters. */
const IDLE_SHARE = 0.01;

/** CPU of one service from a to b: nanoseconds by component, `runtime` included. */
function cpuParts(a: ServiceSnapshot, b: ServiceSnapshot): { parts: Record<string, number>; processNs: number } {
  const parts: Record<string, number> = {};
  for (const block of b.blocks) {
    if (block.kind !== 'cpu') continue;
    for (const name of Object.keys(block.values)) parts[name] = sum([b], 'cpu', name) - sum([a], 'cpu', name);
  }
  const processNs = b.processCpuNs - a.processCpuNs;
  parts['runtime'] = Math.max(0, processNs - (b.dataThreadCpuNs - a.dataThreadCpuNs));
  return { parts, processNs };
}

/** Parts over process time for every service, and a sentence for each that is off. */
export function checkCpu(a: Snapshot, b: Snapshot): { accounted: CpuAccounted; ok: boolean; notes: string[] } {
  const accounted: CpuAccounted = {};
  const notes: string[] = [];
  for (const { before, after } of pairs(a, b)) {
    const { parts, processNs } = cpuParts(before, after);
    const tooIdle = processNs < IDLE_SHARE * (after.atNs - before.atNs);
    const ratio = tooIdle ? null : Object.values(parts).reduce((x, y) => x + y, 0) / processNs;
    accounted[after.name] = ratio;
    // So that no number is none, too.
    if (ratio !== null && !(Math.abs(ratio - 1) <= CPU_TOLERANCE))
      notes.push(
        `CPU time of ${after.name}: its parts add up to ${(ratio * 100).toFixed(1)} % of what the process used`,
      );
  }
  return { accounted, ok: notes.length === 0, notes };
}

/** Kinds of blocks of those that ring doorbells. */
export const RINGING = ['nicQueue', 'nicTx', 'driver', 'netback', 'netbackTx', 'netfront', 'netfrontTx'] as const;

/** Services in figures. */
export const GROUPS = {
  nic: 'nic',
  'driver-domain': 'driverDomain',
  hypervisor: 'hypervisor',
  guest: 'guest',
} as const;

/** CPU time from a to b by service and component, for each of so many frames, or requests. */
export function cpuPerFrame(a: Snapshot, b: Snapshot, frames: number): CpuNsPerFrame {
  const per = (ns: number): number => (frames > 0 ? ns / frames : 0);
  const out: CpuNsPerFrame = {
    ...{ nic: 0, driverDomain: 0, hypervisor: 0, guest: 0, total: 0, components: {}, hypervisorByCaller: {} },
  };
  let hypervisorNs = 0;
  for (const { before, after } of pairs(a, b)) {
    const group = GROUPS[after.kind];
    const { parts, processNs } = cpuParts(before, after);
    // Looking for work with none there is no frame's cost: it is listed, and left out of the sums.
    out[group] += per(processNs - (parts['idle'] ?? 0));
    if (after.kind === 'hypervisor') hypervisorNs += processNs;
    for (const [name, ns] of Object.entries(parts)) {
      const key = `${group}.${name}`;
      out.components[key] = (out.components[key] ?? 0) + per(ns);
    }
  }
  out.total = out.driverDomain + out.hypervisor + out.guest;
  const kinds = new Map<string, keyof typeof GROUPS>(b.map((s) => [String(s.domid), s.kind]));
  let charged = 0;
  for (const block of blocksOf(b, 'hypercalls', inHypervisor)) {
    const domain = block.labels['domain'] ?? '';
    const before = blocksOf(a, 'hypercalls', inHypervisor).find((x) => x.labels['domain'] === domain);
    const ns =
      (block.values['cpuNs'] ?? 0) +
      (block.values['transportNs'] ?? 0) -
      ((before?.values['cpuNs'] ?? 0) + (before?.values['transportNs'] ?? 0));
    charged += ns;
    const caller = GROUPS[kinds.get(domain) ?? 'guest'];
    out.hypervisorByCaller[caller] = (out.hypervisorByCaller[caller] ?? 0) + per(ns);
  }
  out.hypervisorByCaller['own'] = per(hypervisorNs - charged);
  return out;
}

/** @param receivers null: guests send, and the copy that counts is theirs */
export function perFrame(a: Snapshot, b: Snapshot, frames: number, receivers: Where | null): PerFrame {
  const per = (n: number): number => (frames > 0 ? n / frames : 0);
  const calls = (name: string): number => grew(a, b, 'hypercalls', name, inHypervisor);
  const grantOps = calls('mapOps') + calls('unmapOps') + calls('copyOps') + calls('dmaMapOps') + calls('dmaUnmapOps');
  const netback = (name: string): number =>
    grew(a, b, 'netback', name, inDriverDomain) + grew(a, b, 'netbackTx', name, inDriverDomain);
  const application = (name: string): number =>
    receivers === null ? grew(a, b, 'sender', name, everywhere) : grew(a, b, 'app', name, receivers);
  const copiesBy = {
    hypervisor: per(calls('copyOps')),
    driverDomain: per(netback('localCopies')),
    application: per(application('copies')),
  };
  const copiedBytes =
    calls('copiedBytes') +
    netback('localCopiedBytes') +
    (receivers === null ? application('copiedBytes') : application('payloadBytes'));
  const rung = (name: string): number => RINGING.reduce((n, kind) => n + grew(a, b, kind, name), 0);
  // The NIC stands for hardware, which does not wake up.
  const wakeups = grew(a, b, 'loop', 'wakeups', (s) => s.kind !== 'nic');
  return {
    grantOps: per(grantOps),
    hypercalls: per(calls('calls')),
    copies: copiesBy.hypervisor + copiesBy.driverDomain + copiesBy.application,
    copiedBytes: per(copiedBytes),
    notifications: per(rung('notifications')),
    suppressed: per(rung('suppressed')),
    wakeups: per(wakeups),
    copiesBy,
  };
}
