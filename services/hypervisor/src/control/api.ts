/** The operator's HTTP API. docs/wire/control-plane.md section 4; /documentation shows the schemas. All of it needs the operator's
 *  token: a route that does not says so (OPEN). */
import { DOMID_CONTROL, configurationName, domainName, type DomId } from '@grantline/base';
import { OPEN, refuse, type ServiceHttp } from '@grantline/service';
import { Type, type Static } from '@sinclair/typebox';
import { Empty, Factors, Nullable, addConfig, answering } from './config-api.js';
import { DOMAIN_KINDS, DomainError, type Domain } from './domains.js';
import { grantRows, mappingRows } from './inspect.js';
import { MemoryError } from './memory-pool.js';
import type { Parts } from './parts.js';
import { StoreError } from './store-node.js';

const Domid = Type.Object({ domid: Type.Integer({ minimum: 0, maximum: 0xffff }) });
const Kind = Type.Union(DOMAIN_KINDS.map((kind) => Type.Literal(kind)));

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
  addInspection(app, hv);
}

function addTestbed(app: ServiceHttp, hv: Parts): void {
  app.get('/api/testbed', answering('What there is', TestbedBody), () => ({
    dir: hv.files.dir,
    config: hv.toolstack.factors,
    configuration: configurationName(hv.toolstack.factors),
    generation: hv.toolstack.generation,
    domains: hv.domains.list().map(({ memoryPages: _, joined: _joined, controlKey: _key, ...d }) => d),
  }));
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
      const open = found(hv.shares.counterOpener(domid as DomId), `there is no domain ${domid}`);
      return { ticket: hv.tickets.issue(DOMID_CONTROL, open) };
    },
  );
  app.post('/api/shutdown', answering('Ends all', Empty), (_request, reply) => {
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

const TargetsBody = Type.Array(
  Type.Object({
    targets: Type.Array(Type.String({ description: 'host:port' })),
    labels: Type.Object({ domain: Type.String(), kind: Type.String() }),
  }),
);

const Access = Type.Object({
  domid: Type.Integer(),
  kind: Kind,
  http: Type.String(),
  key: Type.String(),
});
type Access = Static<typeof Access>;

/** Looking into xenstore, grants and ports, for `grantline dump`; where services answer. */
function addInspection(app: ServiceHttp, hv: Parts): void {
  const Path = Type.Object({ path: Type.Optional(Type.String({ maxLength: 4096 })) });
  app.get('/api/xenstore', { schema: { summary: 'A subtree of xenstore', querystring: Path } }, (request) => {
    const path = request.query.path ?? '/';
    return found(hv.store.subtree(path), `there is no ${path}`);
  });
  app.get(
    '/api/domains/:domid/grants',
    { schema: { summary: 'Grants and mappings of a domain', params: Domid } },
    (request) => {
      const { domid } = request.params;
      const domain = found(hv.memory.get(domid), `there is no domain ${domid}`);
      return { entries: grantRows(hv.space.mem, domain), maptrack: mappingRows(domain) };
    },
  );
  app.get(
    '/api/domains/:domid/ports',
    { schema: { summary: 'Event channels of a domain', params: Domid } },
    (request) => {
      const { domid } = request.params;
      return { ports: hv.portsOf(found(hv.domains.get(domid), `there is no domain ${domid}`).domid) };
    },
  );
  const accessTo = ({ domid, kind, http, controlKey: key }: Domain): Access[] =>
    http === null ? [] : [{ domid, kind, http, key }];
  const All = Type.Object({ domains: Type.Array(Access) });
  app.get('/api/control', answering('Where the services of domains answer, and their keys', All), () => ({
    domains: hv.domains.live().flatMap(accessTo),
  }));
  app.get(
    '/api/domains/:domid/control',
    { schema: { summary: 'Where its service answers, and with which key', params: Domid, response: { 200: Access } } },
    (request) => {
      const domain = hv.domains.get(request.params.domid);
      const access = domain?.state === 'running' ? accessTo(domain)[0] : null;
      return found(access, `domain ${request.params.domid} is not running`);
    },
  );
  // HTTP service discovery for Prometheus: docs/wire/metrics.md section 5.
  app.get(
    '/prometheus/targets',
    { ...OPEN, ...answering('Where there are metrics, for http_sd_configs', TargetsBody) },
    () => {
      const group = (url: string, domid: number, kind: string) => ({
        targets: [new URL(url).host],
        labels: { domain: domainName(domid), kind },
      });
      const own = hv.url === null ? [] : [group(hv.url, DOMID_CONTROL, 'hypervisor')];
      const others = hv.domains.live().flatMap((d) => (d.http === null ? [] : [group(d.http, d.domid, d.kind)]));
      return [...own, ...others];
    },
  );
}

/** @throws DomainError 404 when there is nothing */
function found<T>(it: T | null | undefined, why: string): T {
  if (it === null || it === undefined) throw new DomainError(404, why);
  return it;
}

function statusOf(error: Error & { statusCode?: number; validation?: unknown }): number {
  if (error instanceof StoreError) return 400;
  // Short of shared memory; the operator can do something about it, and the message says what.
  if (error instanceof MemoryError) return 507;
  return error.statusCode ?? (error.validation === undefined ? 500 : 400);
}
