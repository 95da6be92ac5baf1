/** The data path's grant operations over the hypervisor socket: shared batches behind the narrow interface of
 *  data/grants/grant-calls.ts, each with the guest's number filled in. */
import {
  GNTMAP_DEVICE_MAP,
  NETBACK_BATCH,
  CopyBatch as CopyOps,
  MapBatch,
  UnmapBatch,
  type Batch,
  type HypercallPort,
} from '@grantline/xen';
import type { DomId, Dpn, GrantHandle, Gref, Pfn } from '@grantline/base';
import type { CopyBatch, GrantBatch, GrantCalls, PinBatch, UnpinBatch } from '../data/grants/grant-calls.js';

abstract class Calls<B extends Batch> implements GrantBatch {
  protected readonly batch: B;
  private readonly client: HypercallPort;
  private readonly replied: () => void;

  protected constructor(batch: B, client: HypercallPort, replied: () => void) {
    this.batch = batch;
    this.client = client;
    this.replied = replied;
  }

  get count(): number {
    return this.batch.count;
  }

  clear(): void {
    this.batch.reset();
  }

  send(): void {
    this.batch.send(this.client, this.replied);
  }

  status(i: number): number {
    return this.batch.status(i);
  }
}

class Copies extends Calls<CopyOps> implements CopyBatch {
  private readonly self: DomId;
  private readonly guest: DomId;

  constructor(client: HypercallPort, self: DomId, guest: DomId, replied: () => void) {
    super(new CopyOps(NETBACK_BATCH), client, replied);
    this.self = self;
    this.guest = guest;
  }

  put(pfn: number, offset: number, gref: number, grefOffset: number, len: number): void {
    this.batch.add(pfn as Pfn, this.self, offset, false, gref as Gref, this.guest, grefOffset, len);
  }

  putFrom(domid: number, from: number, fromOffset: number, gref: number, grefOffset: number, len: number): void {
    this.batch.add(from as Gref, domid as DomId, fromOffset, true, gref as Gref, this.guest, grefOffset, len);
  }
}

class PinCalls extends Calls<MapBatch> implements PinBatch {
  private readonly guest: DomId;

  constructor(client: HypercallPort, guest: DomId, replied: () => void) {
    super(new MapBatch(NETBACK_BATCH), client, replied);
    this.guest = guest;
  }

  put(gref: number): void {
    this.batch.add(GNTMAP_DEVICE_MAP, gref as Gref, this.guest);
  }

  handle(i: number): number {
    return this.batch.handle(i);
  }

  dpn(i: number): number {
    return this.batch.dpn(i);
  }
}

class UnpinCalls extends Calls<UnmapBatch> implements UnpinBatch {
  constructor(client: HypercallPort, replied: () => void) {
    super(new UnmapBatch(NETBACK_BATCH), client, replied);
  }

  put(handle: number, dpn: number): void {
    this.batch.add(handle as GrantHandle, dpn as Dpn);
  }
}

/** Grant operations on one guest's grants. */
export function grantCalls(client: HypercallPort, self: DomId, guest: DomId): GrantCalls {
  return {
    copyBatch: (replied) => new Copies(client, self, guest, replied),
    pinBatch: (replied) => new PinCalls(client, guest, replied),
    unpinBatch: (replied) => new UnpinCalls(client, replied),
  };
}
