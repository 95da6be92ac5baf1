/** What is sent to and told by the NIC's routes: of loads, with checks beyond the schema, and of requests and their answers.
 *  services/nic/README.md has examples. */
import { Type, type Static, type TSchema } from '@sinclair/typebox';
import { Value } from '@sinclair/typebox/value';
import { MAX_GUESTS, MAX_IN_FLIGHT } from '@grantline/base';
import {
  ETH_MAX_FRAME,
  ETH_MIN_FRAME,
  LINK_GBPS,
  MAC_FORM,
  TCP_MIN_FRAME,
  UDP_HALF,
  keyOf,
  parseMac,
} from '@grantline/frames';
import { PACKET_MEMORY_BYTES } from '../data/cable.js';

export const Ip = Type.String({ pattern: '^[0-9]{1,3}([.][0-9]{1,3}){3}$' });
const MacText = Type.String({ pattern: MAC_FORM });
export const Seed = Type.Integer({ minimum: 0, maximum: 2 ** 32 - 1 });
/** Speed of a link, null: unlimited. @param description of what it does there */
export const linkGbps = (description?: string, more: { default?: null } = {}) =>
  Type.Union([Type.Null(), ...LINK_GBPS.map((g) => Type.Literal(g))], {
    ...(description === undefined ? {} : { description }),
    ...more,
  });

const link = {
  linkGbps: linkGbps('Gb/s; null: unlimited', { default: null }),
  pause: Type.Boolean({ default: true, description: '802.3x flow control: hold the sender rather than lose a frame' }),
  packetMemoryBytes: Type.Integer({ minimum: 16384, maximum: 1 << 30, default: PACKET_MEMORY_BYTES }),
};

/** Generated frames. Frame bytes are without FCS. */
export const GenerateBody = Type.Object({
  kind: Type.Literal('generate'),
  run: Type.Optional(Type.String({ description: 'id of the run, given back by GET /load' })),
  seed: Type.Integer({ minimum: 0, maximum: 2 ** 32 - 1, default: 1 }),
  guests: Type.Array(
    Type.Object({
      domid: Type.Integer({ minimum: 1 }),
      mac: MacText,
      ip: Ip,
    }),
    { minItems: 1, maxItems: MAX_GUESTS },
  ),
  frameBytes: Type.Union([Type.Integer({ minimum: ETH_MIN_FRAME, maximum: ETH_MAX_FRAME }), Type.Literal('imix')]),
  protocol: Type.Union([Type.Literal('auto'), Type.Literal('tcp'), Type.Literal('udp')], { default: 'auto' }),
  flowsPerGuest: Type.Integer({ minimum: 1, maximum: UDP_HALF, default: 4 }),
  maxFrames: Type.Optional(Type.Integer({ minimum: 1, maximum: 2 ** 48 })),
  ...link,
});
export type GenerateBody = Static<typeof GenerateBody>;

/** The capture that was sent to /load/capture before. */
export const ReplayBody = Type.Object({
  kind: Type.Literal('replay'),
  run: Type.Optional(Type.String()),
  pace: Type.Union(
    [Type.Literal('recorded'), Type.Literal('max'), Type.Number({ exclusiveMinimum: 0, maximum: 1e6 })],
    {
      default: 'recorded',
      description: 'a number is a factor: 2 is twice as fast as recorded',
    },
  ),
  loops: Type.Integer({ minimum: 1, maximum: 1e6, default: 1 }),
  ...link,
});
export type ReplayBody = Static<typeof ReplayBody>;

/** Body of POST /load. */
export const LoadBody = Type.Union([GenerateBody, ReplayBody]);
export type LoadBody = Static<typeof LoadBody>;

/** Judges a body by the schema of its kind: a union as a whole would answer "matches neither", and fill in no defaults.
 *  @returns the body with its defaults, or what is wrong in one line */
export function parseLoad(body: unknown): LoadBody | string {
  const kind = (body as { kind?: unknown } | null)?.kind;
  if (kind === 'replay') return judged(ReplayBody, body);
  if (kind !== 'generate') return "kind must be 'generate' or 'replay'";
  const parsed = judged(GenerateBody, body);
  return typeof parsed === 'string' ? parsed : (wrongWith(parsed) ?? parsed);
}

function judged<T extends TSchema>(schema: T, body: unknown): Static<T> | string {
  const filled = Value.Default(schema, structuredClone(body));
  if (Value.Check(schema, filled)) return filled;
  const first = Value.Errors(schema, filled).First();
  const field = first?.path.slice(1).split('/')[0] ?? '';
  return EXPECTED[field] ?? first?.message ?? 'not a load';
}

/** What a field must be, for the line that refuses it. */
const EXPECTED: Record<string, string> = {
  guests: `guests must list 1 to ${MAX_GUESTS} guests as {domid, mac: aa:bb:cc:dd:ee:ff, ip: a.b.c.d}`,
  frameBytes: `frameBytes must be ${ETH_MIN_FRAME} to ${ETH_MAX_FRAME} (without FCS), or 'imix'`,
  protocol: "protocol must be 'auto', 'tcp' or 'udp'",
  flowsPerGuest: `flowsPerGuest must be 1 to ${UDP_HALF}`,
  maxFrames: 'maxFrames must be a whole number from 1',
  seed: 'seed must be a whole number from 0 to 4294967295',
  run: 'run must be a string',
  pace: "pace must be 'recorded', 'max' or a factor above 0",
  loops: 'loops must be 1 to 1000000',
  linkGbps: `linkGbps must be one of ${LINK_GBPS.join(', ')}, or null for unlimited`,
  pause: 'pause must be true or false',
  packetMemoryBytes: 'packetMemoryBytes must be 16384 to 1073741824',
};

/** Answer of GET /load. */
export const LoadStatus = Type.Object({
  state: Type.Union([Type.Literal('idle'), Type.Literal('running'), Type.Literal('done')]),
  kind: Type.Union([Type.Null(), Type.Literal('generate'), Type.Literal('replay')]),
  run: Type.Union([Type.Null(), Type.String()]),
  sentFrames: Type.Number({ description: 'frames of this load that the NIC took or dropped' }),
  heldFrames: Type.Number({ description: 'frames that wait for a buffer' }),
  capture: Type.Union([
    Type.Null(),
    Type.Object({
      frames: Type.Number(),
      cut: Type.Number({ description: 'frames that the capture had not whole: left out' }),
    }),
  ]),
});
export type LoadStatus = Static<typeof LoadStatus>;

/** Answer of POST /load/capture. */
export const CaptureAnswer = Type.Object({
  format: Type.Union([Type.Literal('pcap'), Type.Literal('pcapng')]),
  frames: Type.Number(),
  cut: Type.Number(),
  bytes: Type.Number(),
  seconds: Type.Number({ description: 'recorded time from the first frame to the last' }),
  destinations: Type.Array(Type.Object({ mac: Type.String(), frames: Type.Number(), bytes: Type.Number() })),
});

/** What the schema cannot say. @returns null, or what is wrong */
function wrongWith(body: GenerateBody): string | null {
  const shortest = body.frameBytes === 'imix' ? ETH_MIN_FRAME : body.frameBytes;
  if (body.protocol === 'tcp' && shortest < TCP_MIN_FRAME)
    return `frameBytes ${body.frameBytes} cannot be TCP: at least ${TCP_MIN_FRAME} bytes, or protocol auto or udp`;
  if (body.guests.length * body.flowsPerGuest > UDP_HALF)
    return `${body.guests.length} guests with ${body.flowsPerGuest} flows each are more than ${UDP_HALF} flows`;
  const macs = new Set<number>();
  const badIp = body.guests.find(({ ip }) => ip.split('.').some((part) => Number(part) > 255));
  if (badIp !== undefined) return `${badIp.ip} is not an IPv4 address`;
  for (const { mac } of body.guests) {
    const n = keyOf(parseMac(mac));
    if (macs.has(n)) return `two guests have the address ${mac}`;
    macs.add(n);
  }
  return null;
}

export const RequestBody = Type.Object(
  {
    seed: Seed,
    guests: Type.Array(
      Type.Object({
        mac: MacText,
        ip: Ip,
      }),
      { minItems: 1, maxItems: MAX_GUESTS, description: 'asked in turn; flow n of the stamps is guest n' },
    ),
    frameBytes: Type.Integer({ minimum: ETH_MIN_FRAME, maximum: ETH_MAX_FRAME }),
    inFlight: Type.Integer({ minimum: 1, maximum: MAX_IN_FLIGHT, description: 'most requests that are out at once' }),
    perSecond: Type.Union([Type.Null(), Type.Number({ minimum: 1, maximum: 1e6 })], {
      description: 'open loop: requests per second, times from when each was due; null: closed loop',
    }),
    timeoutMs: Type.Integer({ minimum: 1, maximum: 60_000 }),
    linkGbps: linkGbps('Gb/s of the link where no load sets it; null: unlimited'),
  },
  { additionalProperties: false },
);
export type RequestBody = Static<typeof RequestBody>;

const Count = Type.Integer({ minimum: 0 });
const Us = Type.Number();
export const RequestStatus = Type.Object({
  state: Type.Union([Type.Literal('idle'), Type.Literal('running'), Type.Literal('done')]),
  requests: Count,
  answered: Count,
  timeouts: Count,
  late: Type.Integer({ minimum: 0, description: 'answers to requests that had timed out' }),
  repeated: Type.Integer({ minimum: 0, description: 'answers to what was answered before' }),
  inFlight: Count,
  rtt: Type.Union([
    Type.Null(),
    Type.Object(
      {
        count: Count,
        meanUs: Us,
        minUs: Us,
        maxUs: Us,
        percentiles: Type.Array(Type.Object({ percent: Type.Number(), us: Us })),
      },
      { description: 'round trips since POST /requests/measure; HDR, three figures' },
    ),
  ]),
});
export type RequestStatus = Static<typeof RequestStatus>;
