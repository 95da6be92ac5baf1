/** The grants of transmit buffers, by buffer: read-only, for netback and through it for the NIC. Two halves of a page have a
 *  grant each, so each can be ended alone. */
import type { DomId, Gref, Pfn } from '@grantline/base';
import type { GrantTable } from '@grantline/xen';
import type { SendBuffers } from '@grantline/measure';

export class TxGrants {
  readonly gref: Int32Array;
  private readonly granted: Uint8Array;
  private readonly grants: GrantTable;
  private readonly peer: DomId;
  private readonly buffers: SendBuffers;
  private readonly pfns: readonly Pfn[];

  /** @param pfns the buffers' pages. @throws Error when there are not enough grant entries; then none is taken */
  constructor(grants: GrantTable, peer: DomId, buffers: SendBuffers, pfns: readonly Pfn[]) {
    if (grants.free < buffers.count) throw new Error(`no ${buffers.count} grant entries are free for transmit buffers`);
    this.grants = grants;
    this.peer = peer;
    this.buffers = buffers;
    this.pfns = pfns;
    this.granted = new Uint8Array(buffers.count);
    this.gref = Int32Array.from({ length: buffers.count }, () => grants.claim());
  }

  /** Lets the peer read the buffer's page. */
  issue(id: number): void {
    this.grants.grantAccess(this.gref[id] as Gref, this.peer, this.pfns[this.buffers.page[id]], true);
    this.granted[id] = 1;
  }

  /** Ends the peer's access. @returns false while the peer uses the page */
  end(id: number): boolean {
    if (this.granted[id] === 0) return true;
    if (!this.grants.endAccess(this.gref[id] as Gref)) return false;
    this.granted[id] = 0;
    return true;
  }

  /** Ends everything; the queue must be stopped. @returns the pages that the peer did not let go of; their entries stay */
  endAll(): Set<Pfn> {
    const kept = new Set<Pfn>();
    for (let id = 0; id < this.gref.length; id++) {
      if (this.end(id)) this.grants.release(this.gref[id] as Gref);
      else kept.add(this.pfns[this.buffers.page[id]]);
    }
    return kept;
  }
}
