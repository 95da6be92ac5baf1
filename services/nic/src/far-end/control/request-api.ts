/** The HTTP side of requests and their answers. services/nic/README.md. */
import { MAX_GUESTS, MAX_IN_FLIGHT } from '@grantline/base';
import type { ServiceHttp } from '@grantline/service';
import { Type, type Static } from '@sinclair/typebox';
import { ETH_MAX_FRAME, ETH_MIN_FRAME, LINK_GBPS, MAC_FORM } from '@grantline/frames';
import type { Requests } from './requests.js';

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

const Refusal = Type.Object({ error: Type.String() });
const answers = { 200: RequestStatus, 400: Refusal, 409: Refusal };

/** Adds the routes. Before the server listens. */
export function addRequestApi(http: ServiceHttp, requests: Requests): void {
  const get = { schema: { summary: 'Requests, and the times of their answers', response: { 200: RequestStatus } } };
  http.get('/requests', get, () => requests.status());
  http.post(
    '/requests',
    { schema: { summary: 'Start asking', body: RequestBody, response: answers } },
    (request, reply) => {
      if (requests.busy) {
        reply.code(409);
        return { error: 'requests are being sent: DELETE /requests first' };
      }
      try {
        requests.start(request.body);
      } catch (err) {
        if (!(err instanceof RangeError)) throw err;
        reply.code(400);
        return { error: err.message };
      }
      return requests.status();
    },
  );
  const measure = { schema: { summary: 'Times count from now on', response: answers } };
  http.post('/requests/measure', measure, (_request, reply) => {
    if (requests.measure()) return requests.status();
    reply.code(409);
    return { error: 'nothing is being asked: POST /requests first' };
  });
  const stop = { schema: { summary: 'Ask nothing more', response: { 200: RequestStatus } } };
  http.delete('/requests', stop, () => {
    requests.stop();
    return requests.status();
  });
}
