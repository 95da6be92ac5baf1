/** The first second of traffic on a new testbed, while the engine compiles, beside a second of the same load five seconds later. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Placement } from '@grantline/base';
import type { Progress } from '../base/progress.js';
import { inGuests, rate } from '../control/snapshot.js';
import { openBed } from '../runner/bed.js';
import { observers } from '../runner/observer.js';
import type { RunPlan, RunRecord } from '../runner/record.js';
import { runOnce } from '../runner/run.js';
import { checkOf } from './checks.js';
import { freshTestbed } from './fresh-testbed.js';
import { named, outcome, plan, type Scenario } from './scenario.js';

const SECOND_MS = 1000;
const LATER_MS = 5000;
/** The load goes on for so long: until both were seen. */
const SECONDS = 7;

interface Kind {
  name: string;
  plan: Partial<RunPlan>;
  /** What guests count as delivered. */
  counter: readonly ['app' | 'tcpApp', string];
}

const KINDS: readonly Kind[] = [
  { name: 'frames to a guest', plan: {}, counter: ['app', 'bytes'] },
  { name: 'one TCP stream to a guest', plan: { streams: 1 }, counter: ['tcpApp', 'receivedBytes'] },
];

/** Gb/s of the first second and of the later one, and the run that they are of. */
async function look(kind: Kind, placement: Placement, progress: Progress) {
  return freshTestbed({ placement }, async (client) => {
    let begun = (): void => {};
    const measuring = new Promise<void>((resolve) => {
      begun = resolve;
    });
    const observer = {
      ...observers(),
      phase: async ({ phase }: { phase: string }) => {
        if (phase === 'measure') begun();
        return Promise.resolve();
      },
    };
    const bed = await openBed(client, 1, observer);
    const load = runOnce(bed, named('optimised'), 0, plan({ ...kind.plan, warmup: 0, seconds: SECONDS }), progress);
    // It may fail while nobody awaits it.
    load.catch(() => {});
    // A load that fails ends the wait; its error is the one to tell.
    await Promise.race([measuring, load]);
    const guests = bed.services.filter((s) => s.kind === 'guest');
    const seen = async (): Promise<number> => {
      const a = await client.snapshot(guests);
      await sleep(SECOND_MS);
      return (rate(a, await client.snapshot(guests), ...kind.counter, inGuests) * 8) / 1e9;
    };
    const first = await seen();
    await sleep(LATER_MS - SECOND_MS);
    const later = await seen();
    return { first, later, record: await load };
  });
}

export const firstSecond: Scenario = {
  name: 'first-second',
  guests: 1,
  cold: true,
  async run(bed, { runs }, progress) {
    const placement = bed.placed?.placement ?? 'apart';
    const records: RunRecord[] = [];
    const shares = KINDS.map((): number[] => []);
    for (let round = 0; round < runs; round++)
      for (const [i, kind] of KINDS.entries()) {
        const { first, later, record } = await look(kind, placement, progress);
        records.push(record);
        shares[i].push((first / later) * 100);
        progress.line(
          `  first second, ${kind.name} ${round + 1}/${runs}: ${first.toFixed(2)} Gb/s, later ${later.toFixed(2)}`,
        );
      }
    const name = (kind: Kind): string =>
      `optimised, ${kind.name}: first second on a new testbed, of the rate 5 s later`;
    return outcome(
      records,
      KINDS.map((kind, i) => checkOf(name(kind), '%', shares[i], { atLeast: 80 })),
    );
  },
};
