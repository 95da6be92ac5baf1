/** What every domain service (nic, guest, driver domain) sets up the same way, and takes down in reverse.
 *
 *      const s = await startService({ kind: 'guest', spaceBytes: 64 << 20, components: GUEST_CPU });
 *      const net = new GuestNet(...);
 *      s.add({ poller: net, dueUs: () => net.dueUs(), dump: { net: () => net.describe() } });      // Part
 *      await s.open();     // listens, announces the URL, is ready
 *
 *  Order: environment, log, hypervisor, drop of privileges, and only then memory, whose descriptors the hypervisor hands
 *  out. The service ends when the hypervisor's socket closes. */
import { Type } from '@sinclair/typebox';
import {
  DataLoop,
  CPU_WAKEUP,
  CpuMeter,
  slots,
  CounterFile,
  cpuLayout,
  LOOP_COUNTERS,
  AddressSpace,
  Doorbell,
  Ringer,
  pinToCore,
  type LoopHooks,
  type Poller,
  type CounterBlock,
  type Mem,
} from '@grantline/machine';
import type { Reading } from '@grantline/observe';
import { PAGE_SIZE, domainName, UsageError, type DomId } from '@grantline/base';
import {
  EventChannels,
  GrantTable,
  HypercallRing,
  XenstoreClient,
  hypercallRingBytes,
  hypercallSlotsOf,
  type SharedKind,
} from '@grantline/xen';
import { Lifeline } from './lifeline.js';
import { HypervisorClient } from './hypervisor/hypervisor-client.js';
import { Captures } from './captures.js';
import { readEnv, type ServiceEnv, type ServiceKind } from './env.js';
import { createHttp, listenHttp, OPEN, PROOF_PATH, proofOf, QUESTION, type ServiceHttp } from './http.js';
import { createLog, type Log } from './log.js';
import { dropPrivileges } from './privileges.js';
import { SessionFollower } from './session-follower.js';

type Stop = () => void | Promise<void>;

/** All of it may be left out. Deadlines, sockets and whose the time between turns is: LoopHooks. */
export interface Part extends LoopHooks {
  poller?: Poller;
  /** Takes what the poller throws: see DataLoop.add. */
  onFault?: (err: unknown) => void;
  /** What GET /dump shows of it, by the names that it has there; called when asked. */
  dump?: Readonly<Record<string, () => unknown>>;
  /** What /metrics shows besides the counters; read at each scrape. */
  gauges?: () => Iterable<Reading>;
  /** Is it ready? A text: why it is not. */
  ready?: () => boolean | string;
  /** Ends it, and gives back what it took. */
  stop?: Stop;
}

/** What a service is made of: parts that say themselves what the service has to do with them, each in one place.
 *
 *  All order follows from the order in which they are added: pollers run in it, dumps and readings show it, and parts end in
 *  reverse. A part that feeds another stands before it, and one whose end needs another's stands behind that one. */
export class Parts {
  private readonly loop: Pick<DataLoop, 'add' | 'remove' | 'addHooks' | 'removeHooks'>;
  private readonly lifeline: Pick<Lifeline, 'onStop' | 'forget'>;
  /** In the order in which they were added, each with the step that ends it. */
  private readonly parts = new Map<Part, Stop>();

  constructor(loop: Parts['loop'], lifeline: Parts['lifeline']) {
    this.loop = loop;
    this.lifeline = lifeline;
  }

  add(part: Part): void {
    const stop: Stop = () => part.stop?.();
    this.parts.set(part, stop);
    if (part.poller !== undefined) this.loop.add(part.poller, part.onFault);
    this.loop.addHooks(part);
    if (part.stop !== undefined) this.lifeline.onStop(stop);
  }

  /** It is neither polled nor shown any more, and ended. One that is not there, or is being ended with the service, is left alone. */
  async remove(part: Part): Promise<void> {
    const stop = this.parts.get(part);
    if (stop === undefined) return;
    this.parts.delete(part);
    this.loop.removeHooks(part);
    if (part.poller !== undefined) this.loop.remove(part.poller);
    if (this.lifeline.forget(stop)) await stop();
  }

  dump(): Record<string, unknown> {
    const shown: Record<string, unknown> = {};
    for (const { dump = {} } of this.parts.keys()) for (const [name, of] of Object.entries(dump)) shown[name] = of();
    return shown;
  }

  *readings(): Generator<Reading> {
    for (const part of this.parts.keys()) if (part.gauges !== undefined) yield* part.gauges();
  }

  /** @returns what the first part says that is not ready */
  ready(): boolean | string {
    for (const part of this.parts.keys()) {
      const ready = part.ready?.() ?? true;
      if (ready !== true) return ready;
    }
    return true;
  }
}

/** @template T what `whilePrivileged` makes */
export interface ServiceOptions<T = void> {
  kind: Exclude<ServiceKind, 'hypervisor'>;
  /** Addresses to reserve, bytes: own memory, event pages, counters and whatever the service maps. Costs no memory. */
  spaceBytes: number;
  /** Names of the CPU components, CPU_COMMON first: NIC_CPU, DRIVER_DOMAIN_CPU, GUEST_CPU. */
  components: readonly string[];
  /** Runs before privileges are dropped and anything is mapped, for what needs them: a TAP device. */
  whilePrivileged?: (env: ServiceEnv, client: HypervisorClient) => T | Promise<T>;
  /** Read instead of the process's own environment, in tests. */
  env?: ServiceEnv;
}

/** Where frames can be captured in each kind of service. */
const HOP_OF = { nic: 'nic', 'driver-domain': 'bridge', guest: 'guest' } as const;

export interface Service<T = void> {
  readonly env: ServiceEnv;
  /** What `whilePrivileged` returned. */
  readonly privileged: T;
  readonly log: Log;
  readonly client: HypervisorClient;
  readonly xenstore: XenstoreClient;
  readonly domid: DomId;
  readonly space: AddressSpace;
  readonly mem: Mem;
  /** Byte offset of the domain's own memory: page p lies at memory + p * PAGE_SIZE. Page 0 of the space stays unmapped. */
  readonly memory: number;
  readonly memoryPages: number;
  readonly grants: GrantTable;
  readonly counters: CounterFile;
  readonly doorbell: Doorbell;
  readonly channels: EventChannels;
  /** CPU nanoseconds by component. */
  readonly cpu: CounterBlock;
  readonly meter: CpuMeter;
  readonly loop: DataLoop;
  readonly http: ServiceHttp;
  /** Taps of the hops that it has. */
  readonly captures: Captures;
  readonly lifeline: Lifeline;
  /** What sessions change, and what puts it back. */
  readonly session: SessionFollower;
  /** Adds a part behind those that are there: its poller runs after theirs, it ends before them. */
  add(part: Part): void;
  /** Takes a part out of the running service, and ends it. */
  remove(part: Part): Promise<void>;
  /** Listens, announces itself to the hypervisor and is ready from then on. @returns the URL */
  open(): Promise<string>;
}

/** Sets a domain service up to the point where parts can be added.
 *  @throws UsageError for what the user can put right */
export async function startService<T = void>(o: ServiceOptions<T>): Promise<Service<T>> {
  let env = o.env ?? readEnv(o.kind);
  let log = createLog(env);
  const lifeline = new Lifeline({ log, stdin: env.lifeline });
  const client = await HypervisorClient.connect(env, log);
  lifeline.onStop(() => client.close());
  client.onClose((reason) => void lifeline.stop(`the hypervisor closed the connection: ${reason}`));
  if (env.domid === null) {
    // A service that joined learns from the hypervisor who and where it is; what the environment says comes first.
    env = { ...env, core: env.core ?? client.core, nativeCore: env.nativeCore ?? client.nativeCore };
    log = createLog({ ...env, domid: client.domid });
  }

  const privileged = (await o.whilePrivileged?.(env, client)) as T;
  const joinedAsRoot = env.uid === null && process.geteuid?.() === 0;
  dropPrivileges((joinedAsRoot ? client.identity : null) ?? env);
  if (env.core !== null && !pinToCore(env.core)) log.warn({ core: env.core }, 'could not pin to the core');

  const get = (of: SharedKind): Promise<number> => opened(client.descriptor(of));
  const doorbell = new Doorbell(await get('doorbell'));
  const space = new AddressSpace(o.spaceBytes);
  // Offset 0 stays inaccessible, so that an offset never set faults instead of hitting the grant table.
  space.reserve(PAGE_SIZE);
  const memory = space.mapWhole(await get('memory'), client.memoryPages * PAGE_SIZE, true);
  const counters = new CounterFile(space, await get('counters'));
  const cpu = counters.block(cpuLayout(o.components));
  const meter = new CpuMeter(cpu);
  const channels = new EventChannels(client, space);
  lifeline.onStop(() => channels.close());
  const loopCounters = counters.block(LOOP_COUNTERS);
  let ring: HypercallRing | null = null;
  const loop: DataLoop = new DataLoop({
    doorbell,
    meter,
    counters: loopCounters,
    dispatch: () => {
      if (ring !== null && ring.inFlight > 0) ring.scheduled = true;
      return channels.dispatch();
    },
    waiting: () => client.inFlight > 0,
    rest: CPU_WAKEUP,
    sharers: env.sharers,
  });
  const { damped } = slots(LOOP_COUNTERS);
  channels.storms = {
    kick: () => loop.kick(),
    count: () => void loopCounters.v[damped]++,
    after: (ms, then) => void setTimeout(then, ms),
  };
  lifeline.onStop(() => {
    loop.stop();
    doorbell.close();
  });

  const parts = new Parts(loop, lifeline);
  if (env.hypercalls === 'ring') {
    const slots = hypercallSlotsOf(client.domid);
    const at = space.mapWhole(await get('hypercalls'), hypercallRingBytes(slots), true);
    const hypervisor = new Ringer(await get('hypervisor'));
    const calls = new HypercallRing(space.mem, at, slots, {
      ring: () => hypervisor.ring(),
      kick: () => loop.kick(),
      leave: () => loop.leave(),
    });
    // Before all other pollers: what it brings is taken in the same round.
    parts.add({ poller: calls, dump: { hypercalls: () => calls.describe() }, stop: () => hypervisor.close() });
    ring = client.ring = calls;
  }
  let isOpen = false;
  const http = createHttp({
    name: `${env.kind} ${client.domid}`,
    domain: domainName(client.domid),
    log,
    ...{ listen: env.http, names: env.httpNames, key: client.controlKey },
    counterFile: counters,
    settle: () => meter.settle(loop.between()),
    ready: () => isOpen && !client.closed && !lifeline.stopping && parts.ready(),
    dump: () => ({ domid: client.domid, kind: env.kind, ports: channels.list(), ...parts.dump() }),
    gauges: () => parts.readings(),
  });
  lifeline.onStop(() => http.close());
  http.get(
    PROOF_PATH,
    {
      ...OPEN,
      schema: {
        summary: 'Shows the hypervisor that this address is this domain',
        querystring: Type.Object({ question: Type.String({ pattern: QUESTION }) }),
        response: { 200: Type.String() },
      },
    },
    ({ query }) => proofOf(client.controlKey, query.question),
  );
  const captures = new Captures({
    ...{ http, space, counters, hops: [HOP_OF[o.kind]], domain: domainName(client.domid) },
  });

  const xenstore = new XenstoreClient(client);
  const session = new SessionFollower(xenstore, client.domid, log);
  return {
    env,
    privileged,
    log,
    client,
    xenstore,
    domid: client.domid,
    space,
    mem: space.mem,
    memory,
    memoryPages: client.memoryPages,
    grants: new GrantTable(space.mem, memory),
    counters,
    doorbell,
    channels,
    cpu,
    meter,
    loop,
    http,
    captures,
    lifeline,
    session,
    add: (part) => parts.add(part),
    remove: (part) => parts.remove(part),
    async open() {
      const url = await listenHttp(http, env.http);
      await session.begin();
      await client.request('service.announce', { http: url, pid: process.pid });
      isOpen = true;
      log.info({ url }, 'ready');
      return url;
    },
  };
}

/** @throws UsageError when nobody hands out descriptors where we look */
async function opened(descriptor: Promise<number>): Promise<number> {
  try {
    return await descriptor;
  } catch (err) {
    const { code, path } = err as NodeJS.ErrnoException;
    if (path === undefined) throw err;
    throw new UsageError(`cannot connect to ${path} (${code}): is GRANTLINE_DIR the hypervisor's?`);
  }
}
