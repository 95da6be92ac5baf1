/** The runs of the benchmark: each scenario on a testbed of its own, and the checks that come of it. */
import { configurationNames } from '@grantline/base';
import { abbaOrder } from '../runner/compare.js';
import { configure } from '../control/configure.js';
import { lineRate } from '../runner/frame-sizes.js';
import type { RunRecord } from '../runner/record.js';
import { openBed } from '../runner/bed.js';
import { secondsBetween, serviceIn } from '../control/snapshot.js';
import { setTimeout as sleep } from 'node:timers/promises';
import { gbps, honesty, named, one, plan, type Scenario } from './scenario.js';
import { checkOf } from './targets.js';
import { roundTrips } from './round-trips.js';
import { tap } from './tap.js';
import { between, transmit } from './traffic.js';
import { tcp } from './tcp.js';
import { watched } from './watched.js';
import { web } from './web.js';

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
