/** Transmit and guest to guest in the benchmark: the targets of both, beside receive in the same rounds. */
import type { RunRecord } from '../runner/record.js';
import { gbps, honesty, one, plan, type Scenario } from './scenario.js';
import { checkOf } from './targets.js';

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
