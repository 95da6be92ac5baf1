/** Grants and mappings as plain objects, for GET /api/domains/:domid/grants and `grantline dump`. Not for the data path. */
import {
  GNTMAP_DEVICE_MAP,
  GNTMAP_HOST_MAP,
  GNTMAP_READONLY,
  GRANT_ENTRIES,
  GRANT_ENTRY_BYTES,
  GRANT_TABLE_PFN,
} from '@grantline/xen';
import type { Mem } from '@grantline/machine';
import type { DomainMemory } from './domain-memory.js';

/** A used entry of a domain's grant table: what the domain has written, and what the hypervisor knows. */
export interface GrantRow {
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
export interface MappingRow {
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
export function activeEntries({ active }: DomainMemory): number {
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
