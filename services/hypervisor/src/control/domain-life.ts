/** What a domain's birth and death, and the end of its right to the NIC, do to all parts of the hypervisor, in the order that keeps
 *  others safe. */
import { DOMID_DRIVER, DOMID_NIC, PAGE_SIZE, nowNs, type DomId } from '@grantline/base';
import { HYPERCALL_COUNTERS } from '@grantline/observe';
import { TimeShare } from './accounting.js';
import type { Domain, DomainWorld } from './domains.js';
import type { Parts } from './parts.js';

/** What a nic has to end by itself, once it is dead for us and in no burst. */
const NIC_GRACE_MS = 3000;
const FENCE_LOOK_MS = 2;

export class DomainLife implements DomainWorld {
  private readonly parts: Parts;
  /** Dead domains whose unmapping the NIC has still to let go of. */
  private readonly dying = new Set<DomId>();

  /** @param parts most are made later: after the list of domains, which they need */
  constructor(parts: Parts) {
    this.parts = parts;
  }

  build({ domid, kind, memoryPages }: Domain): void {
    const { shares, memory, counterFile, accounting, dma, rings } = this.parts;
    const base = shares.makeDomain(domid, memoryPages * PAGE_SIZE);
    try {
      // A nic that was killed in the middle of a burst has left the count odd.
      if (domid === DOMID_NIC) {
        shares.resetBurst();
        shares.renewFence();
      }
      const counters = counterFile.block(HYPERCALL_COUNTERS, { domain: String(domid) });
      // The last step that can fail: what comes before it leaves nothing.
      memory.add({ domid, base, pages: memoryPages, counters });
      const share = kind === 'guest' ? new TimeShare(nowNs, () => this.parts.domains.guests().length) : null;
      accounting.open(domid, counters, share);
      rings.open(domid);
    } catch (error) {
      shares.removeDomain(domid);
      throw error;
    }
    dma.newOwner(domid);
  }

  born(domain: Domain): void {
    const { toolstack, deliver } = this.parts;
    toolstack.domainBorn(domain);
    for (const to of [DOMID_DRIVER, DOMID_NIC]) if (to !== domain.domid) this.announce(to, domain);
    deliver();
  }

  /** Tells `to` that there is such a domain. */
  announce(to: DomId, { domid, kind, memoryPages, mac, ip }: Domain): void {
    const { server, toolstack, dma } = this.parts;
    const generation = dma.generationOf(domid);
    server.send(to, 'domain.new', { domid, generation, kind, memoryPages, mac, ip, nested: toolstack.isNested(domid) });
  }

  bury(domain: Domain): void {
    const { server, tickets, evtchn, nic, store, grants, toolstack, runner, rings, deliver } = this.parts;
    const { domid } = domain;
    tickets.forget(domid);
    server.drop(domid, `domain ${domid} is destroyed`);
    rings.close(domid);
    evtchn.closeAll(domid);
    if (domid === DOMID_NIC) {
      this.endNic();
      nic.nicGone();
    }
    nic.domainGone(domid);
    const pending = grants.beginDeath(domid);
    store.watches.removeAll(domid);
    for (const to of [DOMID_DRIVER, DOMID_NIC]) server.send(to, 'domain.gone', { domid });
    // Only when nothing of others is pinned by the dead domain any more: that is what "Closed" tells a netfront.
    const ended = (): void => {
      this.dying.delete(domid);
      toolstack.domainDied(domain);
      deliver();
    };
    if (pending === null) return ended();
    this.dying.add(domid);
    runner.wait(pending, domid, ended);
  }

  /** Whatever it is dead for, its process may still run, or be stopped in the middle of a burst, and would write into pages that were given
   *  away. So what waits for the nic waits until the process has ended, and one that does not end is ended. */
  private endNic(): void {
    const { shares, quiesce } = this.parts;
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
    const { memory, grants, shares, accounting } = this.parts;
    if (domid === DOMID_NIC && !shares.nicEnded) return false;
    const dead = memory.get(domid);
    if (this.dying.has(domid) || grants.pinned(domid) > 0 || dead === null || dead.maptrack.used > 0) return false;
    memory.remove(domid);
    shares.removeDomain(domid);
    accounting.close(domid);
    return true;
  }
}

/** How long a guest has to leave the NIC by itself: some round trips, and a burst. */
const LEAVE_MS = 3000;

/** A guest's right to the NIC ends with its reason, the path factor `direct`. A guest that is told so gives its queues and
 *  DMA entries back by itself; from one that does not they are taken. */
export class NicRights {
  private readonly parts: Parts;
  private readonly leaveMs: number;
  /** Of the guests that are to leave. */
  private readonly timers = new Map<DomId, NodeJS.Timeout>();

  constructor(parts: Parts, leaveMs = LEAVE_MS) {
    this.parts = parts;
    this.leaveMs = leaveMs;
  }

  /** The factors have changed: who has no right to the NIC now is to have left it after a while. */
  changed(): void {
    for (const { domid: guest } of this.parts.domains.guests()) {
      if (this.parts.toolstack.isDirect(guest)) {
        // Should it leave once more, it has its whole time again.
        clearTimeout(this.timers.get(guest));
        this.timers.delete(guest);
        continue;
      }
      if (this.timers.has(guest)) continue;
      const timer = setTimeout(() => {
        this.timers.delete(guest);
        this.revoke(guest);
      }, this.leaveMs);
      this.timers.set(guest, timer);
    }
  }

  stop(): void {
    for (const timer of this.timers.values()) clearTimeout(timer);
    this.timers.clear();
  }

  /** The nic closes the port of each queue: that is what the guest sees. */
  private revoke(guest: DomId): void {
    const { nic, grants, runner, memory } = this.parts;
    nic.detachAll(guest);
    const domain = memory.live(guest);
    const pending = domain === null ? null : grants.unmapDevice(domain);
    if (pending !== null) runner.wait(pending, guest, () => {});
  }
}
