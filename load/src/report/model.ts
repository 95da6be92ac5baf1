/** What a report speaks of, worked out from the results files: runs grouped by configuration and number of guests. Pure. */
import { configurationNames } from '@grantline/base';
import { requestsTitle } from '../runner/compare.js';
import { counted } from '../base/format.js';
import {
  lineRate,
  median,
  medianIndex,
  medianInterval,
  spreadOf,
  type MedianInterval,
  type Spread,
} from '../base/stats.js';
import { configKey, type ConfigKey } from './palette.js';
import type { Source, CompareResults, RunResult } from './read.js';

/** Behind the name of a configuration whose runs were of what guests send. */
const TRANSMIT = ' (transmit)';
const BETWEEN = ' (guest to guest)';

/** What was measured together in one comparison but is no more comparable than miles and hours: each gets figures of its own. */
const LADDERS = [
  { direction: 'rx', title: 'receive', file: '' },
  { direction: 'tx', title: 'transmit', file: '-transmit' },
  { direction: 'guest-to-guest', title: 'guest to guest', file: '-guest-to-guest' },
] as const;
export type Ladder = (typeof LADDERS)[number];

/** What is put behind the names of a plot's file where there are several ladders. */
export const LADDER_FILES: readonly string[] = LADDERS.map((l) => l.file);

/** The configuration's name, without what stands behind it here. */
export const plainName = (config: string): string => config.replace(/ \(.*\)$/, '');

/** The configuration that this one is to be held against: the baseline of the same ladder, which frames go by the same way. */
export const baselineOf = (config: string): string => `baseline${config.slice(plainName(config).length)}`;

/** All runs of one configuration with one number of guests, in the order in which they were made. */
export interface Group {
  config: string;
  key: ConfigKey;
  guests: number;
  runs: readonly RunResult[];
  /** Delivered Gb/s of each run. */
  gbps: readonly number[];
  /** The run in the middle, by delivered frames per second: all that is said of costs comes from it, so that the parts
   *  of a figure belong together. */
  median: RunResult;
  interval: MedianInterval;
  spread: Spread;
}

/** A run with a note of the void rules or of the CPU accounting. */
export interface Noted {
  source: string;
  run: RunResult;
}

export interface Model {
  /** Which of several ladders this is of; null: of everything. */
  ladder: Ladder | null;
  sources: readonly Source[];
  settings: CompareResults['settings'];
  /** Numbers of guests that were measured, ascending. */
  guests: readonly number[];
  /** The number of guests that the figures are for, but that of guests itself. */
  shown: number;
  /** Groups with `shown` guests, in the order of the ladder. */
  main: readonly Group[];
  /** All groups, by configuration and then by guests. */
  groups: readonly Group[];
  /** Delivered Gb/s at the line rate of the link; null when the link was unlimited. */
  lineGbps: number | null;
  noted: readonly Noted[];
  /** Optimised over baseline, run by run of the same round of the same comparison. */
  ratios: readonly number[];
}

/** The transmit ladder's configurations get names of their own: the figures of the two are not of one kind. */
function namedByDirection(source: Source): Source {
  const runs = source.file.runs.map((r) => {
    const other = r.direction === 'guest-to-guest' ? BETWEEN : r.rr ? ` (${requestsTitle(r.rr)})` : '';
    const suffix = r.direction === 'tx' ? TRANSMIT : other;
    return { ...r, config: `${r.config}${suffix}` };
  });
  return { ...source, file: { ...source.file, runs } };
}

/** @param given at least one, of the same settings but for guests */
export function modelOf(given: readonly Source[]): Model {
  return modelAs(given.map(namedByDirection), null);
}

/** The model of each ladder that was measured, when there are several; else the one of everything. */
export function laddersOf(given: readonly Source[]): Model[] {
  const of = (l: Ladder): Source[] =>
    given.map((s) => ({ ...s, file: { ...s.file, runs: s.file.runs.filter((r) => r.direction === l.direction) } }));
  const measured = LADDERS.map((ladder) => ({ ladder, sources: of(ladder).filter((s) => s.file.runs.length > 0) }));
  const some = measured.filter((l) => l.sources.length > 0);
  const all = some.reduce((n, l) => n + l.sources.reduce((k, s) => k + s.file.runs.length, 0), 0);
  const every = given.reduce((n, s) => n + s.file.runs.length, 0);
  if (some.length < 2 || all < every) return [modelOf(given)];
  return some.map(({ ladder, sources }) => modelAs(sources, ladder));
}

function modelAs(sources: readonly Source[], ladder: Ladder | null): Model {
  const runs = sources.flatMap((s) => s.file.runs);
  const names = inOrder([...new Set(runs.map((r) => r.config))]);
  const guests = [...new Set(runs.map((r) => r.guests))].sort((a, b) => a - b);
  const groups = names.flatMap((name) => guests.flatMap((n) => groupOf(name, n, runs)));
  // The fewest guests with which most configurations were measured.
  const width = (n: number): number => groups.filter((g) => g.guests === n).length;
  const shown = guests.reduce((best, n) => (width(n) > width(best) ? n : best), guests[0]);
  const { settings } = sources[0].file;
  const main = groups.filter((g) => g.guests === shown);
  const bytes = main[0].median.frameBytes;
  return {
    ladder,
    sources,
    settings,
    guests,
    shown,
    main,
    groups,
    lineGbps: settings.linkGbps === null ? null : (lineRate(settings.linkGbps, bytes) * bytes * 8) / 1e9,
    noted: sources.flatMap((s) =>
      s.file.runs.filter((run) => run.notes.length > 0).map((run) => ({ source: s.path, run })),
    ),
    ratios: ratiosOf(sources, shown),
  };
}

/** The ladder first, then others as they come. */
function inOrder(names: readonly string[]): string[] {
  const ladder: readonly string[] = [...configurationNames, ...configurationNames.map((n) => `${n}${TRANSMIT}`)];
  return [...ladder.filter((n) => names.includes(n)), ...names.filter((n) => !ladder.includes(n))];
}

function groupOf(config: string, guests: number, all: readonly RunResult[]): Group[] {
  const runs = all.filter((r) => r.config === config && r.guests === guests);
  if (runs.length === 0) return [];
  const gbps = runs.map((r) => r.delivered.gbps);
  return [
    {
      config,
      key: configKey(plainName(config)),
      guests,
      runs,
      gbps,
      median: runs[medianIndex(runs.map((r) => r.delivered.framesPerSecond))],
      interval: medianInterval(gbps),
      spread: spreadOf(gbps),
    },
  ];
}

function ratiosOf(sources: readonly Source[], guests: number): number[] {
  const out: number[] = [];
  for (const { file } of sources) {
    for (const base of file.runs) {
      if (base.config !== 'baseline' || base.guests !== guests || base.delivered.gbps === 0) continue;
      const best = file.runs.find((r) => r.config === 'optimised' && r.guests === guests && r.round === base.round);
      if (best) out.push(best.delivered.gbps / base.delivered.gbps);
    }
  }
  return out;
}

/** The group of that configuration among those that the figures show. */
export function shownGroup(m: Model, config: string): Group | undefined {
  return m.main.find((g) => g.config === config);
}

/** Groups of the configurations that were measured with several numbers of guests, a list for each. */
export function byGuests(m: Model): (readonly Group[])[] {
  const names = [...new Set(m.groups.map((g) => g.config))];
  return names.map((name) => m.groups.filter((g) => g.config === name)).filter((own) => own.length > 1);
}

/** "receive, 1 guest": what all figures of a model are of. */
export const subjectOf = (m: Model): string =>
  `${m.ladder === null ? '' : `${m.ladder.title}, `}${counted(m.shown, 'guest')}`;

/** Gb/s of the median run, by the same rule as the table on the screen. */
export const rateOf = (g: Group): number => g.median.delivered.gbps;

/** Optimised over baseline; null without both, or when nothing came through the baseline. */
export function gainOf(m: Model): { from: number; to: number; ratio: number } | null {
  const base = shownGroup(m, 'baseline');
  const best = shownGroup(m, 'optimised');
  if (!base || !best || rateOf(base) === 0) return null;
  return { from: rateOf(base), to: rateOf(best), ratio: rateOf(best) / rateOf(base) };
}

/** Share of the line rate that is taken as all of it: pacing is exact to a thousandth. */
export const FULL_LINK = 0.99;

/** True when this group got the whole link, so that it says nothing of what the path could do. */
export const filledLink = (m: Model, g: Group): boolean => m.lineGbps !== null && rateOf(g) >= FULL_LINK * m.lineGbps;

/** Lowest and highest share of a guest in the run, 1 = an equal share; null with one receiver or none. */
export function fairness(run: RunResult): Spread | null {
  const rates = Object.values(run.deliveredBy);
  const mean = rates.reduce((a, b) => a + b, 0) / rates.length;
  if (rates.length < 2 || mean === 0) return null;
  return spreadOf(rates.map((r) => r / mean));
}

/** Median over runs that carry no note, and how many they are; null when all or none do. */
export function withoutNoted(g: Group): { gbps: number; runs: number } | null {
  const clean = g.runs.filter((r) => r.notes.length === 0);
  if (clean.length === 0 || clean.length === g.runs.length) return null;
  return { gbps: median(clean.map((r) => r.delivered.gbps)), runs: clean.length };
}

export type DomainGroup = 'driverDomain' | 'hypervisor' | 'guest';
export type CpuGroup = DomainGroup | 'nic';

/** Domains in the order of the figures, with their names. */
export const CPU_GROUPS: readonly { key: CpuGroup; label: string }[] = [
  { key: 'driverDomain', label: 'driver domain' },
  { key: 'hypervisor', label: 'hypervisor' },
  { key: 'guest', label: 'guest' },
  { key: 'nic', label: 'NIC (hardware)' },
];

/** CPU ns per frame of the components of a domain that any of these runs has; never `idle`. */
export function componentsOf(group: CpuGroup, runs: readonly RunResult[]): string[] {
  const names = new Set<string>();
  for (const run of runs)
    for (const [key, ns] of Object.entries(run.cpuNsPerFrame.components)) {
      const [owner, name] = key.split('.', 2);
      if (owner === group && name !== undefined && name !== 'idle' && ns > 0) names.add(name);
    }
  return [...names];
}

/** CPU ns per frame of one component, 0 when the run has none. */
export const componentNs = (run: RunResult, group: CpuGroup, name: string): number =>
  Math.max(0, run.cpuNsPerFrame.components[`${group}.${name}`] ?? 0);
