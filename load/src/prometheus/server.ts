/** Where Prometheus reads the experiment: at the live page, or, where there is none, at a server of just that page.
 *  docs/wire/metrics.md section 4. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import { fastify, type FastifyBaseLogger, type FastifyInstance, type RawServerDefault } from 'fastify';
import { refuseHost, type Gate, answerHeadAtOnce, addressToBind, limitListening } from '@grantline/base';
import { METRICS_TYPE, readingsPage } from '@grantline/observe';
import { parseListen } from '../base/option-values.js';
import { UserError } from '../base/errors.js';
import { Experiment, EXPERIMENT_FAMILIES } from './experiment.js';

export type App = FastifyInstance<
  RawServerDefault,
  IncomingMessage,
  ServerResponse,
  FastifyBaseLogger,
  TypeBoxTypeProvider
>;

/** Connections at once, WebSockets of other pages among them: a browser opens six. */
const CONNECTIONS_MAX = 128;

/** Nobody tells anything to a server of metrics alone. */
const BODY_BYTES_MAX = 1024;

/** A server that answers under its own names only. @param bodyLimit of requests, bytes */
export function gated(gate: Gate, bodyLimit: number): App {
  const app: App = fastify({
    logger: false,
    forceCloseConnections: true,
    bodyLimit,
    // A null stays a null, and does not become 0.
    ajv: { customOptions: { coerceTypes: false, removeAdditional: false } },
  }).withTypeProvider<TypeBoxTypeProvider>();
  limitListening(app.server, { most: CONNECTIONS_MAX });
  app.addHook('onRoute', answerHeadAtOnce);
  app.addHook('onRequest', (request, reply, done) => {
    const reason = refuseHost(request.headers.host, gate);
    if (reason === null) done();
    else void reply.code(421).send({ statusCode: 421, error: 'Misdirected Request', message: reason });
  });
  return app;
}

/** GET /metrics: open, as at every service. @param look called before each answer */
export function addMetrics(app: App, experiment: Experiment, look: () => void = () => {}): void {
  app.get('/metrics', async (_request, reply) => {
    look();
    const text = await readingsPage('experimenter', EXPERIMENT_FAMILIES, experiment.readings());
    return reply.type(METRICS_TYPE).send(text);
  });
}

/** What experiments are told to where GRANTLINE_METRICS says that this process shows them. */
export interface Shown {
  experiment: Experiment;
  /** http://host:port */
  url: string;
  close(): Promise<void>;
}

/** @throws UserError when the address is none, or cannot be had */
export async function showExperiment(env: NodeJS.ProcessEnv): Promise<Shown> {
  const text = env['GRANTLINE_METRICS'] ?? '';
  const { host, port } = parseListen(text);
  const app = gated({ bound: host, names: env['GRANTLINE_HTTP_NAMES']?.split(',') ?? [] }, BODY_BYTES_MAX);
  const experiment = new Experiment();
  addMetrics(app, experiment);
  let url: string;
  try {
    url = await app.listen({ host: await addressToBind(host), port });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === undefined) throw error;
    throw new UserError(
      `cannot show metrics at ${text} (${code})`,
      'set GRANTLINE_METRICS to another address, or to none',
    );
  }
  return { experiment, url, close: () => app.close() };
}
