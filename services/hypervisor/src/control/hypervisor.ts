/** Puts the parts of the hypervisor together. main.ts starts it with the environment; tests start it on a directory. */
import { DOMID_NIC, type DomId } from '@grantline/base';
import { type CounterBlock, CounterFile, cpuLayout, HYPERVISOR_CPU, AddressSpace } from '@grantline/machine';
import { CONTROL_COUNTERS } from '@grantline/observe';
import type { ListenAddress, RoleGroups, Log } from '@grantline/service';
import { DmaQuiesce, DmaTable } from '../data/dma-table.js';
import { DomainTable } from '../data/domain-memory.js';
import { GrantOps } from '../data/grant-ops.js';
import { Accounting, hypervisorClock } from './accounting.js';
import { addApi } from './api.js';
import { ControlOps } from './control-ops.js';
import { DomainLife, NicRights } from './domain-life.js';
import { Domains, type Domain } from './domains.js';
import { Doors } from './doors.js';
import { dump, readings } from './inspect.js';
import { PortTable, type PortInfo } from './port-table.js';
import { Sessions } from './sessions.js';
import { TestbedFiles } from './testbed-files.js';
import { HypercallServer } from './hypercall-server.js';
import { HypercallRings } from './hypercall-rings.js';
import { HypercallRunner } from './hypercall-runner.js';
import { Joins, Places } from './joins.js';
import { MemoryPool } from './memory-pool.js';
import { NicControl } from './nic-control.js';
import type { Parts } from './parts.js';
import { Shares, Tickets } from './shares.js';
import { Toolstack } from './toolstack.js';
import { WatchDelivery } from './store-watches.js';
import { XenStore } from './xenstore.js';

/** Addresses only: the memory of every domain that there can be, and the small pages. */
const SPACE_BYTES = 512 << 20;
const SETTLE_EVERY_MS = 1000;
/** A service answers within milliseconds, and its machine may be busy. */
const PROOF_MS = 10_000;
/** How long domains have to close their sockets when all ends. */
const GOODBYE_MS = 2000;

export interface HypervisorOptions {
  dir: string;
  /** The operator's token. */
  token: string;
  /** What the HTTP server is called beside its address. */
  httpNames?: readonly string[];
  listen: ListenAddress;
  log: Log;
  /** Called at POST /api/shutdown. */
  onShutdown: () => void;
  /** Groups of the roles, where each role runs as a user of its own. */
  roles?: RoleGroups | null;
  /** Remove what a killed hypervisor left in the directory. */
  reclaim?: boolean;
  /** Bytes of memory that may still be taken; for tests. */
  availableMemory?: () => number;
  /** Milliseconds that the nic has to answer. */
  nicTimeoutMs?: number;
  /** Milliseconds that a guest has to leave the nic by itself when its path is direct no more. */
  leaveMs?: number;
  /** Milliseconds after which a nic that stands still in a burst is dead. */
  stuckMs?: number;
  /** Milliseconds that a service has to prove that an announced address is its own. */
  proofMs?: number;
}

export class Hypervisor implements Parts {
  readonly files: TestbedFiles;
  readonly domains: Domains;
  readonly store = new XenStore();
  readonly evtchn: PortTable;
  private readonly joins: Joins;
  readonly toolstack: Toolstack;
  readonly nic: NicControl;
  private readonly rights: NicRights;
  readonly space: AddressSpace;
  readonly memory: DomainTable;
  readonly server: HypercallServer;
  readonly accounting: Accounting;
  readonly token: string;
  readonly onShutdown: () => void;
  readonly shares: Shares;
  readonly tickets = new Tickets();
  private readonly places = new Places();
  private readonly life: DomainLife;
  readonly dma: DmaTable;
  readonly quiesce: DmaQuiesce;
  readonly grants: GrantOps;
  readonly runner: HypercallRunner;
  readonly rings: HypercallRings;
  private readonly ops: ControlOps;
  readonly counterFile: CounterFile;
  private readonly control: CounterBlock;
  private readonly settler: NodeJS.Timeout;
  private readonly delivery: WatchDelivery;
  private readonly doors: Doors;
  readonly sessions: Sessions;
  /** How often each domain has connected. */
  readonly starts = new Map<DomId, number>();
  /** Where others reach it; null until it listens. */
  url: string | null = null;

  /** Takes the directory and makes what belongs to no domain. @throws UsageError when the directory cannot be had, or
   *  shared memory is short; then nothing is left behind */
  constructor(o: HypervisorOptions) {
    this.token = o.token;
    this.onShutdown = o.onShutdown;
    this.files = new TestbedFiles(o.dir, { roles: o.roles ?? null, reclaim: o.reclaim ?? false });
    try {
      this.files.writeToken(o.token);
      this.space = new AddressSpace(SPACE_BYTES);
      this.shares = new Shares(new MemoryPool(this.space, o.availableMemory));
      const { mem } = this.space;
      this.counterFile = new CounterFile(this.space, this.shares.openCounters());
      this.dma = new DmaTable(mem, this.shares.dmaTable.at);
      this.quiesce = new DmaQuiesce(mem, this.shares.dmaBurst.at);
    } catch (error) {
      this.files.removeAll();
      throw error;
    }
    const { mem } = this.space;
    const clock = hypervisorClock();
    this.accounting = new Accounting(this.counterFile.block(cpuLayout(HYPERVISOR_CPU)), clock);
    this.control = this.counterFile.block(CONTROL_COUNTERS);
    this.quiesce.nicPresent = false;
    this.memory = new DomainTable(mem);
    this.evtchn = new PortTable({
      pages: this.shares,
      exists: (domid) => this.domains.isLive(domid),
      onBound: (owner, port, _peer, remotePort) => this.server.send(owner, 'evtchn.bound', { port, remotePort }),
      onUnbound: (owner, port) => this.server.send(owner, 'evtchn.unbound', { port }),
    });
    this.life = new DomainLife(this);
    this.domains = new Domains(this.life);
    // With roles they come from containers.
    const containers = (o.roles ?? null) !== null;
    this.joins = new Joins(this.files, this.domains, containers ? this.places : null);
    this.rights = new NicRights(this, o.leaveMs);
    this.toolstack = new Toolstack(this.store, this.domains, () => this.rights.changed());
    this.sessions = new Sessions({
      store: this.store,
      domains: this.domains,
      toolstack: this.toolstack,
      deliver: this.deliver,
      log: o.log,
    });
    this.grants = new GrantOps({
      mem,
      domains: this.memory,
      dma: this.dma,
      quiesce: this.quiesce,
      mayAttach: (domid) => this.toolstack.isDirect(domid as DomId),
    });
    const stuck = (): void => {
      o.log.error('the nic stands still in the middle of a burst: it is given up');
      this.domains.ended(DOMID_NIC);
    };
    this.runner = new HypercallRunner(this.grants, this.accounting, stuck, o.stuckMs);
    this.rings = new HypercallRings(this, clock.meter, this.shares.openBell(), (domid) =>
      this.server.garbage(domid, 'a hypercall ring whose index has jumped'),
    );
    this.server = new HypercallServer({
      domains: this.domains,
      runner: this.runner,
      log: o.log,
      counters: this.control,
      shareOf: (domid) => this.accounting.of(domid)?.share ?? null,
      connected: (d) => this.connected(d),
      join: (kind, token, place) => this.joins.enter(kind, token, place),
      request: (caller, op, args) => this.request(caller, op, args),
      disconnected: (domid) => this.domains.ended(domid),
    });
    this.nic = new NicControl(
      {
        present: () => this.server.isConnected(DOMID_NIC),
        send: (event, args) => this.server.send(DOMID_NIC, event, args),
        isLive: (domid) => this.domains.isLive(domid),
        isDirect: (guest) => this.toolstack.isDirect(guest),
        isOwnDma: (dpn, context) => this.dma.isSelf(dpn, context),
        macOf: (guest) => this.domains.get(guest)?.mac ?? '',
      },
      this.evtchn,
      o.nicTimeoutMs,
    );
    this.ops = new ControlOps(this, { containers, limitMs: o.proofMs ?? PROOF_MS });
    this.delivery = new WatchDelivery(this.store.watches, this.server);
    this.doors = new Doors({
      http: {
        log: o.log,
        names: o.httpNames ?? [],
        key: o.token,
        counterFile: this.counterFile,
        dump: () => dump(this),
        // Right before the clocks are read: what was spent since the request came would be missing from the parts here, and be too
        // much next time.
        settle: () => this.accounting.settle(),
        gauges: () => readings(this),
      },
      addRoutes: (http) => addApi(http, this),
      // What anybody reads must be complete, and a reset must not leave anything to be counted later.
      beforeRequest: () => this.accounting.settle(),
      server: this.server,
      files: this.files,
      tickets: this.tickets,
      places: this.places,
    });
    this.settler = setInterval(() => {
      this.accounting.settle();
      this.control.commit();
    }, SETTLE_EVERY_MS);
  }

  /** Makes a hypervisor that answers. @throws UsageError also when the address cannot be had; nothing is left behind */
  static async start(o: HypervisorOptions): Promise<{ hypervisor: Hypervisor; url: string }> {
    const hypervisor = new Hypervisor(o);
    try {
      const url = await hypervisor.doors.open(o.listen);
      hypervisor.url = url;
      return { hypervisor, url };
    } catch (error) {
      await hypervisor.stop();
      throw error;
    }
  }

  /** Tells all domains to end, waits for them, and removes all files. */
  async stop(): Promise<void> {
    clearInterval(this.settler);
    this.rings.stop();
    this.sessions.stop();
    this.delivery.stop();
    this.rights.stop();
    await this.server.closeAll(GOODBYE_MS);
    this.domains.stop();
    this.nic.nicGone();
    await this.doors.close();
    this.files.removeAll();
  }

  /** Delivers the watch events that have fired. */
  readonly deliver = (): void => this.delivery.run();

  /** The open ports of a domain, and whether an event is pending on each. */
  portsOf(domid: DomId): (PortInfo & { pending: boolean })[] {
    return this.evtchn.list(domid).map((p) => ({ ...p, pending: this.shares.isPending(domid, p.remote, p.port) }));
  }

  /** A counter of the sockets, for tests and dumps. */
  counter(name: keyof typeof CONTROL_COUNTERS.counters): number {
    return this.control.v[CONTROL_COUNTERS.names.indexOf(name)];
  }

  private request(caller: DomId, op: string, args: unknown): unknown {
    // The caller has its reply before the events that it caused: those go out at the end of this turn.
    queueMicrotask(this.deliver);
    return this.accounting.spend(null, () => this.ops.run(caller, op, args));
  }

  private connected(domain: Domain): void {
    const { domid, kind, memoryPages } = domain;
    this.starts.set(domid, (this.starts.get(domid) ?? 0) + 1);
    if (domid === DOMID_NIC) this.quiesce.nicPresent = true;
    const guests = this.domains.guests().map((g) => g.domid);
    const joined = domain.joined ? { ...this.files.identityOf(domid), ...this.joins.placeOf(domain) } : {};
    this.server.send(domid, 'welcome', { domid, kind, memoryPages, guests, controlKey: domain.controlKey, ...joined });
    if (kind === 'guest') return;
    for (const other of this.domains.live()) if (other.domid !== domid) this.life.announce(domid, other);
  }
}
