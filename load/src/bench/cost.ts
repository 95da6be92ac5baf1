/** What a frame costs: all configurations on one core, where nothing waits for another core's cache, and the CPU time of each component. */
import { configurationNames } from '@grantline/base';
import { abbaOrder } from '../runner/compare.js';
import type { RunRecord } from '../runner/record.js';
import { figures, words, type DataTable } from '../report/tables.js';
import { checkOf, median } from './checks.js';
import { one, outcome, plan, type Scenario } from './scenario.js';

/** ns a frame may take, of all services together. */
const GOALS: readonly (readonly [bytes: number, atMost: number])[] = [
  [1514, 400],
  [60, 250],
];

const HYPERVISOR = 'hypervisor';
const BETWEEN = 'waking, looking, event loop, runtime';
/** In the order of a frame's way. Each component is of one row, so that their sum is all that the services used. */
const ROWS = [
  'generator',
  'NIC',
  'driver and bridge',
  'netback',
  'grant calls',
  'netfront',
  'stack',
  'application',
  BETWEEN,
  HYPERVISOR,
] as const;
type Row = (typeof ROWS)[number];

const ROW_OF: Record<string, Row> = {
  ...{ generator: 'generator', nic: 'NIC', farEnd: 'NIC', outer: 'NIC' },
  ...{ driver: 'driver and bridge', bridge: 'driver and bridge', netback: 'netback', grantCalls: 'grant calls' },
  ...{ netfront: 'netfront', stack: 'stack', application: 'application' },
};

/** Which row a component is of. @param key as results have it: "driverDomain.netback" */
export function rowOf(key: string): Row {
  const [service, name] = key.split('.', 2);
  if (service === 'hypervisor') return HYPERVISOR;
  // In `direct` the guest has the NIC's driver.
  if (service === 'guest' && name === 'driver') return 'netfront';
  return ROW_OF[name ?? ''] ?? BETWEEN;
}

/** ns a frame of all rows of a run, and their sum. Looking for work with none there is in it: on one core it takes time from others. */
export function costOf({ cpuNsPerFrame }: Pick<RunRecord, 'cpuNsPerFrame'>): { rows: Map<Row, number>; sum: number } {
  const rows = new Map<Row, number>();
  let sum = 0;
  for (const [key, ns] of Object.entries(cpuNsPerFrame.components)) {
    const row = rowOf(key);
    rows.set(row, (rows.get(row) ?? 0) + ns);
    sum += ns;
  }
  return { rows, sum };
}

/** Medians of each component over the runs of each configuration. */
export function costTable(bytes: number, runs: readonly RunRecord[]): DataTable {
  const own = configurationNames.map((name) => runs.filter((r) => r.config === name).map(costOf));
  const cells = (of: (c: ReturnType<typeof costOf>) => number): string[] =>
    own.map((costs) => {
      const ns = Math.round(median(costs.map(of)));
      return ns === 0 ? '-' : String(ns);
    });
  return {
    caption: `CPU ns a delivered frame on one core, receive, ${bytes} bytes`,
    columns: [words(''), ...figures(...configurationNames)],
    rows: [...ROWS.map((row) => [row, ...cells((c) => c.rows.get(row) ?? 0)]), ['sum', ...cells((c) => c.sum)]],
  };
}

export const cost: Scenario = {
  name: 'cost',
  guests: 1,
  oneCore: true,
  async run(bed, { runs, seconds }, progress) {
    const records: RunRecord[] = [];
    for (const [round, turn] of abbaOrder(configurationNames.length, runs).entries())
      for (const i of turn)
        for (const [bytes] of GOALS)
          records.push(await one(bed, configurationNames[i], round, plan({ seconds, frameSizes: [bytes] }), progress));
    const of = (bytes: number): RunRecord[] => records.filter((r) => r.frameBytes === bytes);
    const checks = GOALS.map(([bytes, atMost]) => {
      const sums = of(bytes).flatMap((r) => (r.config === 'optimised' ? [costOf(r).sum] : []));
      return checkOf(`optimised, one core, ${bytes} bytes: CPU time of all services`, 'ns a frame', sums, { atMost });
    });
    return { ...outcome(records, checks), tables: GOALS.map(([bytes]) => costTable(bytes, of(bytes))) };
  },
};
