/** Frames that wait for a vif's requests, in the driver domain's buffers or in another guest's pages, and how long and how many may.
 *
 *  While the guest takes frames, its queue is bounded by the driver's buffers, or by the sender's ring: flow control holds the
 *  sender. Once its oldest frame has waited too long, the guest may keep no more than others leave, nor more than Linux lets
 *  it; and no frame waits for longer than some seconds. What counts is how long frames wait, not when one was taken last:
 *  else a guest that takes one now and then would keep all. */
import { NETBACK_QUEUE_BYTES } from '@grantline/xen';
import { slots, type CounterBlock } from '@grantline/machine';
import { NETBACK_COUNTERS } from '@grantline/observe';
import { type Buffers, FOREIGN_FRAMES, type TxSource } from './buffers.js';
import { ACCEPTED, type BridgeProbe } from './frame-pieces.js';
import { MAX_PENDING } from '../tx/tx-requests.js';

/** Frames that wait for one vif, in the order of their arrival: the first buffer of each, its length, and since when. */
class FrameFifo {
  /** Frames and bytes that wait, and the driver domain's buffers that they are in. */
  count = 0;
  bytes = 0;
  buffers = 0;
  private readonly owner: Buffers;
  private readonly ids: Int16Array;
  private readonly lens: Uint16Array;
  private readonly times: Float64Array;
  private readonly mask: number;
  private head = 0;

  /** @param frames how many there are: no more can wait */
  constructor(owner: Buffers, frames: number) {
    this.owner = owner;
    const size = 2 ** Math.ceil(Math.log2(frames));
    this.ids = new Int16Array(size);
    this.lens = new Uint16Array(size);
    this.times = new Float64Array(size);
    this.mask = size - 1;
  }

  push(id: number, len: number, nowNs: number): void {
    const at = (this.head + this.count) & this.mask;
    this.ids[at] = id;
    this.lens[at] = len;
    this.times[at] = nowNs;
    this.count++;
    this.bytes += len;
    this.buffers += this.owner.buffersOf(id, len);
  }

  get firstId(): number {
    return this.ids[this.head];
  }

  get firstLen(): number {
    return this.lens[this.head];
  }

  /** When the first frame came. */
  get firstNs(): number {
    return this.times[this.head];
  }

  /** Puts the first frame behind the last: as many times as there are frames, and all are where they were. */
  rotate(): void {
    const { head, mask } = this;
    const at = (head + this.count) & mask;
    this.ids[at] = this.ids[head];
    this.lens[at] = this.lens[head];
    this.times[at] = this.times[head];
    this.head = (head + 1) & mask;
  }

  /** Takes the first frame off. */
  shift(): void {
    const len = this.lens[this.head];
    this.buffers -= this.owner.buffersOf(this.ids[this.head], len);
    this.head = (this.head + 1) & this.mask;
    this.count--;
    this.bytes -= len;
  }
}

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
