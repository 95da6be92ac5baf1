/** The guest's stack is a kernel's, behind a TAP device: both directions between it and the vif. docs/tap.md */
import { PAGE_SIZE } from '@grantline/base';
import {
  slots,
  VNET_BYTES,
  GUEST_CPU,
  type CounterBlock,
  type Poller,
  type AddressSpace,
  type Mem,
  type WakeSource,
  type TapDevice,
  type Laps,
} from '@grantline/machine';
import { TAP_COUNTERS, type RxProbe } from '@grantline/observe';
import { IP_PROTOCOL, PROTO_TCP, PROTO_UDP, ipAt, l3Of, l4Of } from '@grantline/frames';
import {
  IoTable,
  PACKET_BLANK,
  PACKET_GSO,
  PACKET_MALFORMED,
  PACKET_PLAIN,
  VnetHeader,
  RX_CSUM_BLANK,
  RX_MSS_MASK,
  framesOf,
  TapWriter,
  type LendingTxDevice,
  type RxSink,
  type TapOut,
} from '@grantline/measure';
import { MOST_RX_BATCH } from './netfront-rx.js';

const T = slots(TAP_COUNTERS);
const CPU = slots(GUEST_CPU);
/** Pages that a packet may need: the kernel's packets stay below 64 KiB with their headers. */
const PAGES = 16;
/** One poll: packets, and bytes. */
const BATCH = 64;
const BATCH_BYTES = 256 << 10;
/** Up to here a packet is copied out of its page, into half of one where there are halves: acknowledgements. */
const COPY_BYTES = 512;
/** Pieces of a batch. */
const PIECES = 2 * MOST_RX_BATCH;

/** Received frames go to the kernel from the granted pages that they lie in. */
export class TapSink implements RxSink {
  /** Four packets of 45 frames: with fewer, half of what is joined ends at the end of a batch. */
  readonly batch = MOST_RX_BATCH;
  private readonly writer: TapWriter;
  private readonly counters: CounterBlock;
  private readonly off = new Int32Array(PIECES);
  private readonly len = new Int32Array(PIECES);
  private readonly more = new Uint8Array(PIECES);
  private readonly info = new Int32Array(PIECES);
  private pieces = 0;
  /** Of a capture in the guest. */
  probe: RxProbe | null = null;

  constructor(space: AddressSpace, tap: TapOut, counters: CounterBlock) {
    this.writer = new TapWriter(space, tap, counters);
    this.counters = counters;
  }

  /** Join TCP segments: the factor lro. */
  set lro(on: boolean) {
    this.writer.coalesce = on;
  }

  fragment(off: number, len: number, more: boolean, info = 0): void {
    const { probe } = this;
    if (probe !== null && probe.on) probe.fragment(off, len, more);
    const i = this.pieces;
    if (i === PIECES) throw new RangeError('more pieces than a batch has');
    this.pieces = i + 1;
    this.off[i] = off;
    this.len[i] = len;
    this.more[i] = more ? 1 : 0;
    this.info[i] = info;
  }

  /** The kernel's stack runs in here, as far as the socket: its time is that of the component `stack`. */
  process(): void {
    const { writer, pieces } = this;
    let info = 0;
    let first = true;
    for (let i = 0; i < pieces; i++) {
      // Told with the first piece, wanted with the last.
      if (first) info = this.info[i];
      const more = this.more[i] !== 0;
      first = !more;
      if (first && (info & RX_MSS_MASK) !== 0) writer.bulk(info & RX_MSS_MASK, framesOf(info));
      writer.piece(this.off[i], this.len[i], more, (info & RX_CSUM_BLANK) !== 0);
    }
    writer.flush();
    this.pieces = 0;
  }

  deliver(): void {
    if (this.probe !== null && this.probe.on) this.probe.settle();
    this.counters.commit();
  }
}

interface TapSourceOptions {
  space: AddressSpace;
  tap: TapDevice;
  counters: CounterBlock;
  meter: Pick<Laps, 'lap'>;
  source: WakeSource;
}

/** What the kernel sends is read straight into transmit buffers, pages that are
 *  granted, and staged there. Long packets stay whole: netfront tells their segment size (GSO). */
export class TapSource implements Poller {
  scheduled = false;
  private readonly o: TapSourceOptions;
  private readonly mem: Mem;
  private readonly table: IoTable;
  private readonly vnet: VnetHeader;
  private readonly header: number;
  private readonly vnetBytes: number;
  private device: LendingTxDevice | null = null;
  /** Buffers of the device that the next packet is read into. */
  private readonly lent = new Int32Array(PAGES);
  private lentCount = 0;
  /** The device has no room: it is waited for, not for the kernel. */
  private blocked = false;

  constructor(options: TapSourceOptions) {
    const { space, tap } = options;
    this.o = options;
    this.mem = space.mem;
    this.table = new IoTable(space, PAGES + 1);
    this.vnet = new VnetHeader(space.mem);
    this.header = space.mapPrivate(PAGE_SIZE);
    this.vnetBytes = tap.vnet ? VNET_BYTES : 0;
    this.table.set(0, this.header, this.vnetBytes);
  }

  /** What packets go through from now on; null: nothing, and the kernel's queue fills up.
   *  @param tso the kernel may leave cutting and checksums to the device */
  attach(device: LendingTxDevice | null, tso: boolean): void {
    // Buffers that the old device has lent go with it.
    this.lentCount = 0;
    this.device = device;
    if (device === null) return;
    this.o.tap.setOffload(tso);
    // What has come meanwhile is looked for at once.
    this.o.source.onReadable();
  }

  poll(): number {
    const { device } = this;
    if (device === null) return 0;
    const { tap, meter, counters } = this.o;
    const back = device.reclaim();
    let packets = 0;
    let bytes = 0;
    this.blocked = false;
    while (packets < BATCH && bytes < BATCH_BYTES) {
      if (!device.roomForLent() || !this.stock(device)) {
        this.blocked = true;
        break;
      }
      const n = tap.readv(this.table.address, PAGES + 1) - this.vnetBytes;
      if (n <= 0) break;
      packets++;
      bytes += n;
      this.take(device, n);
    }
    if (packets === 0) return back;
    meter.lap(CPU.stack);
    device.push();
    counters.v[T.fromPackets] += packets;
    counters.v[T.fromBytes] += bytes;
    counters.commit();
    meter.lap(CPU.netfront);
    return packets;
  }

  arm(): boolean {
    const { device } = this;
    const { source } = this.o;
    source.want(device !== null && !this.blocked);
    return device !== null && this.blocked && device.arm();
  }

  /** @returns false when there are not enough buffers for the longest packet */
  private stock(device: LendingTxDevice): boolean {
    while (this.lentCount < PAGES) {
      const id = device.lend();
      if (id < 0) return false;
      this.lent[this.lentCount] = id;
      this.table.set(++this.lentCount, device.placeOf(id), PAGE_SIZE);
    }
    return true;
  }

  private take(device: LendingTxDevice, bytes: number): void {
    const { vnet, lent } = this;
    const v = this.o.counters.v;
    const at = device.placeOf(lent[0]);
    const linear = bytes < PAGE_SIZE ? bytes : PAGE_SIZE;
    const kind = this.vnetBytes === 0 ? PACKET_PLAIN : vnet.read(this.header, at, linear, bytes);
    if (kind === PACKET_MALFORMED || (kind === PACKET_BLANK && bytes > PAGE_SIZE) || bytes > device.maxBytes) {
      v[T.dropMalformed]++;
      return;
    }
    if (kind === PACKET_GSO) {
      v[T.fromFrames] += Math.ceil((bytes - vnet.headerBytes) / vnet.gsoSize);
      device.stageLent(lent, bytes, vnet.gsoSize, vnet.csumStart, vnet.headerBytes, vnet.csumOffset);
      this.used(device, Math.ceil(bytes / PAGE_SIZE));
      return;
    }
    v[T.fromFrames]++;
    let start = 0;
    if (kind === PACKET_BLANK) {
      // The path fills in what netif has flags for: TCP and UDP over IPv4. All else is done here.
      if (this.isKnown(at, linear)) start = vnet.csumStart;
      else vnet.fill(at, bytes);
    }
    if (bytes <= COPY_BYTES && device.room(bytes)) {
      device.stage(at, bytes, 0, start, 0, vnet.csumOffset);
      return;
    }
    device.stageLent(lent, bytes, 0, start, 0, vnet.csumOffset);
    this.used(device, Math.ceil(bytes / PAGE_SIZE));
  }

  private isKnown(at: number, linear: number): boolean {
    const place = ipAt(this.mem, at, linear);
    const protocol = place < 0 ? 0 : this.mem.u8[at + l3Of(place) + IP_PROTOCOL];
    return l4Of(place) === this.vnet.csumStart && (protocol === PROTO_TCP || protocol === PROTO_UDP);
  }

  /** The first n buffers are the device's again: the last ones take their places. */
  private used(device: LendingTxDevice, n: number): void {
    const { lent, table } = this;
    const left = this.lentCount - n;
    for (let i = 0; i < n && i < left; i++) {
      lent[i] = lent[this.lentCount - 1 - i];
      table.set(i + 1, device.placeOf(lent[i]), PAGE_SIZE);
    }
    this.lentCount = left;
  }
}
