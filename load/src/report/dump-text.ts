/** The dump of a vif as text: a heading for each part, rings with raw and derived indices as the services give them,
 *  grants with flags in words and pools as ranges. Pure. */
import { GTF_PERMIT_ACCESS, GTF_READING, GTF_READONLY, GTF_TYPE_MASK, GTF_WRITING } from '@grantline/xen';
import { condense, readable } from './text.js';

/** What all services know of a vif. A part that could not be had is an object with `error`. */
export interface VifDump {
  vif: string;
  states: unknown;
  rings: { driverDomain: unknown; guest: unknown; nic: unknown };
  grants: unknown;
  ports: unknown;
  xenstore: { backend: unknown; frontend: unknown };
}

export function dumpText(d: VifDump): string {
  const parts: [string, unknown][] = [
    [`${d.vif}: states`, d.states],
    ['netback, in the driver domain', d.rings.driverDomain],
    ['netfront, in the guest', d.rings.guest],
    ['NIC', d.rings.nic],
    ['grants of the guest', grants(d.grants)],
    ['event channels of the guest', d.ports],
    ['xenstore, backend', store(d.xenstore.backend)],
    ['xenstore, frontend', store(d.xenstore.frontend)],
  ];
  return parts.map(([title, value]) => `${title}\n${readable(value, '  ').join('\n')}`).join('\n\n');
}

/** permit reading writing: GTF_* of a grant entry. */
export function flagNames(flags: number): string {
  const names = [(flags & GTF_TYPE_MASK) === GTF_PERMIT_ACCESS ? 'permit' : `type${flags & GTF_TYPE_MASK}`];
  if (flags & GTF_READONLY) names.push('readonly');
  if (flags & GTF_READING) names.push('reading');
  if (flags & GTF_WRITING) names.push('writing');
  return names.join('+');
}

interface StoreTree {
  value: string;
  owner: number;
  readers: number[];
  children?: Record<string, StoreTree>;
}

interface StoreRow {
  path: string;
  value: string;
  owner: number;
  readers: string;
}

/** A subtree as one row for each path with a value. */
function store(tree: unknown): unknown {
  if (tree === null || typeof tree !== 'object' || !('children' in tree)) return tree;
  return rowsOf('', tree as StoreTree);
}

function rowsOf(path: string, { value, owner, readers, children = {} }: StoreTree): StoreRow[] {
  const own = path === '' || value === '' ? [] : [{ path, value, owner, readers: readers.join(' ') }];
  const below = Object.entries(children).map(([name, child]) => rowsOf(path === '' ? name : `${path}/${name}`, child));
  return own.concat(...below);
}

interface Row {
  flags?: unknown;
  domid?: unknown;
  frame?: unknown;
  heldBy?: unknown;
  heldPfn?: unknown;
}

function grants(value: unknown): unknown {
  const { entries, maptrack } = (value ?? {}) as { entries?: unknown; maptrack?: unknown };
  if (!Array.isArray(entries)) return value;
  const rows = entries.map((e: Row) => ({
    ...e,
    flags: flagNames(Number(e.flags)),
    // An entry that its owner changed while somebody held it.
    tampered: e.heldBy !== null && (e.heldBy !== e.domid || e.heldPfn !== e.frame),
  }));
  return { entries: condense(rows, 'gref', ['frame', 'heldBy', 'heldPfn']), maptrack };
}
