/** The live page's HTTP server: a handful of files, one WebSocket, and where another process's experiment reports to. */
import { readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import helmet from '@fastify/helmet';
import fastifyStatic from '@fastify/static';
import {
  isBearer,
  refuseHost,
  refuseOrigin,
  asksForWebSocket,
  takeUpgrades,
  addressToBind,
  refuseUpgrade,
} from '@grantline/base';
import { WebSocketServer, type WebSocket } from 'ws';
import { Type, type Static, type TSchema } from '@sinclair/typebox';
import type { Experiment } from '../prometheus/experiment.js';
import { addMetrics, gated, type App } from '../prometheus/server.js';
import { programOf, REPOSITORY } from '../testbed/paths.js';
import type { Download } from './page-captures.js';
import { paletteCss } from '../report/palette.js';
import { AnsweredBody, FinishedBody, PhaseBody } from './schema.js';

/** Largest message of a browser, and largest record of another process, bytes. */
const MESSAGE_BYTES_MAX = 4096;
const RECORD_BYTES_MAX = 512 << 10;

export interface ServerEvents {
  connected: (socket: WebSocket) => void;
  /** What experiments tell. They fail with what is not of the run under way. */
  phase: (body: PhaseBody) => Promise<void>;
  finished: (body: FinishedBody) => Promise<void>;
  answered: (body: AnsweredBody) => Promise<void>;
  /** The same for Prometheus, and what is called before it is read. */
  experiment: Experiment;
  look: () => void;
  /** What another process that reports shows (board.ts); '' while the testbed starts. */
  key: () => string;
  /** The capture of that id; null: there is none. */
  capture: (id: string) => Download | null;
}

export interface LiveServer {
  /** http://host:port/ */
  url: string;
  close(): Promise<void>;
}

/** Starts it. @param names what it is called beside its address. @throws the system's error when the address cannot be had */
export async function startServer(
  listen: { host: string; port: number },
  names: readonly string[],
  on: ServerEvents,
): Promise<LiveServer> {
  const gate = { bound: listen.host, names };
  const app = gated(gate, RECORD_BYTES_MAX);
  await app.register(helmet, {
    contentSecurityPolicy: {
      useDefaults: false,
      directives: {
        'default-src': ["'none'"],
        'script-src': ["'self'"],
        'style-src': ["'self'"],
        'img-src': ["'self'"],
        // Older browsers do not take ws: for 'self'. The Host header has been checked.
        'connect-src': [
          "'self'",
          (request) => `ws://${request.headers.host ?? ''}`,
          ...names.map((name) => `wss://${name}`),
        ],
        'base-uri': ["'none'"],
        'form-action': ["'none'"],
        'frame-ancestors': ["'none'"],
        'require-trusted-types-for': ["'script'"],
      },
    },
    // Plain HTTP on the machine itself.
    strictTransportSecurity: false,
    referrerPolicy: { policy: 'no-referrer' },
  });
  await addFiles(app);
  addObserver(app, on);
  addDownload(app, on);
  addMetrics(app, on.experiment, on.look);

  const sockets = new WebSocketServer({ noServer: true, perMessageDeflate: false, maxPayload: MESSAGE_BYTES_MAX });
  takeUpgrades(app.server, asksForWebSocket, (request, socket, head) => {
    const { host, origin } = request.headers;
    const reason =
      refuseHost(host, gate) ??
      (origin === undefined
        ? 'the Origin header is missing: only the live page may connect'
        : refuseOrigin(origin, host, gate));
    const path = (request.url ?? '').split('?')[0];
    if (reason !== null) return refuseUpgrade(socket, 403, `${reason}\n`);
    if (path !== '/live') return refuseUpgrade(socket, 404, 'the WebSocket is at /live\n');
    sockets.handleUpgrade(request, socket, head, on.connected);
  });

  await app.listen({ host: await addressToBind(listen.host), port: listen.port });
  const bound = app.server.address();
  const port = typeof bound === 'object' && bound !== null ? bound.port : listen.port;
  return {
    url: `http://${listen.host.includes(':') ? `[${listen.host}]` : listen.host}:${port}/`,
    close: () => app.close(),
  };
}

const SOURCES = join(REPOSITORY, 'load/page');
const BUILT = programOf('load/dist/page');

/** Each file by its own name: nothing else in those folders can be had. */
async function addFiles(app: App): Promise<void> {
  const uplot = dirname(createRequire(import.meta.url).resolve('uplot/package.json'));
  const files = new Map<string, [name: string, root: string]>([
    ['/', ['index.html', SOURCES]],
    ['/icon.svg', ['icon.svg', SOURCES]],
    ['/uplot.css', ['uPlot.min.css', join(uplot, 'dist')]],
    ['/page/uplot.js', ['uPlot.esm.js', join(uplot, 'dist')]],
  ]);
  for (const name of readdirSync(SOURCES)) if (name.endsWith('.css')) files.set(`/${name}`, [name, SOURCES]);
  for (const name of readdirSync(BUILT)) if (name.endsWith('.js')) files.set(`/page/${name}`, [name, BUILT]);
  await app.register(fastifyStatic, { root: SOURCES, serve: false, cacheControl: false });
  for (const [url, [name, root]] of files) {
    app.get(url, (_request, reply) => reply.header('cache-control', 'no-cache').sendFile(name, root));
  }
  const css = paletteCss();
  app.get('/palette.css', (_request, reply) => reply.type('text/css').header('cache-control', 'no-cache').send(css));
}

/** Where a comparison that runs in another process tells how it goes. Only who has the operator's token may. */
function addObserver(app: App, on: ServerEvents): void {
  const guarded = {
    onRequest: (
      request: { headers: { authorization?: string | undefined } },
      reply: { code(n: number): { send(body: object): unknown } },
      done: () => void,
    ): void => {
      if (isBearer(request.headers.authorization, on.key())) done();
      else reply.code(401).send({ statusCode: 401, error: 'Unauthorized', message: 'the operator token is needed' });
    },
  };
  const Empty = Type.Object({});
  const add = <T extends TSchema>(path: string, body: T, tell: (told: Static<T>) => Promise<void>): void => {
    app.post(`/observer/${path}`, { ...guarded, schema: { body, response: { 200: Empty } } }, async (request) => {
      await tell(request.body);
      return {};
    });
  };
  add('phase', PhaseBody, on.phase);
  add('finished', FinishedBody, on.finished);
  add('answered', AnsweredBody, on.answered);
}

/** The file of a capture. Its id is random and told to browsers that passed the checks of Host and Origin only. */
function addDownload(app: App, on: ServerEvents): void {
  const Params = Type.Object({ id: Type.String({ pattern: '^[0-9a-f-]{36}$' }) });
  app.get('/capture/:id.pcapng', { schema: { params: Params } }, (request, reply) => {
    const found = on.capture(request.params.id);
    if (found === null)
      return reply
        .code(404)
        .send({ statusCode: 404, error: 'Not Found', message: 'there is no such capture any more' });
    return reply
      .header('content-type', 'application/x-pcapng')
      .header('content-length', found.bytes)
      .header('content-disposition', `attachment; filename="${found.name}"`)
      .header('cache-control', 'no-store')
      .send(found.stream);
  });
}
