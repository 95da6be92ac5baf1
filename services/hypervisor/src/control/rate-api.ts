/** What guests may send: the node `rate` of each vif, which netback watches. docs/wire/control-plane.md section 4. */
import { parseDomId } from '@grantline/shared/abi/page.js';
import { parseRate } from '@grantline/shared/config/rate.js';
import type { ServiceHttp } from '@grantline/shared/service/http.js';
import { Type } from 'typebox';
import type { Guard } from './api-guard.js';
import { Nullable } from './api-schemas.js';
import { DomainError } from './domains.js';
import type { Hypervisor } from './hypervisor.js';

const RateBody = Type.Object(
  {
    // Any value: a schema would take null for an empty text.
    rate: Type.Unknown({ description: 'as 100Mb/s or 1GB/s@20ms; null: no limit' }),
    guest: Type.Optional(Type.Integer({ description: 'domid; without it all guests, also those to come' })),
  },
  { additionalProperties: false },
);
const Rates = Type.Object({
  rates: Type.Array(Type.Object({ vif: Type.String(), rate: Nullable(Type.String()) })),
});

/** Adds the routes. */
export function addRate(app: ServiceHttp, hv: Hypervisor, guarded: Guard): void {
  app.put(
    '/api/rate',
    { ...guarded, schema: { summary: 'Limits what vifs may send', body: RateBody, response: { 200: Rates } } },
    (request) => {
      const { rate, guest } = request.body;
      try {
        const node = rate === null ? null : parseRate(typeof rate === 'string' ? rate : '');
        if (guest === undefined) hv.toolstack.setRate(node);
        else if (!hv.domains.guests().some((d) => d.domid === guest))
          throw new DomainError(404, `there is no guest ${guest}`);
        else hv.toolstack.setRate(node, parseDomId(guest));
      } catch (error) {
        throw error instanceof DomainError ? error : new DomainError(400, (error as Error).message);
      } finally {
        hv.deliver();
      }
      return { rates: hv.toolstack.rates() };
    },
  );
  app.get('/api/rate', { schema: { summary: 'Limits, as "bytes,usec"', response: { 200: Rates } } }, () => ({
    rates: hv.toolstack.rates(),
  }));
}
