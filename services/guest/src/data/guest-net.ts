/** A guest's TCP/IP stack (shared/tcpip) on its vif: frames come in from the measuring stack, which has them first and passes on
 *  what is no measured run's; packets go out through the transmit device. A poller of the data loop.
 *
 *  Buffers are looked at until `deliver` returns, so that segments may be joined where they lie. */
import {
  NET_COUNTERS,
  RX_CHECKSUM_BLANK,
  NetStack,
  type HostAddress,
  type NetLink,
  type NetSettings,
  type Secret,
} from '@grantline/tcpip';
import { NET_DROP, NO_RX_PROBE, type RxProbe } from '@grantline/observe';
import { slots, type CounterBlock, type Mem, type PrivateMemory } from '@grantline/machine';
import { ETH_BYTES } from '@grantline/frames';
import { RX_CSUM_BLANK, RX_MSS_MASK, framesOf, type RxSink, type TxDevice } from '@grantline/measure';

const N = slots(NET_COUNTERS);
/** Pieces of frames between two calls of `deliver`: as RxStack's. */
const PIECES = 256;
/** Longest packet that is staged: what a slot's 16 bits can say. */
const STAGE_BYTES = 1 << 16;

interface GuestNetOptions {
  space: PrivateMemory;
  secret: Secret;
  address: HostAddress;
  /** Named as NET_COUNTERS. */
  counters: CounterBlock;
  meter: { readonly now: number; lap(component: number): void };
  /** Slots of the meter. */
  components: { device: number; stack: number; application: number };
  settings?: Partial<NetSettings>;
  /** Puts this poller to work. */
  wake: () => void;
  /** Applications were told something. */
  onEvents?: () => void;
}

export class GuestNet implements NetLink, RxSink {
  readonly mem: Mem;
  readonly stack: NetStack;
  scheduled = false;
  /** Told of drops while a capture is on. */
  probe: RxProbe = NO_RX_PROBE;
  private readonly drops = new NetDrops();
  private readonly o: GuestNetOptions;
  private readonly scratch: number;
  private device: TxDevice | null = null;
  private staged = false;
  /** Bytes that the device had no room for; 0: it is not full. The device is shared, so its buffers may come back while
   *  others ask: room is asked for, not remembered. */
  private wanted = 0;
  // Pieces of frames in this batch; where each frame ends; what came with it (rx-batch.ts of shared/measure).
  private readonly off = new Int32Array(PIECES);
  private readonly len = new Int32Array(PIECES);
  private readonly end = new Int32Array(PIECES);
  private readonly info = new Int32Array(PIECES);
  private pieces = 0;
  private frames = 0;
  /** The first piece of the frame in progress has come, its last has not. */
  private isInFrame = false;

  constructor(o: GuestNetOptions) {
    this.o = o;
    this.mem = o.space.mem;
    this.scratch = o.space.mapPrivate(STAGE_BYTES);
    this.stack = new NetStack({
      link: this,
      space: o.space,
      secret: o.secret,
      address: o.address,
      settings: o.settings ?? {},
      counters: o.counters,
      onWork: o.wake,
      onEvents: (begin) => {
        o.meter.lap(begin ? o.components.stack : o.components.application);
        if (!begin) o.onEvents?.();
      },
    });
    this.setTso(false);
  }

  /** What packets go out through from now on; null: nothing, connections wait. @param tso packets up to 64 KiB, to be cut
   *  and summed by the device */
  attach(device: TxDevice | null, tso: boolean): void {
    this.device = device;
    this.staged = false;
    this.wanted = 0;
    if (device === null) return;
    this.setTso(tso);
    this.o.wake();
  }

  /** Joins received segments before connections see them. */
  set lro(on: boolean) {
    this.stack.tcp.coalescer.enabled = on;
  }

  poll(): number {
    const { stack, o, device } = this;
    const { meter, components } = o;
    let work = 0;
    if (device !== null && device.reclaim() > 0) work = 1;
    meter.lap(components.device);
    stack.poll(meter.now);
    if (stack.nextDeadlineNs > meter.now && (stack.idle || this.full || device === null)) return work;
    stack.flush();
    meter.lap(components.stack);
    this.push();
    return 1;
  }

  arm(): boolean {
    const { device } = this;
    if (device === null) return false;
    return (device.arm() || !this.full) && !this.stack.idle;
  }

  /** Microseconds until a timer is due; Infinity: none runs. Asked right before the loop sleeps. */
  dueUs(): number {
    const due = this.stack.nextDeadlineNs;
    if (due === Infinity) return Infinity;
    this.scheduled = true;
    return Math.max(0, (due - this.o.meter.now) / 1000);
  }

  /** Takes a piece of a frame: see RxSink. @param info of the frame, with its first piece: rx-batch.ts of shared/measure */
  fragment(off: number, len: number, more: boolean, info: number): void {
    if (!this.isInFrame && this.frames < PIECES) this.info[this.frames] = info;
    this.isInFrame = more;
    // A batch of a queue never has so many; the stack counts what is cut off as malformed.
    if (this.pieces < PIECES) {
      this.off[this.pieces] = off;
      this.len[this.pieces++] = len;
    }
    if (more || this.frames === PIECES) return;
    this.end[this.frames++] = this.pieces;
  }

  process(): void {
    if (this.frames === 0) return;
    const { stack, off, len, end, info } = this;
    stack.poll(this.o.meter.now);
    const isProbed = this.probe.on;
    let from = 0;
    for (let i = 0; i < this.frames; i++) {
      const blank = (info[i] & RX_CSUM_BLANK) === 0 ? 0 : RX_CHECKSUM_BLANK;
      if (isProbed) this.drops.mark(this.o.counters.v);
      stack.inputParts(off, len, from, end[i], blank, info[i] & RX_MSS_MASK);
      // The stack has counted one packet; what came counts as the frames that it stands for.
      this.o.counters.v[N.inPackets] += framesOf(info[i]) - 1;
      if (isProbed) this.probe.dropped(off[from], this.drops.reason(this.o.counters.v));
      from = end[i];
    }
    stack.work();
  }

  deliver(_nowNs: number, isSecond: boolean): void {
    const { meter, components } = this.o;
    if (isSecond) meter.lap(components.application);
    if (this.frames === 0) return;
    this.pieces = this.frames = 0;
    this.device?.reclaim();
    this.stack.flush();
    // The device is full: before the loop sleeps it is asked to tell of room.
    if (!this.stack.idle) this.scheduled = true;
    meter.lap(components.stack);
    this.push();
  }

  reserve(bytes: number): number {
    const { device } = this;
    if (device === null || bytes > device.maxBytes) return -1;
    if (!device.room(bytes)) {
      this.push();
      if (!device.room(bytes)) {
        this.wanted = bytes;
        return -1;
      }
    }
    return this.scratch;
  }

  send(at: number, bytes: number, csumStart: number, csumOffset: number, gsoSize: number): void {
    const { mem } = this;
    // Where the headers end is only asked for where they are repeated.
    const header = gsoSize === 0 ? 0 : csumStart + ((mem.u8[at + csumStart + 12] >>> 4) << 2);
    this.device!.stage(at, bytes, gsoSize, csumStart, header, csumOffset);
    this.staged = true;
  }

  describe(): Record<string, unknown> {
    return { held: this.stack.held(), hasDevice: this.device !== null, full: this.full, counts: this.stack.counts() };
  }

  private get full(): boolean {
    if (this.wanted > 0 && this.device?.room(this.wanted) === true) this.wanted = 0;
    return this.wanted > 0;
  }

  private push(): void {
    this.o.counters.commit();
    if (!this.staged) return;
    this.staged = false;
    this.device?.push();
    this.o.meter.lap(this.o.components.device);
  }

  private setTso(on: boolean): void {
    const { set } = this.stack.host;
    const most = Math.min(STAGE_BYTES - 1, this.device?.maxBytes ?? STAGE_BYTES - 1);
    set.gso = on ? most - ETH_BYTES : 0;
    set.txChecksum = on;
  }
}

/** Finds out why the TCP/IP stack did not use a frame: which of its counters of drops went up meanwhile. Only while a capture is
 *  on; the stack itself knows nothing of captures. */
class NetDrops {
  private readonly slots = Int32Array.from(NET_COUNTERS.drops.map((name) => NET_COUNTERS.names.indexOf(name)));
  private readonly before = new Float64Array(this.slots.length);

  /** A frame is about to be handed to the stack. @param v the stack's counters */
  mark(v: Float64Array): void {
    for (let i = 0; i < this.slots.length; i++) this.before[i] = v[this.slots[i]];
  }

  /** @returns the reason of the drop since `mark`; 0: there was none */
  reason(v: Float64Array): number {
    for (let i = 0; i < this.slots.length; i++)
      if (v[this.slots[i]] !== this.before[i]) return NET_DROP + this.slots[i];
    return 0;
  }
}
