/** The part of the operator's API by which commands measure: configuration, runs, what guests may send, sessions.
 *  docs/wire/control-plane.md sections 4, 5, 8 and 11. */
import { DOMID_NIC, FACTOR_VALUES, parseDomId, parseRate, type DomId } from '@grantline/base';
import type { ServiceHttp } from '@grantline/service';
import { Type, type TSchema } from '@sinclair/typebox';
import { DomainError } from './domains.js';
import type { Parts } from './parts.js';

export const Nullable = <T extends TSchema>(schema: T) => Type.Union([schema, Type.Null()]);
export const Empty = Type.Object({});

/** Options of a route that takes nothing. */
export const answering = <T extends TSchema>(summary: string, body: T) => ({
  schema: { summary, response: { 200: body } },
});

/** All factors. */
export const Factors = Type.Object({
  path: Type.String(),
  nicQueues: Type.String(),
  grants: Type.String(),
  bufferBytes: Type.Integer(),
  lro: Type.Boolean(),
  tso: Type.Boolean(),
  batching: Type.Boolean(),
});

const ConfigBody = Type.Object({
  generation: Type.Integer(),
  factors: Factors,
  settled: Type.Boolean(),
  vifs: Type.Array(
    Type.Object({
      vif: Type.String(),
      backend: Type.String(),
      frontend: Type.String(),
      backendAck: Nullable(Type.Integer()),
      frontendAck: Nullable(Type.Integer()),
      error: Nullable(Type.String()),
    }),
  ),
});

/** Any value: what is wrong with one is better said by name and in words than by a schema. */
const FactorsBody = Type.Record(Type.String(), Type.Unknown(), {
  description: `Factors to change, the others stay. ${Object.entries(FACTOR_VALUES)
    .map(([name, values]) => `${name}: ${values.join(' | ')}`)
    .join('; ')}`,
});

const RunBody = Type.Object(
  {
    id: Type.Integer({ minimum: 0 }),
    seed: Type.Integer({ minimum: 0, maximum: 0xffffffff }),
    mode: Type.Union([Type.Literal('verify'), Type.Literal('record'), Type.Literal('off'), Type.Literal('respond')]),
    frameSizes: Type.Array(Type.Integer({ minimum: 1, maximum: 65535 }), { maxItems: 1024 }),
    guests: Type.Array(Type.Integer({ minimum: 0, maximum: 0xffff }), { maxItems: 1024 }),
  },
  { additionalProperties: true },
);

const RunStatus = Type.Object({ run: Nullable(RunBody), ready: Type.Array(Type.Integer()) });

/** Adds the routes. */
export function addConfig(app: ServiceHttp, hv: Parts): void {
  addFactors(app, hv);
  addRate(app, hv);
  addNested(app, hv);
  addSession(app, hv);
}

function addFactors(app: ServiceHttp, hv: Parts): void {
  app.put('/api/config', { schema: { summary: 'Changes factors of all vifs', body: FactorsBody } }, (request) => {
    try {
      return { generation: hv.toolstack.configure(request.body) };
    } catch (error) {
      throw new DomainError(400, (error as Error).message);
    } finally {
      hv.deliver();
    }
  });
  app.get('/api/config', answering('Factors, and how far the vifs are', ConfigBody), () => ({
    generation: hv.toolstack.generation,
    factors: hv.toolstack.factors,
    settled: hv.toolstack.settled(),
    vifs: hv.toolstack.vifs(),
  }));
  app.put(
    '/api/run',
    { schema: { summary: 'Tells the receivers of a run', body: RunBody, response: { 200: Empty } } },
    (request) => {
      hv.toolstack.startRun(request.body);
      hv.deliver();
      return {};
    },
  );
  app.get('/api/run', answering('The run, and who is ready for it', RunStatus), () => ({
    run: hv.toolstack.run,
    ready: hv.toolstack.ready(),
  }));
}

const Guest = Type.Optional(Type.Integer({ description: 'domid; without it all guests, also those to come' }));
const RateBody = Type.Object(
  {
    // Any value: a schema would take null for an empty text.
    rate: Type.Unknown({ description: 'as 100Mb/s or 1GB/s@20ms; null: no limit' }),
    guest: Guest,
  },
  { additionalProperties: false },
);
const NestedBody = Type.Object(
  {
    nested: Type.Boolean({ description: 'true: other stations stand behind the guest, with addresses of their own' }),
    guest: Guest,
  },
  { additionalProperties: false },
);
const Nested = Type.Object({ nested: Type.Array(Type.Integer({ description: 'domid' })) });
const Rates = Type.Object({
  rates: Type.Array(Type.Object({ vif: Type.String(), rate: Nullable(Type.String()) })),
});

/** What guests may send: the nodes `rate` and `nested` of each vif, which netback watches; the nic is told of `nested`. */
function addRate(app: ServiceHttp, hv: Parts): void {
  app.put(
    '/api/rate',
    { schema: { summary: 'Limits what vifs may send', body: RateBody, response: { 200: Rates } } },
    (request) => {
      const { rate, guest } = request.body;
      try {
        const node = rate === null ? null : parseRate(typeof rate === 'string' ? rate : '');
        hv.toolstack.setRate(node, guestOf(hv, guest));
      } catch (error) {
        throw error instanceof DomainError ? error : new DomainError(400, (error as Error).message);
      } finally {
        hv.deliver();
      }
      return { rates: hv.toolstack.rates() };
    },
  );
  app.get('/api/rate', answering('Limits, as "bytes,usec"', Rates), () => ({
    rates: hv.toolstack.rates(),
  }));
}

function addNested(app: ServiceHttp, hv: Parts): void {
  const nested = (): { nested: number[] } => ({
    nested: hv.domains.guests().flatMap(({ domid }) => (hv.toolstack.isNested(domid) ? [domid] : [])),
  });
  app.put(
    '/api/nested',
    {
      schema: {
        summary: 'Lets other stations send by the vif of a guest',
        body: NestedBody,
        response: { 200: Nested },
      },
    },
    (request) => {
      const { body } = request;
      for (const domid of hv.toolstack.setNested(body.nested, guestOf(hv, body.guest)))
        hv.server.send(DOMID_NIC, 'domain.nested', { domid, nested: body.nested });
      hv.deliver();
      return nested();
    },
  );
  app.get('/api/nested', answering('Guests with others behind them', Nested), nested);
}

/** @throws DomainError 404 */
function guestOf(hv: Parts, guest: number | undefined): DomId | undefined {
  if (guest === undefined) return undefined;
  if (!hv.domains.guests().some((d) => d.domid === guest)) throw new DomainError(404, `there is no guest ${guest}`);
  return parseDomId(guest);
}

/** A line at least so often: neither end takes a quiet connection for a dead one. */
const BEAT_MS = 5000;

const SessionBody = Type.Object(
  { owner: Type.String({ pattern: '^[\\x20-\\x7e]{1,120}$', description: 'who measures, for others who want to' }) },
  { additionalProperties: false },
);
const SessionStatus = Nullable(Type.Object({ id: Type.Integer(), owner: Type.String(), stage: Type.String() }));

/** A session lasts as long as the answer to the request that began it. */
function addSession(app: ServiceHttp, hv: Parts): void {
  const { sessions } = hv;
  app.get('/api/session', answering('Whose session is on', Type.Object({ session: SessionStatus })), () => {
    const at = sessions.current;
    return { session: at === null ? null : { id: at.id, owner: at.owner, stage: at.stage } };
  });
  app.post(
    '/api/session',
    {
      schema: {
        summary: 'A session for as long as the answer is read: lines of JSON, the first {"id"}',
        body: SessionBody,
      },
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
