/** Executes hypercall batches. docs/wire/hypercall.md. Source: Xen common/grant_table.c, do_grant_table_op.
 *
 *  How the control side calls it, once per binary message:
 *
 *    const out = ops.executeMessage(domid, message, reply);
 *    if (out.replyBytes === 0) -> not a hypercall: close the connection
 *    const { replyBytes, pending } = out;                   // the outcome object is used again for the next batch
 *    if (pending === null) send(reply.subarray(0, replyBytes));
 *    else poll with setImmediate until ops.settled(pending); ops.finishUnmap(pending); send(...)
 *
 *  A pending batch must be finished even when its caller has gone: pins of others hang on it. Until then its `reply`
 *  must not be used for another batch. Counters are added to, not committed: the control side adds cpuNs and commits. */
import {
  GNTST_NAMES,
  COPY_BYTES,
  DMAOP_MAP_SELF,
  DMAOP_UNMAP_SELF,
  DMA_MAP_BYTES,
  DMA_MAP_RES_BYTES,
  DMA_UNMAP_BYTES,
  GNTTABOP_COPY,
  GNTTABOP_MAP,
  GNTTABOP_UNMAP,
  HYPERCALL_HEADER_BYTES,
  HYPERCALL_MAX_COUNT,
  MAP_BYTES,
  MAP_RES_BYTES,
  STATUS_RES_BYTES,
  UNMAP_BYTES,
} from '@grantline/xen';
import { DOMID_DRIVER } from '@grantline/base';
import { slots, type Mem } from '@grantline/machine';
import { HYPERCALL_COUNTERS } from '@grantline/observe';
import { CopyOp } from './copy-op.js';
import type { DmaQuiesce, DmaTable } from './dma-table.js';
import type { DomainMemory, DomainTable } from './domain-memory.js';
import { MapOp } from './map-op.js';
import { OpBuffers } from './op-buffers.js';
import type { PendingUnmap } from './pending-unmap.js';
import { UnmapOp } from './unmap-op.js';

/** rc of a call as a whole: negative errno. */
export const ESRCH = 3;
export const EFAULT = 14;
export const EINVAL = 22;
export const ENOSYS = 38;

/** Room for the longest reply, header included. */
export const REPLY_MAX_BYTES = HYPERCALL_HEADER_BYTES + HYPERCALL_MAX_COUNT * MAP_RES_BYTES;

/** What became of a batch. One object per GrantOps, valid until the next batch. */
export interface BatchOutcome {
  /** 0, or a negative errno: then no element was looked at. */
  rc: number;
  /** Bytes of results written. */
  resultBytes: number;
  /** Bytes of the reply with its header; 0 when the message was no hypercall. Only by executeMessage. */
  replyBytes: number;
  /** True when the reply must wait: poll settled(pending), then finishUnmap(pending), then reply. */
  needsQuiesce: boolean;
  pending: PendingUnmap | null;
}

const C = slots(HYPERCALL_COUNTERS);

export class GrantOps {
  private readonly domains: DomainTable;
  private readonly mayAttach: (domid: number) => boolean;
  private readonly buf = new OpBuffers();
  private readonly mapOp: MapOp;
  private readonly unmapOp: UnmapOp;
  private readonly copyOp: CopyOp;
  private readonly outcome: BatchOutcome = { rc: 0, resultBytes: 0, replyBytes: 0, needsQuiesce: false, pending: null };

  /** @param mem the address space that has every domain's memory
   *  @param mayAttach whether a guest may use the NIC itself (its vif's path is direct); asked once per batch */
  constructor(
    mem: Mem,
    domains: DomainTable,
    dma: DmaTable,
    quiesce: DmaQuiesce,
    mayAttach: (domid: number) => boolean,
  ) {
    this.domains = domains;
    this.mayAttach = mayAttach;
    this.mapOp = new MapOp(domains, dma, this.buf);
    this.unmapOp = new UnmapOp(domains, dma, quiesce, this.buf);
    this.copyOp = new CopyOp(mem, domains, this.buf);
  }

  /** One whole message: header, elements; the reply with its header is written to `reply` (REPLY_MAX_BYTES). */
  executeMessage(caller: number, message: Buffer, reply: Buffer): BatchOutcome {
    if (message.length < HYPERCALL_HEADER_BYTES) return this.end(-EINVAL, 0, null);
    const cmd = message.readUInt16LE(4);
    const count = message.readUInt16LE(6);
    const out = this.execute(caller, cmd, count, message, HYPERCALL_HEADER_BYTES, reply, HYPERCALL_HEADER_BYTES);
    reply.writeUInt32LE(message.readUInt32LE(0), 0);
    reply.writeInt16LE(out.rc, 4);
    reply.writeUInt16LE(out.rc === 0 ? count : 0, 6);
    out.replyBytes = HYPERCALL_HEADER_BYTES + out.resultBytes;
    return out;
  }

  /** One batch.
   *  @param caller domid that the connection belongs to
   *  @param elements holds the elements, from `elementsAt` to its end
   *  @param results takes the results from `resultsAt` on; needs count x MAP_RES_BYTES */
  execute(
    caller: number,
    cmd: number,
    count: number,
    elements: Buffer,
    elementsAt: number,
    results: Buffer,
    resultsAt: number,
  ): BatchOutcome {
    const domain = this.domains.live(caller);
    if (domain === null) return this.end(-ESRCH, 0, null);
    domain.counters.v[C.calls]++;
    const size = elementBytes(cmd);
    if (size === 0) return this.end(-ENOSYS, 0, null);
    if (count > HYPERCALL_MAX_COUNT) return this.end(-EINVAL, 0, null);
    if (elements.length - elementsAt !== count * size) return this.end(-EFAULT, 0, null);
    elements.copy(this.buf.req, 0, elementsAt, elementsAt + count * size);
    const pending = this.run(domain, cmd, count);
    const resultBytes = count * resultStride(cmd);
    this.buf.res.copy(results, resultsAt, 0, resultBytes);
    this.countStatuses(domain, count, resultStride(cmd));
    return this.end(0, resultBytes, pending);
  }

  /** @returns true when no transfer of the NIC can still touch what the batch has unmapped */
  settled(pending: PendingUnmap): boolean {
    return this.unmapOp.settled(pending);
  }

  /** Drops pins and GTF bits of an unmap that is settled. @throws Error when it is not */
  finishUnmap(pending: PendingUnmap): void {
    this.unmapOp.finish(pending);
  }

  /** Ends all mappings of a dead domain (DomainDeath calls it). @returns null, or what must be finished */
  unmapAll(mapper: DomainMemory): PendingUnmap | null {
    return this.unmapOp.runAll(mapper);
  }

  /** Takes the NIC from a domain that lives on. @returns null, or what must be finished */
  unmapDevice(mapper: DomainMemory): PendingUnmap | null {
    return this.unmapOp.runDevice(mapper);
  }

  private run(caller: DomainMemory, cmd: number, count: number): PendingUnmap | null {
    const v = caller.counters.v;
    switch (cmd) {
      case GNTTABOP_MAP:
        v[C.mapOps] += count;
        this.mapOp.run(caller, count, this.mayDma(caller.domid));
        return null;
      case GNTTABOP_UNMAP:
        v[C.unmapOps] += count;
        return this.unmapOp.run(caller, count);
      case GNTTABOP_COPY:
        v[C.copyOps] += count;
        this.copyOp.run(caller, count);
        v[C.copiedBytes] += this.copyOp.copied;
        return null;
      case DMAOP_MAP_SELF:
        v[C.dmaMapOps] += count;
        this.mapOp.runSelf(caller, count, this.mayDma(caller.domid));
        return null;
      default:
        v[C.dmaUnmapOps] += count;
        return this.unmapOp.runSelf(caller, count);
    }
  }

  private mayDma(domid: number): boolean {
    return domid === DOMID_DRIVER || this.mayAttach(domid);
  }

  private countStatuses(caller: DomainMemory, count: number, stride: number): void {
    const v = caller.counters.v;
    const res16 = this.buf.res16;
    let failed = 0;
    for (let i = 0; i < count; i++) {
      const status = res16[(i * stride) >> 1];
      if (status === 0) continue;
      v[C.okay - status]++;
      failed++;
    }
    v[C.okay] += count - failed;
  }

  private end(rc: number, resultBytes: number, pending: PendingUnmap | null): BatchOutcome {
    const out = this.outcome;
    out.rc = rc;
    out.resultBytes = resultBytes;
    out.replyBytes = 0;
    out.needsQuiesce = pending !== null;
    out.pending = pending;
    return out;
  }
}

// The status counters stand behind C.okay in the order of the codes, so that a status is an index.
if (C.eagain - C.okay !== GNTST_NAMES.length - 1) throw new Error('status counters are not in the order of the codes');

/** @returns 0 for a command that there is not */
function elementBytes(cmd: number): number {
  switch (cmd) {
    case GNTTABOP_MAP:
      return MAP_BYTES;
    case GNTTABOP_UNMAP:
      return UNMAP_BYTES;
    case GNTTABOP_COPY:
      return COPY_BYTES;
    case DMAOP_MAP_SELF:
      return DMA_MAP_BYTES;
    case DMAOP_UNMAP_SELF:
      return DMA_UNMAP_BYTES;
    default:
      return 0;
  }
}

function resultStride(cmd: number): number {
  if (cmd === GNTTABOP_MAP) return MAP_RES_BYTES;
  return cmd === DMAOP_MAP_SELF ? DMA_MAP_RES_BYTES : STATUS_RES_BYTES;
}
