/** What the live page's server takes from outside, each judged by a schema, and refused with the reason. */
import { Type, type Static, type TObject, type TProperties, type TSchema } from '@sinclair/typebox';
import { TypeCompiler } from '@sinclair/typebox/compiler';
import type { ToServer } from '../../page/messages.js';
import { configurationNames, MAX_GUESTS } from '@grantline/base';
import { EXPERIMENT_DIRECTIONS, PHASES } from '../runner/observer.js';
import { CAPTURE_HOPS } from './page-captures.js';
import { ETH_MAX_FRAME, ETH_MIN_FRAME, LINK_GBPS } from '@grantline/frames';

const Id = Type.Integer({ minimum: 1, maximum: Number.MAX_SAFE_INTEGER });
const request = <O extends ToServer['op'], F extends TProperties>(op: O, fields: F) =>
  TypeCompiler.Compile(Type.Object({ id: Id, op: Type.Literal(op), ...fields }, { additionalProperties: false }));

const CHECKS = {
  apply: request('apply', {
    config: Type.Union(configurationNames.map((n) => Type.Literal(n))),
    guests: Type.Integer({ minimum: 1, maximum: MAX_GUESTS }),
    frameBytes: Type.Union([Type.Integer({ minimum: ETH_MIN_FRAME, maximum: ETH_MAX_FRAME }), Type.Literal('imix')]),
    linkGbps: Type.Union([...LINK_GBPS.map((n) => Type.Literal(n)), Type.Null()]),
  }),
  start: request('start', {}),
  stop: request('stop', {}),
  capture: request('capture', {
    vif: Type.String({ pattern: '^vif\\d{1,4}\\.\\d{1,2}$' }),
    hop: Type.Union(CAPTURE_HOPS.map((h) => Type.Literal(h))),
  }),
  'capture-stop': request('capture-stop', {}),
};
const AnyRequest = TypeCompiler.Compile(
  Type.Object({ id: Id, op: Type.Union(Object.keys(CHECKS).map((n) => Type.Literal(n))) }),
);

/** What is expected of each field, in words. */
const EXPECTED: Readonly<Record<string, string>> = {
  config: `the configuration must be one of ${configurationNames.join(', ')}`,
  guests: `the number of guests must be a whole number from 1 to ${MAX_GUESTS}`,
  frameBytes: `the frame size must be a whole number from ${ETH_MIN_FRAME} to ${ETH_MAX_FRAME} bytes, or imix`,
  vif: 'the vif must be named like vif1.0',
  hop: `the hop must be one of ${CAPTURE_HOPS.join(', ')}`,
  linkGbps: `the link speed must be ${LINK_GBPS.join(', ')} (Gb/s), or null for unlimited`,
};

export type Parsed = { ok: true; request: ToServer } | { ok: false; id: number; reason: string };

/** A message of a browser. @returns the request, or why it is none */
export function parseRequest(text: string): Parsed {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return { ok: false, id: 0, reason: 'the message is not JSON' };
  }
  if (!AnyRequest.Check(value))
    return {
      ok: false,
      id: 0,
      reason: 'a message needs an id from 1 and an op: apply, start or stop, capture or capture-stop',
    };
  const { id, op } = value as { id: number; op: ToServer['op'] };
  const check = CHECKS[op];
  if (check.Check(value)) return { ok: true, request: value as ToServer };
  const known = Object.keys((check.Schema() as TObject).properties);
  const extra = Object.keys(value as object).find((k) => !known.includes(k));
  const wrong = new Set([...check.Errors(value)].map((e) => e.path.split('/')[1]));
  const field = known.find((k) => wrong.has(k) && EXPECTED[k]);
  const reason = (field && EXPECTED[field]) ?? (extra && `there is no field "${extra.slice(0, 40)}" in ${op}`);
  return { ok: false, id, reason: reason ?? `not a request ${op}` };
}

const Name = Type.String({ minLength: 1, maxLength: 200 });
/** A results folder: a label in metrics. */
const Run = Type.String({ pattern: '^[\\x21-\\x7e]{1,100}$' });
const Count = Type.Number({ minimum: 0 });
const Figures = Type.Record(Type.String({ maxLength: 100 }), Type.Number());
/** As driverDomain.netback. */
const Components = Type.Record(Type.String({ pattern: '^[a-zA-Z]{1,32}\\.[a-zA-Z]{1,32}$' }), Type.Number(), {
  ...{ additionalProperties: false, maxProperties: 64 },
});
const Nullable = <T extends TSchema>(schema: T) => Type.Union([schema, Type.Null()]);
const Rate = { framesPerSecond: Count, gbps: Count };

/** Body of POST /observer/phase. */
export const PhaseBody = Type.Object({
  run: Run,
  config: Name,
  // What reports to a page may be of before there was more than one direction.
  direction: Type.Union(
    EXPERIMENT_DIRECTIONS.map((d) => Type.Literal(d)),
    { default: 'rx' },
  ),
  round: Type.Integer({ minimum: 0 }),
  phase: Type.Union(PHASES.map((p) => Type.Literal(p))),
  frameBytes: Type.Number({ minimum: 0, maximum: 65535 }),
  guests: Type.Integer({ minimum: 1, maximum: MAX_GUESTS }),
  linkGbps: Nullable(Type.Number({ exclusiveMinimum: 0, maximum: 1e6 })),
});
export type PhaseBody = Static<typeof PhaseBody>;

/** Body of POST /observer/finished: a record without its raw counters. What is not named here is let through, and not shown. */
export const FinishedBody = Type.Object({
  run: Run,
  record: Type.Object({
    config: Name,
    direction: Type.Union((['rx', 'tx', 'guest-to-guest', 'rr'] as const).map((d) => Type.Literal(d))),
    tcp: Type.Optional(Type.Boolean()),
    factors: Type.Record(Type.String(), Type.Union([Type.String(), Type.Number(), Type.Boolean()])),
    round: Type.Integer({ minimum: 0 }),
    guests: Type.Integer({ minimum: 1 }),
    frameBytes: Count,
    offered: Type.Object(Rate),
    delivered: Type.Object({ frames: Count, bytes: Count, ...Rate }),
    sent: Count,
    lost: Type.Number(),
    duplicate: Count,
    reordered: Count,
    corrupt: Count,
    drops: Figures,
    conservation: Type.Union([Type.Literal('ok'), Type.Array(Type.String())]),
    cpuNsPerFrame: Type.Object({
      ...{ nic: Type.Number(), driverDomain: Type.Number(), hypervisor: Type.Number(), guest: Type.Number() },
      ...{ total: Type.Number(), components: Components },
    }),
    perFrame: Type.Object({
      ...{ grantOps: Type.Number(), hypercalls: Type.Number(), copies: Type.Number(), copiedBytes: Type.Number() },
      ...{ notifications: Type.Number(), suppressed: Type.Number(), wakeups: Type.Number() },
    }),
    latencyUs: Nullable(Type.Object({ p50: Count, p90: Count, p99: Count, p999: Count, max: Count })),
    notes: Type.Array(Type.String()),
  }),
});
export type FinishedBody = Static<typeof FinishedBody>;

/** Body of POST /observer/answered. */
export const AnsweredBody = Type.Object({
  run: Run,
  config: Name,
  scenario: Type.String({ pattern: '^[\\x21-\\x7e]{1,40}$' }),
  round: Type.Integer({ minimum: 0 }),
  requestsPerSecond: Count,
});
export type AnsweredBody = Static<typeof AnsweredBody>;
