/** The transmit path's grant operations over the hypervisor socket, for one guest: behind data/grants/tx-calls.ts. */
import {
  GNTMAP_DEVICE_MAP,
  GNTMAP_HOST_MAP,
  GNTMAP_READONLY,
  CopyBatch,
  MapBatch as MapOps,
  UnmapBatch as UnmapOps,
  type Batch,
  type HypercallPort,
} from '@grantline/xen';
import type { DomId, Dpn, GrantHandle, Gref, Pfn } from '@grantline/base';
import type { GrantWindow } from './window.js';
import type { GrantBatch } from '../data/grants/grant-calls.js';
import type { HeadBatch, MapBatch, TxCalls, TxWindow, UnmapBatch } from '../data/grants/tx-calls.js';

/** How transmit pages are mapped: to look at here, to be read by the NIC, never to be written. */
export const TX_MAP_FLAGS = GNTMAP_HOST_MAP | GNTMAP_DEVICE_MAP | GNTMAP_READONLY;

abstract class Calls<B extends Batch> implements GrantBatch {
  protected readonly batch: B;
  private readonly client: HypercallPort;
  private readonly replied: () => void;

  constructor(batch: B, client: HypercallPort, replied: () => void) {
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

class Heads extends Calls<CopyBatch> implements HeadBatch {
  guest = 0 as DomId;
  self = 0 as DomId;

  put(gref: number, grefOffset: number, pfn: number, offset: number, len: number): void {
    this.batch.addFrom(gref as Gref, this.guest, grefOffset, pfn as Pfn, this.self, offset, len);
  }
}

class Maps extends Calls<MapOps> implements MapBatch {
  guest = 0 as DomId;

  put(gref: number, at: number): void {
    this.batch.add(TX_MAP_FLAGS, gref as Gref, this.guest, at);
  }

  handle(i: number): number {
    return this.batch.handle(i);
  }

  dpn(i: number): number {
    return this.batch.dpn(i);
  }

  pfn(i: number): number {
    return this.batch.pfn(i);
  }
}

class Unmaps extends Calls<UnmapOps> implements UnmapBatch {
  put(handle: number, dpn: number, at: number): void {
    this.batch.add(handle as GrantHandle, dpn as Dpn, at);
  }
}

/** Grant operations on one guest's transmit grants. */
export function txCalls(client: HypercallPort, self: DomId, guest: DomId): TxCalls {
  return {
    headBatch: (capacity, replied) =>
      Object.assign(new Heads(new CopyBatch(capacity), client, replied), { guest, self }),
    mapBatch: (capacity, replied) => Object.assign(new Maps(new MapOps(capacity), client, replied), { guest }),
    unmapBatch: (capacity, replied) => new Unmaps(new UnmapOps(capacity), client, replied),
  };
}

/** The window, for one guest's transmit pages. */
export function txWindow(
  window: Pick<GrantWindow, 'take' | 'mapAt' | 'unmap'>,
  guest: DomId,
  warn: (err: unknown) => void,
): TxWindow {
  return {
    take: () => window.take(),
    unmap: (at) => window.unmap(at),
    map(at, pfn) {
      try {
        window.mapAt(at, guest, pfn as Pfn, false);
        return true;
      } catch (err) {
        warn(err);
        return false;
      }
    },
  };
}
