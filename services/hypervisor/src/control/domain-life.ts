/** What a domain's birth and death do to all parts of the hypervisor, in the order that keeps others safe. */
import { DOMID_DRIVER, DOMID_NIC, PAGE_SIZE, type DomId } from '@grantline/base';
import type { CounterFile } from '@grantline/machine';
import { HYPERCALL_COUNTERS } from '@grantline/observe';
import type { DmaQuiesce, DmaTable } from '../data/dma-table.js';
import type { DomainTable } from '../data/domain-memory.js';
import type { GrantOps } from '../data/grant-ops.js';
import type { Account, Accounting } from './accounting.js';
import type { Domain, DomainWorld } from './domains.js';
import type { PortTable } from './port-table.js';
import type { HypercallRunner } from './hypercall-runner.js';
import type { HypercallServer } from './hypercall-server.js';
import type { NicControl } from './nic-control.js';
import type { Shares } from './shares.js';
import type { Tickets } from './tickets.js';
import type { Toolstack } from './toolstack.js';
import type { XenStore } from './xenstore.js';

/** The parts that a domain has something in. */
export interface LifeParts {
  readonly shares: Shares;
  readonly tickets: Tickets;
  readonly memory: DomainTable;
  readonly grants: GrantOps;
  readonly dma: DmaTable;
  readonly quiesce: DmaQuiesce;
  readonly runner: HypercallRunner;
  readonly accounting: Accounting;
  readonly counterFile: CounterFile;
  readonly evtchn: PortTable;
  readonly nic: NicControl;
  readonly store: XenStore;
  readonly toolstack: Toolstack;
  readonly server: HypercallServer;
  /** Sends the watch events that have fired. */
  readonly deliver: () => void;
}

/** What a nic has to end by itself, once it is dead for us and in no burst. */
const NIC_GRACE_MS = 3000;
const FENCE_LOOK_MS = 2;

export class DomainLife implements DomainWorld {
  private readonly parts: () => LifeParts;
  private readonly accounts = new Map<DomId, Account>();
  /** Dead domains whose unmapping the NIC has still to let go of. */
  private readonly dying = new Set<DomId>();

  /** @param parts asked for at each use: they are made after the list of domains, which some of them need */
  constructor(parts: () => LifeParts) {
    this.parts = parts;
  }

  accountOf(domid: DomId): Account | undefined {
    return this.accounts.get(domid);
  }

  build({ domid, memoryPages }: Domain): void {
    const { shares, memory, counterFile, accounting, dma } = this.parts();
    const base = shares.makeDomain(domid, memoryPages * PAGE_SIZE);
    try {
      // A nic that was killed in the middle of a burst has left the count odd.
      if (domid === DOMID_NIC) {
        shares.resetBurst();
        shares.renewFence();
      }
      const block = counterFile.block(HYPERCALL_COUNTERS, { domain: String(domid) });
      // The last step that can fail: what comes before it leaves nothing.
      memory.add(domid, base, memoryPages, block);
      this.accounts.set(domid, accounting.open(block));
    } catch (error) {
      shares.removeDomain(domid);
      throw error;
    }
    dma.newOwner(domid);
  }

  born(domain: Domain): void {
    const { toolstack, deliver } = this.parts();
    toolstack.domainBorn(domain);
    for (const to of [DOMID_DRIVER, DOMID_NIC]) if (to !== domain.domid) this.announce(to, domain);
    deliver();
  }

  /** Tells `to` that there is such a domain. */
  announce(to: DomId, { domid, kind, memoryPages, mac, ip }: Domain): void {
    const { server, toolstack, dma } = this.parts();
    const generation = dma.generationOf(domid);
    server.send(to, 'domain.new', { domid, generation, kind, memoryPages, mac, ip, nested: toolstack.isNested(domid) });
  }

  bury(domain: Domain): void {
    const { server, tickets, evtchn, nic, store, grants, toolstack, runner, deliver } = this.parts();
    const { domid } = domain;
    tickets.forget(domid);
    server.drop(domid, `domain ${domid} is destroyed`);
    evtchn.closeAll(domid);
    if (domid === DOMID_NIC) {
      this.endNic();
      nic.nicGone();
    }
    nic.domainGone(domid);
    const pending = grants.beginDeath(domid);
    store.forget(domid);
    for (const to of [DOMID_DRIVER, DOMID_NIC]) server.send(to, 'domain.gone', { domid });
    // Only when nothing of others is pinned by the dead domain any more: that is what "Closed" tells a netfront.
    const ended = (): void => {
      this.dying.delete(domid);
      toolstack.domainDied(domain);
      deliver();
    };
    if (pending === null) return ended();
    this.dying.add(domid);
    runner.wait(pending, this.accounts.get(domid), ended);
  }

  /** Whatever it is dead for, its process may still run, or be stopped in the middle of a burst, and would write into pages that were given
   *  away. So what waits for the nic waits until the process has ended, and one that does not end is ended. */
  private endNic(): void {
    const { shares, quiesce } = this.parts();
    let left = quiesce.inBurst ? 0 : NIC_GRACE_MS / FENCE_LOOK_MS;
    const look = (): void => {
      if (shares.nicEnded) {
        quiesce.nicPresent = false;
        return;
      }
      if (left-- === 0) shares.endNic();
      setTimeout(look, FENCE_LOOK_MS).unref();
    };
    look();
  }

  reap({ domid }: Domain): boolean {
    const { memory, grants, shares, accounting } = this.parts();
    if (domid === DOMID_NIC && !shares.nicEnded) return false;
    const dead = memory.get(domid);
    if (this.dying.has(domid) || grants.pinned(domid) > 0 || dead === null || dead.maptrack.used > 0) return false;
    memory.remove(domid);
    shares.removeDomain(domid);
    const account = this.accounts.get(domid);
    if (account !== undefined) accounting.close(account);
    this.accounts.delete(domid);
    return true;
  }
}
