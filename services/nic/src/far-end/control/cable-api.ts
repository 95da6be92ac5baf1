/** The HTTP side of the cable: its faults, and for frames that the guests send what the far end shall expect, and how fast the link
 *  is in that direction. services/nic/README.md. */
import { FAULTS_COUNTERS } from '@grantline/observe';
import type { CounterBlock } from '@grantline/machine';
import { MAX_DELAY_US, wrongFaults } from '@grantline/base';
import { ETH_MAX_FRAME, ETH_MIN_FRAME } from '@grantline/frames';
import { Refusal, refuse, type ServiceHttp } from '@grantline/service';
import { Type } from '@sinclair/typebox';
import type { CableOut } from '../../hardware/data/cable-out.js';
import type { CableInjector } from '../data/cable-faults.js';
import type { Sink } from '../data/sink.js';
import { Seed, linkGbps } from './api-schemas.js';

const chance = Type.Number({ minimum: 0, maximum: 1, description: 'of each frame' });
const Direction = Type.Union([
  Type.Null(),
  Type.Object(
    {
      seed: Seed,
      ...{ loss: chance, duplicate: chance, corrupt: chance, reorder: chance, delay: chance },
      delayUs: Type.Number({ minimum: 1, maximum: MAX_DELAY_US }),
    },
    { additionalProperties: false },
  ),
]);
const Settings = Type.Object({ in: Direction, out: Direction }, { additionalProperties: false });
const Counts = Type.Object(
  Object.fromEntries(FAULTS_COUNTERS.names.map((name) => [name, Type.Number()])) as Record<
    keyof typeof FAULTS_COUNTERS.counters,
    ReturnType<typeof Type.Number>
  >,
);
const Answer = Type.Object({ settings: Settings, counted: Type.Object({ in: Counts, out: Counts }) });
const SinkBody = Type.Object(
  {
    seed: Seed,
    frameSizes: Type.Array(Type.Integer({ minimum: ETH_MIN_FRAME, maximum: ETH_MAX_FRAME }), {
      minItems: 1,
      maxItems: 64,
    }),
    linkGbps: linkGbps('Gb/s; null: unlimited'),
  },
  { additionalProperties: false },
);

/** Adds the routes of the injector. Before the server listens. */
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
        body: Settings,
        response: { 200: Answer, 400: Refusal },
      },
    },
    (request, reply) => {
      for (const s of [request.body.in, request.body.out]) {
        const wrong = s === null ? null : wrongFaults(s);
        if (wrong !== null) return refuse(reply, 400, wrong);
      }
      injector.set(request.body);
      wake();
      return status();
    },
  );
}

/** Adds the route of the sink. Before the server listens. */
export function addSinkApi(http: ServiceHttp, sink: Sink, out: CableOut): void {
  http.post(
    '/sink',
    {
      schema: {
        summary: 'A run begins whose frames come out of the cable',
        body: SinkBody,
        response: { 200: Type.Object({ ready: Type.Boolean() }) },
      },
    },
    (request) => {
      const { seed, linkGbps } = request.body;
      out.setSpeed(linkGbps);
      sink.reset({ seed });
      return { ready: true };
    },
  );
}
