/** Executes hypercall batches, and ends what a domain has when it dies. docs/wire/hypercall.md. Sources: Xen
 *  common/grant_table.c, do_grant_table_op, gnttab_release_mappings.
 *
 *  A domain's ring calls executeSlot (ring-caller.ts). The control side, once per binary message:
 *
 *    const { replyBytes, pending } = ops.executeMessage(domid, message, reply);   // the object is used again for the next batch
 *    if (replyBytes === 0) -> not a hypercall: close the connection
 *    if (pending === null) send(reply.subarray(0, replyBytes));
 *    else poll with setImmediate until ops.settled(pending); ops.finishUnmap(pending); send(...)
 *
 *  A pending batch must be finished even when its caller has gone: pins of others hang on it. Until then its `reply`
 *  must not be used for another batch. Counters are added to, not committed: the control side adds cpuNs and commits.
 *
 *  And when a domain dies:
 *
 *    const pending = ops.beginDeath(domid);
 *    tell the others domain.gone
 *    if (pending !== null) poll until ops.settled(pending), then ops.finishUnmap(pending)
 *    when ops.pinned(domid) === 0: domains.remove(domid), unmap and delete its memory file
 *
 *  As a mapper: all that it had mapped is unmapped, granters can end access as after any unmap. As a granter: it is bad
 *  domain for new maps and copies, the NIC loses its pages at once, and its memory stays until the last mapper has
 *  unmapped (Xen's zombie). docs/wire/grant-table.md section 6. */
import {
  DMAOP_MAP_SELF,
  GNTST_NAMES,
  GNTTABOP_COPY,
  GNTTABOP_MAP,
  GNTTABOP_UNMAP,
  HYPERCALL_HEADER_BYTES,
  HYPERCALL_RC,
  ReceivedBatch,
  resultBytes,
} from '@grantline/xen';
import { DOMID_DRIVER } from '@grantline/base';
import { slots, type Mem } from '@grantline/machine';
import { HYPERCALL_COUNTERS } from '@grantline/observe';
import { CopyOp } from './copy-op.js';
import type { DmaQuiesce, DmaTable } from './dma-table.js';
import type { DomainMemory, DomainTable } from './domain-memory.js';
import { MapOps, PendingUnmap } from './map-ops.js';

/** What became of a batch. One object per GrantOps, valid until the next batch. */
export interface BatchOutcome {
  /** 0, or a negative errno: then no element was looked at. */
  rc: number;
  /** Bytes of the reply with its header; 0 when the message was no hypercall. */
  replyBytes: number;
  /** Not null: the reply must wait. Poll settled(pending), then finishUnmap(pending), then reply. */
  pending: PendingUnmap | null;
}

/** What a hypervisor's grants are about. */
export interface GrantWorld {
  /** The address space that has every domain's memory. */
  mem: Mem;
  domains: DomainTable;
  dma: DmaTable;
  quiesce: DmaQuiesce;
  /** Whether a guest may use the NIC itself (its vif's path is direct); asked once per batch. */
  mayAttach: (domid: number) => boolean;
}

const C = slots(HYPERCALL_COUNTERS);

export class GrantOps {
  private readonly o: GrantWorld;
  private readonly batch = new ReceivedBatch();
  private readonly mapOps: MapOps;
  private readonly copyOp: CopyOp;
  private readonly outcome: BatchOutcome = { rc: 0, replyBytes: 0, pending: null };

  constructor(world: GrantWorld) {
    const { mem, domains, dma, quiesce } = world;
    this.o = world;
    this.mapOps = new MapOps(domains, dma, quiesce, this.batch);
    this.copyOp = new CopyOp(mem, domains, this.batch);
  }

  /** One whole message: header, elements.
   *  @param caller domid that the connection belongs to
   *  @param reply gets the reply with its header (HYPERCALL_REPLY_MAX_BYTES) */
  executeMessage(caller: number, message: Buffer, reply: Buffer): BatchOutcome {
    const out = this.outcome;
    out.rc = HYPERCALL_RC.einval;
    out.replyBytes = 0;
    out.pending = null;
    if (message.length < HYPERCALL_HEADER_BYTES) return out;
    const domain = this.o.domains.live(caller);
    this.execute(domain, domain === null ? HYPERCALL_RC.esrch : this.batch.take(message));
    out.replyBytes = this.batch.answer(message, out.rc, reply);
    return out;
  }

  /** One slot of a domain's ring, answered in place; it is not to be published while something is pending.
   *  @param at byte offset of the slot @returns replyBytes means nothing */
  executeSlot(caller: number, at: number): BatchOutcome {
    const { u32 } = this.o.mem;
    const domain = this.o.domains.live(caller);
    const out = this.execute(domain, domain === null ? HYPERCALL_RC.esrch : this.batch.takeSlot(u32, at));
    this.batch.answerSlot(u32, at, out.rc);
    return out;
  }

  /** @returns true when no transfer of the NIC can still touch what the batch has unmapped */
  settled(pending: PendingUnmap): boolean {
    return this.mapOps.settled(pending);
  }

  /** Drops pins and GTF bits of an unmap that is settled. @throws Error when it is not */
  finishUnmap(pending: PendingUnmap): void {
    this.mapOps.finish(pending);
  }

  /** Takes the NIC from a domain that lives on. @returns null, or what must be finished */
  unmapDevice(mapper: DomainMemory): PendingUnmap | null {
    return this.mapOps.unmapDevice(mapper);
  }

  /** Marks a domain dead and closes all ways of and to its pages. Twice does no harm.
   *  @returns null when nothing has to be waited for, else what must be settled and finished */
  beginDeath(domid: number): PendingUnmap | null {
    const { domains, dma, quiesce } = this.o;
    const domain = domains.get(domid);
    if (domain === null || domain.dying) return null;
    domain.dying = true;
    const revoked = dma.revokeOwner(domid);
    const pending = this.mapOps.unmapAll(domain);
    if (pending !== null || revoked === 0) return pending;
    // Nothing to give back, but the NIC may be writing into its pages by an entry of somebody else.
    const wait = new PendingUnmap(1);
    wait.waitForNic(quiesce.snapshot());
    return this.settled(wait) ? null : wait;
  }

  /** Uses of a domain's pages by others and by the NIC; its memory must stay while this is not 0. */
  pinned(domid: number): number {
    const domain = this.o.domains.get(domid);
    return (domain === null ? 0 : domain.active.pins) + this.o.dma.owned(domid);
  }

  /** What has been taken in. @param rc of the taking */
  private execute(caller: DomainMemory | null, rc: number): BatchOutcome {
    const out = this.outcome;
    out.rc = rc;
    out.pending = null;
    if (caller === null) return out;
    caller.counters.v[C.calls]++;
    if (rc !== 0) return out;
    out.pending = this.run(caller);
    this.countStatuses(caller);
    return out;
  }

  private run(caller: DomainMemory): PendingUnmap | null {
    const { cmd, count } = this.batch;
    const v = caller.counters.v;
    switch (cmd) {
      case GNTTABOP_MAP:
        v[C.mapOps] += count;
        this.mapOps.map(caller, count, this.mayDma(caller.domid));
        return null;
      case GNTTABOP_UNMAP:
        v[C.unmapOps] += count;
        return this.mapOps.unmap(caller, count);
      case GNTTABOP_COPY:
        v[C.copyOps] += count;
        this.copyOp.run(caller, count);
        v[C.copiedBytes] += this.copyOp.copied;
        return null;
      case DMAOP_MAP_SELF:
        v[C.dmaMapOps] += count;
        this.mapOps.mapSelf(caller, count, this.mayDma(caller.domid));
        return null;
      default:
        v[C.dmaUnmapOps] += count;
        return this.mapOps.unmapSelf(caller, count);
    }
  }

  private mayDma(domid: number): boolean {
    return domid === DOMID_DRIVER || this.o.mayAttach(domid);
  }

  private countStatuses(caller: DomainMemory): void {
    const { cmd, count, res16 } = this.batch;
    const v = caller.counters.v;
    const stride = resultBytes(cmd) >> 1;
    let failed = 0;
    for (let i = 0; i < count; i++) {
      const status = res16[i * stride];
      if (status === 0) continue;
      v[C.okay - status]++;
      failed++;
    }
    v[C.okay] += count - failed;
  }
}

// The status counters stand behind C.okay in the order of the codes, so that a status is an index.
if (C.eagain - C.okay !== GNTST_NAMES.length - 1) throw new Error('status counters are not in the order of the codes');
