/** Looking into xenstore, grants and ports, for `grantline dump`. */
import type { DomId } from '@grantline/shared/abi/page.js';
import type { ServiceHttp } from '@grantline/shared/service/http.js';
import { Type } from 'typebox';
import { grantRows, mappingRows } from '../data/inspect.js';
import type { Guard } from './api-guard.js';
import { Domid } from './api-schemas.js';
import { DomainError } from './domains.js';
import type { Hypervisor } from './hypervisor.js';

const Access = Type.Object({ http: Type.String(), key: Type.String() });

/** Adds the routes. */
export function addInspection(app: ServiceHttp, hv: Hypervisor, guarded: Guard): void {
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
  app.get(
    '/api/domains/:domid/capture',
    {
      ...guarded,
      schema: { summary: 'Where its captures are read, and with which key', params: Domid, response: { 200: Access } },
    },
    (request) => {
      const domain = hv.domains.get(request.params.domid);
      if (domain?.state !== 'running' || domain.http === null)
        throw new DomainError(404, `domain ${request.params.domid} is not running`);
      return { http: domain.http, key: domain.captureKey };
    },
  );
}
