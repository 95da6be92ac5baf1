/** The web application in a guest under autocannon, through `optimised`, beside the same one on plain loopback. */
import { LOOPBACK, type HttpRun } from '../http/record.js';
import { runHttp } from '../http/runs.js';
import { parseScenarios } from '../http/scenario.js';
import { faultOf } from '../http/verdict.js';
import { named, type Scenario } from './scenario.js';
import { checkOf, type Check } from './targets.js';

const CONNECTIONS = 50;
const SMALL = 'json';
const LARGE = 'bytes:1M';
/** Per cent of the requests on loopback: a third. */
const THIRD = 33.34;

export const web: Scenario = {
  name: 'http',
  guests: 1,
  cold: true,
  async run(bed, s, progress) {
    const runs = await runHttp({
      ...{ bed, configs: [named('optimised')], name: 'bench', progress },
      settings: {
        ...{ scenarios: parseScenarios(`${SMALL},${LARGE}`), rates: [], capacity: true, connections: CONNECTIONS },
        ...{ guests: 1, seconds: s.seconds, warmup: 1, repeat: s.runs },
      },
      onRun: (r) =>
        progress.line(
          `  ${r.target.padEnd(12)} ${r.round + 1}: ${r.scenario}: ${r.requestsPerSecond.toFixed(0)} requests/s, ${r.gbps.toFixed(2)} Gb/s${r.refused === null ? '' : `, void: ${r.refused}`}`,
        ),
    });
    return { checks: checksOf(runs), records: [], http: runs };
  },
};

/** What the runs came to. Runs that say nothing of the server count for nothing, and are counted. */
export function checksOf(runs: readonly HttpRun[]): Check[] {
  const sound = runs.filter((r) => r.refused === null);
  const of = (target: string, scenario: string): HttpRun[] =>
    sound.filter((r) => r.target === target && r.scenario === scenario);
  const shares = of('optimised', SMALL).flatMap((r) => {
    const base = of(LOOPBACK, SMALL).find((l) => l.round === r.round);
    return base ? [(r.requestsPerSecond / base.requestsPerSecond) * 100] : [];
  });
  const rates = (list: readonly HttpRun[]): number[] => list.map((r) => r.requestsPerSecond);
  const bits = (list: readonly HttpRun[]): number[] => list.map((r) => r.gbps);
  const count = (name: string, n: number): Check => ({
    ...{ name, unit: 'runs', value: n, min: n, max: n },
    wanted: { exactly: 0 },
  });
  return [
    checkOf(`HTTP, optimised, small JSON, ${CONNECTIONS} connections: share of loopback, same round`, '%', shares, {
      atLeast: THIRD,
    }),
    checkOf('HTTP, optimised, small JSON', 'requests/s', rates(of('optimised', SMALL)), { atLeast: 0 }),
    checkOf('HTTP, loopback, small JSON', 'requests/s', rates(of(LOOPBACK, SMALL)), { atLeast: 0 }),
    checkOf('HTTP, optimised, body of 1 MB', 'Gb/s', bits(of('optimised', LARGE)), { atLeast: 2 }),
    checkOf('HTTP, loopback, body of 1 MB', 'Gb/s', bits(of(LOOPBACK, LARGE)), { atLeast: 0 }),
    count('HTTP: runs with answers lost, wrong or late', runs.filter((r) => faultOf(r.generated) !== null).length),
    count('HTTP: runs that are void', runs.length - sound.length),
  ];
}
