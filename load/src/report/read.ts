/** Finds and reads the results files of a folder: what a report needs of them, as a schema. More than that may stand in a file: fields are
 *  added freely. Every fault is one line for the operator. */
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { Type, type Static } from '@sinclair/typebox';
import { TypeCompiler, ValueErrorType } from '@sinclair/typebox/compiler';
import { Value } from '@sinclair/typebox/value';
import { UserError } from '../base/errors.js';
import { readJson } from '../base/user-file.js';
import { PLACEMENTS } from '../testbed/placement.js';

const COMPARE_SCHEMA = 'grantline.compare/1';

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
  /** Not in files of before there was transmit. */
  direction: Type.Union([Type.Literal('rx'), Type.Literal('tx'), Type.Literal('guest-to-guest'), Type.Literal('rr')], {
    default: 'rx',
  }),
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

const Handover = Type.Object({
  cores: Type.Array(Count, { maxItems: 2 }),
  aloneGbps: Amount,
  handoverGbps: Type.Union([Amount, Type.Null()]),
  roundTripNs: Type.Union([Amount, Type.Null()]),
  wakeUs: Amount,
});

const PlacementOf = Type.Object({
  asked: Type.Union([...PLACEMENTS.map((p) => Type.Literal(p)), Type.Null()]),
  placement: Type.Union([Type.Literal('together'), Type.Literal('apart'), Type.Literal('none'), Type.Null()]),
  before: Type.Union([Handover, Type.Null()]),
  after: Type.Union([Handover, Type.Null()]),
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
    /** Whose testbed it was, and limits that it had before: a running one may differ from one that the command starts. */
    testbed: Type.Optional(Text),
    /** --faults as given; null: none. */
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
  /** Not in files of before there was a choice, and of testbeds elsewhere. */
  placement: Type.Optional(PlacementOf),
  runs: Type.Array(Run, { minItems: 1, maxItems: 10_000 }),
});

/** A results file as far as a report reads it. */
export type CompareResults = Static<typeof CompareResults>;
export type RunResult = Static<typeof Run>;

const validator = TypeCompiler.Compile(CompareResults);

/** @returns null when the value is a results file, else the first thing that is wrong with it, as a short phrase */
function faultIn(value: unknown): string | null {
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

/** A results file, and where it lies below the folder that the report is made for. */
export interface Source {
  /** With slashes: "compare.json", "4-guests/compare.json". */
  path: string;
  file: CompareResults;
}

/** All comparisons in a folder: compare.json and compare-*.json in it, and compare.json in the folders in it.
 *  @throws UserError when there is none, one cannot be read, or they do not belong together */
export function readSources(dir: string): Source[] {
  const paths = find(dir);
  if (paths.length === 0) {
    const replay = exists(join(dir, 'replay.json'));
    throw new UserError(
      replay ? `${dir} holds a replay and no comparison` : `${dir} holds no compare.json`,
      'give a folder that "grantline compare" wrote, such as results/<time>-<commit>',
    );
  }
  const sources = paths.map((path) => ({ path, file: readOne(join(dir, path)) }));
  checkTogether(sources);
  return sources;
}

/** Does the folder hold comparisons? */
export const hasCompare = (dir: string): boolean => find(dir).length > 0;

const exists = (path: string): boolean => statSync(path, { throwIfNoEntry: false }) !== undefined;

function find(dir: string): string[] {
  const give = 'give a folder that "grantline compare" wrote, such as results/<time>-<commit>';
  let entries: string[];
  try {
    entries = readdirSync(dir).sort();
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'ENOENT') throw new UserError(`there is no folder ${dir}`, give);
    if (code === 'ENOTDIR') throw new UserError(`${dir} is no folder`, give);
    throw new UserError(`cannot read ${dir} (${code})`, give);
  }
  const here = entries.filter((e) => /^compare(-.+)?\.json$/.test(e) && isFile(join(dir, e)));
  const below = entries.map((e) => join(e, 'compare.json')).filter((p) => isFile(join(dir, p)));
  return [...here, ...below].map((p) => p.replaceAll('\\', '/'));
}

function isFile(path: string): boolean {
  try {
    return statSync(path, { throwIfNoEntry: false })?.isFile() === true;
  } catch {
    return false; // below a file, or not to be looked at
  }
}

function readOne(path: string): CompareResults {
  const value = Value.Default(CompareResults, readJson(path));
  const fault = faultIn(value);
  if (fault !== null)
    throw new UserError(
      `${path} is no results file of this version: ${fault}`,
      'repeat the comparison with this version, or make the report with the version that measured',
    );
  return value as CompareResults;
}

/** What may differ between files that are put into one report. */
const FREE = new Set(['guests', 'repeat', 'testbed']);

/** @throws UserError when files differ in more than the number of guests and of runs */
export function checkTogether(sources: readonly Source[]): void {
  const [first] = sources;
  for (const other of sources.slice(1)) {
    const a = first.file.settings as Record<string, unknown>;
    const b = other.file.settings as Record<string, unknown>;
    for (const key of Object.keys({ ...a, ...b })) {
      if (FREE.has(key) || JSON.stringify(a[key]) === JSON.stringify(b[key])) continue;
      throw new UserError(
        `${first.path} and ${other.path} differ in ${key} (${shown(a[key])} and ${shown(b[key])})`,
        'a report joins comparisons that differ in the number of guests only: give one of the folders',
      );
    }
  }
  const factors = new Map<string, { path: string; text: string }>();
  for (const { path, file } of sources) {
    for (const run of file.runs) {
      const text = JSON.stringify(run.factors, Object.keys(run.factors).sort());
      const known = factors.get(run.config);
      if (known === undefined) factors.set(run.config, { path, text });
      else if (known.text !== text)
        throw new UserError(
          `configuration ${JSON.stringify(run.config)} has other factors in ${path} than in ${known.path}`,
          'give the folder of one comparison',
        );
    }
  }
}

const shown = (v: unknown): string => (v === undefined ? 'not recorded' : JSON.stringify(v));
