/** The experimenter's calls: docs/wire/metrics.md section 4. */
import type { ServiceHttp } from '@grantline/service';
import { configurationName, MAX_GUESTS } from '@grantline/base';
import { EXPERIMENT_DIRECTIONS } from '@grantline/observe';
import { Type, type TObject } from '@sinclair/typebox';
import { Value } from '@sinclair/typebox/value';
import { Empty } from './api-schemas.js';
import { CONFIG_LABELS, PER_FRAME_OPS, PHASES, REQUEST_LABELS } from './experiment.js';
import type { Hypervisor } from './hypervisor.js';

const MAX_COMPONENTS = 64;
const RUN_CHARS = 100;
const SCENARIO_CHARS = 40;
const exact = { additionalProperties: false };

const oneOf = <const T extends string>(values: readonly T[]) => Type.Union(values.map((v) => Type.Literal(v)));
const amount = (description: string) => Type.Number({ minimum: 0, description });
const run = Type.String({ pattern: `^[\\x21-\\x7e]{1,${RUN_CHARS}}$`, description: 'its results folder' });
const config = oneOf(CONFIG_LABELS);
const direction = Type.Optional(oneOf(EXPERIMENT_DIRECTIONS));
const round = Type.Integer({ minimum: 0 });
// null first: where numbers are coerced, the other way round it would become 0.
const linkGbps = Type.Union([Type.Null(), Type.Number({ exclusiveMinimum: 0, maximum: 1e6 })]);
const frameBytes = Type.Number({ minimum: 0, maximum: 65535, description: 'mean, without FCS' });
const guests = Type.Integer({ minimum: 0, maximum: MAX_GUESTS });

const StageBody = Type.Object(
  { run, config, direction, round, phase: oneOf(PHASES), frameBytes, guests, linkGbps },
  exact,
);

const FiguresBody = Type.Object(
  {
    run,
    config,
    direction,
    round,
    gbps: amount('delivered'),
    framesPerSecond: amount('delivered'),
    offeredFramesPerSecond: amount('sent at the far end of the cable'),
    lost: Type.Integer({ description: 'frames' }),
    cpuNsPerFrame: Type.Record(Type.String({ pattern: '^[a-z][a-z_]{0,31}\\.[a-z][a-z_]{0,31}$' }), Type.Number(), {
      ...exact,
      maxProperties: MAX_COMPONENTS,
      description: 'nanoseconds by component, as driver_domain.netback',
    }),
    perFrame: Type.Object(
      Object.fromEntries(PER_FRAME_OPS.map((op) => [op, Type.Number()])) as Record<
        (typeof PER_FRAME_OPS)[number],
        ReturnType<typeof Type.Number>
      >,
      exact,
    ),
    latencyUs: Type.Union([
      Type.Null(),
      Type.Object({ p50: amount(''), p90: amount(''), p99: amount(''), p999: amount(''), max: amount('') }, exact),
    ]),
  },
  exact,
);

const RequestsBody = Type.Object(
  {
    run,
    config: oneOf(REQUEST_LABELS),
    scenario: Type.String({ pattern: `^[\\x21-\\x7e]{1,${SCENARIO_CHARS}}$`, description: 'as it is typed: bytes:1M' }),
    round,
    requestsPerSecond: amount('answered, closed loop'),
  },
  exact,
);

const ExperimentBody = Type.Object({
  run: Type.Union([Type.Null(), Type.String()]),
  config: Type.String(),
  direction: Type.String(),
  round,
  phase: Type.String(),
  frameBytes: Type.Number(),
  guests: Type.Integer(),
  linkGbps: Type.Union([Type.Null(), Type.Number()]),
  phaseStartMs: Type.Number({ description: 'milliseconds since the epoch; 0: no phase was entered yet' }),
  results: Type.Array(FiguresBody, { description: 'the last of each configuration and direction in this run' }),
  requests: Type.Array(RequestsBody, { description: 'the last of each scenario and configuration in this run' }),
});

/** What a field must be, for the line that refuses it. */
const EXPECTED: Readonly<Record<string, string>> = {
  run: `run must be 1 to ${RUN_CHARS} printable characters without spaces`,
  config: `config must be one of ${CONFIG_LABELS.join(', ')}`,
  direction: `direction must be one of ${EXPERIMENT_DIRECTIONS.join(', ')}`,
  scenario: `scenario must be 1 to ${SCENARIO_CHARS} printable characters without spaces`,
  requestsPerSecond: 'requestsPerSecond must be a number from 0',
  round: 'round must be a whole number from 0',
  phase: `phase must be one of ${PHASES.join(', ')}`,
  frameBytes: 'frameBytes must be a number from 0 to 65535',
  guests: `guests must be a whole number from 0 to ${MAX_GUESTS}`,
  linkGbps: 'linkGbps must be a number above 0, or null for unlimited',
  gbps: 'gbps must be a number from 0',
  framesPerSecond: 'framesPerSecond must be a number from 0',
  offeredFramesPerSecond: 'offeredFramesPerSecond must be a number from 0',
  lost: 'lost must be a whole number',
  cpuNsPerFrame: `cpuNsPerFrame must hold at most ${MAX_COMPONENTS} numbers by component, as driver_domain.netback`,
  perFrame: `perFrame must hold a number for each of ${PER_FRAME_OPS.join(', ')}, and no others`,
  latencyUs: 'latencyUs must be null, or hold p50, p90, p99, p999 and max, from 0',
};

/** Fastify would turn text into numbers and leave out what it does not know; here both are refused. */
const strict = {
  validatorCompiler:
    ({ schema }: { schema: unknown }) =>
    (body: unknown) => {
      const type = schema as TObject;
      return Value.Check(type, body) ? { value: body } : { error: new Error(whatIsWrong(type, body)) };
    },
};

/** The first field that is not as it must be. */
function whatIsWrong(type: TObject, body: unknown): string {
  const fields = Object.keys(type.properties);
  if (typeof body !== 'object' || body === null || Array.isArray(body))
    return `the body must be an object with ${fields.join(', ')}`;
  const given = body as Record<string, unknown>;
  const needed: readonly string[] = type.required ?? [];
  const judged = fields.filter((name) => name in given || needed.includes(name));
  const bad = judged.find((name) => !Value.Check(type.properties[name], given[name]));
  if (bad !== undefined) return EXPECTED[bad] ?? bad;
  const stray = Object.keys(given).find((name) => !fields.includes(name)) ?? '';
  return `'${stray.slice(0, 40)}' is none of ${fields.join(', ')}`;
}

/** Adds the routes. */
export function addExperiment(app: ServiceHttp, hv: Hypervisor): void {
  const { experiment } = hv;
  app.put(
    '/api/experiment',
    {
      ...strict,
      schema: { summary: 'Says what is under way', body: StageBody, response: { 200: Empty } },
    },
    (request) => {
      experiment.enter(request.body);
      return {};
    },
  );
  app.get(
    '/api/experiment',
    { schema: { summary: 'What is under way, and what has come of it', response: { 200: ExperimentBody } } },
    () => ({
      ...(experiment.stage ?? {
        run: null,
        config: configurationName(hv.toolstack.factors),
        direction: 'rx',
        round: 0,
        phase: 'idle',
        frameBytes: 0,
        guests: 0,
        linkGbps: null,
      }),
      phaseStartMs: experiment.phaseStartMs,
      results: experiment.list(),
      requests: experiment.requests(),
    }),
  );
  app.post(
    '/api/experiment/results',
    {
      ...strict,
      schema: { summary: 'The figures of a finished run', body: FiguresBody, response: { 200: Empty } },
    },
    (request) => {
      experiment.finish(request.body);
      return {};
    },
  );
  app.post(
    '/api/experiment/requests',
    {
      ...strict,
      schema: {
        summary: 'Requests per second of a finished run over HTTP',
        body: RequestsBody,
        response: { 200: Empty },
      },
    },
    (request) => {
      experiment.finishRequests(request.body);
      return {};
    },
  );
}
