/** Whether configurations stand in the paper's order: runs of them next to each other, and their ratios round by round, which a machine
 *  that gets faster or slower leaves as they are. */
import { abbaOrder } from '../runner/compare.js';
import type { RunRecord } from '../runner/record.js';
import { checkOf } from './checks.js';
import { gbps, one, outcome, plan, ratios, type Scenario } from './scenario.js';

const CONFIGS = ['baseline', 'multiqueue', 'optimised'] as const;

export const order: Scenario = {
  name: 'order',
  guests: 1,
  async run(bed, { runs, seconds }, progress) {
    const records = CONFIGS.map((): RunRecord[] => []);
    for (const [round, turn] of abbaOrder(CONFIGS.length, runs).entries())
      for (const i of turn) records[i].push(await one(bed, CONFIGS[i], round, plan({ seconds }), progress));
    const [base, multi, best] = records;
    return outcome(records.flat(), [
      checkOf('multiqueue over baseline, same round', 'times', ratios(multi, base), { atLeast: 1.15 }),
      checkOf('optimised over baseline, same round', 'times', ratios(best, base), { atLeast: 3 }, 3.4),
      ...CONFIGS.map((name, i) => checkOf(`${name}, in that order`, 'Gb/s', records[i].map(gbps), { atLeast: 0 })),
    ]);
  },
};
