/** Results made by hand for tests of reports, and a strict reader of the markup that comes out. */
import { CONFIGURATIONS } from '@grantline/base';
import type { Source, CompareResults, RunResult } from '../../src/report/read.js';
import { figures } from '../../src/runner/figures.js';
import { baselineAt } from '../runner/hand-made.js';

export interface Made {
  config: string;
  /** Delivered, one for each run. */
  gbps: readonly number[];
  guests?: number;
  /** Laid over every run. */
  with?: Partial<RunResult>;
}

/** A run in which everything adds up, with this throughput. */
export function runOf(config: string, gbps: number, round = 0, guests = 1): RunResult {
  const framesPerSecond = (gbps * 1e9) / 8 / 1514;
  const a = baselineAt(0, 1);
  const b = baselineAt(1e6, 2);
  const factors = Object.entries(CONFIGURATIONS).find(([name]) => name === config)?.[1] ?? CONFIGURATIONS.optimised;
  const run = figures({
    config,
    direction: 'rx',
    factors,
    round,
    guests,
    frameBytes: 1514,
    seconds: 1,
    linkGbps: null,
    flowControl: true,
    stealShare: 0.001,
    a,
    b,
    c: b,
  });
  const each = Array.from({ length: guests }, (_, i) => [`guest${i + 1}`, framesPerSecond / guests] as const);
  return {
    ...run,
    factors: { ...run.factors },
    delivered: { ...run.delivered, gbps, framesPerSecond },
    deliveredBy: Object.fromEntries(each),
    conservation: 'ok',
    latencyUs: { p50: 30, p90: 60, p99: 180, p999: 420, max: 5200 },
    notes: [],
  };
}

/** A results file with these configurations, its runs interleaved. */
export function resultsOf(made: readonly Made[], settings: Partial<CompareResults['settings']> = {}): CompareResults {
  const rounds = Math.max(...made.map((m) => m.gbps.length));
  const runs = Array.from({ length: rounds }, (_, round) =>
    made.flatMap((m) =>
      m.gbps[round] === undefined
        ? []
        : [{ ...runOf(m.config, m.gbps[round], round, m.guests ?? settings.guests ?? 1), ...m.with }],
    ),
  ).flat();
  return {
    schema: 'grantline.compare/1',
    date: '2026-01-31T12:00:00.000Z',
    commandLine: ['compare', '--repeat', '3', '--json', '/nowhere/out.json'],
    host: {
      cpu: 'A Processor',
      cores: 2,
      memoryBytes: 2 ** 34,
      kernel: '6.1.0',
      arch: 'x64',
      node: '20.19.0',
      v8: '11.3',
      commit: '0123456789abcdef0123456789abcdef01234567',
      dirty: false,
      versions: { grantline: '0.1.0' },
    },
    settings: {
      guests: 1,
      frameBytes: 1514,
      frameSizes: [1514],
      seconds: 3,
      warmup: 1,
      linkGbps: null,
      flowControl: true,
      protocol: 'auto',
      flows: 4,
      repeat: rounds,
      seed: 1,
      ...settings,
    },
    runs,
  };
}

/** The ladder as the paper has it, three runs each. */
export const LADDER: readonly Made[] = [
  { config: 'baseline', gbps: [10, 11, 9] },
  { config: 'multiqueue', gbps: [15, 14, 16] },
  { config: 'grant-reuse', gbps: [30, 31, 29] },
  { config: 'optimised', gbps: [40, 44, 41] },
];

export const sourcesOf = (...files: readonly CompareResults[]): Source[] =>
  files.map((file, i) => ({ path: i === 0 ? 'compare.json' : `more-${i}/compare.json`, file }));

export interface Tag {
  name: string;
  attributes: ReadonlyMap<string, string>;
}

/** Reads markup as strictly as XML. @returns all elements, and all text between them
 *  @throws Error where it is not well-formed */
export function readMarkup(markup: string): { tags: Tag[]; text: string } {
  const tags: Tag[] = [];
  const open: string[] = [];
  let text = '';
  let rest = markup.replace(/^<!doctype html>/, '');
  while (rest !== '') {
    const at = rest.indexOf('<');
    const between = at < 0 ? rest : rest.slice(0, at);
    if (/&(?!(amp|lt|gt|quot|#39);)/.test(between) || between.includes('>'))
      throw new Error(`text is not escaped: ${between.slice(0, 80)}`);
    text += between;
    if (at < 0) break;
    rest = rest.slice(at);
    const m = /^<(\/?)([a-zA-Z][\w-]*)((?:\s+[\w:-]+="[^"<]*")*)\s*(\/?)>/.exec(rest);
    if (!m) throw new Error(`no tag: ${rest.slice(0, 120)}`);
    const [whole, closing, name, inside, empty] = m;
    rest = rest.slice(whole.length);
    if (closing === '/') {
      if (open.pop() !== name) throw new Error(`</${name}> closes another element`);
      continue;
    }
    const attributes = new Map([...inside.matchAll(/([\w:-]+)="([^"]*)"/g)].map((a) => [a[1], a[2]]));
    tags.push({ name, attributes });
    if (empty !== '/') open.push(name);
  }
  if (open.length > 0) throw new Error(`not closed: ${open.join(', ')}`);
  return { tags, text };
}
