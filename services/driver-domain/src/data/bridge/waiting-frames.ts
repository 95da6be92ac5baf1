/** Frames that wait for a vif's requests, in the driver domain's buffers or in another guest's pages, and how long and how many may.
 *
 *  While the guest takes frames, its queue is bounded by the driver's buffers, or by the sender's ring: flow control holds the
 *  sender. Once its oldest frame has waited too long, the guest may keep no more than others leave, nor more than Linux lets
 *  it; and no frame waits for longer than some seconds. What counts is how long frames wait, not when one was taken last:
 *  else a guest that takes one now and then would keep all. */
import { NETBACK_QUEUE_BYTES } from '@grantline/xen';
import { slots, type CounterBlock } from '@grantline/machine';
import { NETBACK_COUNTERS } from '@grantline/observe';
import { ACCEPTED, type BridgeProbe } from '../capture/bridge-probe.js';
import type { Buffers } from './buffers.js';
import { FOREIGN_FRAMES, type TxSource } from './foreign-frames.js';
import { FrameFifo } from './frame-fifo.js';
import { MAX_PENDING } from '../tx/tx-packets.js';

const C = slots(NETBACK_COUNTERS);
/** A frame that has waited for so long is dropped. */
const STALL_NS = 10e9;
/** A guest whose oldest frame has waited for so long is held to its share. Longer than a guest waits for its core on a busy
 *  machine; as long as the NIC waits for a queue without buffers. */
const SLOW_NS = 1e9;

export class WaitingFrames {
  readonly fifo: FrameFifo;
  private readonly buffers: Buffers;
  private readonly counters: CounterBlock;
  private readonly probe: BridgeProbe;

  /** @param probe where the frames are captured */
  constructor(buffers: Buffers, counters: CounterBlock, probe: BridgeProbe) {
    this.probe = probe;
    this.fifo = new FrameFifo(buffers, buffers.count + FOREIGN_FRAMES);
    this.buffers = buffers;
    this.counters = counters;
  }

  /** Queues a frame, with a reference to it, or drops it when the guest has its share already.
   *  @returns true when it waits now */
  add(buffer: number, len: number, nowNs: number): boolean {
    const { fifo } = this;
    if (fifo.count > 0 && nowNs - fifo.firstNs > SLOW_NS && (this.isOverShare(len) || this.crowds(buffer))) {
      this.counters.v[C.dropQueueFull] += this.buffers.framesOf(buffer);
      if (this.probe.on) this.probe.frame(buffer, len, C.dropQueueFull);
      return false;
    }
    if (this.probe.on) this.probe.frame(buffer, len, ACCEPTED);
    this.buffers.retain(buffer);
    fifo.push(buffer, len, nowNs);
    return true;
  }

  /** Drops what has waited for too long, and what is too much of a guest that is slow.
   *  @returns true when something was dropped */
  expire(nowNs: number): boolean {
    const { fifo } = this;
    const before = fifo.count;
    while (fifo.count > 0 && nowNs - fifo.firstNs >= STALL_NS) this.dropFirst(C.dropStalled);
    if (fifo.count > 0 && nowNs - fifo.firstNs > SLOW_NS)
      for (let n = fifo.count; n > 0; n--) {
        if (this.isOverShare(0) || this.crowds(fifo.firstId)) this.dropFirst(C.dropQueueFull);
        else fifo.rotate();
      }
    return fifo.count < before;
  }

  /** Drops the frames that lie in the pages of a guest that goes. @returns true when there were such */
  dropFrom(source: TxSource): boolean {
    const { fifo } = this;
    const before = fifo.count;
    for (let n = before; n > 0; n--) {
      if (this.buffers.sourceOf(fifo.firstId) === source) this.dropFirst(C.dropDisabled);
      else fifo.rotate();
    }
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

  /** @returns true when the frame is another guest's, and more than half of that one's ring is out: it is to reach others too */
  private crowds(buffer: number): boolean {
    const source = this.buffers.sourceOf(buffer);
    return source !== null && source.packets.room < MAX_PENDING / 2;
  }

  private dropFirst(reason: number): void {
    this.counters.v[reason] += this.buffers.framesOf(this.fifo.firstId);
    if (this.probe.on) this.probe.frame(this.fifo.firstId, this.fifo.firstLen, reason);
    this.buffers.release(this.fifo.firstId);
    this.fifo.shift();
  }
}
