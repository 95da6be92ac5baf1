/** The JSON operations of the hypervisor socket: what their arguments must be, checked before anything is done.
 *  docs/wire/control-plane.md section 3. */
import { DMA_ENTRIES, EVTCHN_MAX_PORTS, SHARED_KINDS } from '@grantline/xen';
import { DOMID_FIRST_RESERVED } from '@grantline/base';
import { Type, type Static } from '@sinclair/typebox';
import { TypeCompiler } from '@sinclair/typebox/compiler';

/** A refused operation; `code` goes into the reply. */
export class OpError extends Error {
  readonly code: string;
  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

const DomIdArg = Type.Integer({ minimum: 0, maximum: DOMID_FIRST_RESERVED - 1 });
// Wider than what is valid: that port 0 or 1024 is none is a rule of event channels, tested there.
const PortArg = Type.Integer({ minimum: 0, maximum: 0xffffffff });
const PathArg = Type.String({ maxLength: 4096 });
const ValueArg = Type.String({ maxLength: 65536 });
const TokenArg = Type.String({ minLength: 1, maxLength: 256 });
const DpnArg = Type.Integer({ minimum: 1, maximum: DMA_ENTRIES - 1 });
const closed = { additionalProperties: false };

const StoreOpArg = Type.Object(
  {
    op: Type.Union([Type.Literal('write'), Type.Literal('rm'), Type.Literal('mkdir')]),
    path: PathArg,
    value: Type.Optional(ValueArg),
  },
  closed,
);

const AttachSchema = Type.Object(
  {
    target: DomIdArg,
    header: DpnArg,
    avail: DpnArg,
    comp: DpnArg,
    port: Type.Integer({ minimum: 1, maximum: EVTCHN_MAX_PORTS - 1 }),
    mac: Type.Union([Type.Null(), Type.String({ pattern: '^[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}$' })]),
    vlan: Type.Union([Type.Null(), Type.Integer({ minimum: 0, maximum: 4095 })]),
    moderationFrames: Type.Integer({ minimum: 0, maximum: 65535 }),
    moderationUs: Type.Integer({ minimum: 0, maximum: 1_000_000 }),
    direction: Type.Optional(Type.Union([Type.Literal('rx'), Type.Literal('tx')])),
    packetBytes: Type.Optional(Type.Integer({ minimum: 0, maximum: 65535 })),
  },
  closed,
);

const OPS = {
  'evtchn.allocUnbound': Type.Object({ remote: DomIdArg }, closed),
  'evtchn.bindInterdomain': Type.Object({ remote: DomIdArg, remotePort: PortArg }, closed),
  'evtchn.close': Type.Object({ port: PortArg }, closed),
  'evtchn.status': Type.Object({ port: PortArg }, closed),
  'xs.read': Type.Object({ path: PathArg }, closed),
  'xs.write': Type.Object({ path: PathArg, value: ValueArg }, closed),
  'xs.mkdir': Type.Object({ path: PathArg }, closed),
  'xs.rm': Type.Object({ path: PathArg }, closed),
  'xs.directory': Type.Object({ path: PathArg }, closed),
  'xs.transaction': Type.Object({ ops: Type.Array(StoreOpArg, { maxItems: 1024 }) }, closed),
  'xs.watch': Type.Object({ path: PathArg, token: TokenArg }, closed),
  'xs.unwatch': Type.Object({ path: PathArg, token: TokenArg }, closed),
  'nic.attach': AttachSchema,
  'nic.detach': Type.Object({ queue: Type.Integer({ minimum: 0 }) }, closed),
  'shared.ticket': Type.Object(
    {
      of: Type.Union(SHARED_KINDS.map((kind) => Type.Literal(kind))),
      domid: DomIdArg,
    },
    closed,
  ),
  'service.announce': Type.Object(
    { http: Type.String({ pattern: '^http://[^\\s/]+/?$', maxLength: 300 }), pid: Type.Integer({ minimum: 1 }) },
    closed,
  ),
  reply: Type.Object({
    rid: Type.Integer({ minimum: 1 }),
    result: Type.Optional(Type.Unknown()),
    error: Type.Optional(
      Type.Object({ code: Type.String({ maxLength: 64 }), message: Type.String({ maxLength: 1024 }) }),
    ),
  }),
};

export type OpName = keyof typeof OPS;
export type OpArgs<N extends OpName> = Static<(typeof OPS)[N]>;

const checks = new Map(Object.entries(OPS).map(([name, schema]) => [name, TypeCompiler.Compile(schema)]));

/** @throws OpError EINVAL for an unknown operation or wrong arguments */
export function checkOp(name: string, args: unknown): asserts name is OpName {
  const check = checks.get(name);
  if (check === undefined) throw new OpError('EINVAL', `there is no operation ${name.slice(0, 64)}`);
  if (check.Check(args)) return;
  const first = check.Errors(args).First();
  throw new OpError('EINVAL', `${name}: ${first ? `${first.path || 'args'} ${first.message}` : 'bad arguments'}`);
}
