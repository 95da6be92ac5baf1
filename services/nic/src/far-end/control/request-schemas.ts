/** What is sent and told of requests and their answers. services/nic/README.md. */
import { MAX_GUESTS, MAX_IN_FLIGHT } from '@grantline/base';
import { ETH_MAX_FRAME, ETH_MIN_FRAME, LINK_GBPS, MAC_FORM } from '@grantline/frames';
import { Type, type Static } from '@sinclair/typebox';

export const RequestBody = Type.Object(
  {
    seed: Type.Integer({ minimum: 0, maximum: 2 ** 32 - 1 }),
    guests: Type.Array(
      Type.Object({
        mac: Type.String({ pattern: MAC_FORM }),
        ip: Type.String({ pattern: '^[0-9]{1,3}([.][0-9]{1,3}){3}$' }),
      }),
      { minItems: 1, maxItems: MAX_GUESTS, description: 'asked in turn; flow n of the stamps is guest n' },
    ),
    frameBytes: Type.Integer({ minimum: ETH_MIN_FRAME, maximum: ETH_MAX_FRAME }),
    inFlight: Type.Integer({ minimum: 1, maximum: MAX_IN_FLIGHT, description: 'most requests that are out at once' }),
    perSecond: Type.Union([Type.Null(), Type.Number({ minimum: 1, maximum: 1e6 })], {
      description: 'open loop: requests per second, times from when each was due; null: closed loop',
    }),
    timeoutMs: Type.Integer({ minimum: 1, maximum: 60_000 }),
    linkGbps: Type.Union([Type.Null(), ...LINK_GBPS.map((g) => Type.Literal(g))], {
      description: 'Gb/s of the link where no load sets it; null: unlimited',
    }),
  },
  { additionalProperties: false },
);
export type RequestBody = Static<typeof RequestBody>;

const Count = Type.Integer({ minimum: 0 });
const Us = Type.Number();
export const RequestStatus = Type.Object({
  state: Type.Union([Type.Literal('idle'), Type.Literal('running'), Type.Literal('done')]),
  requests: Count,
  answered: Count,
  timeouts: Count,
  late: Type.Integer({ minimum: 0, description: 'answers to requests that had timed out' }),
  repeated: Type.Integer({ minimum: 0, description: 'answers to what was answered before' }),
  inFlight: Count,
  rtt: Type.Union([
    Type.Null(),
    Type.Object(
      {
        count: Count,
        meanUs: Us,
        minUs: Us,
        maxUs: Us,
        percentiles: Type.Array(Type.Object({ percent: Type.Number(), us: Us })),
      },
      { description: 'round trips since POST /requests/measure; HDR, three figures' },
    ),
  ]),
});
export type RequestStatus = Static<typeof RequestStatus>;
