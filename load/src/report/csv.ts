/** report.csv: one row for each run, by RFC 4180. Pure. */
import { stringify } from 'csv-stringify/sync';
import type { Model } from './model.js';
import type { RunResult } from './read.js';

type Cell = string | number | null;

const union = (runs: readonly RunResult[], keys: (r: RunResult) => readonly string[]): string[] =>
  [...new Set(runs.flatMap(keys))].sort();

/** Full precision, units in the names of columns; an empty field is "not measured". */
export function reportCsv(m: Model): string {
  const all = m.sources.flatMap((s) => s.file.runs.map((run) => ({ source: s, run })));
  const runs = all.map((x) => x.run);
  const components = union(runs, (r) => Object.keys(r.cpuNsPerFrame.components));
  const reasons = union(runs, (r) => Object.keys(r.drops));
  const services = union(runs, (r) => [
    ...Object.keys(r.cpuShare),
    ...Object.keys(r.rssBytes),
    ...Object.keys(r.cpuAccounted),
  ]);
  const receivers = union(runs, (r) => Object.keys(r.deliveredBy));
  const records = all.map(({ source: { path, file }, run }) => {
    const row = new Map<string, Cell>();
    const put = (name: string, value: Cell | undefined): void => void row.set(name, value ?? null);
    put('file', path);
    put('date', file.date);
    put('commit', file.host.commit);
    put('config', run.config);
    put('guests', run.guests);
    put('round', run.round + 1);
    for (const [k, v] of Object.entries(run.factors)) put(`factor_${k}`, String(v));
    put('frame_bytes', run.frameBytes);
    put('link_gbps', file.settings.linkGbps);
    put('flow_control', String(file.settings.flowControl));
    put('protocol', file.settings.protocol);
    put('flows', file.settings.flows);
    put('seed', file.settings.seed);
    put('measured_seconds', run.seconds);
    put('offered_frames_per_second', run.offered.framesPerSecond);
    put('offered_gbps', run.offered.gbps);
    put('delivered_frames_per_second', run.delivered.framesPerSecond);
    put('delivered_gbps', run.delivered.gbps);
    for (const r of receivers) put(`delivered_frames_per_second_${r}`, run.deliveredBy[r]);
    for (const k of ['sent', 'received', 'lost', 'duplicate', 'reordered', 'corrupt'] as const)
      put(`${k}_frames`, run[k]);
    for (const r of reasons) put(`dropped_frames_${r}`, run.drops[r] ?? 0);
    put('conservation', run.conservation === 'ok' ? 'ok' : run.conservation.join('; '));
    for (const k of ['driverDomain', 'hypervisor', 'guest', 'total', 'nic'] as const)
      put(`cpu_ns_per_frame_${k}`, run.cpuNsPerFrame[k]);
    for (const k of components) put(`cpu_ns_per_frame_${k}`, run.cpuNsPerFrame.components[k]);
    for (const k of [
      'grantOps',
      'hypercalls',
      'copies',
      'copiedBytes',
      'notifications',
      'suppressed',
      'wakeups',
    ] as const)
      put(`${k}_per_frame`, run.perFrame[k]);
    for (const k of ['hypervisor', 'driverDomain', 'application'] as const)
      put(`copies_per_frame_${k}`, run.perFrame.copiesBy[k]);
    for (const k of ['p50', 'p90', 'p99', 'p999', 'max'] as const) put(`latency_us_${k}`, run.latencyUs?.[k]);
    for (const s of services) put(`cpu_cores_${s}`, run.cpuShare[s]);
    for (const s of services) put(`cpu_accounted_${s}`, run.cpuAccounted[s]);
    for (const s of services) put(`resident_bytes_${s}`, run.rssBytes[s]);
    put('steal_share', run.stealShare);
    put('paused_share', run.pausedShare);
    put('notes', run.notes.join('; '));
    return row;
  });
  const columns = [...(records[0]?.keys() ?? [])];
  return stringify(
    [columns, ...records.map((r) => columns.map((c) => r.get(c) ?? null))],
    // Text that a spreadsheet would take for a formula is quoted with an apostrophe; numbers are left alone.
    { record_delimiter: '\r\n', escape_formulas: true },
  );
}
