/** The application of a request/response run: turns each request round with its payload verified. What is for other
 *  sockets goes to the application beside it. docs/wire/frame-stamp.md section 5.
 *
 *  A response carries flow, sequence and send time of its request, and the pattern's next variant: the requester knows
 *  that the payload was read and made anew, and not only sent back. */
import { slots, type CounterBlock, type Mem, type PrivateMemory } from '@grantline/machine';
import { RESPONDER_COUNTERS } from '@grantline/observe';
import {
  fillChecksum,
  foldNative,
  nativePseudo,
  ETH_BYTES,
  ETH_MAX_FRAME,
  IP_BYTES,
  IP_SRC,
  PROTO_UDP,
  Pattern,
  STAMP_FLOWS,
  stampCheck,
  headerOf,
  writeHeaders,
  type FlowHeader,
  type FlowSpec,
  UDP_BYTES,
  UDP_CHECK,
} from '@grantline/frames';
import * as frames from '@grantline/frames';
import { MAX_IN_FLIGHT } from '@grantline/base';
import type { TxDevice } from '../send/tx-device.js';
import type { FrameApp, PieceList } from './frame-app.js';

const { PATTERN_MAX, PATTERN_SUMS, PATTERN_VARIANTS } = frames;
const { STAMP_BYTES, STAMP_CHECK, STAMP_SEQ, STAMP_TIME } = frames;
const C = slots(RESPONDER_COUNTERS);
/** The socket that requests come to, by the number given to RxStack.listen. */
export const RESPOND_SOCKET = 1;
const HEADERS = ETH_BYTES + IP_BYTES + UDP_BYTES;
const SLOT_BYTES = (ETH_MAX_FRAME + 63) & ~63;
const PAYLOAD_MAX = ETH_MAX_FRAME - HEADERS;
/** Transmit buffers are taken back when there is no room, and so long after the last response. */
const RECLAIM_MS = 20;

export interface RespondOptions {
  space: PrivateMemory;
  /** Gets what is not for RESPOND_SOCKET. */
  beside: FrameApp;
  /** Named as RESPONDER_COUNTERS. */
  counters: CounterBlock;
}

export interface RespondRun {
  seed: number;
  /** The flows of responses: from here to the requester. */
  flows: readonly FlowSpec[];
}

export class RespondApp implements FrameApp {
  readonly wantsRaw = false;
  /** Puts the poller of the device to work; set by its owner. */
  wake: () => void = () => {};
  private readonly o: RespondOptions;
  private readonly mem: Mem;
  private readonly requestAt: number;
  private readonly request: Buffer;
  private queueAt = -1;
  private pattern = new Pattern(0);
  private readonly headers: (FlowHeader | null)[] = new Array<FlowHeader | null>(STAMP_FLOWS).fill(null);
  private device: TxDevice | null = null;
  private readonly bytesOf = new Int32Array(MAX_IN_FLIGHT);
  private first = 0;
  private waiting = 0;
  private timer: NodeJS.Timeout | null = null;

  constructor(options: RespondOptions) {
    this.o = options;
    this.mem = options.space.mem;
    this.requestAt = options.space.mapPrivate(SLOT_BYTES);
    this.request = Buffer.from(this.mem.u8.buffer as ArrayBuffer, this.mem.u8.byteOffset + this.requestAt, SLOT_BYTES);
  }

  /** A new run. @throws RangeError when an address is none */
  prepare(run: RespondRun): void {
    if (this.queueAt < 0) this.queueAt = this.o.space.mapPrivate(MAX_IN_FLIGHT * SLOT_BYTES);
    if (this.pattern.seed !== run.seed) this.pattern = new Pattern(run.seed);
    this.headers.fill(null);
    for (const f of run.flows) this.headers[f.flowId] = headerOf(f);
    this.first = this.waiting = 0;
    this.o.counters.reset();
  }

  /** The device that responses go to from now on; null: none. */
  attach(device: TxDevice | null): void {
    this.device = device;
    this.first = this.waiting = 0;
  }

  begin(nowNs: number): void {
    this.o.beside.begin(nowNs);
  }

  raw(): void {}

  segment(pieces: PieceList, from: number, to: number, socket: number): void {
    if (socket !== RESPOND_SOCKET) {
      this.o.beside.segment(pieces, from, to, socket);
      return;
    }
    const v = this.o.counters.v;
    v[C.requests]++;
    const bytes = this.take(pieces, from, to);
    if (bytes < 0) v[C.dropCorrupt]++;
    else if (this.device === null) v[C.dropNoDevice]++;
    else if (this.waiting === MAX_IN_FLIGHT && this.flush() === 0) v[C.dropNoRoom]++;
    else this.answer(bytes);
  }

  end(): void {
    this.o.beside.end();
    if (this.waiting > 0) {
      this.flush();
      // Buffers come back late rather than by a notification for each response.
      if (this.waiting > 0) this.wake();
      else if (this.timer === null) this.timer = setTimeout(() => this.reclaimLater(), RECLAIM_MS).unref();
    }
    this.o.counters.commit();
  }

  /** Hands over as many of the waiting responses as the device takes. @returns how many */
  flush(): number {
    const { device } = this;
    if (device === null || this.waiting === 0) return 0;
    const v = this.o.counters.v;
    let n = 0;
    while (this.waiting > 0) {
      const bytes = this.bytesOf[this.first];
      if (!device.room(bytes)) {
        if (device.reclaim() === 0 || !device.room(bytes)) break;
      }
      v[C.copies] += device.stage(this.queueAt + this.first * SLOT_BYTES, bytes, 0, 0, 0);
      v[C.responses]++;
      v[C.responseBytes] += bytes;
      this.first = this.first + 1 === MAX_IN_FLIGHT ? 0 : this.first + 1;
      this.waiting--;
      n++;
    }
    if (n > 0) {
      device.push();
      this.o.counters.commit();
    }
    return n;
  }

  private reclaimLater(): void {
    this.timer = null;
    if (this.device !== null) this.wake();
  }

  /** Copies a request's payload and judges the copy. @returns its bytes, or -1 when it is not a right one */
  private take(pieces: PieceList, from: number, to: number): number {
    const { off, len } = pieces;
    const { u8, dv } = this.mem;
    const at = this.requestAt;
    let bytes = 0;
    for (let i = from; i < to; i++) {
      if (bytes + len[i] > PAYLOAD_MAX) return -1;
      u8.copyWithin(at + bytes, off[i], off[i] + len[i]);
      bytes += len[i];
    }
    const n = bytes - STAMP_BYTES;
    if (n < 0 || n > PATTERN_MAX) return -1;
    const stamp = at + n;
    const id = dv.getUint16(stamp);
    const variant = id & 15;
    if (variant >= PATTERN_VARIANTS || this.headers[id >>> 4] === null) return -1;
    const { pattern } = this;
    if (this.checkOf(stamp, id, n) !== dv.getInt32(stamp + STAMP_CHECK)) return -1;
    const p = variant * PATTERN_MAX;
    return n > 0 && this.request.compare(pattern.bytes, p, p + n, 0, n) !== 0 ? -1 : bytes;
  }

  /** Makes the response to the request at hand, behind those that wait. */
  private answer(bytes: number): void {
    const { mem, pattern } = this;
    const { dv, u8 } = mem;
    const n = bytes - STAMP_BYTES;
    const from = this.requestAt + n;
    const asked = dv.getUint16(from);
    const variant = (asked & 15) === PATTERN_VARIANTS - 1 ? 0 : (asked & 15) + 1;
    const id = (asked & 0xfff0) | variant;
    const h = this.headers[asked >>> 4]!;
    let slot = this.first + this.waiting;
    if (slot >= MAX_IN_FLIGHT) slot -= MAX_IN_FLIGHT;
    const at = this.queueAt + slot * SLOT_BYTES;
    const ip = at + ETH_BYTES;
    const udp = ip + IP_BYTES;
    const stamp = at + HEADERS + n;
    writeHeaders(mem, at, h, false, HEADERS + bytes);
    if (n > 0) u8.set(pattern.bytes.subarray(variant * PATTERN_MAX, variant * PATTERN_MAX + n), at + HEADERS);
    u8.copyWithin(stamp, from, from + STAMP_BYTES);
    dv.setUint16(stamp, id);
    dv.setInt32(stamp + STAMP_CHECK, this.checkOf(stamp, id, n));
    const length = UDP_BYTES + bytes;
    mem.u16[(udp + UDP_CHECK) >> 1] = foldNative(nativePseudo(mem, ip + IP_SRC, PROTO_UDP, length));
    fillChecksum(mem, udp, UDP_CHECK, length);
    this.bytesOf[slot] = HEADERS + bytes;
    this.waiting++;
  }

  /** What the check of a stamp with that id must be, behind n bytes of pattern. */
  private checkOf(stamp: number, id: number, n: number): number {
    const { dv } = this.mem;
    const sum = this.pattern.sums[(id & 15) * PATTERN_SUMS + n];
    const time = stamp + STAMP_TIME;
    return stampCheck(sum, id, dv.getInt32(stamp + STAMP_SEQ), dv.getInt32(time), dv.getInt32(time + 4));
  }
}
