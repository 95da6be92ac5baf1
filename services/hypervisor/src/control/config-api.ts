/** Configuration and runs: docs/wire/control-plane.md sections 4, 5 and 8. */
import { FACTOR_VALUES } from '@grantline/base';
import type { ServiceHttp } from '@grantline/service';
import { Type } from '@sinclair/typebox';
import { Empty, Factors, Nullable } from './api-schemas.js';
import { DomainError } from './domains.js';
import type { Parts } from './parts.js';

const ConfigBody = Type.Object({
  generation: Type.Integer(),
  factors: Factors,
  settled: Type.Boolean(),
  vifs: Type.Array(
    Type.Object({
      vif: Type.String(),
      backend: Type.String(),
      frontend: Type.String(),
      backendAck: Nullable(Type.Integer()),
      frontendAck: Nullable(Type.Integer()),
      error: Nullable(Type.String()),
    }),
  ),
});

/** Any value: what is wrong with one is better said by name and in words than by a schema. */
const FactorsBody = Type.Record(Type.String(), Type.Unknown(), {
  description: `Factors to change, the others stay. ${Object.entries(FACTOR_VALUES)
    .map(([name, values]) => `${name}: ${values.join(' | ')}`)
    .join('; ')}`,
});

const RunBody = Type.Object(
  {
    id: Type.Integer({ minimum: 0 }),
    seed: Type.Integer({ minimum: 0, maximum: 0xffffffff }),
    mode: Type.Union([Type.Literal('verify'), Type.Literal('record'), Type.Literal('off'), Type.Literal('respond')]),
    frameSizes: Type.Array(Type.Integer({ minimum: 1, maximum: 65535 }), { maxItems: 1024 }),
    guests: Type.Array(Type.Integer({ minimum: 0, maximum: 0xffff }), { maxItems: 1024 }),
  },
  { additionalProperties: true },
);

const RunStatus = Type.Object({ run: Nullable(RunBody), ready: Type.Array(Type.Integer()) });

/** Adds the routes. */
export function addConfig(app: ServiceHttp, hv: Parts): void {
  app.put('/api/config', { schema: { summary: 'Changes factors of all vifs', body: FactorsBody } }, (request) => {
    try {
      return { generation: hv.toolstack.configure(request.body) };
    } catch (error) {
      throw new DomainError(400, (error as Error).message);
    } finally {
      hv.deliver();
    }
  });
  app.get(
    '/api/config',
    { schema: { summary: 'Factors, and how far the vifs are', response: { 200: ConfigBody } } },
    () => ({
      generation: hv.toolstack.generation,
      factors: hv.toolstack.factors,
      settled: hv.toolstack.settled(),
      vifs: hv.toolstack.vifs(),
    }),
  );
  app.put(
    '/api/run',
    { schema: { summary: 'Tells the receivers of a run', body: RunBody, response: { 200: Empty } } },
    (request) => {
      hv.toolstack.startRun(request.body);
      hv.deliver();
      return {};
    },
  );
  app.get(
    '/api/run',
    { schema: { summary: 'The run, and who is ready for it', response: { 200: RunStatus } } },
    () => ({
      run: hv.toolstack.run,
      ready: hv.toolstack.ready(),
    }),
  );
}
