/** What the death of a domain does to grants and DMA. Source: Xen common/grant_table.c, gnttab_release_mappings.
 *
 *  As a mapper: all that it had mapped is unmapped, granters can end access as after any unmap. As a granter: it is bad
 *  domain for new maps and copies, the NIC loses its pages at once, and its memory stays until the last mapper has
 *  unmapped (Xen's zombie). docs/wire/grant-table.md section 6.
 *
 *  The control side:
 *    const pending = death.begin(domid);
 *    tell the others domain.gone
 *    if (pending !== null) poll until death.settled(pending), then death.finish(pending)
 *    when death.pinned(domid) === 0: domains.remove(domid), unmap and delete its memory file */
import type { DmaQuiesce, DmaTable } from './dma-table.js';
import type { DomainTable } from './domain-memory.js';
import type { GrantOps } from './grant-ops.js';
import { PendingUnmap } from './pending-unmap.js';

export class DomainDeath {
  private readonly domains: DomainTable;
  private readonly dma: DmaTable;
  private readonly quiesce: DmaQuiesce;
  private readonly ops: GrantOps;

  constructor(domains: DomainTable, dma: DmaTable, quiesce: DmaQuiesce, ops: GrantOps) {
    this.domains = domains;
    this.dma = dma;
    this.quiesce = quiesce;
    this.ops = ops;
  }

  /** Marks the domain dead and closes all ways of and to its pages. Twice does no harm.
   *  @returns null when nothing has to be waited for, else what must be settled and finished */
  begin(domid: number): PendingUnmap | null {
    const domain = this.domains.get(domid);
    if (domain === null || domain.dying) return null;
    domain.dying = true;
    const revoked = this.dma.revokeOwner(domid);
    const pending = this.ops.unmapAll(domain);
    if (pending !== null || revoked === 0) return pending;
    // Nothing to give back, but the NIC may be writing into its pages by an entry of somebody else.
    const wait = new PendingUnmap(1);
    wait.waitForNic(this.quiesce.snapshot());
    return this.ops.settled(wait) ? null : wait;
  }

  settled(pending: PendingUnmap): boolean {
    return this.ops.settled(pending);
  }

  finish(pending: PendingUnmap): void {
    this.ops.finishUnmap(pending);
  }

  /** Uses of a domain's pages by others and by the NIC; its memory must stay while this is not 0. */
  pinned(domid: number): number {
    const domain = this.domains.get(domid);
    return (domain === null ? 0 : domain.active.pins) + this.dma.owned(domid);
  }
}
