/** The grant operations that packets from guests need when their grants do not stand: a copy of the header, real mappings of
 *  the rest, and the end of these. One hypercall of each kind for a whole poll; each element has its own status. */
import {
  type Batch,
  CopyBatch,
  GNTMAP_DEVICE_MAP,
  GNTMAP_HOST_MAP,
  GNTMAP_READONLY,
  GNTST,
  MapBatch,
  UnmapBatch,
} from '@grantline/xen';
import { slots } from '@grantline/machine';
import { NETBACK_TX_COUNTERS } from '@grantline/observe';
import { BatchTurns, type CallCosts, type Granter } from './batch-turns.js';
import { MAX_PENDING, type TxPackets } from '../tx/tx-requests.js';

const C = slots(NETBACK_TX_COUNTERS);
/** Elements in a batch: 64 packets, most of one slot. */
const N = 128;
/** How transmit pages are mapped: to look at here, to be read by the NIC, never to be written. */
const TX_MAP_FLAGS = GNTMAP_HOST_MAP | GNTMAP_DEVICE_MAP | GNTMAP_READONLY;

/** Where pages are mapped; GrantWindow for one guest. */
export interface TxWindow {
  /** @returns a place for a page, or -1 */
  take(): number;
  /** @returns false when the system did not let us have the page */
  map(at: number, pfn: number): boolean;
  /** Makes the page inaccessible and gives the place back. */
  unmap(at: number): void;
}

/** Who is told when a packet's operations are over. */
export interface PacketGrantSink {
  /** Header and mappings are there, or have failed: see the slots' status. */
  granted(packet: number): void;
  unmapped(packet: number): void;
}

export interface PacketGrantOptions extends CallCosts {
  granter: Granter;
  window: TxWindow;
}

export class PacketGrants {
  private readonly packets: TxPackets;
  private readonly window: TxWindow;
  private readonly sink: PacketGrantSink;
  // The tag of an element is its slot of TxPackets.
  private readonly heads: BatchTurns<CopyBatch>;
  private readonly maps: BatchTurns<MapBatch>;
  private readonly unmaps: BatchTurns<UnmapBatch>;

  constructor(options: PacketGrantOptions, packets: TxPackets, sink: PacketGrantSink, onReply: () => void) {
    this.packets = packets;
    this.window = options.window;
    this.sink = sink;
    const { port, self, domid } = options.granter;
    const turns = <B extends Batch>(make: () => B, ops: number): BatchTurns<B> =>
      new BatchTurns(make, options, ops, C.hypercalls);
    this.heads = turns(() => new CopyBatch(port, self, domid, N, onReply), C.copyOps);
    this.maps = turns(() => new MapBatch(port, domid, TX_MAP_FLAGS, N, onReply), C.mapOps);
    this.unmaps = turns(() => new UnmapBatch(port, N, onReply), C.unmapOps);
  }

  /** Calls without a reply yet. */
  get inFlight(): number {
    return this.heads.inFlight + this.maps.inFlight + this.unmaps.inFlight;
  }

  /** @returns true when a packet of the most slots can be granted now. Sends a batch that is nearly full */
  canGrant(slotCount: number): boolean {
    const heads = this.heads.makeRoom(slotCount);
    return this.maps.makeRoom(slotCount) && heads;
  }

  canUnmap(slotCount: number): boolean {
    return this.unmaps.makeRoom(slotCount);
  }

  /** A part of the header shall be copied. */
  copy(s: number, offset: number, pfn: number, to: number, len: number): void {
    const p = this.packets;
    this.heads.open!.fetch(p.gref[s], offset, pfn, to, len, s);
    p.waiting[p.packet[s]]++;
  }

  /** Puts an operation into the open batch that maps the page of slot `s`. */
  map(s: number): void {
    const p = this.packets;
    p.at[s] = this.window.take();
    if (p.at[s] < 0) {
      p.status[s] = GNTST.noDeviceSpace;
      return;
    }
    this.maps.open!.put(p.gref[s], p.at[s], s);
    p.waiting[p.packet[s]]++;
  }

  /** Puts operations that unmap all slots of the packet. @returns operations begun; 0: it has nothing mapped */
  unmap(packet: number): number {
    const p = this.packets;
    let n = 0;
    for (let s = packet; s >= 0; s = p.next[s]) {
      if (p.handle[s] < 0) continue;
      // The page goes out of sight before the hypervisor is told (ADR 0006).
      this.window.unmap(p.at[s]);
      this.unmaps.open!.put(p.handle[s], p.dpn[s], p.at[s], s);
      p.waiting[packet]++;
      n++;
    }
    return n;
  }

  /** Sends what waits and may go. */
  flush(): void {
    this.heads.flush();
    this.maps.flush();
    this.unmaps.flush();
  }

  /** Sends what waits, whatever is under way: the last poll of a connection. */
  flushAll(): void {
    this.heads.flushAll();
    this.maps.flushAll();
    this.unmaps.flushAll();
  }

  /** After stop, once nothing is in flight: what is still mapped. Each is handed out once. */
  takeMappings(each: (handle: number, dpn: number, at: number) => void): void {
    const p = this.packets;
    for (let s = 0; s < MAX_PENDING; s++) {
      if (p.handle[s] < 0) continue;
      this.window.unmap(p.at[s]);
      each(p.handle[s], p.dpn[s], p.at[s]);
      p.handle[s] = -1;
    }
  }

  /** Reads the replies that have come. @returns elements settled */
  settle(): number {
    return this.settleHeads() + this.settleMaps() + this.settleUnmaps();
  }

  private settleHeads(): number {
    const p = this.packets;
    let done = 0;
    for (let batch = this.heads.replied(); batch !== null; batch = this.heads.replied()) {
      const n = batch.count;
      for (let k = 0; k < n; k++) {
        const s = batch.tag[k];
        const status = batch.status(k);
        if (status !== 0) p.status[s] = status;
        this.oneLess(p.packet[s]);
      }
      done += n;
      this.heads.settled();
    }
    return done;
  }

  private settleMaps(): number {
    const p = this.packets;
    let done = 0;
    for (let batch = this.maps.replied(); batch !== null; batch = this.maps.replied()) {
      const n = batch.count;
      for (let k = 0; k < n; k++) {
        const s = batch.tag[k];
        const status = batch.status(k);
        if (status === 0) {
          p.handle[s] = batch.handle(k);
          p.dpn[s] = batch.dpn(k);
          p.mapped[p.packet[s]]++;
          // A mapping that the hypervisor allows and the system does not: it must be ended all the same.
          if (!this.window.map(p.at[s], batch.pfn(k))) p.status[s] = GNTST.generalError;
        } else {
          p.status[s] = status;
          this.window.unmap(p.at[s]);
        }
        this.oneLess(p.packet[s]);
      }
      done += n;
      this.maps.settled();
    }
    return done;
  }

  private settleUnmaps(): number {
    const p = this.packets;
    let done = 0;
    for (let batch = this.unmaps.replied(); batch !== null; batch = this.unmaps.replied()) {
      const n = batch.count;
      for (let k = 0; k < n; k++) {
        const s = batch.tag[k];
        p.handle[s] = -1;
        const packet = p.packet[s];
        if (--p.waiting[packet] === 0) this.sink.unmapped(packet);
      }
      done += n;
      this.unmaps.settled();
    }
    return done;
  }

  private oneLess(packet: number): void {
    if (--this.packets.waiting[packet] === 0) this.sink.granted(packet);
  }
}
