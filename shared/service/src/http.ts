/** The HTTP server that every service has: health, metrics, counters, dump, and a page that documents them.
 *  docs/wire/control-plane.md section 4.
 *
 *  One gate for all services and all routes, those of the service itself included: Host and Origin are checked, and without the key
 *  only what a route says is `open` is answered: figures and health, which change nothing and show nothing of what frames hold. */
import { createHmac } from 'node:crypto';
import { hostname } from 'node:os';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import {
  fastify,
  LogController,
  type FastifyBaseLogger,
  type FastifyInstance,
  type RawServerDefault,
  type RouteOptions,
} from 'fastify';
import { Type, type Static } from '@sinclair/typebox';
import {
  nowNs,
  isBearer,
  refuseHost,
  refuseOrigin,
  addressToBind,
  limitListening,
  UsageError,
  answerHeadAtOnce,
} from '@grantline/base';
import { processCpuNs, threadCpuNs, type CounterFile } from '@grantline/machine';
import { METRICS_TYPE, ServiceMetrics, type Reading } from '@grantline/observe';
import type { ListenAddress } from './env.js';
import type { Log } from './log.js';
import { refuse } from './refusal.js';

/** Route of the service. */
export const PROOF_PATH = '/proof';
/** Form of a question: 32 random bytes in hexadecimal digits. */
export const QUESTION = '^[0-9a-f]{64}$';

/** How a service shows that it is who a domain says: it makes of a question what only the holder of the domain's control key can.
 *  docs/wire/control-plane.md section 3, `service.announce`.
 *  @returns the answer, 64 hexadecimal digits */
export const proofOf = (controlKey: string, question: string): string =>
  createHmac('sha256', controlKey).update(`grantline announced ${question}`).digest('hex');

/** A fastify server whose routes take TypeBox schemas. */
export type ServiceHttp = FastifyInstance<
  RawServerDefault,
  IncomingMessage,
  ServerResponse,
  FastifyBaseLogger,
  TypeBoxTypeProvider
>;

export interface HttpOptions {
  /** Name of the service, the title of its documentation. */
  name: string;
  /** The domain that the service is, as others call it (`domainName`): label of its metrics. */
  domain: string;
  log: Log;
  /** Where it will listen, and what else it is called (gate.ts). */
  listen: ListenAddress;
  names: readonly string[];
  /** Who has it may use all routes: the domain's control key; the hypervisor's is the operator's token. '': nobody. */
  key: string;
  /** null: the service has no counters. */
  counterFile: CounterFile | null;
  /** False, or a text that says why not: /health/ready answers 503. */
  ready: () => boolean | string;
  /** State of rings, queues and so on, as plain JSON. */
  dump: () => unknown;
  /** What /metrics shows besides the counters; read at each scrape, on the data thread. */
  gauges?: () => Iterable<Reading>;
  /** Called before counters are read: books what is not booked yet. */
  settle?: () => void;
  /** Called after POST /counters/reset emptied the counter file. */
  onReset?: () => void;
}

/** Body of GET /counters. Times in nanoseconds, atNs on the clock that all processes share. */
export const CountersBody = Type.Object({
  atNs: Type.Number(),
  processCpuNs: Type.Number(),
  dataThreadCpuNs: Type.Number(),
  rssBytes: Type.Number(),
  blocks: Type.Array(
    Type.Object({
      kind: Type.String(),
      labels: Type.Record(Type.String(), Type.String()),
      values: Type.Record(Type.String(), Type.Number()),
    }),
  ),
});
export type CountersBody = Static<typeof CountersBody>;

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Answered without the key. */
    open?: true;
  }
}

/** Options of a route that anybody may ask. */
export const OPEN = { config: { open: true } } as const;
/** Pages and files of the documentation. */
const DOCUMENTATION = '/documentation';

const Status = Type.Object({ status: Type.String() });

/** Makes the server; further routes can be added before it listens. Must be called on the data thread, whose CPU time
 *  /counters tells. */
export function createHttp(o: HttpOptions): ServiceHttp {
  const loggerInstance: FastifyBaseLogger = o.log;
  const app: ServiceHttp = fastify({
    loggerInstance,
    // A line for every scrape would drown the rest.
    logController: new LogController({ disableRequestLogging: true }),
    // Idle keep-alive connections must not hold up the end of the service.
    forceCloseConnections: true,
  }).withTypeProvider<TypeBoxTypeProvider>();
  limitListening(app.server);
  app.addHook('onRoute', answerHeadAtOnce);
  addGate(app, o);
  addDocumentation(app, o.name);
  addHealth(app, o);
  addCounters(app, o);
  app.get('/dump', { schema: { summary: 'Rings, queues and state', response: { 200: Type.Unknown() } } }, () =>
    o.dump(),
  );
  return app;
}

/** Listens and tells the URL under which others reach the server.
 *  @throws UsageError when the address cannot be had */
export async function listenHttp(app: ServiceHttp, at: ListenAddress): Promise<string> {
  try {
    await app.listen({ host: await addressToBind(at.host), port: at.port });
  } catch (err) {
    const code = (err as NodeJS.ErrnoException).code;
    const where = `${at.host}:${at.port}`;
    if (code === 'EADDRINUSE')
      throw new UsageError(`${where} is in use: stop what listens there, or set GRANTLINE_HTTP`);
    if (code === 'EADDRNOTAVAIL' || code === 'ENOTFOUND' || code === 'EACCES' || code === 'EAI_AGAIN')
      throw new UsageError(`cannot listen on ${where} (${code}): set GRANTLINE_HTTP to an address of this machine`);
    throw err;
  }
  const bound = app.server.address();
  const port = typeof bound === 'object' && bound !== null ? bound.port : at.port;
  // "Any address" is none that others could use.
  const host = at.host === '0.0.0.0' || at.host === '::' ? hostname() : at.host;
  return `http://${host.includes(':') ? `[${host}]` : host}:${port}`;
}

function addGate(app: ServiceHttp, { listen, names, key, name }: HttpOptions): void {
  const gate = { bound: listen.host, names };
  const keyName = name === 'hypervisor' ? "the operator's token" : "the domain's control key";
  app.addHook('onRequest', (request, reply, done) => {
    const { host, origin, authorization } = request.headers;
    const turnAway = (status: number, sentence: string): void => void reply.send(refuse(reply, status, sentence));
    const misdirected = refuseHost(host, gate);
    if (misdirected !== null) return turnAway(421, misdirected);
    const foreign = origin === undefined ? null : refuseOrigin(origin, host, gate);
    if (foreign !== null) return turnAway(403, foreign);
    const { config, url = '' } = request.routeOptions;
    const isOpen = config.open === true || url === DOCUMENTATION || url.startsWith(`${DOCUMENTATION}/`);
    if (isOpen || request.is404 || isBearer(authorization, key)) return done();
    turnAway(401, `this call needs ${keyName}`);
  });
}

/** Pages that show all routes. They are made when somebody first looks: few do, and they would be a part of each start. */
function addDocumentation(app: ServiceHttp, name: string): void {
  const routes: RouteOptions[] = [];
  let pages: Promise<FastifyInstance> | null = null;
  const show = { schema: { hide: true } };
  for (const url of [DOCUMENTATION, `${DOCUMENTATION}/*`])
    app.get(url, show, async (request, reply) => {
      pages ??= documentationOf(name, routes).catch((error: unknown) => {
        // The next one who looks may have more luck.
        pages = null;
        throw error;
      });
      const shown = await pages;
      reply.hijack();
      shown.routing(request.raw, reply.raw);
    });
  app.addHook('onRoute', (route) => void routes.push(route));
}

async function documentationOf(name: string, routes: readonly RouteOptions[]): Promise<FastifyInstance> {
  const [{ default: swagger }, { default: swaggerUi }] = await Promise.all([
    import('@fastify/swagger'),
    import('@fastify/swagger-ui'),
  ]);
  const pages = fastify();
  pages.addHook('onRoute', answerHeadAtOnce);
  // Shown, and never called.
  pages.setValidatorCompiler(() => () => true).setSerializerCompiler(() => JSON.stringify);
  await pages.register(swagger, {
    openapi: { info: { title: `grantline ${name}`, description: 'Grantline testbed', version: '0.1.0' } },
  });
  await pages.register(swaggerUi, { routePrefix: DOCUMENTATION });
  for (const { method, url, schema } of routes)
    if (method !== 'HEAD') pages.route({ method, url, ...(schema && { schema }), handler: () => null });
  await pages.ready();
  return pages;
}

function addHealth(app: ServiceHttp, o: HttpOptions): void {
  app.get('/health/live', { ...OPEN, schema: { summary: 'The process answers', response: { 200: Status } } }, () => ({
    status: 'live',
  }));
  app.get(
    '/health/ready',
    { ...OPEN, schema: { summary: 'The service can do its work', response: { 200: Status, 503: Status } } },
    (_request, reply) => {
      const ready = o.ready();
      if (ready === true) return { status: 'ready' };
      reply.code(503);
      return { status: ready === false ? 'not ready' : `not ready: ${ready}` };
    },
  );
}

function addCounters(app: ServiceHttp, o: HttpOptions): void {
  const metrics = new ServiceMetrics(o);
  app.get(
    '/metrics',
    { ...OPEN, schema: { summary: 'For Prometheus', response: { 200: Type.String() } } },
    async (_request, reply) => {
      const text = await metrics.text();
      return reply.type(METRICS_TYPE).send(text);
    },
  );
  app.get(
    '/counters',
    { ...OPEN, schema: { summary: 'All counters, and CPU time', response: { 200: CountersBody } } },
    () => {
      o.settle?.();
      return {
        atNs: nowNs(),
        processCpuNs: processCpuNs(),
        dataThreadCpuNs: threadCpuNs(),
        rssBytes: process.memoryUsage.rss(),
        blocks: o.counterFile?.snapshot() ?? [],
      };
    },
  );
  app.post(
    '/counters/reset',
    { schema: { summary: 'All counters to zero; /metrics goes on counting', response: { 200: Type.Object({}) } } },
    () => {
      o.counterFile?.reset();
      o.onReset?.();
      return {};
    },
  );
}
