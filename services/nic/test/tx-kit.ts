/** Transmit queues over the kit's NIC, and an independent idea of what a packet becomes on the wire. Not a test itself. */
import type { PrivateMemory, CounterBlock } from '@grantline/machine';
import { DMA_VALID, DMA_WRITE, NICTX_CSUM_TCP, NICTX_EOP, NICTX_TSO, TxDriverQueue, ringIdx } from '@grantline/xen';
import { EGRESS_COUNTERS, NIC_TX_COUNTERS } from '@grantline/observe';
import { CableOut, type FarEnd } from '../src/hardware/data/cable-out.js';
import { NicTx } from '../src/hardware/data/nic-tx.js';
import { NicTxQueue } from '../src/hardware/data/tx-queue.js';
import { Kit } from './kit.js';

/** First page of a domain's memory that holds payload in these tests. */
const DATA_PFN = 100;

export class TxKit {
  readonly kit = new Kit();
  readonly out: CableOut;
  readonly nicTx: NicTx;
  /** Frames as they left the cable. */
  readonly frames: Buffer[] = [];
  readonly meter = { now: 1e9, lap: (): void => {} };
  readonly space: PrivateMemory;
  private nextPfn = DATA_PFN;

  constructor() {
    const { kit } = this;
    this.out = new CableOut(kit.block(EGRESS_COUNTERS));
    let at = kit.frames;
    this.space = {
      mem: kit.mem,
      mapPrivate: (bytes: number) => {
        at += bytes;
        return at - bytes;
      },
    };
    this.nicTx = new NicTx(this.space, kit.nic, this.out, this.meter);
    const far: FarEnd = {
      room: 128,
      frame: (h, hn, b, bn) => {
        const { u8 } = kit.mem;
        this.frames.push(Buffer.from([...u8.subarray(h, h + hn), ...u8.subarray(b, b + bn)]));
      },
      settle: () => {},
    };
    this.out.farEnd = far;
  }

  /** A queue with its driver. @param start of its indices */
  queue(context: number, target = context, start = 0, pfn = 0, mac: number | null = null): TxTestQueue {
    const { kit } = this;
    const dpns = [0, 1, 2].map((i) => kit.map(context, context, pfn + i)) as [number, number, number];
    const driver = new TxDriverQueue(kit.mem, kit.page(context, pfn), ringIdx(start));
    const counters = kit.block(NIC_TX_COUNTERS);
    const rings = { count: 0 };
    const settings = {
      ...{ name: 'q', context, target, mac, moderationFrames: 1, moderationUs: 0 },
      ...{ headerDpn: dpns[0], availDpn: dpns[1], compDpn: dpns[2] },
    };
    const channel = { notify: () => void rings.count++ };
    const { mem, dma, guard } = kit;
    const parts = { mem, dma, guard, settings, channel, counters };
    const queue = new NicTxQueue(parts, this.nicTx.line, ringIdx(start));
    this.nicTx.attach(queue);
    return new TxTestQueue(this, queue, driver, counters, dpns, rings, context);
  }

  /** Pages of a domain that hold these bytes, each page filled up to `sizes` bytes. @returns pieces for `post` */
  place(
    context: number,
    owner: number,
    bytes: Uint8Array,
    sizes: readonly number[],
    offset = 0,
    flags = DMA_VALID,
  ): Piece[] {
    const pieces: Piece[] = [];
    let from = 0;
    for (let i = 0; from < bytes.length; i++) {
      const len = Math.min(bytes.length - from, sizes[i % sizes.length], 4096 - offset);
      const pfn = this.nextPfn++;
      this.kit.mem.u8.set(bytes.subarray(from, from + len), this.kit.page(owner, pfn) + offset);
      pieces.push({ dpn: this.kit.map(context, owner, pfn, flags), offset, len });
      from += len;
    }
    return pieces;
  }

  run(): void {
    while (this.nicTx.poll() > 0);
  }
}

export interface Piece {
  dpn: number;
  offset: number;
  len: number;
}

export class TxTestQueue {
  readonly kit: TxKit;
  readonly queue: NicTxQueue;
  readonly driver: TxDriverQueue;
  readonly counters: CounterBlock;
  readonly dpns: readonly number[];
  readonly rings: { count: number };
  readonly context: number;

  constructor(
    kit: TxKit,
    queue: NicTxQueue,
    driver: TxDriverQueue,
    counters: CounterBlock,
    dpns: readonly number[],
    rings: { count: number },
    context: number,
  ) {
    this.kit = kit;
    this.queue = queue;
    this.driver = driver;
    this.counters = counters;
    this.dpns = dpns;
    this.rings = rings;
    this.context = context;
  }

  /** Posts a packet, its pieces as they are. */
  post(pieces: readonly Piece[], flags = 0, mss = 0, csumStart = 0, header = 0): void {
    pieces.forEach((p, i) => {
      const eop = i === pieces.length - 1 ? NICTX_EOP : 0;
      this.driver.post(p.dpn, p.offset, p.len, (i === 0 ? flags : 0) | eop, mss, csumStart, header);
    });
    this.driver.publish();
  }

  /** Takes all completions. @returns their statuses */
  take(): number[] {
    const n = this.driver.completed();
    const out = Array.from({ length: n }, (_, i) => this.driver.status(i));
    this.driver.consume(Math.max(0, n));
    return out;
  }

  get v(): Record<string, number> {
    this.counters.commit();
    return this.counters.read();
  }
}

/** Sum of big-endian words, the slow way. */
export function plainSum(bytes: Uint8Array, initial = 0): number {
  let sum = initial;
  for (let i = 0; i < bytes.length; i++) sum += bytes[i] << (i % 2 === 0 ? 8 : 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + Math.floor(sum / 65536);
  return sum;
}

/** @returns true when IP and TCP or UDP checksums of an untagged IPv4 frame are right */
export function checksumsRight(frame: Buffer): boolean {
  const ihl = (frame[14] & 15) * 4;
  const ipLen = frame.readUInt16BE(16);
  const l4 = frame.subarray(14 + ihl, 14 + ipLen);
  const pseudo = plainSum(frame.subarray(26, 34), frame[23] + l4.length);
  return plainSum(frame.subarray(14, 14 + ihl)) === 0xffff && plainSum(l4, pseudo) === 0xffff;
}

export interface TcpPacket {
  payload: Uint8Array;
  sequence: number;
  id: number;
  flags: number;
  /** Bytes of options, a multiple of 4. */
  options: number;
}

/** A TCP packet as a guest hands it over: IP checksum not filled in, TCP's holding the pseudo header's sum. */
export function tcpPacket({ payload, sequence, id, flags, options }: TcpPacket): Buffer {
  const thl = 20 + options;
  const frame = Buffer.alloc(34 + thl + payload.length, 1);
  frame.set([2, 0, 0, 0xca, 0xb1, 0xe0, 2, 0, 0, 0, 0, 1, 8, 0], 0);
  frame.set([0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 255, 255, 254], 14);
  frame.writeUInt16BE(Math.min(0xffff, 20 + thl + payload.length), 16);
  frame.writeUInt16BE(id, 18);
  frame.writeUInt16BE(~plainSum(frame.subarray(14, 34)) & 0xffff, 24);
  frame.writeUInt16BE(10000, 34);
  frame.writeUInt16BE(9, 36);
  frame.writeUInt32BE(sequence, 38);
  frame.writeUInt32BE(1, 42);
  frame[46] = (thl / 4) << 4;
  frame[47] = flags;
  frame.writeUInt16BE(0xffff, 48);
  frame.writeUInt16BE(plainSum(frame.subarray(26, 34), 6 + thl + payload.length), 50);
  frame.writeUInt16BE(0, 52);
  frame.set(payload, 34 + thl);
  return frame;
}

export const TSO = NICTX_TSO | NICTX_CSUM_TCP;
export const READ_WRITE = DMA_VALID | DMA_WRITE;
