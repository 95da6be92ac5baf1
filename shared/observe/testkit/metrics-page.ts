/** Reads a metrics page, strictly, for tests. */
import type { Test } from 'tap';
import { LABEL_NAMES } from '@grantline/machine';

const SAMPLE =
  /^([a-z_:][a-z0-9_:]*)\{((?:[a-z_]+="(?:[^"\\\n]|\\.)*"(?:,(?=[a-z]))?)+)\} (-?[0-9.]+(?:e[+-]?[0-9]+)?)$/;

/** @returns values by series, labels in alphabetical order. Fails `t` for a line that is none, a label that there is
 *  not, a series without domain or of no declared family, and a series that stands there twice */
export function parsePage(t: Pick<Test, 'ok'>, text: string): Map<string, number> {
  const out = new Map<string, number>();
  const families = new Set<string>();
  for (const line of text.split('\n')) {
    if (line === '' || line.startsWith('# HELP ')) continue;
    const family = /^# TYPE ([a-z_]+) (?:counter|gauge|histogram|summary)$/.exec(line)?.[1];
    if (family !== undefined) {
      families.add(family);
      continue;
    }
    const found = SAMPLE.exec(line);
    if (found === null) {
      t.ok(false, line);
      continue;
    }
    const [, name = '', labels = '', value] = found;
    const parts = labels.match(/[a-z_]+="(?:[^"\\]|\\.)*"/g)!.sort();
    const names = parts.map((part) => part.slice(0, part.indexOf('=')));
    const known = names.every((n) => n === 'le' || (LABEL_NAMES as readonly string[]).includes(n));
    const declared = families.has(name) || families.has(name.replace(/_(bucket|sum|count)$/, ''));
    const series = `${name}{${parts.join(',')}}`;
    if (!known || !declared || !names.includes('domain') || out.has(series)) t.ok(false, line);
    out.set(series, Number(value));
  }
  t.ok(out.size > 0, 'the page has series');
  return out;
}
