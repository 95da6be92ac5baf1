/** What the experimenter asks of a testbed: the hypervisor's operator API and each service's own pages (docs/wire/control-plane.md,
 *  section 4). */
import type { ClientRequest, IncomingMessage } from 'node:http';
import { hostname } from 'node:os';
import { readFileSync } from 'node:fs';
import { XENBUS, XENBUS_NAMES } from '@grantline/xen';
import type { Configuration, Factors, RunSettings } from '@grantline/base';
import { UserError } from '../base/errors.js';
import { HttpError, messageOf, Party, type Call } from '../base/http.js';
import { untilNothingLeft } from '../base/standstill.js';
import type { ServiceName, ServiceSnapshot } from './snapshot.js';

export type DomainKind = 'guest' | 'driver-domain' | 'nic';

export interface DomainInfo {
  domid: number;
  kind: DomainKind;
  name: string;
  state: 'created' | 'running' | 'dead';
  pid: number | null;
  http: string | null;
  mac: string | null;
  ip: string | null;
}

export interface TestbedInfo {
  dir: string;
  config: Factors | null;
  generation: number;
  domains: DomainInfo[];
}

export interface NewDomain {
  domid: number;
  secret: string;
  dir: string;
  uid: number | null;
  gid: number | null;
  groups: number[];
}

/** How a domain's service is reached, and its control key. */
interface ControlAccess {
  domid: number;
  kind: DomainKind;
  http: string;
  key: string;
}

interface VifStatus {
  vif: string;
  /** Names of xenbus states. */
  backend: string;
  frontend: string;
  backendAck: number | null;
  frontendAck: number | null;
  error: string | null;
}

export interface ConfigStatus {
  generation: number;
  factors: Factors | null;
  settled: boolean;
  vifs: VifStatus[];
}

/** Whether the session of a client and of the services that it asks has ended. Work that was interrupted may go on for a while: what
 *  has been put back it changes no more. */
interface SessionState {
  ended: boolean;
}

/** The session itself: nothing that a session puts back. */
const ALWAYS = /^\/api\/session(\/|$)/;

/** A service with a control API of its own, at the address that the hypervisor knows it by. It is shown its own domain's control key
 *  and never the operator's token: a guest's service is no friend of the operator's. */
export class ServiceClient extends Party {
  declare readonly name: ServiceName;
  readonly kind: DomainKind | 'hypervisor';
  readonly domid: number;
  private readonly session: SessionState;

  /** @param key the domain's control key, of the hypervisor the operator's token; null: only what is open to all can be asked */
  constructor(
    of: { name: ServiceName; kind: DomainKind | 'hypervisor'; domid: number; http: string },
    key: string | null,
    session: SessionState = { ended: false },
  ) {
    super(of.name, of.http, key);
    this.session = session;
    this.kind = of.kind;
    this.domid = of.domid;
  }

  override call<T>(path: string, options: Call = {}): Promise<T> {
    const { method = 'GET' } = options;
    if (this.session.ended && method !== 'GET' && !ALWAYS.test(path))
      return Promise.reject(new HttpError(`the session is over: ${method} ${path} was not sent to ${this.name}`, 0));
    return super.call(path, options);
  }
}

type RawCounters = Omit<ServiceSnapshot, 'name' | 'kind' | 'domid'>;

/** The operator: the only holder of the token, which goes to the hypervisor and nowhere else. */
export class Client {
  private readonly itself: ServiceClient;
  private readonly session: SessionState = { ended: false };

  constructor(hypervisor: string, token: string) {
    this.itself = new ServiceClient(
      { name: 'hypervisor', kind: 'hypervisor', domid: 0, http: hypervisor },
      token,
      this.session,
    );
  }

  get hypervisor(): string {
    return this.itself.http;
  }

  /** @param tokenPath file with the operator's token; a missing one leaves only the calls that change nothing */
  static open(hypervisor: string, tokenPath: string): Client {
    let token = '';
    try {
      token = readFileSync(tokenPath, 'utf8').trim();
    } catch {
      // Another user's testbed: the hypervisor will say 401 where it matters.
    }
    return new Client(hypervisor, token);
  }

  private async operator<T>(method: 'GET' | 'POST' | 'PUT' | 'DELETE', path: string, body?: unknown): Promise<T> {
    return this.itself.call<T>(path, { method, ...(body === undefined ? {} : { body }) });
  }

  /** Before anything is changed on a testbed that is not the caller's own. */
  hold = async (): Promise<BedSession> => {
    const held = await holdSession(this.itself, () => (this.session.ended = true));
    this.session.ended = held.lost;
    return held;
  };
  testbed = (): Promise<TestbedInfo> => this.operator('GET', '/api/testbed');
  createDomain = (kind: DomainKind): Promise<NewDomain> => this.operator('POST', '/api/domains', { kind });
  deleteDomain = (domid: number): Promise<unknown> => this.operator('DELETE', `/api/domains/${domid}`);
  putConfig = (factors: Factors): Promise<{ generation: number }> => this.operator('PUT', '/api/config', factors);
  /** @param rate as 100Mb/s; null: no limit */
  putRate = (rate: string | null): Promise<unknown> => this.operator('PUT', '/api/rate', { rate });
  /** @param guests domids; null: all, also those to come */
  putNested = async (guests: readonly number[] | null): Promise<void> => {
    for (const guest of guests ?? [undefined])
      await this.operator('PUT', '/api/nested', { nested: true, ...(guest === undefined ? {} : { guest }) });
  };
  rates = (): Promise<{ rates: { vif: string; rate: string | null }[] }> => this.operator('GET', '/api/rate');
  config = (): Promise<ConfigStatus> => this.operator('GET', '/api/config');
  putRun = (run: RunSettings): Promise<unknown> => this.operator('PUT', '/api/run', run);
  run = (): Promise<{ run: RunSettings | null; ready: number[] }> => this.operator('GET', '/api/run');
  xenstore = (path: string): Promise<unknown> => this.operator('GET', `/api/xenstore?path=${encodeURIComponent(path)}`);
  grants = (domid: number): Promise<unknown> => this.operator('GET', `/api/domains/${domid}/grants`);
  /** Where a domain's service answers, and the key of its domain, for what is no single call: a capture. */
  controlAccess = (domid: number): Promise<ControlAccess> => this.operator('GET', `/api/domains/${domid}/control`);
  /** For the domain's counters, 0: the hypervisor's; good at the socket where descriptors are handed out. */
  counterTicket = (domid: number): Promise<{ ticket: string }> =>
    this.operator('POST', `/api/domains/${domid}/counters`);
  ports = (domid: number): Promise<unknown> => this.operator('GET', `/api/domains/${domid}/ports`);

  /** All services that have announced where they answer, the hypervisor first. */
  async services(): Promise<ServiceClient[]> {
    const { domains } = await this.operator<{ domains: ControlAccess[] }>('GET', '/api/control');
    return [
      this.itself,
      ...domains.map(({ key, ...d }) => new ServiceClient({ ...d, name: serviceName(d) }, key, this.session)),
    ];
  }

  /** Counters of all services, asked for at the same time. */
  async snapshot(services: readonly ServiceClient[]): Promise<ServiceSnapshot[]> {
    return Promise.all(
      services.map(async (s) => ({
        ...(await s.call<RawCounters>('/counters')),
        name: s.name,
        kind: s.kind,
        domid: s.domid,
      })),
    );
  }

  async resetCounters(services: readonly ServiceClient[]): Promise<void> {
    await Promise.all(services.map((s) => s.call('/counters/reset', { method: 'POST' })));
  }

  /** GET, POST or DELETE on a service's own page. */
  ask<T>(service: ServiceClient, path: string, method: 'GET' | 'POST' | 'DELETE' = 'GET', body?: unknown): Promise<T> {
    return service.call<T>(path, { method, timeoutMs: 30_000, ...(body === undefined ? {} : { body }) });
  }
}

/** Guests that can take part in a run. */
export const runningGuests = ({ domains }: TestbedInfo): DomainInfo[] =>
  domains.filter((d) => d.kind === 'guest' && d.state === 'running');

/** guest1, driver-domain, nic: as in logs, tables and messages. */
export function serviceName(d: { kind: DomainKind; domid: number }): ServiceName {
  return d.kind === 'guest' ? `guest${d.domid}` : d.kind;
}

/** The end of an earlier session is waited for: vifs connect anew, receivers get ready. */
const BEGIN_LIMIT_MS = 40_000;
const END_LIMIT_MS = 40_000;
/** An answer that refuses is a line. */
const REFUSAL_CHARS = 10_000;

/** A session on a running testbed: while it is held nobody else measures, and when it ends - by `end`, by an error, by
 *  SIGKILL - the hypervisor puts everything back that was found when it began. All commands that change a testbed which is
 *  not their own do so within one. docs/wire/control-plane.md section 11. */
export interface BedSession {
  /** The connection has ended though nobody ended it: the hypervisor is gone, and what was found with it. */
  readonly lost: boolean;
  /** Ends it; again is fine. @returns when all is as it was found, or after so long */
  end(limitMs?: number): Promise<void>;
}

/** @param onEnd called when it ends, before anything is put back @throws UserError while somebody else measures, HttpError */
async function holdSession(hypervisor: Party, onEnd: () => void): Promise<BedSession> {
  const { request, response } = await open(hypervisor, ownName());
  let lost = false;
  response.once('close', () => {
    lost = true;
    onEnd();
  });
  response.on('error', () => {});
  const id = await firstLine(response);
  // Read on, or the connection would be held up.
  response.resume();
  let ending: Promise<void> | null = null;
  return {
    get lost() {
      return lost;
    },
    end(limitMs = END_LIMIT_MS) {
      onEnd();
      const asked = hypervisor.call(`/api/session/${id}`, { method: 'DELETE', timeoutMs: limitMs });
      // However that went: with the connection it ends in any case.
      ending ??= asked.then(
        () => {},
        () => {},
      );
      return ending.finally(() => request.destroy());
    },
  };
}

/** Who measures, for others: grantline compare (process 4711 on lab). */
const ownName = (): string =>
  `grantline ${process.argv[2] ?? ''} (process ${process.pid} on ${hostname()})`
    .replaceAll(/[^ -~]/g, '?')
    .slice(0, 120);

async function open(hypervisor: Party, owner: string): Promise<{ request: ClientRequest; response: IncomingMessage }> {
  const asked = await hypervisor.open('/api/session', { owner }, BEGIN_LIMIT_MS);
  const status = asked.response.statusCode ?? 0;
  if (status === 200) return asked;
  const message = await refusal(asked.response);
  asked.request.destroy();
  if (status === 409) throw new UserError(message, 'wait until it has ended');
  throw new HttpError(`hypervisor refused POST /api/session (${status}): ${message}`, status);
}

async function refusal(response: IncomingMessage): Promise<string> {
  let text = '';
  try {
    for await (const chunk of response.setEncoding('utf8')) if ((text += chunk as string).length > REFUSAL_CHARS) break;
  } catch {
    // What came of it.
  }
  return messageOf(text);
}

/** The session's number. */
function firstLine(response: IncomingMessage): Promise<number> {
  return new Promise((done, fail) => {
    let text = '';
    const gone = (): void => fail(new HttpError('hypervisor ended the session before it began', 0));
    response.once('close', gone);
    const onData = (chunk: Buffer): void => {
      text += chunk.toString('latin1');
      const end = text.indexOf('\n');
      if (end < 0 && text.length < REFUSAL_CHARS) return;
      response.off('data', onData);
      response.off('close', gone);
      const id = Number(/^\{"id":(\d{1,9})\}$/.exec(text.slice(0, Math.max(0, end)))?.[1]);
      if (Number.isInteger(id)) done(id);
      else fail(new HttpError('hypervisor answered POST /api/session with something that is no session', 200));
    };
    response.on('data', onData);
  });
}

/** So long no vif may get any further. */
export const SETTLE_STAND_MS = 15_000;
const CONNECTED = XENBUS_NAMES[XENBUS.connected];

/** Changes the configuration of a running testbed and waits until every vif has come back with it.
 *  @throws RunError when the vifs stand still: the message names those that have not settled, and their states */
export async function configure(client: Client, config: Configuration): Promise<void> {
  const { generation } = await client.putConfig(config.factors);
  await untilNothingLeft(
    async () => {
      const status = await client.config();
      if (status.settled && status.generation >= generation) return null;
      const native = config.factors.path === 'native';
      const hanging = status.vifs.filter((v) => !vifSettled(v, status.generation, native));
      const vifs = hanging.length > 0 ? hanging : status.vifs;
      return `configuration ${config.name} did not settle: ${describeVifs(vifs)}`;
    },
    { standMs: SETTLE_STAND_MS, everyMs: 10 },
  );
}

/** docs/wire/control-plane.md, section 7, last paragraph. */
function vifSettled(v: VifStatus, generation: number, native: boolean): boolean {
  if (native) return Number(v.backendAck) === generation;
  return (
    Number(v.backendAck) === generation &&
    Number(v.frontendAck) === generation &&
    v.backend === CONNECTED &&
    v.frontend === CONNECTED
  );
}

export const describeVifs = (vifs: readonly VifStatus[]): string => vifs.map(describe).join('; ');

function describe(v: VifStatus): string {
  const error = v.error ? `, error: ${v.error}` : '';
  return `${v.vif} backend ${v.backend} (ack ${v.backendAck ?? 'none'}), frontend ${v.frontend} (ack ${v.frontendAck ?? 'none'})${error}`;
}
