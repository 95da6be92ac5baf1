/** The HTTP side of what the outer stack does by itself: TCP streams that measure, and pings. services/nic/README.md */
import type { ServiceHttp } from '@grantline/service';
import { Type } from '@sinclair/typebox';
import { LINK_GBPS } from '@grantline/frames';
import type { Loads } from './loads.js';
import { PING_BYTES_MAX } from './pinger.js';
import type { FarEndParts } from './stations.js';

const Ip = Type.String({ pattern: '^[0-9]{1,3}([.][0-9]{1,3}){3}$' });
const Status = Type.Object({ streams: Type.Integer(), open: Type.Integer() });
const Refusal = Type.Object({ error: Type.String(), message: Type.String() });
const Start = Type.Object(
  {
    ips: Type.Array(Ip, { minItems: 1, maxItems: 32 }),
    direction: Type.Union([Type.Literal('rx'), Type.Literal('tx')]),
    streams: Type.Integer({ minimum: 1, maximum: 1024 }),
    linkGbps: Type.Union([Type.Null(), ...LINK_GBPS.map((g) => Type.Literal(g))]),
  },
  { additionalProperties: false },
);
const Ping = Type.Object(
  {
    ip: Ip,
    bytes: Type.Integer({ minimum: 0, maximum: PING_BYTES_MAX, default: 56 }),
    timeoutMs: Type.Integer({ minimum: 1, maximum: 60_000, default: 2000 }),
  },
  { additionalProperties: false },
);
const NO_STACK = {
  error: 'Conflict',
  message: 'no TCP/IP stack stands at the far end of the cable: GRANTLINE_FAR_END=stack',
};

/** Adds the routes. Before the server listens. @param setSpeed of the link, in both directions */
export function addStreamApi(
  http: ServiceHttp,
  { streams, pinger }: FarEndParts,
  loads: Pick<Loads, 'busy'>,
  setSpeed: (gbps: number | null) => void,
): void {
  http.get('/streams', { schema: { summary: 'The TCP streams under way', response: { 200: Status } } }, () => {
    return streams?.status() ?? { streams: 0, open: 0 };
  });
  http.post(
    '/streams',
    { schema: { summary: 'Start TCP streams', body: Start, response: { 200: Status, 409: Refusal } } },
    (request, reply) => {
      if (streams === null) {
        reply.code(409);
        return NO_STACK;
      }
      if (!loads.busy) setSpeed(request.body.linkGbps);
      streams.start(request.body);
      return streams.status();
    },
  );
  http.delete('/streams', { schema: { summary: 'End them', response: { 200: Status } } }, () => {
    streams?.stop();
    return streams?.status() ?? { streams: 0, open: 0 };
  });
  http.post(
    '/ping',
    {
      schema: {
        summary: 'One ICMP echo from the outer stack',
        body: Ping,
        response: { 200: Type.Object({ us: Type.Union([Type.Null(), Type.Number()]) }), 409: Refusal },
      },
    },
    async (request, reply) => {
      if (pinger === null) {
        reply.code(409);
        return NO_STACK;
      }
      const { ip, bytes, timeoutMs } = request.body;
      return { us: await pinger.ping(ip, bytes, timeoutMs) };
    },
  );
}
