/** Pins of single requests: what a queue without standing grants does for each buffer. A page is pinned before the NIC
 *  learns its address, and unpinned before the guest learns that its buffer is back. */
import { NETBACK_BATCH, RX_RING_SIZE } from '@grantline/xen';
import { type CounterBlock, slots, DRIVER_DOMAIN_CPU, type Laps } from '@grantline/machine';
import { NETBACK_COUNTERS } from '@grantline/observe';
import { BATCHES, BatchTurns, type GrantCalls, type PinBatch, type UnpinBatch } from './grant-calls.js';

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
  private readonly pins: BatchTurns<PinBatch>;
  private readonly unpins: BatchTurns<UnpinBatch>;
  /** Which ring slot element k of batch b belongs to, at b * NETBACK_BATCH + k. */
  private readonly pinSlots = new Uint8Array(BATCHES * NETBACK_BATCH);
  private readonly unpinSlots = new Uint8Array(BATCHES * NETBACK_BATCH);

  /** @param onReply a reply has come: call `settle` soon */
  constructor(calls: GrantCalls, sink: PinSink, counters: CounterBlock, meter: Laps, onReply: () => void) {
    this.meter = meter;
    this.sink = sink;
    this.counters = counters;
    this.pins = new BatchTurns(BATCHES, NETBACK_BATCH, (replied) => calls.pinBatch(replied), onReply);
    this.unpins = new BatchTurns(BATCHES, NETBACK_BATCH, (replied) => calls.unpinBatch(replied), onReply);
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
    const b = this.pins.open;
    const batch = this.pins.batches[b];
    this.pinSlots[b * NETBACK_BATCH + batch.count] = slot;
    batch.put(gref);
    if (this.pins.room === 0) this.sendPins();
  }

  /** Puts the end of a pin into the open batch. The caller has asked `canUnpin`. */
  unpin(slot: number): void {
    const b = this.unpins.open;
    const batch = this.unpins.batches[b];
    this.unpinSlots[b * NETBACK_BATCH + batch.count] = slot;
    batch.put(this.handle[slot], this.dpn[slot]);
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
    for (let b = this.pins.replied(); b >= 0; b = this.pins.replied()) {
      const batch = this.pins.batches[b];
      for (let k = 0; k < batch.count; k++) {
        const slot = this.pinSlots[b * NETBACK_BATCH + k];
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
    for (let b = this.unpins.replied(); b >= 0; b = this.unpins.replied()) {
      const batch = this.unpins.batches[b];
      for (let k = 0; k < batch.count; k++) {
        const slot = this.unpinSlots[b * NETBACK_BATCH + k];
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
