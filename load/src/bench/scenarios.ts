/** The runs of the benchmark: each scenario on a testbed of its own, and the checks that come of it. */
import { setTimeout as sleep } from 'node:timers/promises';
import { changeFactors, configurationNames, type Factors } from '@grantline/base';
import { lineRate } from '../base/stats.js';
import { configure } from '../control/client.js';
import { REQUEST_BYTES, REQUEST_TIMEOUT_MS } from '../control/load-api.js';
import { cpuShares } from '../control/snapshot.js';
import { parseScenarios, type HttpRun } from '../http/plan.js';
import { runHttp } from '../http/runs.js';
import { faultOf } from '../http/verdict.js';
import { runLine } from '../report/table.js';
import { openBed, type Bed } from '../runner/bed.js';
import { abbaOrder } from '../runner/compare.js';
import { LOOPBACK } from '../runner/observer.js';
import type { RunPlan, RunRecord } from '../runner/record.js';
import { runOnce } from '../runner/run.js';
import type { Progress } from '../base/progress.js';
import { checkOf, noneOf, type Check } from './checks.js';
import { bodies } from './bodies.js';
import { cost } from './cost.js';
import { firstSecond } from './first-second.js';
import { order } from './order.js';
import { ping } from './ping.js';
import { gbps, named, one, outcome, plan, ratios, type Scenario } from './scenario.js';
import { tap } from './tap.js';
import { watched } from './watched.js';

/** A kind of run: a configuration, and what its plan has beside the usual. */
type Kind = readonly [config: string, over: Partial<RunPlan>];

/** So many rounds of all kinds, each round in the same order. @returns the records of each kind */
async function inTurn(bed: Bed, rounds: number, kinds: readonly Kind[], progress: Progress): Promise<RunRecord[][]> {
  const records = kinds.map((): RunRecord[] => []);
  for (let round = 0; round < rounds; round++)
    for (const [i, [config, changes]] of kinds.entries())
      records[i].push(await one(bed, config, round, plan(changes), progress));
  return records;
}

/** The records of kinds in the order in which they were made. */
const asMade = (kinds: readonly RunRecord[][]): RunRecord[] =>
  kinds[0].flatMap((_, round) => kinds.map((own) => own[round]));

const MB = 1e6;
const lost = (r: RunRecord): number => r.lost;
const grantOps = (r: RunRecord): number => r.perFrame.grantOps;
const bridgeCopies = (r: RunRecord): number => r.perFrame.copiesBy.hypervisor + r.perFrame.copiesBy.driverDomain;
const megaframes = (r: RunRecord): number => r.delivered.framesPerSecond / 1e6;
const megabytes =
  (service: string) =>
  (r: RunRecord): number =>
    (r.rssBytes[service] ?? NaN) / MB;

/** All six configurations, interleaved with 60-byte frames on `optimised`. */
const ladder: Scenario = {
  name: 'ladder',
  guests: 1,
  async run(bed, { runs, seconds }, progress) {
    const records: RunRecord[] = [];
    const short: RunRecord[] = [];
    for (const [round, order] of abbaOrder(configurationNames.length, runs).entries()) {
      for (const i of order) records.push(await one(bed, configurationNames[i], round, plan({ seconds }), progress));
      short.push(await one(bed, 'optimised', round, plan({ seconds, frameSizes: [60] }), progress));
    }
    const of = (name: string): RunRecord[] => records.filter((r) => r.config === name);
    const base = of('baseline');
    const best = of('optimised');
    const wholeCopies = base.map(copiesPerOwnFrame);
    const movedCopies = of('multiqueue').map(bridgeCopies);
    return outcome(
      [...records, ...short],
      [
        checkOf('optimised, 1 guest, 1514 bytes', 'Gb/s', best.map(gbps), { atLeast: 25 }, 40),
        checkOf('optimised, 1 guest, 60 bytes', 'Mframe/s', short.map(megaframes), { atLeast: 2.5 }, 4),
        checkOf('optimised over baseline, same round', 'times', ratios(best, base), { atLeast: 3 }, 3.4),
        ...configurationNames
          .filter((n) => n !== 'optimised')
          .map((n) => checkOf(`${n}, 1 guest, 1514 bytes`, 'Gb/s', of(n).map(gbps), { atLeast: 0 })),
        ...['grant-reuse', 'optimised'].map((n) => {
          const name = `${n}: hypercalls with grant operations per frame`;
          return checkOf(name, 'per frame', of(n).map(grantOps), { below: 0.001 });
        }),
        checkOf('multiqueue: copies by hypervisor and driver domain', 'per frame', movedCopies, { exactly: 0 }),
        checkOf('baseline: copies by the hypervisor', 'per frame', wholeCopies, { exactly: 1 }),
        checkOf('guest, resident, 512 buffers', 'MB', best.map(megabytes('guest1')), { below: 120 }),
      ],
    );
  },
};

/** Copies and frames are counted by different processes at slightly different times: over the whole run, at rest, the
 *  quotient is exact. */
function copiesPerOwnFrame(r: RunRecord): number {
  let copies = 0;
  let frames = 0;
  for (const b of r.raw.c.flatMap((s) => s.blocks)) {
    if (b.kind === 'hypercalls') copies += b.values['copyOps'] ?? 0;
    if (b.kind === 'netback') frames += b.values['outFrames'] ?? 0;
  }
  return copies / frames;
}

/** Transmit of `optimised` and `baseline`, and receive of `optimised`, interleaved. */
const transmit: Scenario = {
  name: 'transmit',
  guests: 1,
  async run(bed, { runs, seconds }, progress) {
    const [base, rx, tx] = await inTurn(
      bed,
      runs,
      [
        ['baseline', { seconds, direction: 'tx' }],
        ['optimised', { seconds }],
        ['optimised', { seconds, direction: 'tx' }],
      ],
      progress,
    );
    const share = ratios(tx, rx).map((x) => x * 100);
    return outcome(
      [...rx, ...tx, ...base],
      [
        checkOf('transmit, optimised, 1514 bytes', 'Gb/s', tx.map(gbps), { atLeast: 0 }),
        checkOf('transmit, optimised: share of receive in the same round', '%', share, { atLeast: 80 }),
        checkOf('transmit, optimised over baseline, same round', 'times', ratios(tx, base), { atLeast: 5 }),
      ],
    );
  },
};

/** One guest sends to another, over the bridge and, in `direct`, by the NIC's switch. */
const guestToGuest: Scenario = {
  name: 'between',
  guests: 2,
  async run(bed, { runs, seconds }, progress) {
    const kinds = ['baseline', 'optimised', 'direct'].map((n): Kind => [n, { seconds, direction: 'guest-to-guest' }]);
    const records = await inTurn(bed, runs, kinds, progress);
    const [base, best, direct] = records;
    return outcome(asMade(records), [
      checkOf('guest to guest, optimised, 1514 bytes', 'Gb/s', best.map(gbps), { atLeast: 10 }),
      checkOf('guest to guest, baseline, 1514 bytes', 'Gb/s', base.map(gbps), { atLeast: 0 }),
      checkOf('guest to guest, direct, 1514 bytes', 'Gb/s', direct.map(gbps), { atLeast: 0 }),
    ]);
  },
};

/** 10 Gb/s, which optimised has to fill without loss. */
const link10: Scenario = {
  name: 'link10',
  guests: 1,
  async run(bed, { runs, linkSeconds: seconds }, progress) {
    const [records] = await inTurn(bed, runs, [['optimised', { seconds, linkGbps: 10 }]], progress);
    const rate = lineRate(10, 1514);
    const what = `optimised, link 10, ${seconds} s`;
    const shares = records.map((r) => (r.delivered.framesPerSecond / rate) * 100);
    return outcome(records, [
      checkOf(`${what}: share of ${Math.floor(rate)} frames/s delivered`, '%', shares, { atLeast: 99.99 }),
      checkOf(`${what}: frames lost`, 'frames', records.map(lost), { exactly: 0 }),
    ]);
  },
};

/** One guest and eight, in turn, on the same testbed. */
const eight: Scenario = {
  name: 'eight',
  guests: 8,
  async run(bed, { runs, seconds }, progress) {
    const beds = [await openBed(bed.client, 1, bed.observer), bed];
    const records: RunRecord[] = [];
    for (const [round, order] of abbaOrder(2, runs).entries())
      for (const i of order) records.push(await one(beds[i], 'optimised', round, plan({ seconds }), progress));
    const [single, all] = [1, 8].map((n) => records.filter((r) => r.guests === n));
    const share = ratios(all, single).map((x) => x * 100);
    return outcome(records, [
      checkOf('optimised, 8 guests together', 'Gb/s', all.map(gbps), { atLeast: 0 }),
      checkOf('8 guests together, share of one guest', '%', share, { atLeast: 75 }),
    ]);
  },
};

/** CPU time of all services while nothing is sent. */
const idle: Scenario = {
  name: 'idle',
  guests: 2,
  cold: true,
  async run(bed, s, progress) {
    await configure(bed.client, named('optimised'));
    await sleep(1500);
    const shares: number[] = [];
    for (let i = 0; i < s.runs; i++) {
      const a = await bed.client.snapshot(bed.services);
      await sleep(s.idleSeconds * 1000);
      const b = await bed.client.snapshot(bed.services);
      const share = Object.values(cpuShares(a, b)).reduce((x, y) => x + y, 0) * 100;
      shares.push(share);
      progress.line(`  idle ${i + 1}/${s.runs}: ${share.toFixed(2)} % of one core`);
    }
    const check = checkOf('idle, 2 guests: CPU of all services', '% of one core', shares, { below: 3 });
    return { checks: [check], records: [] };
  },
};

/** Memory of the hypervisor when it has many domains mapped. */
const sixteen: Scenario = {
  name: 'sixteen',
  guests: 16,
  cold: true,
  async run(bed, { seconds }, progress) {
    const kinds = ['baseline', 'optimised'].map((name): Kind => [name, { seconds }]);
    const records = asMade(await inTurn(bed, 1, kinds, progress));
    const resident = records.map(megabytes('hypervisor'));
    return outcome(records, [checkOf('hypervisor, resident, 16 guests', 'MB', resident, { below: 150 })]);
  },
};

/** Requests of 60 bytes and their answers through `optimised`: alone and beside bulk, one in flight and 32. */
const roundTrips: Scenario = {
  name: 'rr',
  guests: 1,
  async run(bed, { runs, seconds }, progress) {
    const asked = (inFlight: number, beside: 'idle' | 'bulk'): Kind => {
      const rr = { inFlight, beside, perSecond: null, timeoutMs: REQUEST_TIMEOUT_MS };
      return ['optimised', { direction: 'rr', rr, frameSizes: [REQUEST_BYTES], seconds }];
    };
    const records = await inTurn(bed, runs, [asked(1, 'idle'), asked(32, 'idle'), asked(1, 'bulk')], progress);
    const [alone, many, bulk] = records;
    const p50 = (r: RunRecord): number => r.rr?.rttUs?.p50 ?? Infinity;
    const p99 = (r: RunRecord): number => r.rr?.rttUs?.p99 ?? Infinity;
    const rate = (r: RunRecord): number => r.rr?.perSecondAnswered ?? 0;
    const trip = 'optimised, round trip, 1 in flight';
    return outcome(asMade(records), [
      checkOf(`${trip}: median`, 'us', alone.map(p50), { below: 60 }),
      checkOf(`${trip}: 99 %`, 'us', alone.map(p99), { atLeast: 0 }),
      checkOf(`${trip} beside bulk: median`, 'us', bulk.map(p50), { atLeast: 0 }),
      checkOf('optimised, requests a second, 32 in flight', '/s', many.map(rate), { atLeast: 0 }),
      checkOf('round trips: requests without an answer', 'requests', asMade(records).map(lost), { exactly: 0 }),
    ]);
  },
};

/** One TCP stream between the outer stack and a guest's application, with and without what the guest's optimisations add. Least Gb/s
 *  of each; 0: shown for comparison. */
const STREAMS: readonly (readonly [name: string, direction: 'rx' | 'tx', off: Partial<Factors>, atLeast: number])[] = [
  ['one TCP stream to a guest, optimised', 'rx', {}, 4],
  ['one TCP stream to a guest, without LRO', 'rx', { lro: false }, 0],
  ['one TCP stream from a guest, optimised', 'tx', {}, 4],
  ['one TCP stream from a guest, without segmentation offload', 'tx', { tso: false }, 0],
];

const tcp: Scenario = {
  name: 'tcp',
  guests: 1,
  async run(bed, s, progress) {
    const records: RunRecord[][] = STREAMS.map(() => []);
    const { factors } = named('optimised');
    for (let round = 0; round < s.runs; round++)
      for (const [i, [, direction, off]] of STREAMS.entries()) {
        const changed = Object.keys(off).join(' ');
        const name = changed === '' ? 'optimised' : `no ${changed}`;
        const config = { name, factors: changeFactors(factors, { ...off }) };
        const p = plan({ seconds: s.seconds, direction, streams: 1 });
        const record = await runOnce(bed, config, round, p, progress);
        progress.line(runLine(record, round, s.runs));
        records[i].push(record);
      }
    return outcome(
      records.flat(),
      STREAMS.map(([name, , , atLeast], i) => checkOf(name, 'Gb/s', records[i].map(gbps), { atLeast }, 10)),
    );
  },
};

const CONNECTIONS = 50;
const SMALL = 'json';
const LARGE = 'bytes:1M';
/** Per cent of the requests on loopback: a third. */
const THIRD = 33.34;

/** The web application in a guest under autocannon, through `optimised`, beside the same one on plain loopback. */
const web: Scenario = {
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
  return [
    checkOf(`HTTP, optimised, small JSON, ${CONNECTIONS} connections: share of loopback, same round`, '%', shares, {
      atLeast: THIRD,
    }),
    checkOf('HTTP, optimised, small JSON', 'requests/s', rates(of('optimised', SMALL)), { atLeast: 0 }),
    checkOf('HTTP, loopback, small JSON', 'requests/s', rates(of(LOOPBACK, SMALL)), { atLeast: 0 }),
    checkOf('HTTP, optimised, body of 1 MB', 'Gb/s', bits(of('optimised', LARGE)), { atLeast: 2 }),
    checkOf('HTTP, loopback, body of 1 MB', 'Gb/s', bits(of(LOOPBACK, LARGE)), { atLeast: 0 }),
    noneOf('HTTP: runs with answers lost, wrong or late', runs.filter((r) => faultOf(r.generated) !== null).length),
    noneOf('HTTP: runs that are void', runs.length - sound.length),
  ];
}

export const SCENARIOS: readonly Scenario[] = [
  ...[ladder, transmit, guestToGuest, link10, eight, idle, sixteen, tap, watched],
  ...[roundTrips, tcp, web, cost, order, ping, bodies, firstSecond],
];
