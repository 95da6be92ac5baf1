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

const C = slots(NETBACK_COUNTERS);
/** A frame that has waited for so long is dropped. */
const STALL_NS = 10e9;
/** A guest whose oldest frame has waited for so long is held to its share. Longer than a guest waits for its core on a busy
 *  machine; as long as the NIC waits for a queue without buffers. */
const SLOW_NS = 1e9;

export class WaitingFrames {
  /** Frames and bytes that wait, in the order of their arrival, and the driver domain's buffers that they are in. */
  count = 0;
  bytes = 0;
  private inBuffers = 0;
  private readonly buffers: Buffers;
  private readonly counters: CounterBlock;
  private readonly probe: BridgeProbe;
  // Of each: its first buffer, its length, and since when it waits. There is room for all that there can be.
  private readonly ids: Int16Array;
  private readonly lens: Uint16Array;
  private readonly times: Float64Array;
  private readonly mask: number;
  private head = 0;

  /** @param probe where the frames are captured */
  constructor(buffers: Buffers, counters: CounterBlock, probe: BridgeProbe) {
    this.probe = probe;
    this.buffers = buffers;
    this.counters = counters;
    const size = 2 ** Math.ceil(Math.log2(buffers.count + FOREIGN_FRAMES));
    this.ids = new Int16Array(size);
    this.lens = new Uint16Array(size);
    this.times = new Float64Array(size);
    this.mask = size - 1;
  }

  /** Queues a frame, with a reference to it, or drops it when the guest has its share already.
   *  @returns true when it waits now */
  add(buffer: number, len: number, nowNs: number): boolean {
    if (this.count > 0 && nowNs - this.firstNs > SLOW_NS && (this.isOverShare(len) || this.crowds(buffer))) {
      this.counters.v[C.dropQueueFull] += this.buffers.framesOf(buffer);
      if (this.probe.on) this.probe.frame(buffer, len, C.dropQueueFull);
      return false;
    }
    if (this.probe.on) this.probe.frame(buffer, len, ACCEPTED);
    this.buffers.retain(buffer);
    this.push(buffer, len, nowNs);
    return true;
  }

  /** Drops what has waited for too long, and what is too much of a guest that is slow.
   *  @returns true when something was dropped */
  expire(nowNs: number): boolean {
    const before = this.count;
    while (this.count > 0 && nowNs - this.firstNs >= STALL_NS) this.dropFirst(C.dropStalled);
    if (this.count > 0 && nowNs - this.firstNs > SLOW_NS)
      for (let n = this.count; n > 0; n--) {
        if (this.isOverShare(0) || this.crowds(this.firstId)) this.dropFirst(C.dropQueueFull);
        else this.rotate();
      }
    return this.count < before;
  }

  /** Drops the frames that lie in the pages of a guest that goes. @returns true when there were such */
  dropFrom(source: TxSource): boolean {
    const before = this.count;
    for (let n = before; n > 0; n--) {
      if (this.buffers.sourceOf(this.firstId) === source) this.dropFirst(C.dropDisabled);
      else this.rotate();
    }
    return this.count < before;
  }

  /** @param reason slot of the counter */
  dropAll(reason: number): void {
    while (this.count > 0) this.dropFirst(reason);
  }

  /** @returns true when the queue, with `len` bytes more, holds more than the others leave or than Linux lets it */
  private isOverShare(len: number): boolean {
    const { buffers } = this;
    return this.bytes + len > NETBACK_QUEUE_BYTES || this.inBuffers > buffers.count - buffers.held;
  }

  /** @returns true when the frame is another guest's, and more than half of that one's ring is out: it is to reach others too */
  private crowds(buffer: number): boolean {
    const source = this.buffers.sourceOf(buffer);
    return source !== null && source.packets.room < MAX_PENDING / 2;
  }

  private dropFirst(reason: number): void {
    this.counters.v[reason] += this.buffers.framesOf(this.firstId);
    if (this.probe.on) this.probe.frame(this.firstId, this.firstLen, reason);
    this.buffers.release(this.firstId);
    this.shift();
  }

  private push(id: number, len: number, nowNs: number): void {
    const at = (this.head + this.count) & this.mask;
    this.ids[at] = id;
    this.lens[at] = len;
    this.times[at] = nowNs;
    this.count++;
    this.bytes += len;
    this.inBuffers += this.buffers.buffersOf(id, len);
  }

  get firstId(): number {
    return this.ids[this.head];
  }

  get firstLen(): number {
    return this.lens[this.head];
  }

  /** When the first frame came. */
  private get firstNs(): number {
    return this.times[this.head];
  }

  /** Puts the first frame behind the last: as many times as there are frames, and all are where they were. */
  private rotate(): void {
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
    this.inBuffers -= this.buffers.buffersOf(this.ids[this.head], len);
    this.head = (this.head + 1) & this.mask;
    this.count--;
    this.bytes -= len;
  }
}
