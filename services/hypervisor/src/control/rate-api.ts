/** What guests may send: the nodes `rate` and `nested` of each vif, which netback watches; the nic is told of `nested`.
 *  docs/wire/control-plane.md section 4. */
import { DOMID_NIC, parseDomId, type DomId, parseRate } from '@grantline/base';
import type { ServiceHttp } from '@grantline/service';
import { Type } from '@sinclair/typebox';
import { Nullable } from './api-schemas.js';
import { DomainError } from './domains.js';
import type { Parts } from './parts.js';

const RateBody = Type.Object(
  {
    // Any value: a schema would take null for an empty text.
    rate: Type.Unknown({ description: 'as 100Mb/s or 1GB/s@20ms; null: no limit' }),
    guest: Type.Optional(Type.Integer({ description: 'domid; without it all guests, also those to come' })),
  },
  { additionalProperties: false },
);
const NestedBody = Type.Object(
  {
    nested: Type.Boolean({ description: 'true: other stations stand behind the guest, with addresses of their own' }),
    guest: Type.Optional(Type.Integer({ description: 'domid; without it all guests, also those to come' })),
  },
  { additionalProperties: false },
);
const Nested = Type.Object({ nested: Type.Array(Type.Integer({ description: 'domid' })) });
const Rates = Type.Object({
  rates: Type.Array(Type.Object({ vif: Type.String(), rate: Nullable(Type.String()) })),
});

/** Adds the routes. */
export function addRate(app: ServiceHttp, hv: Parts): void {
  app.put(
    '/api/rate',
    { schema: { summary: 'Limits what vifs may send', body: RateBody, response: { 200: Rates } } },
    (request) => {
      const { rate, guest } = request.body;
      try {
        const node = rate === null ? null : parseRate(typeof rate === 'string' ? rate : '');
        hv.toolstack.setRate(node, guestOf(hv, guest));
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

  const nested = (): { nested: number[] } => ({
    nested: hv.domains.guests().flatMap(({ domid }) => (hv.toolstack.isNested(domid) ? [domid] : [])),
  });
  app.put(
    '/api/nested',
    {
      schema: {
        summary: 'Lets other stations send by the vif of a guest',
        body: NestedBody,
        response: { 200: Nested },
      },
    },
    (request) => {
      const { body } = request;
      for (const domid of hv.toolstack.setNested(body.nested, guestOf(hv, body.guest)))
        hv.server.send(DOMID_NIC, 'domain.nested', { domid, nested: body.nested });
      hv.deliver();
      return nested();
    },
  );
  app.get('/api/nested', { schema: { summary: 'Guests with others behind them', response: { 200: Nested } } }, nested);
}

/** @throws DomainError 404 */
function guestOf(hv: Parts, guest: number | undefined): DomId | undefined {
  if (guest === undefined) return undefined;
  if (!hv.domains.guests().some((d) => d.domid === guest)) throw new DomainError(404, `there is no guest ${guest}`);
  return parseDomId(guest);
}
