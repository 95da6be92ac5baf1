/** Looking into xenstore, grants and ports, for `grantline dump`. */
import type { DomId } from '@grantline/base';
import type { ServiceHttp } from '@grantline/service';
import { Type, type Static } from '@sinclair/typebox';
import { grantRows, mappingRows } from '../data/inspect.js';
import { Domid } from './api-schemas.js';
import { DomainError, type Domain } from './domains.js';
import type { Parts } from './parts.js';

const Access = Type.Object({
  domid: Type.Integer(),
  kind: Type.Union([Type.Literal('guest'), Type.Literal('driver-domain'), Type.Literal('nic')]),
  http: Type.String(),
  key: Type.String(),
});
type Access = Static<typeof Access>;

/** Adds the routes. */
export function addInspection(app: ServiceHttp, hv: Parts): void {
  const Path = Type.Object({ path: Type.Optional(Type.String({ maxLength: 4096 })) });
  app.get('/api/xenstore', { schema: { summary: 'A subtree of xenstore', querystring: Path } }, (request) => {
    const path = request.query.path ?? '/';
    const tree = hv.store.subtree(path);
    if (tree === null) throw new DomainError(404, `there is no ${path}`);
    return tree;
  });
  app.get(
    '/api/domains/:domid/grants',
    { schema: { summary: 'Grants and mappings of a domain', params: Domid } },
    (request) => {
      const domain = hv.memory.get(request.params.domid);
      if (domain === null) throw new DomainError(404, `there is no domain ${request.params.domid}`);
      return { entries: grantRows(hv.space.mem, domain), maptrack: mappingRows(domain) };
    },
  );
  app.get(
    '/api/domains/:domid/ports',
    { schema: { summary: 'Event channels of a domain', params: Domid } },
    (request) => {
      const { domid } = request.params;
      if (hv.domains.get(domid) === null) throw new DomainError(404, `there is no domain ${domid}`);
      return { ports: hv.portsOf(domid as DomId) };
    },
  );
  const accessTo = ({ domid, kind, http, controlKey: key }: Domain): Access[] =>
    http === null ? [] : [{ domid, kind, http, key }];
  const All = Type.Object({ domains: Type.Array(Access) });
  app.get(
    '/api/control',
    { schema: { summary: 'Where the services of domains answer, and their keys', response: { 200: All } } },
    () => ({ domains: hv.domains.live().flatMap(accessTo) }),
  );
  app.get(
    '/api/domains/:domid/control',
    { schema: { summary: 'Where its service answers, and with which key', params: Domid, response: { 200: Access } } },
    (request) => {
      const domain = hv.domains.get(request.params.domid);
      const access = domain?.state === 'running' ? accessTo(domain)[0] : undefined;
      if (access === undefined) throw new DomainError(404, `domain ${request.params.domid} is not running`);
      return access;
    },
  );
}
