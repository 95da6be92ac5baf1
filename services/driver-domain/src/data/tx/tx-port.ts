/** A NIC transmit queue as the driver domain drives it: one for each guest, or the one of the uplink that all vifs share.
 *  While it has no queue, because there is no NIC, it is a link without carrier: packets are taken and lost, so that nothing
 *  waits behind them, and what the NIC had when it died is lost too. */
import { NICTX_COMP_REFUSED, NICTX_MAX_CHAIN, NICTX_SIZE, type TxDriverQueue, notifyIf } from '@grantline/xen';
import {
  type CounterBlock,
  slots,
  type Poller,
  DRIVER_DOMAIN_CPU,
  type Laps,
  type Notify,
  type Scheduler,
} from '@grantline/machine';
import { DRIVER_COUNTERS } from '@grantline/observe';

const C = slots(DRIVER_COUNTERS);
const CPU = slots(DRIVER_DOMAIN_CPU);
const MASK = NICTX_SIZE - 1;
/** Far longer than any wire or receiver holds a packet. */
const STUCK_NS = 10e9;

/** One of the senders that share a port. */
export interface TxOwner extends Poller {
  /** Descriptors that it has of the port: kept and posted. The port counts them. */
  held: number;
  /** The NIC has read the packet, or refused it (status, NICTX_COMP_*): nothing looks at its pages any more. */
  sent(packet: number, status: number): void;
  /** Takes what `sent` threw. Not there: the port has it. */
  failed?(err: unknown): void;
}

export class TxPort implements Poller {
  scheduled = false;
  broken = false;
  /** The queue's state is impossible, or the NIC completes nothing any more: nothing moves until another is connected. Called
   *  once for each queue. */
  onBroken: (reason: string) => void = () => {};
  /** Completions taken when it was last looked at, and since when there are no more; for `look`. */
  private seen = -1;
  private seenNs = 0;
  /** null: not there yet, or no more. */
  private queue: TxDriverQueue | null = null;
  private nic: Notify | null = null;
  private readonly loop: Scheduler<Poller>;
  private readonly meter: Laps;
  private readonly counters: CounterBlock;
  /** By descriptor: who posted it, and which packet ends there, -1: none. */
  private readonly owners: (TxOwner | null)[] = new Array<TxOwner | null>(NICTX_SIZE).fill(null);
  private readonly packet = new Int16Array(NICTX_SIZE).fill(-1);
  private readonly waiting = new Set<TxOwner>();
  private promised = 0;
  /** Packets lost since the last poll, from entry 0 on; only without a queue. */
  private lost = 0;

  /** @param counters of the driver: notifications of the NIC */
  constructor(loop: Scheduler<Poller>, meter: Laps, counters: CounterBlock) {
    this.loop = loop;
    this.meter = meter;
    this.counters = counters;
  }

  /** Descriptors that are neither posted nor promised. */
  room(): number {
    if (this.queue === null) return NICTX_SIZE - this.lost - this.promised;
    return this.broken ? 0 : this.queue.free() - this.promised;
  }

  /** Descriptors that are free for an owner which is not waiting itself. While others wait it has no more than its share: else the
   *  one that is asked first after each completion would have all. An owner that holds nothing always gets enough for a packet. */
  roomFor(owner: TxOwner): number {
    const room = this.room();
    const others = this.waiting.size;
    if (others === 0) return room;
    const left = Math.max(NICTX_MAX_CHAIN, Math.floor(NICTX_SIZE / (others + 1))) - owner.held;
    return left < room ? left : room;
  }

  /** There is a NIC, with this queue: packets leave from now on. */
  connect(queue: TxDriverQueue, nic: Notify): void {
    this.down();
    this.settleLost();
    this.queue = queue;
    this.nic = nic;
    this.wake();
  }

  /** The NIC is gone, or the queue off it: nothing reads what was posted any more. Its packets are over, as errors. */
  down(): void {
    const { queue } = this;
    if (queue === null) return;
    this.queue = this.nic = null;
    this.broken = false;
    const from = queue.compCons;
    const n = queue.outstanding();
    for (let i = 0; i < n; i++) this.end((from + i) & MASK, NICTX_COMP_REFUSED);
    this.wake();
  }

  /** Keeps descriptors for a packet that is not ready; `post` uses them up. A negative number gives them back: a packet that
   *  goes elsewhere completes nothing here, and an owner that waits would hear of nothing. */
  promise(owner: TxOwner, descriptors: number): void {
    this.promised += descriptors;
    owner.held += descriptors;
    if (descriptors < 0 && this.waiting.size > 0 && this.room() >= NICTX_MAX_CHAIN) this.wake();
  }

  /** Tells `owner` when there is room again. */
  waitFor(owner: TxOwner): void {
    this.waiting.add(owner);
  }

  /** It waits no more. */
  waitNoMore(owner: TxOwner): void {
    this.waiting.delete(owner);
  }

  /** Puts one promised descriptor. @param packet that ends here, or -1 */
  post(
    owner: TxOwner,
    packet: number,
    dpn: number,
    offset: number,
    len: number,
    flags: number,
    mss: number,
    csumStart: number,
    headerBytes: number,
  ): void {
    const { queue } = this;
    this.promised--;
    const slot = queue === null ? this.lost : queue.availProd & MASK;
    this.owners[slot] = owner;
    this.packet[slot] = packet;
    if (queue === null) this.lost++;
    else queue.post(dpn, offset, len, flags, mss, csumStart, headerBytes);
  }

  /** Makes the posted packets visible. */
  flush(): void {
    const { queue, nic } = this;
    // Without a queue they are lost, in the next poll and not here: the owner is in the middle of its own.
    if (queue !== null) notifyIf(queue.publish(), nic!, this.counters.v, C.notifications, C.suppressed);
    // It armed nothing while nothing was out: only from a poll on it hears of completions.
    if (!this.scheduled) this.loop.schedule(this);
  }

  /** Descriptors of `owner` that the NIC has not completed. */
  outstanding(owner: TxOwner): number {
    const { queue } = this;
    const from = queue?.compCons ?? 0;
    const out = queue?.outstanding() ?? this.lost;
    let n = 0;
    for (let i = 0; i < out; i++) if (this.owners[(from + i) & MASK] === owner) n++;
    return n;
  }

  /** The owner is gone: its completions are nobody's. */
  forget(owner: TxOwner): void {
    this.waiting.delete(owner);
    for (let i = 0; i < NICTX_SIZE; i++) if (this.owners[i] === owner) this.owners[i] = null;
  }

  poll(): number {
    const { queue } = this;
    if (queue === null) return this.settleLost();
    const n = this.broken ? 0 : queue.completed();
    if (n <= 0) {
      if (n < 0) this.breaks('the NIC completed more than was posted');
      return 0;
    }
    for (let i = 0; i < n; i++) this.end((queue.compCons + i) & MASK, queue.status(i));
    queue.consume(n);
    this.wake();
    this.meter.lap(CPU.driver);
    return n;
  }

  arm(): boolean {
    const { queue } = this;
    if (queue === null) return this.lost > 0;
    const out = queue.outstanding();
    return !this.broken && out > 0 && queue.arm((out >> 1) + 1) && queue.completed() !== 0;
  }

  /** Called about once a second: a NIC that has packets and completes none for STUCK_NS has forgotten them. */
  look(nowNs: number): void {
    const { queue } = this;
    const moves =
      queue === null || queue.outstanding() === 0 || queue.compCons !== this.seen || queue.completed() !== 0;
    if (moves) {
      this.seen = queue === null ? -1 : queue.compCons;
      this.seenNs = nowNs;
    } else if (!this.broken && nowNs - this.seenNs > STUCK_NS) this.breaks('the NIC completes nothing any more');
  }

  private breaks(reason: string): void {
    this.broken = true;
    this.onBroken(reason);
  }

  describe(): Record<string, unknown> {
    return { broken: this.broken, promised: this.promised, queue: this.queue?.describe() ?? null };
  }

  /** A descriptor is done with; the last one of a packet ends it. */
  private end(slot: number, status: number): void {
    const owner = this.owners[slot];
    const packet = this.packet[slot];
    if (owner === null) return;
    owner.held--;
    if (packet < 0) return;
    try {
      owner.sent(packet, status);
    } catch (err) {
      if (owner.failed === undefined) throw err;
      owner.failed(err);
    }
    if (!owner.scheduled) this.loop.schedule(owner);
  }

  private settleLost(): number {
    const n = this.lost;
    for (let i = 0; i < n; i++) this.end(i, NICTX_COMP_REFUSED);
    this.lost = 0;
    if (n > 0) this.wake();
    return n;
  }

  /** They wait until each has had its turn. */
  private wake(): void {
    for (const owner of this.waiting) this.loop.schedule(owner);
  }
}
