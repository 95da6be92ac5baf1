/** POST /pool: gives grant-pool buffers back, or takes more, on the running testbed. docs/wire/grant-pool.md. */
import type { ServiceHttp } from '@grantline/shared/service/http.js';
import { Type } from 'typebox';
import { BUFFERS } from './vif-connection.js';
import type { VifControl } from './vif-control.js';

/** Fewer would not fill a batch. */
const LEAST = 64;

const Body = Type.Object(
  { buffers: Type.Integer({ minimum: LEAST, maximum: BUFFERS }) },
  { additionalProperties: false },
);
const Result = Type.Object({
  buffers: Type.Number({ description: 'in circulation now' }),
  asked: Type.Number({ description: 'buffers to add (positive) or to give back (negative)' }),
  done: Type.Number({ description: 'buffers added or given back, acknowledged by netback' }),
  quarantined: Type.Number({ description: 'buffers that netback did not let go of' }),
  error: Type.Union([Type.String(), Type.Null()]),
});
const Refusal = Type.Object({ error: Type.String() });

/** Adds the route. The answer comes when netback has acknowledged, or has not within its time. */
export function addPoolRoute(http: ServiceHttp, vif: VifControl): void {
  http.post(
    '/pool',
    {
      schema: {
        summary: 'Sets the number of buffers whose grants stand',
        body: Body,
        response: { 200: Result, 409: Refusal },
      },
    },
    async (request, reply) => {
      const connection = vif.connection;
      if (connection === null || !vif.ready) return reply.code(409).send({ error: 'the vif is not connected' });
      const { pool } = connection;
      const buffers = connection.queues[0]?.buffers;
      if (pool === null || buffers === undefined)
        return reply.code(409).send({ error: 'the vif does not reuse grants' });
      const change = Math.min(request.body.buffers, buffers.capacity) - buffers.count;
      const { done, quarantined, error } =
        change === 0
          ? { done: 0, quarantined: 0, error: null }
          : change < 0
            ? await pool.shrink(-change)
            : await pool.grow(change);
      return { buffers: buffers.count, asked: change, done, quarantined, error };
    },
  );
}
