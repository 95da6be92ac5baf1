/** What a frame, or a request, takes: CPU time by service and component, and operations. Pure. */
import { cpuParts } from './cpu-check.js';
import type { CpuNsPerFrame, PerFrame } from './record.js';
import {
  blocksOf,
  everywhere,
  grew,
  inDriverDomain,
  inHypervisor,
  serviceIn,
  type ServiceSnapshot,
  type Snapshot,
  type Where,
} from '../control/snapshot.js';

/** Services that are in both. */
export function pairs(a: Snapshot, b: Snapshot): { before: ServiceSnapshot; after: ServiceSnapshot }[] {
  const out = [];
  for (const after of b) {
    const before = serviceIn(a, after.name);
    if (before) out.push({ before, after });
  }
  return out;
}

const GROUPS = { nic: 'nic', 'driver-domain': 'driverDomain', hypervisor: 'hypervisor', guest: 'guest' } as const;

/** CPU time from a to b by service and component, for each of so many frames, or requests. */
export function cpuPerFrame(a: Snapshot, b: Snapshot, frames: number): CpuNsPerFrame {
  const per = (ns: number): number => (frames > 0 ? ns / frames : 0);
  const out: CpuNsPerFrame = {
    nic: 0,
    driverDomain: 0,
    hypervisor: 0,
    guest: 0,
    total: 0,
    components: {},
    hypervisorByCaller: {},
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
  let notifications = 0;
  let suppressed = 0;
  for (const kind of ['nicQueue', 'nicTx', 'driver', 'netback', 'netbackTx', 'netfront', 'netfrontTx'] as const) {
    notifications += grew(a, b, kind, 'notifications', everywhere);
    suppressed += grew(a, b, kind, 'suppressed', everywhere);
  }
  // The NIC stands for hardware, which does not wake up.
  const wakeups = grew(a, b, 'loop', 'wakeups', (s) => s.kind !== 'nic');
  return {
    grantOps: per(grantOps),
    hypercalls: per(calls('calls')),
    copies: copiesBy.hypervisor + copiesBy.driverDomain + copiesBy.application,
    copiedBytes: per(copiedBytes),
    notifications: per(notifications),
    suppressed: per(suppressed),
    wakeups: per(wakeups),
    copiesBy,
  };
}
