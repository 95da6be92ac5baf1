/** GET /edge: where each guest's web application is reached from the host; POST /edge: the same for another port of it. */
import type { ServiceHttp } from '@grantline/service';
import { Type } from '@sinclair/typebox';
import type { Edge } from './edge.js';

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
const Refusal = Type.Object({ error: Type.String(), message: Type.String() });

/** Adds the route. Before the server listens. @param edge null: there is none at this far end */
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
      if (door) return door;
      reply.code(404);
      return { error: 'Not Found', message: `there is no way to a guest ${request.body.domid}` };
    },
  );
}
