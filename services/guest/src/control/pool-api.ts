/** POST /pool: gives grant-pool buffers back, or takes more, on the running testbed. docs/wire/grant-pool.md. */
import { setTimeout as sleep } from 'node:timers/promises';
import { Refusal, refuse, type ServiceHttp, type Keep } from '@grantline/service';
import { Type } from '@sinclair/typebox';
import { BUFFERS } from './front-connection.js';
import type { FrontVif } from './front-vif.js';

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

interface PoolAnswer {
  buffers: number;
  asked: number;
  done: number;
  quarantined: number;
  error: string | null;
}

/** Sets the number of buffers whose grants stand. @returns once netback has acknowledged, or has not within its time; a text:
 *  why there is nothing to set */
async function setPool(vif: FrontVif, wanted: number): Promise<PoolAnswer | string> {
  const connection = vif.connection;
  if (connection === null || !vif.ready) return 'the vif is not connected';
  const { pool } = connection;
  const buffers = connection.queues[0]?.buffers;
  if (pool === null || buffers === undefined) return 'the vif does not reuse grants';
  const change = Math.min(wanted, buffers.capacity) - buffers.count;
  const { done, quarantined, error } =
    change === 0
      ? { done: 0, quarantined: 0, error: null }
      : change < 0
        ? await pool.shrink(-change)
        : await pool.grow(change);
  return { buffers: buffers.count, asked: change, done, quarantined, error };
}

/** How long after a session the vif may take to get ready. */
const READY_LIMIT_MS = 5000;
const LOOK_MS = 20;

/** For sessions: the pool is as large after as it was before. */
export function keepPool(vif: FrontVif): Keep {
  return () => {
    const { connection } = vif;
    const before = connection?.pool ? connection.queues[0]?.buffers.count : undefined;
    if (before === undefined) return {};
    return {
      over: async () => {
        if (vif.connection === connection) return;
        for (const end = performance.now() + READY_LIMIT_MS; !vif.ready && performance.now() < end;)
          await sleep(LOOK_MS);
        await setPool(vif, before);
      },
    };
  };
}

/** Adds the route. The answer comes when netback has acknowledged, or has not within its time. */
export function addPoolRoute(http: ServiceHttp, vif: FrontVif): void {
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
      const answer = await setPool(vif, request.body.buffers);
      return typeof answer === 'string' ? refuse(reply, 409, answer) : answer;
    },
  );
}
