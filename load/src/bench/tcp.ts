/** One TCP stream between the outer stack and a guest's application, with and without what the guest's optimisations add. */
import { changeFactors, type Factors } from '@grantline/base';
import type { RunRecord } from '../runner/record.js';
import { runOnce } from '../runner/run.js';
import { runLine } from '../report/table.js';
import { gbps, honesty, named, plan, type Scenario } from './scenario.js';
import { checkOf } from './targets.js';

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
