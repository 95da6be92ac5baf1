/** What the ends of receive and transmit queues of a NIC have in common, the driver's and the device's: the header page. Each end
 *  publishes an index of its own, reads the other end's, and says how far that one may go before it notifies. docs/wire/nic-queue.md.
 *
 *  Once for a burst: that these are a class further up was measured to cost nothing, while what is done for each frame stays with its
 *  own kind of queue (rx-queue.ts, tx-queue.ts). */
import { NICQ_AVAIL_EVENT, NICQ_AVAIL_PROD, NICQ_COMP_EVENT, NICQ_COMP_PROD } from '../abi/nic-queue.js';
import { PAGE_SIZE } from '@grantline/base';
import type { Mem } from '@grantline/machine';
import { idxAdd, passed, type RingIdx } from '../ring/indices.js';

abstract class QueueEnd {
  protected readonly u32: Uint32Array;
  /** How far the other end knows of what was done here. */
  protected published: RingIdx;
  /** Entries of the queue. */
  protected readonly size: number;
  // By word: the index that is published here, and where the other end asks to hear of it; the other end's index, and where to ask.
  protected readonly prod: number;
  protected readonly prodEvent: number;
  protected readonly peerProd: number;
  protected readonly peerEvent: number;

  protected constructor(mem: Mem, header: number, isDriver: boolean, size: number, start: RingIdx) {
    const avail = (header + NICQ_AVAIL_PROD) >> 2;
    const availEvent = (header + NICQ_AVAIL_EVENT) >> 2;
    const comp = (header + NICQ_COMP_PROD) >> 2;
    const compEvent = (header + NICQ_COMP_EVENT) >> 2;
    this.u32 = mem.u32;
    this.size = size;
    this.published = start;
    this.prod = isDriver ? avail : comp;
    this.prodEvent = isDriver ? availEvent : compEvent;
    this.peerProd = isDriver ? comp : avail;
    this.peerEvent = isDriver ? compEvent : availEvent;
  }

  /** Publishes all up to an index. @returns true when the other end asked to be notified */
  protected publishTo(index: RingIdx): boolean {
    const old = this.published;
    if (old === index) return false;
    this.published = index;
    Atomics.store(this.u32, this.prod, index);
    return passed(Atomics.load(this.u32, this.prodEvent) as RingIdx, old, index);
  }

  /** @returns how far the other end's index is ahead of what was taken here: it may have written anything */
  protected ahead(taken: RingIdx): number {
    return (Atomics.load(this.u32, this.peerProd) - taken) >>> 0;
  }

  /** Asks for a notification once `after` more are there, and looks again. @returns true: do not sleep */
  protected armAt(taken: RingIdx, after: number): boolean {
    Atomics.store(this.u32, this.peerEvent, idxAdd(taken, after));
    return Atomics.load(this.u32, this.peerProd) !== taken;
  }
}

/** The driver's end of a queue of either direction. */
export abstract class DriverEnd extends QueueEnd {
  /** Descriptors posted (private) and completions taken: free-running. */
  availProd: RingIdx;
  compCons: RingIdx;

  /** @param base byte offset of three zeroed pages: header, avail, comp
   *  @param start first index; 0 except in tests of the wrap */
  protected constructor(mem: Mem, base: number, size: number, start: RingIdx) {
    super(mem, base, true, size, start);
    this.availProd = this.compCons = start;
    const { u32 } = this;
    mem.u8.fill(0, base, base + PAGE_SIZE);
    Atomics.store(u32, this.prod, start);
    Atomics.store(u32, this.peerProd, start);
    Atomics.store(u32, this.prodEvent, idxAdd(start, 1));
    Atomics.store(u32, this.peerEvent, idxAdd(start, 1));
  }

  /** @returns descriptors that may still be posted, 0 to the queue's size */
  free(): number {
    return this.size - this.outstanding();
  }

  /** Descriptors whose completions have not been taken. */
  outstanding(): number {
    return (this.availProd - this.compCons) >>> 0;
  }

  /** Makes visible what was posted: whole packets only. @returns true when the NIC asked to be notified */
  publish(): boolean {
    return this.publishTo(this.availProd);
  }

  /** @returns completions to take; -1 when the NIC claims more than was posted */
  completed(): number {
    const n = this.ahead(this.compCons);
    return n > (this.published - this.compCons) >>> 0 ? -1 : n;
  }

  /** Gives back `n` completions that were read. */
  consume(n: number): void {
    this.compCons = idxAdd(this.compCons, n);
  }

  /** Asks for a notification once `after` more completions are there, and looks again. @returns true: do not sleep */
  arm(after = 1): boolean {
    return this.armAt(this.compCons, after);
  }

  describe(): Record<string, number> {
    const { u32, availProd, compCons } = this;
    return {
      availProd,
      availEvent: Atomics.load(u32, this.prodEvent),
      compCons,
      compProd: Atomics.load(u32, this.peerProd),
      compEvent: Atomics.load(u32, this.peerEvent),
      posted: this.outstanding(),
    };
  }
}

/** The NIC's end of a queue of either direction. */
export abstract class DeviceEnd extends QueueEnd {
  /** Descriptors taken; completions are as many. */
  cons: RingIdx;

  protected constructor(mem: Mem, header: number, size: number, start: RingIdx) {
    super(mem, header, false, size, start);
    this.cons = start;
  }

  /** @returns descriptors to take, 0 to the queue's size; -1 when the driver's index is impossible */
  available(): number {
    const n = this.ahead(this.cons);
    return n > this.size ? -1 : n;
  }

  /** Completions written but not yet visible to the driver. */
  unpublished(): number {
    return (this.cons - this.published) >>> 0;
  }

  /** Makes visible what was completed. @returns true when the driver asked to be notified */
  publish(): boolean {
    return this.publishTo(this.cons);
  }

  /** Asks for a notification once `after` more descriptors are there, and looks again. @returns true: do not sleep */
  arm(after = 1): boolean {
    return this.armAt(this.cons, after);
  }
}
