/** The tables that say what was measured, on what, and what is doubtful. Pure. */
import { counted, gbps, mebibytes, percent, quoted } from '../base/format.js';
import { withoutNoted, type Model } from './model.js';
import type { Source } from './read.js';
import { spreadOf } from '../base/stats.js';
import { handoverText, placementText } from '../testbed/placement.js';
import { figures, words, type DataTable } from './tables.js';

/** Runs that carry notes; null when none does. */
export function notedTable(m: Model): DataTable | null {
  if (m.noted.length === 0) return null;
  return {
    caption: 'Runs with notes',
    columns: [words('configuration'), ...figures('guests', 'round', 'Gb/s'), words('why')],
    rows: m.noted.map(({ run }) => [
      run.config,
      String(run.guests),
      String(run.round + 1),
      gbps(run.delivered.gbps),
      run.notes.join('; '),
    ]),
  };
}

/** What was left out (nothing), and what leaving doubtful runs out would change. */
export function notedLines(m: Model): string[] {
  const all = m.groups.reduce((n, g) => n + g.runs.length, 0);
  if (m.noted.length === 0) return [`No run carries a note: ${all} of ${all} are clean, and all are counted.`];
  const out = [
    `${m.noted.length} of ${all} runs carry a note. None is left out: they count in every median, and stand as hollow dots in the figures.`,
  ];
  for (const g of m.groups) {
    const clean = withoutNoted(g);
    if (clean !== null)
      out.push(
        `${g.config}${m.guests.length > 1 ? `, ${counted(g.guests, 'guest')}` : ''}: median ${gbps(g.median.delivered.gbps)} Gb/s with them, ${gbps(clean.gbps)} without (${clean.runs} of ${g.runs.length} runs).`,
      );
  }
  return out;
}

/** Sentences on what makes files that stand in one report hard to compare. */
export function mixLines(m: Model): string[] {
  const out: string[] = [];
  const differ = (what: string, of: (s: Source) => unknown): void => {
    if (new Set(m.sources.map((s) => JSON.stringify(of(s)))).size > 1)
      out.push(
        `The files of this report come from different ${what}: figures with different numbers of guests may differ for that reason.`,
      );
  };
  differ('machines', ({ file: { host: h } }) => [h.cpu, h.cores, h.memoryBytes, h.kernel, h.arch]);
  differ('versions of Node', ({ file: { host: h } }) => [h.node, h.v8]);
  differ('commits', ({ file: { host: h } }) => [h.commit, h.dirty]);
  return out;
}

/** What a machine, and the code on it, were. @returns versions null where they are not recorded */
export const hostTexts = (h: Source['file']['host']) => ({
  commit: `${h.commit.slice(0, 12)}${h.dirty === true ? ', with changes that are not in it' : ''}`,
  processor: `${h.cpu}, ${h.cores} cores, ${h.arch}`,
  kernel: `Linux ${h.kernel}`,
  node: `${h.node}, V8 ${h.v8}`,
  versions: h.versions ? Object.entries(h.versions).map(([name, version]) => `${name} ${version}`) : null,
});

/** One column for each results file. */
export function provenanceTable(m: Model): DataTable {
  const row = (name: string, of: (s: Source) => string | null): string[][] => {
    const cells = m.sources.map(of);
    return cells.every((c) => c === null) ? [] : [[name, ...cells.map((c) => c ?? 'not recorded')]];
  };
  const yes = (b: boolean): string => (b ? 'yes' : 'no');
  return {
    caption: 'What it was measured with',
    columns: ['', ...m.sources.map((s) => s.path)].map(words),
    rows: [
      ...row('date', (s) => dateOf(s.file.date)),
      ...row('commit', (s) => hostTexts(s.file.host).commit),
      ...row('processor', (s) => hostTexts(s.file.host).processor),
      ...row('memory', ({ file: { host: h } }) => mebibytes(h.memoryBytes)),
      ...row('kernel', (s) => hostTexts(s.file.host).kernel),
      ...row('Node', (s) => hostTexts(s.file.host).node),
      ...row('versions', (s) => hostTexts(s.file.host).versions?.join(', ') ?? null),
      ...row('guests', (s) => String(s.file.settings.guests)),
      ...row('testbed', (s) => s.file.settings.testbed ?? null),
      ...row('placement', ({ file: { placement: p } }) => (p === undefined ? null : placementText(p))),
      ...row('cores before', ({ file: { placement: p } }) => (p === undefined ? null : handoverText(p.before))),
      ...row('cores afterwards', ({ file: { placement: p } }) => (p === undefined ? null : handoverText(p.after))),
      ...row('workload', (s) => s.file.settings.workload ?? null),
      ...row('faults on the cable', (s) => s.file.settings.faults ?? null),
      ...row('frames', (s) => {
        const { frameBytes, frameSizes, workload } = s.file.settings;
        if (workload === 'tcp') return 'as TCP makes them';
        return frameBytes === 'imix' ? `IMIX (${frameSizes.join(', ')} bytes)` : `${frameBytes} bytes, without FCS`;
      }),
      ...row('link', ({ file: { settings: x } }) => (x.linkGbps === null ? 'unlimited' : `${x.linkGbps} Gb/s`)),
      ...row('flow control', (s) => yes(s.file.settings.flowControl)),
      ...row('protocol, flows to each guest', (s) => `${s.file.settings.protocol}, ${s.file.settings.flows}`),
      ...row('each run', (s) => `${s.file.settings.seconds} s after ${s.file.settings.warmup} s of warm-up`),
      ...row('runs of each configuration', (s) => String(s.file.settings.repeat)),
      ...row('seed of the generator', (s) => String(s.file.settings.seed)),
      ...row('stolen CPU time, highest of a run', (s) => {
        const all = s.file.runs.flatMap((r) => (r.stealShare === undefined ? [] : [r.stealShare]));
        return all.length === 0 ? null : percent(spreadOf(all).max, 2);
      }),
      ...row('to repeat it', (s) => repeatLine(s.file.commandLine)),
    ],
  };
}

/** The factors of each configuration. */
export function factorsTable(m: Model): DataTable {
  const onOff = (is: boolean | undefined): string => (is === undefined ? 'not recorded' : is ? 'on' : 'off');
  const withTso = m.main.some((g) => g.median.factors.tso !== undefined);
  const heads = ['configuration', 'path', 'NIC queues', 'grants', 'buffer', 'LRO', 'batched refills'];
  return {
    caption: 'What the configurations are',
    columns: [...heads, ...(withTso ? ['segments cut by the NIC'] : [])].map(words),
    rows: m.main.map(({ config, median: { factors: f } }) => [
      config,
      f.path,
      f.nicQueues,
      f.grants,
      `${f.bufferBytes} bytes`,
      onOff(f.lro),
      onOff(f.batching),
      ...(withTso ? [onOff(f.tso)] : []),
    ]),
  };
}

/** "2026-11-22T12:19:32.680Z" → "2026-11-22 12:19 UTC". */
export const dateOf = (iso: string): string => `${iso.slice(0, 10)} ${iso.slice(11, 16)} UTC`;

/** Options that say where things lie on the machine that measured, not what was measured. */
const PLACES = new Set(['--dir', '--json', '--hypervisor', '--token-file']);

/** The command that makes such results again. */
export function repeatLine(words: readonly string[]): string {
  const out: string[] = [];
  for (let i = 0; i < words.length; i++) {
    if (PLACES.has(words[i])) i += 1;
    else if (![...PLACES].some((p) => words[i].startsWith(`${p}=`))) out.push(quoted(words[i]));
  }
  return ['npx grantline', ...out].join(' ');
}
