/** Any JSON as indented text for people: flat lists of objects become tables. Pure. */

type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

/** @param value what JSON.parse gives. @returns lines */
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
    const rest = Object.fromEntries(Object.entries(row).filter(([k]) => k !== number && !ignored.includes(k)));
    const key = JSON.stringify(rest);
    const group = groups.get(key) ?? { row: rest, numbers: [] };
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
