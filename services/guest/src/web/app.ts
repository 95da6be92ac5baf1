/** The application of a guest: an ordinary fastify server. It does not listen: its owner gives it connections,
 *  by server.emit('connection', socket) or by server.listen(), and it knows of no stack. docs/http.md */
import type { Server } from 'node:http';
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import { fastify } from 'fastify';
import { answerHeadAtOnce } from '@grantline/base';
import { REQUEST_ID } from '@grantline/measure';
import { addBodies, addRoot } from './routes.js';
import { queuePipelined, WorkTurns } from './turns.js';
import { addEcho } from './ws-echo.js';

export interface WebAppOptions {
  /** Who answers, as GET / tells: guest1. */
  name: string;
  /** Called after each answer. */
  onAnswer?: (statusCode: number) => void;
  /** Limits of time; for tests. Milliseconds. */
  limits?: Partial<WebLimits>;
  /** Longest body up, for tests. */
  maxBodyBytes?: number;
}

export interface WebLimits {
  /** A connection on which nothing moves, in the middle of an answer too, is ended. */
  silence: number;
  /** Between two requests. */
  keepAlive: number;
  /** From the first byte of a request until its headers are whole. */
  headers: number;
  /** Until its body is whole. */
  request: number;
  /** How often the last two are looked at. */
  look: number;
}

const LIMITS: WebLimits = { silence: 120_000, keepAlive: 30_000, headers: 20_000, request: 600_000, look: 5000 };
/** Bytes; what is longer is answered with 431. */
const MAX_HEADER_BYTES = 16 << 10;

/** A server that answers, and how to end it. */
export interface WebApp {
  server: Server;
  /** How its work is dealt out to the turns of the event loop. */
  turns: WorkTurns;
  /** Ends all connections, those in the middle of an answer too. */
  close(): Promise<void>;
}

/** Makes the application, ready for connections. */
export async function makeWebApp(o: WebAppOptions): Promise<WebApp> {
  const limits = { ...LIMITS, ...o.limits };
  const app = fastify({
    connectionTimeout: limits.silence,
    keepAliveTimeout: limits.keepAlive,
    requestTimeout: limits.request,
    requestIdHeader: REQUEST_ID,
    // The id is repeated only where the request has one: another is nobody's business.
    genReqId: () => '',
    forceCloseConnections: true,
    // A parameter that is not known is a mistake, and told.
    ajv: { customOptions: { removeAdditional: false } },
    http: {
      maxHeaderSize: MAX_HEADER_BYTES,
      headersTimeout: limits.headers,
      connectionsCheckingInterval: limits.look,
    },
  }).withTypeProvider<TypeBoxTypeProvider>();
  const turns = new WorkTurns();
  app.addHook('onRoute', answerHeadAtOnce);
  app.addHook('onRequest', queuePipelined(turns));
  app.addHook('onRequest', (request, reply, done) => {
    if (request.id !== '') reply.header(REQUEST_ID, request.id);
    done();
  });
  const { onAnswer } = o;
  if (onAnswer)
    app.addHook('onResponse', (_request, reply, done) => {
      onAnswer(reply.statusCode);
      done();
    });
  addRoot(app, o.name);
  await addBodies(app, turns, o.maxBodyBytes);
  const closeEcho = addEcho(app, turns);
  await app.ready();
  // Node keeps its list of connections, and so the limits of time and their end at close(), from this event on: it is
  // told of by listen() alone, and nobody needs to listen here.
  app.server.emit('listening');
  return {
    server: app.server,
    turns,
    close: async () => {
      closeEcho();
      app.server.closeAllConnections();
      await app.close();
    },
  };
}
