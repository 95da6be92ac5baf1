/** Names that queries may use: the metrics of docs/wire/metrics.md, and what the recording rules make of them. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import { PROMETHEUS_DIR, REPOSITORY } from '../src/shipped.js';

export interface Rule {
  record?: string;
  alert?: string;
  expr: string;
  annotations?: Record<string, string>;
  labels?: Record<string, string>;
}

/** Series that Prometheus makes itself. */
export const OWN_OF_PROMETHEUS = ['up', 'ALERTS'] as const;

/** @returns the metrics that the contract names; a histogram with the names of its series too */
export function contractMetrics(text = readFileSync(join(REPOSITORY, 'docs/wire/metrics.md'), 'utf8')): Set<string> {
  const names = new Set<string>();
  for (const line of text.split('\n')) {
    let stem = '';
    for (const [, word] of line.matchAll(/`([a-zA-Z_]+)(?:\{[^}`]*\})?`/g)) {
      if (/^(grantline|process|nodejs)_/.test(word)) {
        stem = word.split('_').slice(0, -2).join('_');
        names.add(word);
        if (line.includes('histogram')) for (const end of ['_bucket', '_sum', '_count']) names.add(word + end);
      } else if (word.startsWith('_') && stem !== '') {
        // "`grantline_nic_frames_total`, `_bytes_total`": what ends in unit and _total lends its stem.
        names.add(stem + word);
      }
    }
  }
  return names;
}

/** All rules that are shipped, by file. */
export function shippedRules(): { file: string; rule: Rule }[] {
  const dir = join(PROMETHEUS_DIR, 'rules');
  return readdirSync(dir)
    .sort()
    .flatMap((file) => {
      const content = parse(readFileSync(join(dir, file), 'utf8')) as { groups: { rules: Rule[] }[] };
      return content.groups.flatMap((group) => group.rules.map((rule) => ({ file, rule })));
    });
}
