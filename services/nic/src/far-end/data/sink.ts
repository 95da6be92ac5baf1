/** The far end of the cable as a receiver that verifies: headers, IP checksum, stamp and payload of every frame, and the
 *  checksum of TCP or UDP of every frame too, without summing the payload twice: it is compared with the pattern, whose sum is
 *  known. Frames lie in the NIC's packet memory, which is private; nothing is copied. docs/wire/transmit.md. */
import * as frames from '@grantline/frames';
import {
  Pattern,
  foldNative,
  nativePseudo,
  nativeSum,
  ETHERTYPE_IPV4,
  ETH_BYTES,
  ETH_TYPE,
  FlowTracker,
  GENERATOR_PORT,
  stampCheck,
  TCP_BYTES,
  TCP_OFFSET,
  UDP_BYTES,
  UDP_LENGTH,
} from '@grantline/frames';
import { slots, recordLatency, type CounterBlock, type Mem, type PrivateMemory } from '@grantline/machine';
import { APP_COUNTERS, STACK_COUNTERS } from '@grantline/observe';
import type { FarEnd } from '../../hardware/data/cable-out.js';

// Local, so that the engine folds them into the code: see flow-templates.ts.
const { IP_BYTES, IP_FLAGS, IP_FRAGMENT_MASK, IP_LENGTH, IP_PROTOCOL, IP_SRC, PROTO_TCP, PROTO_UDP } = frames;
const { PATTERN_MAX, PATTERN_SUMS, PATTERN_VARIANTS } = frames;
const { STAMP_BYTES, STAMP_CHECK, STAMP_SEQ, STAMP_TIME } = frames;
const A = slots(APP_COUNTERS);
const S = slots(STACK_COUNTERS);
/** Frames between two settles; latency is measured to the settle. */
const ROOM = 256;
const L4 = ETH_BYTES + IP_BYTES;

/** What the far end shall expect. */
interface SinkRun {
  seed: number;
  /** Sequence of each flow's first frame; 0 unless a test says otherwise. */
  firstSequence?: number;
}

interface SinkCounters {
  stack: CounterBlock;
  app: CounterBlock;
  latency: CounterBlock;
}

export class Sink implements FarEnd {
  room = ROOM;
  /** Hears of each frame that is right. */
  onRight: ((flow: number, sequence: number) => void) | null = null;
  /** Of the frame that was verified last. */
  private flow = 0;
  private sequence = 0;
  private readonly mem: Mem;
  /** The pattern, beside the frames, for the machine's own comparison. */
  private readonly expected: number;
  private readonly counters: SinkCounters;
  private readonly flows = new FlowTracker();
  /** Of each variant of the pattern, the sum of its first n bytes, in the machine's byte order, not folded: so the checksum of a frame
   *  whose payload has been compared can be verified by its headers. */
  private readonly sums = new Float64Array(PATTERN_VARIANTS * PATTERN_SUMS);
  private pattern = new Pattern(0);
  /** Send times of the frames since the last settle. */
  private readonly times = new Float64Array(ROOM);
  private timed = 0;

  constructor(space: PrivateMemory, counters: SinkCounters) {
    this.mem = space.mem;
    this.expected = space.mapPrivate(this.pattern.bytes.length);
    this.counters = counters;
    this.expect();
  }

  /** A new run begins: forgets all flows, counters go to zero. */
  reset(run: SinkRun): void {
    if (this.pattern.seed !== run.seed) {
      this.pattern = new Pattern(run.seed);
      this.expect();
    }
    this.flows.reset(run.firstSequence);
    this.timed = 0;
    this.counters.app.reset();
    this.counters.stack.reset();
    this.counters.latency.reset();
  }

  frame(head: number, headBytes: number, body: number, bodyBytes: number): void {
    this.room--;
    const v = this.counters.stack.v;
    v[S.inFrames]++;
    const drop = this.judge(head, headBytes, body, bodyBytes);
    if (drop >= 0) v[drop]++;
    else {
      v[S.toSocket]++;
      v[S.segments]++;
    }
  }

  settle(nowNs: number): void {
    const { stack, app, latency } = this.counters;
    for (let i = 0; i < this.timed; i++) recordLatency(latency, nowNs - this.times[i]);
    this.timed = 0;
    const v = app.v;
    v[A.duplicate] += this.flows.duplicate;
    v[A.reordered] += this.flows.reordered;
    v[A.missing] += this.flows.missing;
    this.flows.duplicate = this.flows.reordered = this.flows.missing = 0;
    this.room = ROOM;
    stack.commit();
    app.commit();
    latency.commit();
  }

  private expect(): void {
    const { bytes } = this.pattern;
    this.mem.u8.set(bytes, this.expected);
    for (let v = 0; v < PATTERN_VARIANTS; v++) {
      let sum = 0;
      for (let i = 0; i < PATTERN_MAX; i++) {
        sum += bytes[v * PATTERN_MAX + i] * ((i & 1) === 0 ? 1 : 256);
        this.sums[v * PATTERN_SUMS + i + 1] = sum;
      }
    }
  }

  /** @returns a counter slot of the stack when the frame is dropped, else -1 */
  private judge(at: number, headBytes: number, body: number, bodyBytes: number): number {
    const { mem } = this;
    const { dv, u8 } = mem;
    if (headBytes < L4 + UDP_BYTES) return S.dropBadHeader;
    if (dv.getUint16(at + ETH_TYPE) !== ETHERTYPE_IPV4) return S.dropNoSocket;
    const ip = at + ETH_BYTES;
    const ipBytes = dv.getUint16(ip + IP_LENGTH);
    const bytes = headBytes + bodyBytes;
    // Options are nothing that a sender of ours makes.
    if (u8[ip] !== 0x45 || ipBytes > bytes - ETH_BYTES) return S.dropBadHeader;
    if (foldNative(nativeSum(mem, ip, IP_BYTES)) !== 65535) return S.dropBadChecksum;
    if ((dv.getUint16(ip + IP_FLAGS) & IP_FRAGMENT_MASK) !== 0) return S.dropBadHeader;
    const l4 = at + L4;
    if (dv.getUint16(l4 + 2) !== GENERATOR_PORT) return S.dropNoSocket;
    const protocol = u8[ip + IP_PROTOCOL];
    let thl = UDP_BYTES;
    const rest = ipBytes - IP_BYTES;
    if (protocol === PROTO_TCP) {
      thl = (u8[l4 + TCP_OFFSET] >>> 4) << 2;
      if (thl < TCP_BYTES || thl > rest || L4 + thl > headBytes) return S.dropBadHeader;
    } else if (protocol !== PROTO_UDP) return S.dropNoSocket;
    else if (dv.getUint16(l4 + UDP_LENGTH) !== rest) return S.dropBadHeader;
    // All of the payload in one piece: behind the headers, or in the second piece and nothing in the first.
    if (bodyBytes > 0 && headBytes !== L4 + thl) return S.dropBadHeader;
    const payload = bodyBytes > 0 ? body : l4 + thl;
    const known = this.verify(payload, rest - thl, bytes);
    // Only of a payload that is known to be right is the sum known; any other is counted as it is found.
    if (known < 0) return -1;
    const head = nativeSum(mem, l4, thl) + nativePseudo(mem, ip + IP_SRC, protocol, rest);
    if (foldNative(head + known) !== 65535) this.counters.app.v[A.corrupt]++;
    else if (this.onRight !== null) this.onRight(this.flow, this.sequence);
    return -1;
  }

  /** @returns the payload's sum in the machine's byte order; -1 when it is not a right one */
  private verify(at: number, bytes: number, frameBytes: number): number {
    const { dv } = this.mem;
    const v = this.counters.app.v;
    v[A.frames]++;
    v[A.bytes] += frameBytes;
    v[A.payloadBytes] += bytes;
    const n = bytes - STAMP_BYTES;
    if (n < 0 || n > PATTERN_MAX) {
      v[A.foreign]++;
      return -1;
    }
    const stamp = at + n;
    const id = dv.getUint16(stamp);
    const variant = id & 15;
    const sequence = dv.getInt32(stamp + STAMP_SEQ);
    const hi = dv.getInt32(stamp + STAMP_TIME);
    const lo = dv.getInt32(stamp + STAMP_TIME + 4);
    const { pattern } = this;
    const right =
      variant < PATTERN_VARIANTS &&
      stampCheck(pattern.sums[variant * PATTERN_SUMS + n], id, sequence, hi, lo) === dv.getInt32(stamp + STAMP_CHECK);
    if (!right || this.mem.bulk.same(this.expected + variant * PATTERN_MAX, at, n) === 0) {
      v[A.corrupt]++;
      return -1;
    }
    this.flows.take(id >>> 4, sequence);
    this.flow = id >>> 4;
    this.sequence = sequence;
    this.times[this.timed++] = dv.getFloat64(stamp + STAMP_TIME);
    return this.sums[variant * PATTERN_SUMS + n] + this.stampSum(stamp, n);
  }

  /** Sum of the stamp, which begins at an odd place of the payload when the pattern's length is odd. */
  private stampSum(stamp: number, n: number): number {
    const { u8 } = this.mem;
    let even = 0;
    let odd = 0;
    for (let i = 0; i < STAMP_BYTES; i += 2) {
      even += u8[stamp + i];
      odd += u8[stamp + i + 1];
    }
    return (n & 1) === 0 ? even + odd * 256 : odd + even * 256;
  }
}
