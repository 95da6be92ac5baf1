/** The operator's HTTP API. docs/wire/control-plane.md section 4; /documentation shows the schemas. All of it needs the operator's
 *  token: a route that does not says so (OPEN). */
import { DOMID_CONTROL, type DomId, configurationName } from '@grantline/base';
import { refuse, type ServiceHttp } from '@grantline/service';
import { Type } from '@sinclair/typebox';
import { Domid, Empty, Factors, Nullable } from './api-schemas.js';
import { DomainError } from './domains.js';
import { addConfig } from './config-api.js';
import { MemoryError } from './claim.js';
import type { Parts } from './parts.js';
import { addInspection } from './inspect-api.js';
import { StoreError } from './store-path.js';
import { addSession } from './session-api.js';
import { addRate } from './rate-api.js';
import { addTargets } from './targets-api.js';

const DomainBody = Type.Object({
  domid: Type.Integer(),
  kind: Type.String(),
  name: Type.String(),
  state: Type.Union([Type.Literal('created'), Type.Literal('running'), Type.Literal('dead')]),
  pid: Nullable(Type.Integer()),
  http: Nullable(Type.String()),
  mac: Nullable(Type.String()),
  ip: Nullable(Type.String()),
});

const TestbedBody = Type.Object({
  dir: Type.String(),
  config: Factors,
  /** Name of the configuration that has these factors, or 'custom'. */
  configuration: Type.String(),
  generation: Type.Integer(),
  domains: Type.Array(DomainBody),
});

/** Adds the routes. */
export function addApi(app: ServiceHttp, hv: Parts): void {
  app.setErrorHandler((error: Error & { statusCode?: number; validation?: unknown }, _request, reply) => {
    const status = statusOf(error);
    if (status >= 500 && status !== 507) app.log.error({ err: error }, 'a call failed');
    void reply.send(refuse(reply, status, error.message));
  });
  addTestbed(app, hv);
  addConfig(app, hv);
  addRate(app, hv);
  addSession(app, hv);
  addInspection(app, hv);
  addTargets(app, hv);
}

function addTestbed(app: ServiceHttp, hv: Parts): void {
  app.get('/api/testbed', { schema: { summary: 'What there is', response: { 200: TestbedBody } } }, () => ({
    dir: hv.files.dir,
    config: hv.toolstack.factors,
    configuration: configurationName(hv.toolstack.factors),
    generation: hv.toolstack.generation,
    domains: hv.domains.list().map(({ memoryPages: _, joined: _joined, controlKey: _key, ...d }) => d),
  }));
  const Kind = Type.Union([Type.Literal('guest'), Type.Literal('driver-domain'), Type.Literal('nic')]);
  app.post(
    '/api/domains',
    {
      schema: { summary: 'Creates a domain', body: Type.Object({ kind: Kind }), response: { 200: Credentials } },
    },
    (request) => {
      const { domain, secret } = hv.domains.create(request.body.kind);
      return { domid: domain.domid, secret, dir: hv.files.dir, ...hv.files.identityOf(domain.domid) };
    },
  );
  app.delete(
    '/api/domains/:domid',
    { schema: { summary: 'Destroys a domain', params: Domid, response: { 200: Empty } } },
    (request) => {
      hv.domains.destroy(request.params.domid as DomId);
      return {};
    },
  );
  app.post(
    '/api/domains/:domid/counters',
    {
      schema: {
        summary: 'A ticket for a descriptor of the counters, to be read; 0: the hypervisor',
        params: Domid,
        response: { 200: Type.Object({ ticket: Type.String() }) },
      },
    },
    (request) => {
      const { domid } = request.params;
      const open = hv.shares.counterOpener(domid as DomId);
      if (open === null) throw new DomainError(404, `there is no domain ${domid}`);
      return { ticket: hv.tickets.issue(DOMID_CONTROL, open) };
    },
  );
  app.post('/api/shutdown', { schema: { summary: 'Ends all', response: { 200: Empty } } }, (_request, reply) => {
    // After the answer: the socket that it goes out by is one of those that will be closed.
    reply.raw.once('finish', () => setImmediate(() => hv.onShutdown()));
    return reply.send({});
  });
}

const Credentials = Type.Object({
  domid: Type.Integer(),
  secret: Type.String(),
  dir: Type.String(),
  uid: Nullable(Type.Integer()),
  gid: Nullable(Type.Integer()),
  groups: Type.Array(Type.Integer()),
});

function statusOf(error: Error & { statusCode?: number; validation?: unknown }): number {
  if (error instanceof StoreError) return 400;
  // Short of shared memory; the operator can do something about it, and the message says what.
  if (error instanceof MemoryError) return 507;
  return error.statusCode ?? (error.validation === undefined ? 500 : 400);
}
