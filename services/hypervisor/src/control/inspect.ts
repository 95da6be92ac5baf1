/** The hypervisor's state, for people and metrics: read when asked, changes nothing. */
import {
  GNTMAP_DEVICE_MAP,
  GNTMAP_HOST_MAP,
  GNTMAP_READONLY,
  GRANT_ENTRIES,
  GRANT_ENTRY_BYTES,
  GRANT_TABLE_PFN,
  XENBUS,
} from '@grantline/xen';
import type { Mem } from '@grantline/machine';
import { configurationName, configurationNames, domainName } from '@grantline/base';
import type { Reading } from '@grantline/observe';
import type { Parts } from './parts.js';
import type { DomainMemory } from '../data/domain-memory.js';

/** For GET /dump, which everybody may look at: domains, queues, ports and vifs as they are now. No secret is in it. */
export function dump(hv: Parts): object {
  const { toolstack } = hv;
  return {
    domains: hv.domains.list().map(({ controlKey: _, ...d }) => d),
    connected: hv.server.connectedCount,
    queues: hv.nic.list(),
    lateNicReplies: hv.nic.lateReplies,
    dmaEntries: hv.dma.used,
    heldBatches: hv.runner.waiting,
    hypercallRings: hv.rings.describe(),
    ports: hv.domains.live().map(({ domid }) => ({ domid, ports: hv.portsOf(domid) })),
    config: { generation: toolstack.generation, factors: toolstack.factors, vifs: toolstack.vifs() },
  };
}

// Grants and mappings, for GET /api/domains/:domid/grants and `grantline dump`.

/** A used entry of a domain's grant table: what the domain has written, and what the hypervisor knows. */
interface GrantRow {
  gref: number;
  /** GTF_*, domid and frame as they stand in the domain's memory now. */
  flags: number;
  domid: number;
  frame: number;
  /** Live pins by kind. */
  pins: { hostWrite: number; hostRead: number; deviceWrite: number; deviceRead: number };
  /** Who holds them and on which page; null without pins. Differs from domid and frame when the domain has tampered. */
  heldBy: number | null;
  heldPfn: number | null;
}

/** A live mapping. */
interface MappingRow {
  handle: number;
  granter: number;
  gref: number;
  host: boolean;
  device: boolean;
  readonly: boolean;
  /** Entry in the DMA translation table; null without a device half. */
  dpn: number | null;
}

/** Entries that are not all zero or that somebody has pinned. */
export function grantRows(mem: Mem, domain: DomainMemory): GrantRow[] {
  const rows: GrantRow[] = [];
  const { active } = domain;
  for (let gref = 0; gref < GRANT_ENTRIES; gref++) {
    const at = domain.pageAt(GRANT_TABLE_PFN) + gref * GRANT_ENTRY_BYTES;
    const word = Atomics.load(mem.u32, at >> 2);
    const pin = active.pin[gref];
    if (word === 0 && pin === 0) continue;
    rows.push({
      gref,
      flags: word & 0xffff,
      domid: word >>> 16,
      frame: mem.u32[(at >> 2) + 1],
      pins: {
        hostWrite: pin & 0xff,
        hostRead: (pin >>> 8) & 0xff,
        deviceWrite: (pin >>> 16) & 0xff,
        deviceRead: pin >>> 24,
      },
      heldBy: pin === 0 ? null : active.grantee[gref],
      heldPfn: pin === 0 ? null : active.pfn[gref],
    });
  }
  return rows;
}

/** Entries of a domain's grant table that somebody has pinned. */
function activeEntries({ active }: DomainMemory): number {
  let n = 0;
  for (const pin of active.pin) if (pin !== 0) n++;
  return n;
}

/** All live handles of a domain. */
export function mappingRows(domain: DomainMemory): MappingRow[] {
  const rows: MappingRow[] = [];
  const { maptrack } = domain;
  for (let handle = 0; handle < maptrack.capacity; handle++) {
    const flags = maptrack.flags[handle];
    if (flags === 0) continue;
    rows.push({
      handle,
      granter: maptrack.granter[handle],
      gref: maptrack.gref[handle],
      host: (flags & GNTMAP_HOST_MAP) !== 0,
      device: (flags & GNTMAP_DEVICE_MAP) !== 0,
      readonly: (flags & GNTMAP_READONLY) !== 0,
      dpn: maptrack.dpn[handle] === 0 ? null : maptrack.dpn[handle],
    });
  }
  return rows;
}

/** What metrics show besides counters: states and levels. docs/wire/metrics.md. */
export function readings(hv: Parts): Reading[] {
  const inForce = configurationName(hv.toolstack.factors);
  return [
    ...domainReadings(hv),
    ...vifReadings(hv),
    { family: 'grantline_dma_entries', value: hv.dma.used },
    ...[...configurationNames, 'custom'].map((config): Reading => ({
      family: 'grantline_configuration_info',
      labels: { config },
      value: config === inForce ? 1 : 0,
    })),
  ];
}

function domainReadings(hv: Parts): Reading[] {
  return hv.domains.list().flatMap(({ domid, state }) => {
    const labels = { domain: domainName(domid) };
    const memory = hv.memory.get(domid);
    return [
      { family: 'grantline_domain_up', labels, value: state === 'running' ? 1 : 0 },
      { family: 'grantline_domain_starts_total', labels, value: hv.starts.get(domid) ?? 0 },
      { family: 'grantline_active_grants', labels, value: memory === null ? 0 : activeEntries(memory) },
      { family: 'grantline_mappings', labels, value: memory?.maptrack.used ?? 0 },
    ] satisfies Reading[];
  });
}

function vifReadings(hv: Parts): Reading[] {
  return hv.toolstack.vifs().flatMap(({ vif, guest, backend, frontend, error }) => {
    const labels = { domain: domainName(guest), vif };
    const state = (component: string, name: string): Reading => ({
      family: 'grantline_vif_state',
      labels: { ...labels, component },
      value: XENBUS[name as keyof typeof XENBUS],
    });
    return [
      state('backend', backend),
      state('frontend', frontend),
      { family: 'grantline_vif_disabled', labels, value: error === null ? 0 : 1 },
    ];
  });
}
