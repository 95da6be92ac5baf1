/** Frames that wait for a vif's requests, in the driver domain's buffers, and how long and how many may.
 *
 *  While the guest takes frames, its queue is bounded by the driver's buffers: the NIC runs out of them, and flow
 *  control holds the sender. A guest that takes nothing may keep no more than others leave, nor more than Linux lets it,
 *  and after some seconds nothing at all. */
import { NETBACK_QUEUE_BYTES } from '@grantline/shared/abi/netif.js';
import { slots, type CounterBlock } from '@grantline/shared/counters/block.js';
import { NETBACK_COUNTERS } from '@grantline/shared/counters/names.js';
import { ACCEPTED, type BridgeTap } from './bridge-tap.js';
import type { Buffers } from './buffers.js';
import { FOREIGN_FRAMES } from './foreign-frames.js';
import { FrameFifo } from './frame-fifo.js';

const C = slots(NETBACK_COUNTERS);
/** A guest that posts no buffer for so long loses what waits for it. */
const STALL_NS = 10e9;
/** A guest that has taken nothing for so long is held to its share of the driver's buffers. Longer than a guest waits
 *  for its core on a busy machine; as long as the NIC waits for a queue without buffers. */
const SLOW_NS = 1e9;

export class WaitingFrames {
  readonly fifo: FrameFifo;
  private readonly buffers: Buffers;
  private readonly counters: CounterBlock;
  private readonly tap: BridgeTap;
  /** Since when the first frame has been waiting for requests. */
  private sinceNs = 0;

  /** @param tap where the frames are captured */
  constructor(buffers: Buffers, counters: CounterBlock, tap: BridgeTap) {
    this.tap = tap;
    this.fifo = new FrameFifo(buffers.count + FOREIGN_FRAMES);
    this.buffers = buffers;
    this.counters = counters;
  }

  /** Queues a frame, with a reference to it, or drops it when the guest has its share already.
   *  @returns true when it waits now */
  add(buffer: number, len: number, nowNs: number): boolean {
    if (nowNs - this.sinceNs > SLOW_NS && this.isOverShare(len)) {
      this.counters.v[C.dropQueueFull] += this.buffers.framesOf(buffer);
      if (this.tap.on) this.tap.frame(buffer, len, C.dropQueueFull);
      return false;
    }
    if (this.tap.on) this.tap.frame(buffer, len, ACCEPTED);
    if (this.fifo.count === 0) this.sinceNs = nowNs;
    this.buffers.retain(buffer);
    this.fifo.push(buffer, len);
    return true;
  }

  /** The guest has taken frames. */
  moved(nowNs: number): void {
    this.sinceNs = nowNs;
  }

  /** Drops what has waited for too long. @returns true when something was dropped */
  expire(nowNs: number): boolean {
    const { fifo } = this;
    const before = fifo.count;
    const waited = nowNs - this.sinceNs;
    if (waited >= STALL_NS) this.dropAll(C.dropStalled);
    else if (waited > SLOW_NS) while (fifo.count > 0 && this.isOverShare(0)) this.dropFirst(C.dropQueueFull);
    return fifo.count < before;
  }

  /** @param reason slot of the counter */
  dropAll(reason: number): void {
    while (this.fifo.count > 0) this.dropFirst(reason);
  }

  /** @returns true when the queue, with `len` bytes more, holds more than the others leave or than Linux lets it */
  private isOverShare(len: number): boolean {
    const { fifo, buffers } = this;
    return fifo.bytes + len > NETBACK_QUEUE_BYTES || fifo.buffers > buffers.count - buffers.held;
  }

  private dropFirst(reason: number): void {
    this.counters.v[reason] += this.buffers.framesOf(this.fifo.firstId);
    if (this.tap.on) this.tap.frame(this.fifo.firstId, this.fifo.firstLen, reason);
    this.buffers.release(this.fifo.firstId);
    this.fifo.shift();
  }
}
