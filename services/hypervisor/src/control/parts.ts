/** The parts of the hypervisor, as those see them that have to do with all: its API and pages, the life of domains. */
import type { DomId } from '@grantline/base';
import type { AddressSpace, CounterFile } from '@grantline/machine';
import type { DmaQuiesce, DmaTable } from '../data/dma-table.js';
import type { DomainTable } from '../data/domain-memory.js';
import type { GrantOps } from '../data/grant-ops.js';
import type { Accounting } from './accounting.js';
import type { Domains } from './domains.js';
import type { PortInfo, PortTable } from './port-table.js';
import type { TestbedFiles } from './testbed-files.js';
import type { HypercallRings } from './hypercall-rings.js';
import type { HypercallRunner } from './hypercall-runner.js';
import type { HypercallServer } from './hypercall-server.js';
import type { NicControl } from './nic-control.js';
import type { Sessions } from './sessions.js';
import type { Shares, Tickets } from './shares.js';
import type { Toolstack } from './toolstack.js';
import type { XenStore } from './xenstore.js';

export interface Parts {
  readonly files: TestbedFiles;
  readonly domains: Domains;
  readonly store: XenStore;
  readonly toolstack: Toolstack;
  readonly evtchn: PortTable;
  readonly nic: NicControl;
  readonly space: AddressSpace;
  readonly memory: DomainTable;
  readonly grants: GrantOps;
  readonly dma: DmaTable;
  readonly quiesce: DmaQuiesce;
  readonly server: HypercallServer;
  readonly runner: HypercallRunner;
  readonly rings: HypercallRings;
  readonly shares: Shares;
  readonly tickets: Tickets;
  readonly accounting: Accounting;
  readonly counterFile: CounterFile;
  readonly sessions: Sessions;
  /** How often each domain has connected. */
  readonly starts: ReadonlyMap<DomId, number>;
  /** Where others reach it; null until it listens. */
  readonly url: string | null;
  /** Called at POST /api/shutdown. */
  readonly onShutdown: () => void;
  /** Delivers the watch events that have fired. */
  readonly deliver: () => void;
  /** The open ports of a domain, and whether an event is pending on each. */
  portsOf(domid: DomId): (PortInfo & { pending: boolean })[];
}
