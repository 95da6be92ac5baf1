/** Requests of 60 bytes and their answers through `optimised`: alone and beside bulk, one in flight and 32. */
import type { RunRecord } from '../runner/record.js';
import { REQUEST_BYTES, REQUEST_TIMEOUT_MS, type RequestPlan } from '../runner/requests.js';
import { honesty, one, plan, type Scenario } from './scenario.js';
import { checkOf } from './targets.js';

const KINDS = [
  { inFlight: 1, beside: 'idle' },
  { inFlight: 32, beside: 'idle' },
  { inFlight: 1, beside: 'bulk' },
] as const satisfies readonly Pick<RequestPlan, 'inFlight' | 'beside'>[];

export const roundTrips: Scenario = {
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
