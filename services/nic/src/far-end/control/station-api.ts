/** The HTTP side of the outer stack: the ways to guests through the edge, and what it does by itself, TCP streams that measure and
 *  pings. services/nic/README.md */
import { Refusal, refuse, type ServiceHttp } from '@grantline/service';
import { Type } from '@sinclair/typebox';
import { Ip, linkGbps } from './api-schemas.js';
import type { Edge } from './edge.js';
import type { Loads } from './loads.js';
import type { FarEndParts } from './stations.js';
import { PING_BYTES_MAX } from './streams.js';

const Door = Type.Object({
  domid: Type.Integer(),
  ip: Type.String(),
  port: Type.Integer({ description: "the guest's" }),
  address: Type.Union([Type.Null(), Type.String({ description: 'host:port' })]),
  connections: Type.Integer(),
});
const Wanted = Type.Object(
  { domid: Type.Integer({ minimum: 1 }), port: Type.Integer({ minimum: 1, maximum: 65535 }) },
  { additionalProperties: false },
);
const Status = Type.Object({ streams: Type.Integer(), open: Type.Integer() });
const Start = Type.Object(
  {
    ips: Type.Array(Ip, { minItems: 1, maxItems: 32 }),
    direction: Type.Union([Type.Literal('rx'), Type.Literal('tx')]),
    streams: Type.Integer({ minimum: 1, maximum: 1024 }),
    linkGbps: linkGbps(),
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
const NO_STACK = 'no TCP/IP stack stands at the far end of the cable: GRANTLINE_FAR_END=stack';

/** Adds the routes of the edge. Before the server listens. @param edge null: there is none at this far end */
export function addEdgeApi(http: ServiceHttp, edge: Edge | null): void {
  http.get(
    '/edge',
    { schema: { summary: 'Where guests are reached by TCP', response: { 200: Type.Array(Door) } } },
    () => {
      return edge?.list() ?? [];
    },
  );
  http.post(
    '/edge',
    { schema: { summary: "Reach another port of a guest's", body: Wanted, response: { 200: Door, 404: Refusal } } },
    async (request, reply) => {
      const door = await edge?.open(request.body.domid, request.body.port);
      return door ?? refuse(reply, 404, `there is no way to a guest ${request.body.domid}`);
    },
  );
}

/** Adds the routes of streams and pings. Before the server listens. @param setSpeed of the link, in both directions */
export function addStreamApi(
  http: ServiceHttp,
  { streams, pinger }: FarEndParts,
  loads: Pick<Loads, 'busy'>,
  setSpeed: (gbps: number | null) => void,
): void {
  const status = () => streams?.status() ?? { streams: 0, open: 0 };
  http.get('/streams', { schema: { summary: 'The TCP streams under way', response: { 200: Status } } }, status);
  http.post(
    '/streams',
    { schema: { summary: 'Start TCP streams', body: Start, response: { 200: Status, 409: Refusal } } },
    (request, reply) => {
      if (streams === null) return refuse(reply, 409, NO_STACK);
      if (!loads.busy) setSpeed(request.body.linkGbps);
      streams.start(request.body);
      return status();
    },
  );
  http.delete('/streams', { schema: { summary: 'End them', response: { 200: Status } } }, () => {
    streams?.stop();
    return status();
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
      if (pinger === null) return refuse(reply, 409, NO_STACK);
      const { ip, bytes, timeoutMs } = request.body;
      return { us: await pinger.ping(ip, bytes, timeoutMs) };
    },
  );
}
