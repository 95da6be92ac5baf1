/** Pins of single requests: what a queue without standing grants does for each buffer. A page is pinned before the NIC
 *  learns its address, and unpinned before the guest learns that its buffer is back. */
import { GNTMAP_DEVICE_MAP, MapBatch, NETBACK_BATCH, RX_RING_SIZE, UnmapBatch } from '@grantline/xen';
import { type CounterBlock, slots, DRIVER_DOMAIN_CPU, type Laps } from '@grantline/machine';
import { NETBACK_COUNTERS } from '@grantline/observe';
import { BatchTurns, type Granter } from './batch-turns.js';

const C = slots(NETBACK_COUNTERS);
const CPU = slots(DRIVER_DOMAIN_CPU);

/** Who is told how each slot fared. */
export interface PinSink {
  /** @param status 0, or why the hypervisor refused; then the slot has no pin */
  pinned(slot: number, status: number): void;
  unpinned(slot: number, status: number): void;
}

export class Pins {
  /** By ring slot: handle of its pin, -1 when it has none; and its page as the NIC sees it. */
  readonly handle = new Float64Array(RX_RING_SIZE).fill(-1);
  readonly dpn = new Int32Array(RX_RING_SIZE);
  private readonly sink: PinSink;
  private readonly counters: CounterBlock;
  private readonly meter: Laps;
  // The tag of an element is its ring slot.
  private readonly pins: BatchTurns<MapBatch>;
  private readonly unpins: BatchTurns<UnmapBatch>;

  /** @param onReply a reply has come: call `settle` soon */
  constructor({ port, domid }: Granter, sink: PinSink, counters: CounterBlock, meter: Laps, onReply: () => void) {
    this.meter = meter;
    this.sink = sink;
    this.counters = counters;
    this.pins = new BatchTurns(() => new MapBatch(port, domid, GNTMAP_DEVICE_MAP, NETBACK_BATCH, onReply));
    this.unpins = new BatchTurns(() => new UnmapBatch(port, NETBACK_BATCH, onReply));
  }

  get inFlight(): number {
    return this.pins.inFlight + this.unpins.inFlight;
  }

  canPin(): boolean {
    return this.pins.room > 0;
  }

  canUnpin(): boolean {
    return this.unpins.room > 0;
  }

  /** Puts a pin into the open batch. The caller has asked `canPin`. */
  pin(slot: number, gref: number): void {
    this.pins.open!.put(gref, 0, slot);
    if (this.pins.room === 0) this.sendPins();
  }

  /** Puts the end of a pin into the open batch. The caller has asked `canUnpin`. */
  unpin(slot: number): void {
    this.unpins.open!.put(this.handle[slot], this.dpn[slot], 0, slot);
    if (this.unpins.room === 0) this.sendUnpins();
  }

  /** Sends what waits and may go. */
  flush(): void {
    if (this.pins.ready()) this.sendPins();
    if (this.unpins.ready()) this.sendUnpins();
  }

  /** Reads the replies that have come. @returns elements settled */
  settle(): number {
    let done = 0;
    for (let batch = this.pins.replied(); batch !== null; batch = this.pins.replied()) {
      for (let k = 0; k < batch.count; k++) {
        const slot = batch.tag[k];
        const status = batch.status(k);
        if (status === 0) {
          this.handle[slot] = batch.handle(k);
          this.dpn[slot] = batch.dpn(k);
        }
        this.sink.pinned(slot, status);
      }
      done += batch.count;
      this.pins.settled();
    }
    for (let batch = this.unpins.replied(); batch !== null; batch = this.unpins.replied()) {
      for (let k = 0; k < batch.count; k++) {
        const slot = batch.tag[k];
        const status = batch.status(k);
        this.handle[slot] = -1;
        this.sink.unpinned(slot, status);
      }
      done += batch.count;
      this.unpins.settled();
    }
    return done;
  }

  private sendPins(): void {
    this.meter.lap(CPU.netback);
    this.counters.v[C.pinOps] += this.pins.send();
    this.counters.v[C.hypercalls]++;
    this.meter.lap(CPU.grantCalls);
  }

  private sendUnpins(): void {
    this.meter.lap(CPU.netback);
    this.counters.v[C.unpinOps] += this.unpins.send();
    this.counters.v[C.hypercalls]++;
    this.meter.lap(CPU.grantCalls);
  }
}
