/** Generated TCP packets of up to 64 KiB, to be cut into frames by segmentation offload: each segment's payload is pattern
 *  and stamp (docs/wire/frame-stamp.md), as in frames that were made one by one (flow-templates.ts).
 *
 *  One template per frame size, its payloads standing behind each other as in a socket's buffer; per packet the stamps and
 *  a few words of the header are written. A packet has a multiple of five segments, so variants go on in turn. */
import type { Mem } from '@grantline/machine';
import { foldSum, pseudoSum } from './checksum.js';
import * as headers from './headers.js';
import { ETH_BYTES, ETH_MAX_PACKET, IP_BYTES, PROTO_TCP } from './headers.js';
import * as payload from './payload.js';
import { Pattern, stampCheck } from './payload.js';
import { headerOf, writeHeaders, type FlowHeader, type FlowSpec } from './flow-templates.js';

// Local, so that the engine folds them into the code: see flow-templates.ts.
const { PATTERN_MAX, PATTERN_VARIANTS, STAMP_BYTES, STAMP_CHECK, STAMP_SEQ, STAMP_TIME } = payload;
const { TCP_CHECK, TCP_SEQ, TCP_TSVAL, TCP_TS_BYTES } = headers;
const L4 = ETH_BYTES + IP_BYTES;
/** Bytes of all headers, and where the TCP header begins. */
export const BULK_HEADER = L4 + TCP_TS_BYTES;
export const BULK_CSUM_START = L4;
/** Room for one template. */
export const BULK_BYTES = 65536;
const MOST_SEGMENTS = 60;

export class BulkTemplate {
  /** Payload of each segment, segments of a packet, and bytes of a packet. */
  readonly mss: number;
  readonly segments: number;
  readonly bytes: number;
  private readonly mem: Mem;
  private readonly at: number;
  private readonly headers: readonly FlowHeader[];
  private readonly ids: Int32Array;
  private readonly sequences: Int32Array;
  private readonly tcpSequences: Int32Array;
  private readonly patternSums: Int32Array;
  private readonly time = new Float64Array(1);
  private readonly timeWords = new Int32Array(this.time.buffer);
  private owner = -1;

  /** @param at byte offset of BULK_BYTES of private memory, a multiple of 4
   *  @param frameBytes length of the frames that come of it, at least TCP_MIN_FRAME
   *  @param most bytes of a packet that the device takes */
  constructor(
    mem: Mem,
    at: number,
    seed: number,
    frameBytes: number,
    flows: readonly FlowSpec[],
    most = ETH_MAX_PACKET,
  ) {
    this.mem = mem;
    this.at = at;
    this.headers = flows.map(headerOf);
    this.mss = frameBytes - BULK_HEADER;
    const fit = Math.min(MOST_SEGMENTS, Math.floor((Math.min(most, ETH_MAX_PACKET) - BULK_HEADER) / this.mss));
    if (this.mss < STAMP_BYTES || fit < 1)
      throw new RangeError(`a frame of ${frameBytes} bytes cannot be sent in bulk`);
    this.segments = fit < PATTERN_VARIANTS ? fit : fit - (fit % PATTERN_VARIANTS);
    this.bytes = BULK_HEADER + this.segments * this.mss;
    const n = this.mss - STAMP_BYTES;
    const pattern = new Pattern(seed);
    this.patternSums = Int32Array.from({ length: this.segments }, (_, k) => pattern.sumOf(k % PATTERN_VARIANTS, n));
    for (let k = 0; k < this.segments; k++) {
      const from = (k % PATTERN_VARIANTS) * PATTERN_MAX;
      mem.u8.set(pattern.bytes.subarray(from, from + n), at + BULK_HEADER + k * this.mss);
    }
    this.ids = Int32Array.from(flows, (f) => f.flowId << 4);
    this.sequences = new Int32Array(flows.length);
    this.tcpSequences = new Int32Array(flows.length).fill(1);
  }

  /** Makes the next packet of a flow. Its memory is the template: copy it out before the next call.
   *  @param flow index into the flows @param timeNs send time of all its frames
   *  @returns the packet's byte offset; its TCP checksum holds the sum of the pseudo header */
  next(flow: number, timeNs: number): number {
    const { at, mss, segments } = this;
    const dv = this.mem.dv;
    if (this.owner !== flow) this.adopt(flow);
    this.time[0] = timeNs;
    const hi = this.timeWords[1];
    const lo = this.timeWords[0];
    let sequence = this.sequences[flow];
    let variant = 0;
    const flowBits = this.ids[flow];
    const sums = this.patternSums;
    let stamp = at + BULK_HEADER + mss - STAMP_BYTES;
    for (let k = 0; k < segments; k++) {
      const id = flowBits | variant;
      dv.setInt16(stamp, id);
      dv.setInt32(stamp + STAMP_SEQ, sequence);
      dv.setInt32(stamp + STAMP_TIME, hi);
      dv.setInt32(stamp + STAMP_TIME + 4, lo);
      dv.setInt32(stamp + STAMP_CHECK, stampCheck(sums[k], id, sequence, hi, lo));
      sequence = (sequence + 1) | 0;
      variant = variant === PATTERN_VARIANTS - 1 ? 0 : variant + 1;
      stamp += mss;
    }
    this.sequences[flow] = sequence;
    const tcpSequence = this.tcpSequences[flow];
    dv.setInt32(at + L4 + TCP_SEQ, tcpSequence);
    dv.setInt32(at + L4 + TCP_TSVAL, Math.floor(timeNs / 1e6) | 0);
    this.tcpSequences[flow] = (tcpSequence + segments * mss) | 0;
    return at;
  }

  private adopt(flow: number): void {
    const { mem, at, bytes } = this;
    const h = this.headers[flow];
    this.owner = flow;
    writeHeaders(mem, at, h, true, bytes);
    mem.dv.setUint16(at + L4 + TCP_CHECK, foldSum(pseudoSum(h.srcIp, h.dstIp, PROTO_TCP, bytes - L4)));
  }
}
