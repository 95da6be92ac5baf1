/** The runs of the benchmark: each scenario on a testbed of its own, and the checks that come of it. */
import { setTimeout as sleep } from 'node:timers/promises';
import { changeFactors, configurationNames, type Factors } from '@grantline/base';
import type { RunRecord } from '../runner/record.js';
import { REQUEST_BYTES, REQUEST_TIMEOUT_MS, type RequestPlan } from '../control/load-api.js';
import { honesty, one, plan, gbps, named, type Scenario } from './scenario.js';
import { checkOf, type Check } from './checks.js';
import { runOnce } from '../runner/run.js';
import { runLine } from '../report/table.js';
import { parseScenarios, type HttpRun } from '../http/plan.js';
import { LOOPBACK } from '../runner/observer.js';
import { runHttp } from '../http/runs.js';
import { faultOf } from '../http/verdict.js';
import { abbaOrder } from '../runner/compare.js';
import { configure } from '../control/client.js';
import { lineRate } from '../base/stats.js';
import { openBed } from '../runner/bed.js';
import { secondsBetween, serviceIn } from '../control/snapshot.js';
import { tap } from './tap.js';
import { watched } from './watched.js';

/** Requests of 60 bytes and their answers through `optimised`: alone and beside bulk, one in flight and 32. */
const KINDS = [
  { inFlight: 1, beside: 'idle' },
  { inFlight: 32, beside: 'idle' },
  { inFlight: 1, beside: 'bulk' },
] as const satisfies readonly Pick<RequestPlan, 'inFlight' | 'beside'>[];

const roundTrips: Scenario = {
  name: 'rr',
  guests: 1,
  async run(bed, s, progress) {
    const records: RunRecord[] = [];
    for (let round = 0; round < s.runs; round++)
      for (const kind of KINDS) {
        const rr = { ...kind, perSecond: null, timeoutMs: REQUEST_TIMEOUT_MS };
        const p = plan({ direction: 'rr', rr, frameSizes: [REQUEST_BYTES], seconds: s.seconds });
        records.push(await one(bed, 'optimised', round, p, progress));
      }
    const of = ({ inFlight, beside }: (typeof KINDS)[number]): RunRecord[] =>
      records.filter((r) => r.rr?.inFlight === inFlight && r.rr.beside === beside);
    const medians = (kind: (typeof KINDS)[number]): number[] => of(kind).map((r) => r.rr?.rttUs?.p50 ?? Infinity);
    const [alone, many, bulk] = KINDS;
    return {
      checks: [
        checkOf('optimised, round trip, 1 in flight: median', 'us', medians(alone), { below: 60 }),
        checkOf(
          'optimised, round trip, 1 in flight: 99 %',
          'us',
          of(alone).map((r) => r.rr?.rttUs?.p99 ?? Infinity),
          { atLeast: 0 },
        ),
        checkOf('optimised, round trip, 1 in flight beside bulk: median', 'us', medians(bulk), { atLeast: 0 }),
        checkOf(
          'optimised, requests a second, 32 in flight',
          '/s',
          of(many).map((r) => r.rr?.perSecondAnswered ?? 0),
          { atLeast: 0 },
        ),
        checkOf(
          'round trips: requests without an answer',
          'requests',
          records.map((r) => r.lost),
          { exactly: 0 },
        ),
        ...honesty(records),
      ],
      records,
    };
  },
};

/** One TCP stream between the outer stack and a guest's application, with and without what the guest's optimisations add. */
interface Case {
  name: string;
  direction: 'rx' | 'tx';
  off: Partial<Factors>;
  /** Gb/s; 0: shown for comparison. */
  atLeast: number;
}

const CASES: readonly Case[] = [
  { name: 'one TCP stream to a guest, optimised', direction: 'rx', off: {}, atLeast: 4 },
  { name: 'one TCP stream to a guest, without LRO', direction: 'rx', off: { lro: false }, atLeast: 0 },
  { name: 'one TCP stream from a guest, optimised', direction: 'tx', off: {}, atLeast: 4 },
  {
    name: 'one TCP stream from a guest, without segmentation offload',
    direction: 'tx',
    off: { tso: false },
    atLeast: 0,
  },
];

export const tcp: Scenario = {
  name: 'tcp',
  guests: 1,
  async run(bed, s, progress) {
    const records: RunRecord[][] = CASES.map(() => []);
    const { factors } = named('optimised');
    for (let round = 0; round < s.runs; round++) {
      for (const [i, { direction, off }] of CASES.entries()) {
        const changed = Object.keys(off).join(' ');
        const config = {
          name: changed === '' ? 'optimised' : `no ${changed}`,
          factors: changeFactors(factors, { ...off }),
        };
        const p = plan({ seconds: s.seconds, direction, streams: 1 });
        const record = await runOnce(bed, config, round, p, progress);
        progress.line(runLine(record, round, s.runs));
        records[i].push(record);
      }
    }
    const checks = CASES.map(({ name, atLeast }, i) => checkOf(name, 'Gb/s', records[i].map(gbps), { atLeast }, 10));
    return { checks: [...checks, ...honesty(records.flat())], records: records.flat() };
  },
};

/** Transmit and guest to guest in the benchmark: the targets of both, beside receive in the same rounds. */
/** Transmit of `optimised` and `baseline`, and receive of `optimised`, interleaved. */
export const transmit: Scenario = {
  name: 'transmit',
  guests: 1,
  async run(bed, s, progress) {
    const rx: RunRecord[] = [];
    const tx: RunRecord[] = [];
    const base: RunRecord[] = [];
    const p = plan({ seconds: s.seconds });
    for (let round = 0; round < s.runs; round++) {
      base.push(await one(bed, 'baseline', round, { ...p, direction: 'tx' }, progress));
      rx.push(await one(bed, 'optimised', round, p, progress));
      tx.push(await one(bed, 'optimised', round, { ...p, direction: 'tx' }, progress));
    }
    const records = [...rx, ...tx, ...base];
    const share = tx.map((r, i) => (gbps(r) / gbps(rx[i])) * 100);
    return {
      checks: [
        checkOf('transmit, optimised, 1514 bytes', 'Gb/s', tx.map(gbps), { atLeast: 0 }),
        checkOf('transmit, optimised: share of receive in the same round', '%', share, { atLeast: 80 }),
        checkOf(
          'transmit, optimised over baseline, same round',
          'times',
          tx.map((r, i) => gbps(r) / gbps(base[i])),
          { atLeast: 5 },
        ),
        ...honesty(records),
      ],
      records,
    };
  },
};

/** One guest sends to another, over the bridge and, in `direct`, by the NIC's switch. */
export const between: Scenario = {
  name: 'between',
  guests: 2,
  async run(bed, s, progress) {
    const records: RunRecord[] = [];
    const p = plan({ seconds: s.seconds, direction: 'guest-to-guest' });
    for (let round = 0; round < s.runs; round++)
      for (const name of ['baseline', 'optimised', 'direct']) records.push(await one(bed, name, round, p, progress));
    const of = (name: string): number[] => records.filter((r) => r.config === name).map(gbps);
    return {
      checks: [
        checkOf('guest to guest, optimised, 1514 bytes', 'Gb/s', of('optimised'), { atLeast: 10 }),
        checkOf('guest to guest, baseline, 1514 bytes', 'Gb/s', of('baseline'), { atLeast: 0 }),
        checkOf('guest to guest, direct, 1514 bytes', 'Gb/s', of('direct'), { atLeast: 0 }),
        ...honesty(records),
      ],
      records,
    };
  },
};

/** The web application in a guest under autocannon, through `optimised`, beside the same one on plain loopback. */
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

const MB = 1e6;

/** All six configurations, interleaved with 60-byte frames on `optimised`. */
const ladder: Scenario = {
  name: 'ladder',
  guests: 1,
  async run(bed, s, progress) {
    const records: RunRecord[] = [];
    const small: RunRecord[] = [];
    for (const [round, order] of abbaOrder(configurationNames.length, s.runs).entries()) {
      for (const i of order)
        records.push(await one(bed, configurationNames[i], round, plan({ seconds: s.seconds }), progress));
      small.push(await one(bed, 'optimised', round, plan({ seconds: s.seconds, frameSizes: [60] }), progress));
    }
    const of = (name: string): RunRecord[] => records.filter((r) => r.config === name);
    const base = of('baseline');
    const best = of('optimised');
    const checks = [
      checkOf('optimised, 1 guest, 1514 bytes', 'Gb/s', best.map(gbps), { atLeast: 25 }, 40),
      checkOf(
        'optimised, 1 guest, 60 bytes',
        'Mframe/s',
        small.map((r) => r.delivered.framesPerSecond / 1e6),
        { atLeast: 2.5 },
        4,
      ),
      checkOf(
        'optimised over baseline, same round',
        'times',
        best.map((r, i) => gbps(r) / gbps(base[i])),
        { atLeast: 3 },
        3.4,
      ),
      ...configurationNames
        .filter((n) => n !== 'optimised')
        .map((n) => checkOf(`${n}, 1 guest, 1514 bytes`, 'Gb/s', of(n).map(gbps), { atLeast: 0 })),
      ...['grant-reuse', 'optimised'].map((n) =>
        checkOf(
          `${n}: hypercalls with grant operations per frame`,
          'per frame',
          of(n).map((r) => r.perFrame.grantOps),
          { below: 0.001 },
        ),
      ),
      checkOf(
        'multiqueue: copies by hypervisor and driver domain',
        'per frame',
        of('multiqueue').map((r) => r.perFrame.copiesBy.hypervisor + r.perFrame.copiesBy.driverDomain),
        { exactly: 0 },
      ),
      checkOf('baseline: copies by the hypervisor', 'per frame', base.map(copiesPerOwnFrame), { exactly: 1 }),
      checkOf(
        'guest, resident, 512 buffers',
        'MB',
        best.map((r) => (r.rssBytes['guest1'] ?? NaN) / MB),
        { below: 120 },
      ),
      ...honesty([...records, ...small]),
    ];
    return { checks, records: [...records, ...small] };
  },
};

/** Copies and frames are counted by different processes at slightly different times: over the whole run, at rest, the
 *  quotient is exact. */
function copiesPerOwnFrame(r: RunRecord): number {
  let copies = 0;
  let frames = 0;
  for (const s of r.raw.c) {
    for (const b of s.blocks) {
      if (b.kind === 'hypercalls') copies += b.values['copyOps'] ?? 0;
      if (b.kind === 'netback') frames += b.values['outFrames'] ?? 0;
    }
  }
  return copies / frames;
}

/** 10 Gb/s, which optimised has to fill without loss. */
const link10: Scenario = {
  name: 'link10',
  guests: 1,
  async run(bed, s, progress) {
    const records: RunRecord[] = [];
    for (let round = 0; round < s.runs; round++)
      records.push(await one(bed, 'optimised', round, plan({ seconds: s.linkSeconds, linkGbps: 10 }), progress));
    const rate = lineRate(10, 1514);
    return {
      checks: [
        checkOf(
          `optimised, link 10, ${s.linkSeconds} s: share of ${Math.floor(rate)} frames/s delivered`,
          '%',
          records.map((r) => (r.delivered.framesPerSecond / rate) * 100),
          { atLeast: 99.99 },
        ),
        checkOf(
          `optimised, link 10, ${s.linkSeconds} s: frames lost`,
          'frames',
          records.map((r) => r.lost),
          { exactly: 0 },
        ),
        ...honesty(records),
      ],
      records,
    };
  },
};

/** One guest and eight, in turn, on the same testbed. */
const eight: Scenario = {
  name: 'eight',
  guests: 8,
  async run(bed, s, progress) {
    const single = await openBed(bed.client, 1, bed.observer);
    const records: RunRecord[] = [];
    for (const [round, order] of abbaOrder(2, s.runs).entries()) {
      for (const i of order)
        records.push(await one(i === 0 ? single : bed, 'optimised', round, plan({ seconds: s.seconds }), progress));
    }
    const ones = records.filter((r) => r.guests === 1);
    const eights = records.filter((r) => r.guests === 8);
    const share = eights.map((r) => (gbps(r) / gbps(ones.find((o) => o.round === r.round)!)) * 100);
    return {
      checks: [
        checkOf('optimised, 8 guests together', 'Gb/s', eights.map(gbps), { atLeast: 0 }),
        checkOf('8 guests together, share of one guest', '%', share, { atLeast: 75 }),
        ...honesty(records),
      ],
      records,
    };
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
      let share = 0;
      for (const after of b) {
        const before = serviceIn(a, after.name)!;
        share += (after.processCpuNs - before.processCpuNs) / 1e9 / secondsBetween(before, after);
      }
      shares.push(share * 100);
      progress.line(`  idle ${i + 1}/${s.runs}: ${(share * 100).toFixed(2)} % of one core`);
    }
    return {
      checks: [checkOf('idle, 2 guests: CPU of all services', '% of one core', shares, { below: 3 })],
      records: [],
    };
  },
};

/** Memory of the hypervisor when it has many domains mapped. */
const sixteen: Scenario = {
  name: 'sixteen',
  guests: 16,
  cold: true,
  async run(bed, s, progress) {
    const records: RunRecord[] = [];
    for (const name of ['baseline', 'optimised'])
      records.push(await one(bed, name, 0, plan({ seconds: s.seconds }), progress));
    return {
      checks: [
        checkOf(
          'hypervisor, resident, 16 guests',
          'MB',
          records.map((r) => (r.rssBytes['hypervisor'] ?? NaN) / MB),
          { below: 150 },
        ),
        ...honesty(records),
      ],
      records,
    };
  },
};

export const SCENARIOS: readonly Scenario[] = [
  ...[ladder, transmit, between, link10, eight, idle, sixteen, tap, watched],
  ...[roundTrips, tcp, web],
];
