/** The tables at the end of `grantline http`: capacity, latency at a rate, CPU. Pure: records in, text out. */
import Table from 'cli-table3';
import { errorsOf } from '../http/plan.js';
import { LOOPBACK, type HttpFile, type HttpSummary } from '../http/record.js';
import { micros } from '../base/format.js';

const STYLE = { head: [], border: [], compact: true };

/** The whole text. */
export function httpTable(file: Pick<HttpFile, 'settings' | 'capacity' | 'atRate'>): string {
  const { settings: s, capacity, atRate } = file;
  const guests = `${s.guests} guest${s.guests === 1 ? '' : 's'}`;
  return [
    `HTTP: ${s.connections} connections, ${guests}, ${s.seconds} s each; every answer compared whole.`,
    ...(capacity.length > 0
      ? ['Capacity (closed loop: a connection asks again when it has its answer):', loadTable(capacity)]
      : []),
    ...(atRate.length > 0
      ? ['At a rate (open loop: latency counts from when the schedule wanted the request sent):', loadTable(atRate)]
      : []),
    'CPU, microseconds for each request:',
    cpuTable([...capacity, ...atRate]),
    ...noteLines([...capacity, ...atRate]),
  ].join('\n');
}

function loadTable(all: readonly HttpSummary[]): string {
  const table = new Table({
    head: [
      'scenario',
      'over',
      'requests/s',
      'of\nloopback',
      'Gb/s',
      'p50 µs',
      'p90',
      'p99',
      'p99.9',
      'errors',
      'generator',
    ],
    colAligns: ['left', 'left', ...Array.from({ length: 9 }, () => 'right' as const)],
    style: STYLE,
  });
  for (const r of all) {
    const l = r.generated.latencyUs;
    const times = l === null ? ['-', '-', '-', '-'] : [l.p50, l.p90, l.p99, l.p999].map(micros);
    table.push([
      r.rate === null ? r.scenario : `${r.scenario} at ${r.rate}/s`,
      r.target,
      r.refused === null ? ratesOf(r) : 'void',
      ratioText(r),
      r.gbps >= 0.1 ? r.gbps.toFixed(2) : '',
      ...times,
      String(errorsOf(r.generated.errors)),
      `${(r.generated.generator.cpuShare * 100).toFixed(0)} %`,
    ]);
  }
  return table.toString();
}

const ratesOf = (r: HttpSummary): string =>
  r.runs === 1
    ? r.requestsPerSecond.toFixed(0)
    : `${r.requestsPerSecond.toFixed(0)} (${r.spread.requestsPerSecond.min.toFixed(0)}-${r.spread.requestsPerSecond.max.toFixed(0)})`;

/** A share of loopback's requests per second; nothing beside loopback itself. */
export const ratioText = (r: HttpSummary): string =>
  r.ratio === null || r.target === LOOPBACK ? '' : `${(r.ratio * 100).toFixed(0)} %`;

/** Columns of the CPU table: parts of the path, in the order in which a request meets them. */
const PARTS: readonly (readonly [head: string, keys: readonly string[]])[] = [
  ['outer\nstack', ['nic.outer', 'nic.control']],
  ['nic', ['nic.nic', 'nic.generator', 'nic.farEnd']],
  ['driver\ndomain', ['driverDomain']],
  ['hyper-\nvisor', ['hypervisor']],
  ['guest:\nnetfront', ['guest.netfront']],
  ['stack', ['guest.stack']],
  ['appli-\ncation', ['guest.application', 'guest.control']],
  ['runtime', ['guest.runtime', 'nic.runtime']],
];

/** CPU nanoseconds of each part for a request, as the table has them. */
export function cpuPartsOf(r: HttpSummary): { name: string; ns: number }[] {
  const cpu = r.cpuNsPerRequest;
  if (cpu === null) return [];
  return PARTS.map(([head, keys]) => ({
    name: head.replace(/-?\n/, (m) => (m.startsWith('-') ? '' : ' ')),
    ns: keys.reduce(
      (sum, key) => sum + (key === 'driverDomain' || key === 'hypervisor' ? cpu[key] : (cpu.components[key] ?? 0)),
      0,
    ),
  }));
}

function cpuTable(all: readonly HttpSummary[]): string {
  const table = new Table({
    head: ['scenario', 'over', ...PARTS.map(([head]) => head), 'all'],
    colAligns: ['left', 'left', ...Array.from({ length: PARTS.length + 1 }, () => 'right' as const)],
    style: STYLE,
  });
  for (const r of all) {
    const parts = cpuPartsOf(r);
    const cells = parts.length > 0 ? parts.map(({ ns }) => micros(ns / 1000)) : PARTS.map(() => '');
    table.push([
      r.rate === null ? r.scenario : `${r.scenario} at ${r.rate}/s`,
      r.target,
      ...cells,
      micros(r.serverNsPerRequest / 1000),
    ]);
  }
  return table.toString();
}

function noteLines(all: readonly HttpSummary[]): string[] {
  return all.flatMap((r) =>
    [...(r.refused === null ? [] : [`void: ${r.refused}`]), ...r.notes].map((n) => `${r.target}, ${r.scenario}: ${n}`),
  );
}
