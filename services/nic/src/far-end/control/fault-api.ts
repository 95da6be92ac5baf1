/** The HTTP side of the injector. services/nic/README.md. */
import { FAULTS_COUNTERS } from '@grantline/observe';
import type { CounterBlock } from '@grantline/machine';
import { MAX_DELAY_US, wrongFaults } from '@grantline/base';
import type { ServiceHttp } from '@grantline/service';
import { Type } from '@sinclair/typebox';
import type { CableInjector } from '../data/cable-faults.js';

const chance = Type.Number({ minimum: 0, maximum: 1, description: 'of each frame' });
const Direction = Type.Union([
  Type.Null(),
  Type.Object(
    {
      seed: Type.Integer({ minimum: 0, maximum: 2 ** 32 - 1 }),
      ...{ loss: chance, duplicate: chance, corrupt: chance, reorder: chance, delay: chance },
      delayUs: Type.Number({ minimum: 1, maximum: MAX_DELAY_US }),
    },
    { additionalProperties: false },
  ),
]);
const Body = Type.Object({ in: Direction, out: Direction }, { additionalProperties: false });
const Counts = Type.Object(
  Object.fromEntries(FAULTS_COUNTERS.names.map((name) => [name, Type.Number()])) as Record<
    keyof typeof FAULTS_COUNTERS.counters,
    ReturnType<typeof Type.Number>
  >,
);
const Answer = Type.Object({
  settings: Body,
  counted: Type.Object({ in: Counts, out: Counts }),
});
const Refusal = Type.Object({ error: Type.String() });

/** Adds the routes. Before the server listens. */
export function addFaultApi(
  http: ServiceHttp,
  injector: CableInjector,
  counters: { in: CounterBlock; out: CounterBlock },
  wake: () => void,
): void {
  const read = (block: CounterBlock) => block.read() as Record<keyof typeof FAULTS_COUNTERS.counters, number>;
  const status = () => ({
    settings: injector.settings,
    counted: { in: read(counters.in), out: read(counters.out) },
  });
  http.get(
    '/faults',
    { schema: { summary: 'Faults on the cable, set and counted', response: { 200: Answer } } },
    status,
  );
  http.put(
    '/faults',
    {
      schema: {
        summary: 'Faults on the cable from now on; null: none',
        body: Body,
        response: { 200: Answer, 400: Refusal },
      },
    },
    (request, reply) => {
      for (const s of [request.body.in, request.body.out]) {
        const wrong = s === null ? null : wrongFaults(s);
        if (wrong === null) continue;
        reply.code(400);
        return { error: wrong };
      }
      injector.set(request.body);
      wake();
      return status();
    },
  );
}
