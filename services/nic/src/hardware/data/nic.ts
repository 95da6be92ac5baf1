/** The NIC as a whole: what the wire brings goes through the address filter to a queue. */
import * as frames from '@grantline/frames';
import type { Mac } from '@grantline/frames';
import { slots, type Mem, type CounterBlock } from '@grantline/machine';
import { NICQ_COMP_MULTICAST } from '@grantline/xen';
import { NIC_COUNTERS } from '@grantline/observe';
import type { BurstGuard } from './dma.js';
import { NO_MAC_PROBE, type MacProbe } from './mac-probe.js';
import { DROPPED, NO_BUFFER, UNFIT, contained, endBurst, moderate, moderateAll } from './nic-queue.js';
import type { NicRxQueue } from './rx-queue.js';

// Local, so that the engine folds them into the code: see flow-templates.ts.
const { ETHERTYPE_VLAN, ETH_BYTES, ETH_MAX_FRAME, ETH_MIN_FRAME, ETH_TYPE, isGroup, macHi, macLo, macOf } = frames;
const C = slots(NIC_COUNTERS);

/** No queue takes the frame. */
export const NO_QUEUE = -1;
const SLOTS = 256;
/** Beyond this the table's runs get long; MAX_GUESTS is 32. */
const MAX_ENTRIES = 128;

/** An address whose first 16 bits have (VLAN id + 1) above them, 0 for "any tag". */
interface Entry extends Mac {
  queue: number;
}

/** Which queue a frame belongs to: by destination address, and by VLAN id where a queue has one.
 *
 *  Open addressing over typed arrays: a look-up compares two words and allocates nothing. Rebuilt on every change, so
 *  there are no tombstones; changes are rare, and there are some dozens of queues at most. */
export class MacFilter {
  /** Queue for group addresses and unknown ones; NO_QUEUE when there is none. */
  defaultQueue = NO_QUEUE;
  private entries: Entry[] = [];
  private readonly his = new Int32Array(SLOTS);
  private readonly los = new Int32Array(SLOTS);
  private readonly queues = new Int16Array(SLOTS).fill(NO_QUEUE);
  private hasVlan = false;
  /** The last hit; -1: there is none. */
  private lastHi = -1;
  private lastLo = 0;
  private lastQueue = NO_QUEUE;
  private readonly mem: Mem;

  constructor(mem: Mem) {
    this.mem = mem;
  }

  /** @param mac its key; null: the default queue
   *  @param vlan 0 to 4095; null: with any tag or none
   *  @returns false when that place is taken, or the table is full */
  add(mac: number | null, vlan: number | null, queue: number): boolean {
    if (mac === null) {
      if (this.defaultQueue !== NO_QUEUE) return false;
      this.defaultQueue = queue;
      return true;
    }
    const { hi: first, lo } = macOf(mac);
    const hi = first | (vlan === null ? 0 : (vlan + 1) << 16);
    if (this.entries.length >= MAX_ENTRIES || this.entries.some((e) => e.hi === hi && e.lo === lo)) return false;
    this.entries.push({ hi, lo, queue });
    this.rebuild();
    return true;
  }

  /** Forgets all that leads to `queue`. */
  remove(queue: number): void {
    if (this.defaultQueue === queue) this.defaultQueue = NO_QUEUE;
    this.entries = this.entries.filter((e) => e.queue !== queue);
    this.rebuild();
  }

  /** @param off byte offset of a frame of at least 14 bytes
   *  @returns the queue, or NO_QUEUE. A group address goes to the default queue */
  find(off: number): number {
    const { mem } = this;
    const hi = macHi(mem, off);
    if (isGroup(hi)) return this.defaultQueue;
    const lo = macLo(mem, off);
    if (this.hasVlan && mem.dv.getUint16(off + ETH_TYPE) === ETHERTYPE_VLAN) return this.findTagged(off, hi, lo);
    if (hi === this.lastHi && lo === this.lastLo) return this.lastQueue;
    return this.findSlow(hi, lo);
  }

  /** @returns the queue that has the address, with any tag; or NO_QUEUE */
  exact(hi: number, lo: number): number {
    for (let i = hash(hi, lo); ; i = (i + 1) & (SLOTS - 1)) {
      const queue = this.queues[i];
      if (queue === NO_QUEUE || (this.los[i] === lo && this.his[i] === hi)) return queue;
    }
  }

  private findSlow(hi: number, lo: number): number {
    const found = this.exact(hi, lo);
    if (found === NO_QUEUE) return this.defaultQueue;
    this.lastHi = hi;
    this.lastLo = lo;
    this.lastQueue = found;
    return found;
  }

  private findTagged(off: number, hi: number, lo: number): number {
    const vlan = this.mem.dv.getUint16(off + ETH_BYTES) & 0x0fff;
    const found = this.exact(hi | ((vlan + 1) << 16), lo);
    return found === NO_QUEUE ? this.findSlow(hi, lo) : found;
  }

  private rebuild(): void {
    this.queues.fill(NO_QUEUE);
    this.lastHi = -1;
    this.hasVlan = false;
    for (const { hi, lo, queue } of this.entries) {
      let i = hash(hi, lo);
      while (this.queues[i] !== NO_QUEUE) i = (i + 1) & (SLOTS - 1);
      this.his[i] = hi;
      this.los[i] = lo;
      this.queues[i] = queue;
      if (hi >>> 16 !== 0) this.hasVlan = true;
    }
  }
}

function hash(hi: number, lo: number): number {
  return Math.imul(lo ^ Math.imul(hi, 0x9e3779b1), 0x85ebca6b) >>> 24;
}

/** Frames in a burst at most: some 40 us at 25 Gb/s, so that a driver is told in good time. */
export const BURST_FRAMES = 64;
/** A sender that waits for buffers looks again at least this often. */
export const RETRY_NS = 2e6;
/** Queues at most: a default queue and one for each guest, with room for VLANs. */
export const MAX_QUEUES = 64;

export class Nic {
  readonly guard: BurstGuard;
  readonly counters: CounterBlock;
  /** 802.3x: a frame without a buffer is not dropped at once; `receive` says NO_BUFFER and the sender waits. */
  flowControl = true;
  /** The queue that the frame before was meant for; NO_QUEUE when it had none. */
  lastQueue = -1;
  /** An injector in front of `take`; null: none. */
  faults: { receive(off: number, len: number): number; endBurst(): void } | null = null;
  probe: MacProbe = NO_MAC_PROBE;
  private readonly filter: MacFilter;
  private readonly u8: Uint8Array;
  private readonly queues: (NicRxQueue | null)[] = new Array<NicRxQueue | null>(MAX_QUEUES).fill(null);
  private highest = 0;

  constructor(mem: Mem, guard: BurstGuard, counters: CounterBlock) {
    this.u8 = mem.u8;
    this.guard = guard;
    this.counters = counters;
    this.filter = new MacFilter(mem);
  }

  /** Puts a queue into service for an address (below 2^48; null: the default queue) and VLAN id (null: any).
   *  @returns its number; -1 when the address is taken, -2 when there are too many queues */
  attach(queue: NicRxQueue, mac: number | null, vlan: number | null): number {
    const id = this.queues.indexOf(null);
    if (id < 0) return -2;
    if (!this.filter.add(mac, vlan, id)) return -1;
    this.queues[id] = queue;
    this.highest = Math.max(this.highest, id + 1);
    return id;
  }

  /** Takes a queue out of service. Bursts are synchronous, so between turns none is under way: on return no transfer
   *  touches the queue's buffers, and none will. @returns the queue; null when no queue has that id */
  detach(id: number): NicRxQueue | null {
    const queue = this.queues[id] ?? null;
    if (queue === null) return null;
    this.filter.remove(id);
    this.queues[id] = null;
    queue.counters.commit();
    return queue;
  }

  queue(id: number): NicRxQueue | null {
    return this.queues[id] ?? null;
  }

  /** @param hi, lo the address @returns the queue that has it, with any VLAN; NO_QUEUE: none. For the embedded switch */
  queueOf(hi: number, lo: number): number {
    return this.filter.exact(hi, lo);
  }

  get defaultQueue(): number {
    return this.filter.defaultQueue;
  }

  /** Takes a frame from the wire. Inside a burst only.
   *  @param off byte offset of the frame, a multiple of 4; @param len bytes without FCS
   *  @returns DELIVERED; DROPPED; or NO_BUFFER: nothing was counted, offer it again (flow control only) */
  receive(off: number, len: number): number {
    return this.faults === null ? this.take(off, len) : this.faults.receive(off, len);
  }

  /** As `receive`, past the injector. */
  take(off: number, len: number): number {
    if (len < ETH_MIN_FRAME || len > ETH_MAX_FRAME) return this.dropSize(off, len);
    const id = this.filter.find(off);
    this.lastQueue = id;
    if (id < 0) return this.drop(off, len, C.dropNoQueue);
    const queue = this.queues[id]!;
    const status = this.offer(queue, off, len);
    if (status === NO_BUFFER) return this.noBuffer(queue, off, len);
    if (this.probe.on) this.seen(off, len, status, queue);
    const v = this.counters.v;
    v[C.inFrames]++;
    v[C.inBytes] += len;
    return status;
  }

  /** Longest TCP packet, uncut, that the queue takes which frames with these headers go to; 0: frames only, as to a group. Who captures
   *  or injects faults shall see frames. @param off byte offset of the headers */
  packetBytes(off: number): number {
    const id = this.packetQueue(off);
    return id < 0 ? 0 : this.queues[id]!.packetBytes;
  }

  private packetQueue(off: number): number {
    return this.faults !== null || this.probe.on || (this.u8[off] & 1) !== 0 ? -1 : this.filter.find(off);
  }

  /** Takes a TCP packet that nobody has cut or summed: it counts as the frames that it stands for. Inside a burst only.
   *  @param off byte offset, a multiple of 4 @param header bytes of all its headers @param frames 2 to 255
   *  @returns as `receive`; UNFIT: nothing was counted, offer its frames */
  receivePacket(off: number, len: number, header: number, mss: number, frames: number): number {
    const id = this.packetQueue(off);
    if (id < 0 || header + mss > ETH_MAX_FRAME) return UNFIT;
    this.lastQueue = id;
    const queue = this.queues[id]!;
    const status = this.offerPacket(queue, off, len, mss, frames);
    // For some of its frames there may be room.
    if (status === NO_BUFFER) return this.flowControl && queue.isPacketWorthWaiting() ? NO_BUFFER : UNFIT;
    if (status === UNFIT) return UNFIT;
    const v = this.counters.v;
    v[C.inFrames] += frames;
    v[C.inBytes] += len + (frames - 1) * header;
    return status;
  }

  private offerPacket(queue: NicRxQueue, off: number, len: number, mss: number, frames: number): number {
    try {
      return queue.deliverPacket(off, len, mss, frames);
    } catch (err) {
      queue.failed(err);
      return queue.deliverPacket(off, len, mss, frames);
    }
  }

  /** What a queue throws is that queue's: it stops, and its frames are dropped and counted. */
  private offer(queue: NicRxQueue, off: number, len: number): number {
    try {
      return queue.deliver(off, len, (this.u8[off] & 1) * NICQ_COMP_MULTICAST);
    } catch (err) {
      queue.failed(err);
      return queue.deliver(off, len, 0);
    }
  }

  /** Publishes what the burst brought. Inside the burst, at its end. */
  endBurst(): void {
    if (this.faults !== null) this.faults.endBurst();
    for (let i = 0; i < this.highest; i++) {
      const queue = this.queues[i]!;
      if (queue !== null && queue.isConcerned) contained(queue, endBurst);
    }
  }

  /** Notifies drivers as they asked. After the burst: a doorbell is no transfer.
   *  @param sleeping true: hold nothing back */
  moderate(sleeping: boolean): void {
    for (let i = 0; i < this.highest; i++) {
      const queue = this.queues[i]!;
      if (queue === null || !(sleeping || queue.isConcerned)) continue;
      contained(queue, sleeping ? moderateAll : moderate);
      queue.counters.commit();
    }
    this.counters.commit();
  }

  /** A new load begins: no queue has kept anybody waiting yet. */
  beginLoad(flowControl: boolean): void {
    this.flowControl = flowControl;
    for (let i = 0; i < this.highest; i++) this.queues[i]?.forgive();
  }

  /** State of the queues, for dumps. */
  describe(): Record<string, string | number | boolean>[] {
    return this.queues.flatMap((q, queue) => (q === null ? [] : [{ queue, ...q.describe() }]));
  }

  /** For captures: a frame that a queue has dealt with. */
  private seen(off: number, len: number, status: number, queue: NicRxQueue): void {
    if (status === DROPPED) this.probe.droppedByQueue(queue.lastDrop);
    this.probe.rx(off, len);
  }

  private noBuffer(queue: NicRxQueue, off: number, len: number): number {
    if (this.flowControl && queue.worthWaiting()) return NO_BUFFER;
    queue.dropNoBuffer();
    if (this.probe.on) this.seen(off, len, DROPPED, queue);
    this.counters.v[C.inFrames]++;
    this.counters.v[C.inBytes] += len;
    return DROPPED;
  }

  private dropSize(off: number, len: number): number {
    return this.drop(off, len, len < ETH_MIN_FRAME ? C.dropRunt : C.dropOversize);
  }

  private drop(off: number, len: number, reason: number): number {
    const v = this.counters.v;
    v[C.inFrames]++;
    v[C.inBytes] += len;
    v[reason]++;
    if (this.probe.on) {
      this.probe.dropped(reason);
      this.probe.rx(off, len);
    }
    return DROPPED;
  }
}
