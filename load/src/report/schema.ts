/** What a report needs of a results file, as a schema. More than that may stand in the file: fields are added freely. */
import { Type, type Static } from '@sinclair/typebox';
import { TypeCompiler, ValueErrorType } from '@sinclair/typebox/compiler';

export const COMPARE_SCHEMA = 'grantline.compare/1';

/** JSON has no infinity; this keeps sums and axes finite too. */
const Figure = Type.Number({ minimum: -1e15, maximum: 1e15 });
const Amount = Type.Number({ minimum: 0, maximum: 1e15 });
const Count = Type.Integer({ minimum: 0, maximum: 1e15 });
const Text = Type.String({ maxLength: 1000 });
const Name = Type.String({ minLength: 1, maxLength: 100 });
const Amounts = Type.Record(Type.String(), Amount);

const FactorsOf = Type.Object({
  path: Text,
  nicQueues: Text,
  grants: Text,
  bufferBytes: Amount,
  lro: Type.Boolean(),
  batching: Type.Boolean(),
  /** Not in files of before there was transmit. */
  tso: Type.Optional(Type.Boolean()),
});

const Requests = Type.Object({
  inFlight: Count,
  beside: Type.Union([Type.Literal('idle'), Type.Literal('bulk')]),
  perSecond: Type.Union([Amount, Type.Null()]),
  timeoutMs: Amount,
  ...{ requests: Amount, answered: Amount, timeouts: Amount, late: Amount, repeated: Amount, unanswered: Amount },
  perSecondAnswered: Amount,
  rttUs: Type.Union([
    Type.Null(),
    Type.Object({
      ...{ count: Amount, mean: Amount, min: Amount, p50: Amount, p90: Amount, p99: Amount, p999: Amount },
      ...{ p9999: Amount, max: Amount },
      percentiles: Type.Array(Type.Tuple([Amount, Amount]), { maxItems: 100 }),
    }),
  ]),
});

const Run = Type.Object({
  config: Name,
  /** rx in files of before there was transmit. */
  direction: Type.Optional(
    Type.Union([Type.Literal('rx'), Type.Literal('tx'), Type.Literal('guest-to-guest'), Type.Literal('rr')]),
  ),
  factors: FactorsOf,
  round: Count,
  guests: Type.Integer({ minimum: 1, maximum: 1000 }),
  frameBytes: Type.Number({ exclusiveMinimum: 0, maximum: 1e6 }),
  seconds: Amount,
  offered: Type.Object({ framesPerSecond: Amount, gbps: Amount }),
  delivered: Type.Object({ frames: Amount, bytes: Amount, framesPerSecond: Amount, gbps: Amount }),
  deliveredBy: Amounts,
  sent: Amount,
  received: Figure,
  lost: Figure,
  duplicate: Amount,
  reordered: Amount,
  corrupt: Amount,
  drops: Amounts,
  conservation: Type.Union([Type.Literal('ok'), Type.Array(Text)]),
  cpuNsPerFrame: Type.Object({
    nic: Figure,
    driverDomain: Figure,
    hypervisor: Figure,
    guest: Figure,
    total: Figure,
    components: Type.Record(Type.String(), Figure),
    hypervisorByCaller: Type.Record(Type.String(), Figure),
  }),
  cpuShare: Type.Record(Type.String(), Figure),
  cpuAccounted: Type.Record(Type.String(), Type.Union([Figure, Type.Null()])),
  cpuAccountedOk: Type.Boolean(),
  perFrame: Type.Object({
    grantOps: Amount,
    hypercalls: Amount,
    copies: Amount,
    copiedBytes: Amount,
    notifications: Amount,
    suppressed: Amount,
    wakeups: Amount,
    copiesBy: Type.Object({ hypervisor: Amount, driverDomain: Amount, application: Amount }),
  }),
  latencyUs: Type.Union([
    Type.Object({ p50: Amount, p90: Amount, p99: Amount, p999: Amount, max: Amount }),
    Type.Null(),
  ]),
  rr: Type.Optional(Requests),
  faults: Type.Optional(Amounts),
  rssBytes: Amounts,
  stealShare: Type.Optional(Figure),
  pausedShare: Type.Optional(Figure),
  notes: Type.Array(Text),
  /** Snapshots of all counters; a report does not look into them. */
  raw: Type.Optional(Type.Unknown()),
});

const CompareResults = Type.Object({
  schema: Type.Literal(COMPARE_SCHEMA),
  date: Type.String({ maxLength: 40, pattern: '^\\d{4}-\\d\\d-\\d\\dT' }),
  commandLine: Type.Array(Text),
  host: Type.Object({
    cpu: Text,
    cores: Amount,
    memoryBytes: Amount,
    kernel: Text,
    arch: Text,
    node: Text,
    v8: Text,
    commit: Text,
    dirty: Type.Union([Type.Boolean(), Type.Null()]),
    versions: Type.Optional(Type.Record(Type.String(), Text)),
  }),
  settings: Type.Object({
    /** Not in files of before it was recorded. */
    workload: Type.Optional(Text),
    testbed: Type.Optional(Text),
    faults: Type.Optional(Type.Union([Text, Type.Null()])),
    guests: Type.Integer({ minimum: 1, maximum: 1000 }),
    frameBytes: Type.Union([Amount, Type.Literal('imix')]),
    frameSizes: Type.Array(Amount),
    seconds: Amount,
    warmup: Amount,
    linkGbps: Type.Union([Type.Number({ exclusiveMinimum: 0, maximum: 1e6 }), Type.Null()]),
    flowControl: Type.Boolean(),
    protocol: Text,
    flows: Amount,
    repeat: Amount,
    seed: Amount,
  }),
  runs: Type.Array(Run, { minItems: 1, maxItems: 10_000 }),
});

/** A results file as far as a report reads it. */
export type CompareResults = Static<typeof CompareResults>;
export type RunResult = Static<typeof Run>;

const validator = TypeCompiler.Compile(CompareResults);

/** @returns null when the value is a results file, else the first thing that is wrong with it, as a short phrase */
export function faultIn(value: unknown): string | null {
  if (value === null || typeof value !== 'object' || Array.isArray(value)) return 'it holds no JSON object';
  const { schema } = value as { schema?: unknown };
  if (schema !== COMPARE_SCHEMA) {
    if (typeof schema !== 'string') return `it has no schema; a report needs "${COMPARE_SCHEMA}"`;
    return `its schema is ${JSON.stringify(schema.slice(0, 60))}; this report reads "${COMPARE_SCHEMA}"`;
  }
  if (validator.Check(value)) return null;
  const first = validator.Errors(value).First();
  const path = first?.path.slice(1).split('/') ?? [];
  const missing = first?.type === ValueErrorType.ObjectRequiredProperty ? path.pop() : null;
  const where = path.join('.') || 'the file';
  return missing === null ? `${where}: ${first?.message}` : `${where} lacks ${missing}`;
}

/** @returns the value as what the schema says. @throws Error when faultIn finds something */
export function asResults(value: unknown): CompareResults {
  const fault = faultIn(value);
  if (fault !== null) throw new Error(fault);
  return value as CompareResults;
}
