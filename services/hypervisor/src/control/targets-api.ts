/** HTTP service discovery for Prometheus: docs/wire/metrics.md section 5. */
import { DOMID_CONTROL, domainName } from '@grantline/base';
import { OPEN, type ServiceHttp } from '@grantline/service';
import { Type } from '@sinclair/typebox';
import type { Parts } from './parts.js';

const TargetsBody = Type.Array(
  Type.Object({
    targets: Type.Array(Type.String({ description: 'host:port' })),
    labels: Type.Object({ domain: Type.String(), kind: Type.String() }),
  }),
);

/** Adds the route. */
export function addTargets(app: ServiceHttp, hv: Parts): void {
  app.get(
    '/prometheus/targets',
    { ...OPEN, schema: { summary: 'Where there are metrics, for http_sd_configs', response: { 200: TargetsBody } } },
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
