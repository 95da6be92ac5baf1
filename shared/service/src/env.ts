/** A service's settings: the environment, read and judged once at the start. docs/wire/control-plane.md section 1. */
import { envSchema } from 'env-schema';
import { Type, type Static } from '@sinclair/typebox';
import {
  DOMID_FIRST_RESERVED,
  parseDomId,
  type DomId,
  TAP_PLACE_FORM,
  TAP_PLACE_PATTERN,
  parseTapPlace,
  type TapPlace,
  NAME_FORM,
  usualDir,
  UsageError,
} from '@grantline/base';

/** What a service is. All but the hypervisor are domains. */
export type ServiceKind = 'hypervisor' | 'driver-domain' | 'guest' | 'nic';

const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/** Where a server listens; port 0 takes a free one. */
export interface ListenAddress {
  host: string;
  port: number;
}

/** Groups of the roles, where each role has a user of its own and nobody is root (containers). */
export interface RoleGroups {
  readonly guest: number;
  readonly 'driver-domain': number;
  readonly nic: number;
  /** May read the operator's token. */
  readonly operator: number;
}

const ROLES = ['guest', 'driver-domain', 'nic', 'operator'] as const;

export interface ServiceEnv {
  readonly kind: ServiceKind;
  /** GRANTLINE_DIR: absolute path of the directory on tmpfs. */
  readonly dir: string;
  /** GRANTLINE_HYPERVISOR: ws:// address without a path, or ws+unix:// and the path of a socket file as it is. */
  readonly hypervisor: string;
  /** Who the service is; both null when it joins, and in the hypervisor. */
  readonly domid: DomId | null;
  readonly secret: string | null;
  /** Path of the file with the join token of the service's kind: it then becomes a new domain by connecting. */
  readonly join: string | null;
  /** Hypervisor: the operator's token; null: to be made up. */
  readonly token: string | null;
  readonly http: ListenAddress;
  /** What else the HTTP server may be called in Host headers. */
  readonly httpNames: readonly string[];
  readonly uid: number | null;
  readonly gid: number | null;
  readonly groups: readonly number[];
  readonly log: LogLevel;
  /** Core to pin the data thread to; null: none. */
  readonly core: number | null;
  readonly nativeCore: number | null;
  /** How many services of the testbed have the core that this one has, about; a few, where nothing is said. */
  readonly sharers: number;
  /** Hypervisor: which group each role runs as; null: no roles, domains are kept apart by uid or not at all. */
  readonly roles: RoleGroups | null;
  /** Hypervisor: remove what a killed predecessor left. */
  readonly reclaim: boolean;
  /** End when stdin closes. */
  readonly lifeline: boolean;
  /** How grant operations reach the hypervisor: through shared memory, or as messages of the socket. */
  readonly hypercalls: 'ring' | 'messages';
  /** NIC: what stands at the far end of the cable. */
  readonly farEnd: FarEndChoice;
  /** Guest: the TAP device that a kernel's stack is behind, which is then the guest's; null: our own stack. */
  readonly tap: TapPlace | null;
  /** NIC, guest: TAP devices have vnet headers and offloads, where the kernel has them. */
  readonly tapOffload: boolean;
  /** NIC: where the edge listens for the first guest; the next guests follow, port by port. Port 0: free ones. */
  readonly edge: ListenAddress;
}

/** The outer TCP/IP stack with the edge, a TAP device (in the named network namespace), or nobody. */
export type FarEndChoice = { kind: 'stack' } | { kind: 'tap'; name: string; netns: string | null } | { kind: 'none' };

/** A socket's address has room for 107 bytes (sun_path in sys/un.h, less the closing zero). */
const MAX_DIR_LENGTH = 107 - '/hypervisor.sock'.length;

/** Characters of six bits each that hold 128 bits: a shorter token is one that can be guessed. */
const TOKEN_LENGTH = 22;

const id = Type.Integer({ minimum: 0, maximum: 2 ** 32 - 2 });
const schema = Type.Object({
  GRANTLINE_DIR: Type.Optional(Type.String({ pattern: '^/', maxLength: MAX_DIR_LENGTH })),
  GRANTLINE_HYPERVISOR: Type.Optional(Type.String({ pattern: '^(ws://[^/]+/?|ws\\+unix:///.+)$' })),
  GRANTLINE_DOMID: Type.Optional(Type.Integer({ minimum: 1, maximum: DOMID_FIRST_RESERVED - 1 })),
  GRANTLINE_SECRET: Type.Optional(Type.String()),
  GRANTLINE_JOIN: Type.Optional(Type.String({ pattern: '^/' })),
  GRANTLINE_TOKEN: Type.Optional(Type.String()),
  GRANTLINE_HTTP: Type.Optional(Type.String({ pattern: '^(\\[[0-9a-fA-F:.]+\\]|[^:\\[\\]/]+):[0-9]{1,5}$' })),
  GRANTLINE_HTTP_NAMES: Type.Optional(Type.String({ pattern: `^${NAME_FORM}(,${NAME_FORM})*$`, maxLength: 4096 })),
  GRANTLINE_UID: Type.Optional(id),
  GRANTLINE_GID: Type.Optional(id),
  GRANTLINE_GROUPS: Type.Optional(Type.String({ pattern: '^[0-9]{1,10}(,[0-9]{1,10})*$' })),
  GRANTLINE_LOG: Type.Optional(Type.Unsafe<LogLevel>(Type.String({ enum: [...LOG_LEVELS] }))),
  GRANTLINE_CORE: Type.Optional(Type.Integer({ minimum: 0, maximum: 1023 })),
  GRANTLINE_NATIVE_CORE: Type.Optional(Type.Integer({ minimum: 0, maximum: 1023 })),
  GRANTLINE_SHARERS: Type.Optional(Type.Integer({ minimum: 1, maximum: 64 })),
  GRANTLINE_ROLES: Type.Optional(Type.String({ pattern: '^[a-z-]+=[0-9]{1,10}(,[a-z-]+=[0-9]{1,10})*$' })),
  GRANTLINE_RECLAIM: Type.Optional(Type.String({ enum: ['0', '1'] })),
  GRANTLINE_LIFELINE: Type.Optional(Type.String({ enum: ['stdin'] })),
  GRANTLINE_HYPERCALLS: Type.Optional(Type.Unsafe<'ring' | 'messages'>(Type.String({ enum: ['ring', 'messages'] }))),
  GRANTLINE_FAR_END: Type.Optional(Type.String({ pattern: `^(stack|none|tap:${TAP_PLACE_PATTERN})$` })),
  GRANTLINE_TAP: Type.Optional(Type.String({ pattern: `^${TAP_PLACE_PATTERN}$` })),
  GRANTLINE_TAP_OFFLOAD: Type.Optional(Type.String({ enum: ['0', '1'] })),
  GRANTLINE_EDGE: Type.Optional(Type.String({ pattern: '^(\\[[0-9a-fA-F:.]+\\]|[^:\\[\\]/]+):[0-9]{1,5}$' })),
});
type Raw = Static<typeof schema>;

/** What a variable must be, for the one line that refuses it. */
const EXPECTED: Record<keyof Raw, string> = {
  GRANTLINE_DIR: `an absolute path of a directory on tmpfs, at most ${MAX_DIR_LENGTH} bytes long, for example /dev/shm/grantline`,
  GRANTLINE_HYPERVISOR: 'ws://host:port or ws+unix:///path/of/socket',
  GRANTLINE_DOMID: `a domain number from 1 to ${DOMID_FIRST_RESERVED - 1}`,
  GRANTLINE_SECRET: 'the secret given when the domain was created',
  GRANTLINE_JOIN: 'the absolute path of the file with the join token, for example $GRANTLINE_DIR/join/guest',
  GRANTLINE_TOKEN: 'the operator token of the hypervisor',
  GRANTLINE_HTTP: 'host:port with a port from 0 to 65535, for example 127.0.0.1:0',
  GRANTLINE_HTTP_NAMES: 'host names with commas between them',
  GRANTLINE_UID: 'a number, the user to run as',
  GRANTLINE_GID: 'a number, the group to run as',
  GRANTLINE_GROUPS: 'numbers of groups with commas between them',
  GRANTLINE_LOG: `one of ${LOG_LEVELS.join(', ')}`,
  GRANTLINE_CORE: 'the number of a core',
  GRANTLINE_NATIVE_CORE: 'the number of a core',
  GRANTLINE_SHARERS: 'how many services have the core of this one, 1 to 64',
  GRANTLINE_ROLES: `group numbers of all roles: ${ROLES.map((r) => `${r}=N`).join(',')}`,
  GRANTLINE_RECLAIM: '1 to remove what a killed hypervisor left, or 0',
  GRANTLINE_LIFELINE: "'stdin' or not set",
  GRANTLINE_HYPERCALLS: 'ring, or messages for grant operations over the socket',
  GRANTLINE_FAR_END: 'stack, tap:NAME, tap:NAME,NETNS or none',
  GRANTLINE_TAP: `a TAP device as ${TAP_PLACE_FORM}`,
  GRANTLINE_TAP_OFFLOAD: '1, or 0 for a TAP device without vnet header and offloads',
  GRANTLINE_EDGE: 'host:port with a port from 0 to 65535, for example 127.0.0.1:0',
};

const SOCKET_SCHEME = 'ws+unix://';

/** @param address as GRANTLINE_HYPERVISOR has it
 *  @returns the path of a socket file, in which every character stands for itself; null: it is reached by the network */
export const socketFileOf = (address: string): string | null =>
  address.startsWith(SOCKET_SCHEME) ? address.slice(SOCKET_SCHEME.length) : null;

/** Reads the settings of a service of this kind. Empty values count as not set.
 *  @throws UsageError with one line that names the variable and what it must be */
export function readEnv(kind: ServiceKind, source: NodeJS.ProcessEnv = process.env): ServiceEnv {
  const raw = validated(source);
  const dir = raw.GRANTLINE_DIR?.replace(/\/+$/, '') ?? usualDir(source);
  if (Buffer.byteLength(dir) > MAX_DIR_LENGTH) throw refused('GRANTLINE_DIR', dir);
  const domid = raw.GRANTLINE_DOMID === undefined ? null : parseDomId(raw.GRANTLINE_DOMID);
  const secret = raw.GRANTLINE_SECRET ?? null;
  const join = raw.GRANTLINE_JOIN ?? null;
  const token = raw.GRANTLINE_TOKEN ?? null;
  if (kind === 'hypervisor' && token !== null && token.length < TOKEN_LENGTH)
    throw new UsageError(`GRANTLINE_TOKEN has fewer than ${TOKEN_LENGTH} characters: leave it out, and one is made up`);
  if (kind !== 'hypervisor') {
    if ((domid === null) !== (secret === null))
      throw new UsageError('GRANTLINE_DOMID and GRANTLINE_SECRET belong together: set both, or only GRANTLINE_JOIN');
    if ((domid === null) === (join === null))
      throw new UsageError(
        'set either GRANTLINE_DOMID and GRANTLINE_SECRET (from the creation of the domain), or GRANTLINE_JOIN',
      );
  }
  return {
    kind,
    dir,
    hypervisor: raw.GRANTLINE_HYPERVISOR?.replace(/\/$/, '') ?? `${SOCKET_SCHEME}${dir}/hypervisor.sock`,
    domid,
    secret,
    join,
    token,
    http: parseListen(raw.GRANTLINE_HTTP ?? (kind === 'hypervisor' ? '127.0.0.1:7600' : '127.0.0.1:0')),
    httpNames: raw.GRANTLINE_HTTP_NAMES?.split(',') ?? [],
    uid: raw.GRANTLINE_UID ?? null,
    gid: raw.GRANTLINE_GID ?? null,
    groups: raw.GRANTLINE_GROUPS?.split(',').map(Number) ?? [],
    log: raw.GRANTLINE_LOG ?? 'info',
    core: raw.GRANTLINE_CORE ?? null,
    nativeCore: raw.GRANTLINE_NATIVE_CORE ?? null,
    sharers: raw.GRANTLINE_SHARERS ?? 1,
    roles: parseRoles(raw.GRANTLINE_ROLES),
    reclaim: raw.GRANTLINE_RECLAIM === '1',
    lifeline: raw.GRANTLINE_LIFELINE === 'stdin',
    hypercalls: raw.GRANTLINE_HYPERCALLS ?? 'ring',
    farEnd: parseFarEnd(raw.GRANTLINE_FAR_END ?? 'stack'),
    tap: raw.GRANTLINE_TAP === undefined ? null : tapPlace('GRANTLINE_TAP', raw.GRANTLINE_TAP),
    tapOffload: raw.GRANTLINE_TAP_OFFLOAD !== '0',
    edge: parseListen(raw.GRANTLINE_EDGE ?? '127.0.0.1:0', 'GRANTLINE_EDGE'),
  };
}

/** Splits host:port; an IPv6 host stands in brackets. @throws UsageError */
export function parseListen(text: string, name: keyof Raw = 'GRANTLINE_HTTP'): ListenAddress {
  const colon = text.lastIndexOf(':');
  const port = Number(text.slice(colon + 1));
  if (colon <= 0 || !Number.isInteger(port) || port < 0 || port > 65535) throw refused(name, text);
  return { host: text.slice(0, colon).replace(/^\[|\]$/g, ''), port };
}

/** Of the form that the schema allows. */
function parseFarEnd(text: string): FarEndChoice {
  if (text === 'stack' || text === 'none') return { kind: text };
  return { kind: 'tap', ...tapPlace('GRANTLINE_FAR_END', text.slice('tap:'.length)) };
}

function tapPlace(variable: 'GRANTLINE_TAP' | 'GRANTLINE_FAR_END', text: string): TapPlace {
  const at = parseTapPlace(text);
  if (at === null) throw refused(variable, text);
  return at;
}

/** All roles or none: a role without a group of its own could not be kept from another's files. */
function parseRoles(text: string | undefined): RoleGroups | null {
  if (text === undefined) return null;
  const given = new Map(text.split(',').map((pair) => pair.split('=') as [string, string]));
  const known = ROLES.every((role) => given.has(role)) && given.size === ROLES.length;
  if (!known || new Set(given.values()).size !== ROLES.length) throw refused('GRANTLINE_ROLES', text);
  return Object.fromEntries([...given].map(([role, gid]) => [role, Number(gid)])) as unknown as RoleGroups;
}

function validated(source: NodeJS.ProcessEnv): Raw {
  // Compose hands unset variables over as empty ones.
  const data: Record<string, unknown> = {};
  for (const name of Object.keys(EXPECTED)) if (source[name]) data[name] = source[name];
  try {
    return envSchema<Raw>({ schema, data, env: false, dotenv: false });
  } catch (err) {
    const path = (err as { errors?: { instancePath?: string }[] }).errors?.[0]?.instancePath?.slice(1);
    if (path === undefined || !(path in EXPECTED)) throw err;
    throw refused(path as keyof Raw, source[path] ?? '');
  }
}

function refused(name: keyof Raw, value: string): UsageError {
  // Secrets stay out of messages: only variables with a checkable form come here.
  return new UsageError(`${name}=${value.slice(0, 80)} is not valid: it must be ${EXPECTED[name]}`);
}
