/** A session lasts as long as the answer to the request that began it. docs/wire/control-plane.md section 11. */
import type { ServiceHttp } from '@grantline/service';
import { Type } from '@sinclair/typebox';
import { Empty, Nullable } from './api-schemas.js';
import type { Parts } from './parts.js';

/** A line at least so often: neither end takes a quiet connection for a dead one. */
const BEAT_MS = 5000;

const Body = Type.Object(
  { owner: Type.String({ pattern: '^[\\x20-\\x7e]{1,120}$', description: 'who measures, for others who want to' }) },
  { additionalProperties: false },
);
const Status = Nullable(Type.Object({ id: Type.Integer(), owner: Type.String(), stage: Type.String() }));

/** Adds the routes. */
export function addSession(app: ServiceHttp, hv: Parts): void {
  const { sessions } = hv;
  app.get(
    '/api/session',
    { schema: { summary: 'Whose session is on', response: { 200: Type.Object({ session: Status }) } } },
    () => {
      const at = sessions.current;
      return { session: at === null ? null : { id: at.id, owner: at.owner, stage: at.stage } };
    },
  );
  app.post(
    '/api/session',
    {
      schema: { summary: 'A session for as long as the answer is read: lines of JSON, the first {"id"}', body: Body },
    },
    async (request, reply) => {
      const id = await sessions.begin(request.body.owner);
      reply.hijack();
      const { raw } = reply;
      const beat = setInterval(() => raw.write('\n'), BEAT_MS).unref();
      const end = (): void => {
        clearInterval(beat);
        void sessions.end(id);
      };
      request.raw.socket.setKeepAlive(true, BEAT_MS);
      raw.on('error', () => {});
      raw.once('close', end);
      raw.writeHead(200, { 'content-type': 'application/x-ndjson', 'cache-control': 'no-store' });
      raw.write(`${JSON.stringify({ id })}\n`);
      // The client that asked may have gone while it began.
      if (request.raw.socket.destroyed) end();
    },
  );
  app.delete(
    '/api/session/:id',
    {
      schema: {
        summary: 'Ends it; answers when all is as it was found',
        params: Type.Object({ id: Type.Integer({ minimum: 1 }) }),
        response: { 200: Empty },
      },
    },
    async (request) => {
      await sessions.end(request.params.id);
      return {};
    },
  );
}
