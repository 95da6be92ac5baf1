/** The dump of a vif as text: a heading for each part, rings with raw and derived indices as the services give them,
 *  grants with flags in words and pools as ranges. Pure. */
import { GTF_PERMIT_ACCESS, GTF_READING, GTF_READONLY, GTF_TYPE_MASK, GTF_WRITING } from '@grantline/xen';

type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

/** Any JSON as indented text for people: flat lists of objects become tables. @param value what JSON.parse gives. @returns lines */
export function readable(value: unknown, indent = ''): string[] {
  return lines(value as Json, indent);
}

function lines(value: Json, indent: string): string[] {
  if (Array.isArray(value)) return listLines(value, indent);
  if (value === null || typeof value !== 'object') return [`${indent}${scalar(value)}`];
  const out: string[] = [];
  const width = Math.max(
    0,
    ...Object.keys(value)
      .filter((k) => isFlat(value[k]))
      .map((k) => k.length),
  );
  for (const [key, v] of Object.entries(value)) {
    if (isFlat(v)) out.push(`${indent}${key.padEnd(width)}  ${flat(v)}`);
    else {
      out.push(`${indent}${key}`);
      out.push(...lines(v, `${indent}  `));
    }
  }
  return out.length > 0 ? out : [`${indent}(none)`];
}

function listLines(list: Json[], indent: string): string[] {
  if (list.length === 0) return [`${indent}(none)`];
  const rows = list.filter(
    (x): x is { [key: string]: Json } => x !== null && typeof x === 'object' && !Array.isArray(x),
  );
  const wide = rows.map(flattened);
  if (rows.length === list.length && wide.every((r) => Object.values(r).every(isFlat))) return tableLines(wide, indent);
  return list.flatMap((x, i) =>
    isFlat(x) ? [`${indent}${flat(x)}`] : [`${indent}[${i}]`, ...lines(x, `${indent}  `)],
  );
}

/** Objects of scalars inside a row become columns: pins.hostWrite. */
function flattened(row: { [key: string]: Json }): { [key: string]: Json } {
  const out: { [key: string]: Json } = {};
  for (const [key, v] of Object.entries(row)) {
    if (v === null || typeof v !== 'object' || Array.isArray(v)) out[key] = v;
    else for (const [k, inner] of Object.entries(v)) out[`${key}.${k}`] = inner;
  }
  return out;
}

/** Columns are the union of all keys, in order of appearance. */
function tableLines(rows: { [key: string]: Json }[], indent: string): string[] {
  const keys = [...new Set(rows.flatMap((r) => Object.keys(r)))];
  const cells = rows.map((r) => keys.map((k) => (k in r ? flat(r[k]) : '')));
  const widths = keys.map((k, i) => Math.max(k.length, ...cells.map((c) => c[i].length)));
  const row = (c: string[]): string => `${indent}${c.map((text, i) => text.padEnd(widths[i])).join('  ')}`.trimEnd();
  return [row(keys), ...cells.map(row)];
}

/** Fits on one line: scalars, and short lists of scalars. */
function isFlat(v: Json): boolean {
  if (Array.isArray(v)) return v.length <= 16 && v.every((x) => x === null || typeof x !== 'object');
  return v === null || typeof v !== 'object';
}

function flat(v: Json): string {
  return Array.isArray(v) ? (v.length === 0 ? '(none)' : v.map(scalar).join(' ')) : scalar(v);
}

function scalar(v: Json): string {
  if (v === null || v === '') return '-';
  return typeof v === 'string' ? v : JSON.stringify(v);
}

/** Rows that differ only in `number` and in the `ignored` columns become one, with their numbers as ranges: hundreds of
 *  grants of a pool are one line. */
export function condense(
  rows: readonly Record<string, unknown>[],
  number: string,
  ignored: readonly string[],
): Record<string, unknown>[] {
  const groups = new Map<string, { row: Record<string, unknown>; numbers: number[] }>();
  for (const row of rows) {
    const common = Object.fromEntries(Object.entries(row).filter(([k]) => k !== number && !ignored.includes(k)));
    const key = JSON.stringify(common);
    const group = groups.get(key) ?? { row: common, numbers: [] };
    group.numbers.push(Number(row[number]));
    groups.set(key, group);
  }
  return [...groups.values()].map(({ row, numbers }) => ({ [number]: ranges(numbers), count: numbers.length, ...row }));
}

/** [1, 2, 3, 7] → "1-3 7". */
export function ranges(numbers: readonly number[]): string {
  const sorted = [...numbers].sort((a, b) => a - b);
  const parts: string[] = [];
  for (let i = 0; i < sorted.length;) {
    let j = i;
    while (j + 1 < sorted.length && sorted[j + 1] === sorted[j] + 1) j++;
    parts.push(i === j ? `${sorted[i]}` : `${sorted[i]}-${sorted[j]}`);
    i = j + 1;
  }
  return parts.join(' ');
}

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
