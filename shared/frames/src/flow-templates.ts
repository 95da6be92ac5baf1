/** The generator's frames: made ready once, then patched by a few words and handed out, one after another.
 *
 *  A template is a whole frame in private memory, one for each (flow, size, pattern variant); where those would fill a core's
 *  cache, one for each (size, variant), whose header is rewritten when the flow changes. The checksum of UDP and
 *  TCP is never summed over the payload: the sum of the constant part is known, what changes is added (RFC 1071).
 *  What is asked for, a spec, is judged before anything is made. */
import type { Mem, PrivateMemory } from '@grantline/machine';
import * as headers from './headers.js';
import {
  ETHERTYPE_IPV4,
  ETH_BYTES,
  ETH_MAX_FRAME,
  ETH_MIN_FRAME,
  parseMac,
  writeEthernet,
  IP_BYTES,
  PROTO_TCP,
  PROTO_UDP,
  parseIp,
  writeIpv4,
  writeTcpTs,
  writeUdp,
  type Mac,
} from './headers.js';
import * as payload from './payload.js';
import { STAMP_FLOWS, Pattern, stampCheck } from './payload.js';
import { foldSum, pseudoSum, sum32, sumOf } from './checksum.js';

// Taken out of their modules once: the engine folds constants of this module into the code of `next`, but reads
// imported ones, and those that a module exports, from memory at every use. That is a sixth of its time.
const { TCP_CHECK, TCP_SEQ, TCP_TSVAL, TCP_TS_BYTES, UDP_BYTES, UDP_CHECK } = headers;
const { PATTERN_MAX, PATTERN_VARIANTS, STAMP_BYTES, STAMP_CHECK, STAMP_SEQ, STAMP_TIME, UDP_HALF } = payload;
const L4 = ETH_BYTES + IP_BYTES;

/** Shortest frame that can be TCP with timestamps and a stamp. */
export const TCP_MIN_FRAME = ETH_BYTES + IP_BYTES + TCP_TS_BYTES + STAMP_BYTES;
/** Most memory that the templates of one load take. */
export const TEMPLATE_BYTES = 4 << 20;

/** Templates for each flow only as far as this: a part of a core's second-level cache, which everything else of the path goes through, too. */
const PER_FLOW_BYTES = 256 << 10;

const SLOT_ALIGN = 64;

export interface FlowSpec {
  /** Number in the stamp, unique; below 2048 when the load mixes UDP and TCP, else below 4096. */
  flowId: number;
  /** Which receiver, counted from 0: variants rotate per receiver. */
  guestIndex: number;
  dstMac: string;
  srcMac: string;
  dstIp: string;
  srcIp: string;
  srcPort: number;
  dstPort: number;
}

/** What the headers of a flow's frames say. */
export interface FlowHeader {
  readonly dstMac: Mac;
  readonly srcMac: Mac;
  readonly dstIp: number;
  readonly srcIp: number;
  readonly srcPort: number;
  readonly dstPort: number;
}

/** @throws RangeError when an address is none */
export function headerOf(f: FlowSpec): FlowHeader {
  const { srcPort, dstPort } = f;
  const ips = { dstIp: parseIp(f.dstIp), srcIp: parseIp(f.srcIp) };
  return { dstMac: parseMac(f.dstMac), srcMac: parseMac(f.srcMac), ...ips, srcPort, dstPort };
}

/** Writes a frame's headers; TCP's sequence and timestamp, and the checksum of either, are 0, to be filled in per frame.
 *  @param length of the frame, bytes */
export function writeHeaders(mem: Mem, at: number, h: FlowHeader, tcp: boolean, length: number): void {
  const ip = at + ETH_BYTES;
  const l4 = ip + IP_BYTES;
  writeEthernet(mem, at, h.dstMac, h.srcMac, ETHERTYPE_IPV4);
  writeIpv4(mem, ip, length - ETH_BYTES, tcp ? PROTO_TCP : PROTO_UDP, h.srcIp, h.dstIp);
  if (tcp) writeTcpTs(mem, l4, h.srcPort, h.dstPort);
  else writeUdp(mem, l4, h.srcPort, h.dstPort, length - ETH_BYTES - IP_BYTES);
}

export interface TemplateSpec {
  seed: number;
  flows: readonly FlowSpec[];
  /** Frame lengths in bytes, header included, FCS not; 60 to 9014. */
  sizes: readonly number[];
  /** auto: TCP where the frame is long enough (84 bytes), else UDP. */
  protocol: 'auto' | 'udp' | 'tcp';
  /** Stamp sequence of each flow's first frame; 0 unless a test says otherwise. */
  firstSequence?: number;
}

/** Memory that a template of that length takes. */
const slotBytes = (size: number): number => Math.ceil(size / SLOT_ALIGN) * SLOT_ALIGN;

/** Is a frame of that length TCP? */
export const isTcpSize = (size: number, protocol: TemplateSpec['protocol']): boolean =>
  protocol !== 'udp' && size >= TCP_MIN_FRAME;

const onceBytes = (spec: TemplateSpec): number =>
  spec.sizes.reduce((sum, size) => sum + slotBytes(size), 0) * PATTERN_VARIANTS;

/** Can each flow have templates of its own? */
const fitsPerFlow = (spec: TemplateSpec): boolean => onceBytes(spec) * spec.flows.length <= PER_FLOW_BYTES;

/** Bytes of private memory that a load's templates take; more than TEMPLATE_BYTES when it cannot be served at all. */
export const templateBytes = (spec: TemplateSpec): number =>
  onceBytes(spec) * (fitsPerFlow(spec) ? spec.flows.length : 1);

/** @throws RangeError when frames of that kind cannot be made */
function checkSpec(spec: TemplateSpec): void {
  if (spec.flows.length === 0) throw new RangeError('a load needs at least one flow');
  if (spec.sizes.length === 0) throw new RangeError('a load needs at least one frame size');
  for (const size of spec.sizes) {
    if (!Number.isInteger(size) || size < ETH_MIN_FRAME || size > ETH_MAX_FRAME)
      throw new RangeError(`a frame of ${size} bytes is not within ${ETH_MIN_FRAME} to ${ETH_MAX_FRAME}`);
    if (spec.protocol === 'tcp' && size < TCP_MIN_FRAME)
      throw new RangeError(`a frame of ${size} bytes is too short for TCP: at least ${TCP_MIN_FRAME}`);
  }
  const tcp = spec.sizes.filter((size) => isTcpSize(size, spec.protocol)).length;
  const limit = tcp > 0 && tcp < spec.sizes.length ? UDP_HALF : STAMP_FLOWS;
  const seen = new Set<number>();
  for (const { flowId, guestIndex } of spec.flows) {
    if (!Number.isInteger(flowId) || flowId < 0 || flowId >= limit)
      throw new RangeError(`flow ${flowId} is not below ${limit}`);
    if (seen.has(flowId)) throw new RangeError(`flow ${flowId} is given twice`);
    if (!Number.isInteger(guestIndex) || guestIndex < 0 || guestIndex >= STAMP_FLOWS)
      throw new RangeError(`guest index ${guestIndex} is out of range`);
    seen.add(flowId);
  }
  if (templateBytes(spec) > TEMPLATE_BYTES)
    throw new RangeError(`${spec.sizes.length} frame sizes need more than ${TEMPLATE_BYTES} bytes of templates`);
}

// State that the loop needs stands together, in rows of 32-bit words. A flow has two halves: UDP, then TCP.
const HALF_SEQUENCE = 0;
const HALF_ID = 1;
const HALF_SUM = 2;
const HALF_WORDS = 3;
const FLOW_TURN = 2 * HALF_WORDS;
const FLOW_TCP_SEQUENCE = FLOW_TURN + 1;
const FLOW_WORDS = 8;

const CELL_AT = 0;
const CELL_LENGTH = 1;
const CELL_TCP = 2;
const CELL_OWNER = 3;
const CELL_PATTERN_SUM = 4;
const CELL_BODY_SUM = 5;
const CELL_WORDS = 8;

export class FlowTemplates {
  /** Length in bytes by size index. */
  readonly lengths: Int32Array;
  /** True when each flow has templates of its own. */
  readonly perFlow: boolean;
  private readonly mem: Mem;
  private readonly sizes: number;
  private readonly headers: FlowHeader[];
  private readonly firstSequence: number;
  /** One row per flow: FLOW_*. */
  private readonly flowRows: Int32Array;
  /** One row per (size, variant), or per (flow, size, variant): CELL_*. */
  private readonly cellRows: Int32Array;
  /** Cells of one flow; 0 when flows share templates. */
  private readonly cellStride: number;
  /** The next variant by (receiver, size). */
  private readonly variants: Uint8Array;
  private readonly time = new Float64Array(1);
  private readonly timeWords = new Int32Array(this.time.buffer);
  private timeHi = 0;
  private timeLo = 0;
  private timeSum = 0;
  private tsval = 0;

  /** @param at byte offset of templateBytes(spec) bytes of private memory; taken from `space` when not given.
   *  @throws RangeError when the spec cannot be served */
  constructor(space: PrivateMemory, spec: TemplateSpec, at?: number) {
    checkSpec(spec);
    const flows = spec.flows.length;
    this.mem = space.mem;
    this.sizes = spec.sizes.length;
    this.lengths = Int32Array.from(spec.sizes);
    this.headers = spec.flows.map(headerOf);
    this.firstSequence = spec.firstSequence ?? 0;
    this.perFlow = fitsPerFlow(spec);
    const cells = this.sizes * PATTERN_VARIANTS;
    this.cellStride = this.perFlow ? cells : 0;
    this.cellRows = new Int32Array((this.perFlow ? cells * flows : cells) * CELL_WORDS);
    const receivers = Math.max(...spec.flows.map((f) => f.guestIndex)) + 1;
    this.variants = new Uint8Array(receivers * this.sizes);
    this.flowRows = new Int32Array(flows * FLOW_WORDS);
    const tcp = spec.sizes.map((size) => isTcpSize(size, spec.protocol));
    const udpHalf = tcp.includes(true) && tcp.includes(false) ? UDP_HALF : 0;
    spec.flows.forEach((flow, f) => this.writeFlowRow(f * FLOW_WORDS, flow, this.headers[f], udpHalf));
    this.build(at ?? space.mapPrivate(templateBytes(spec)), new Pattern(spec.seed), tcp);
  }

  /** As `setTime` and `make`: the next frame of a flow, sent at `timeNs`. */
  next(flow: number, sizeIndex: number, timeNs: number): number {
    this.setTime(timeNs);
    return this.make(flow, sizeIndex);
  }

  /** Makes the next frame of a flow, with the send time that was set last. Its memory is a template: copy it out before the next call.
   *  @param flow index into the spec's flows
   *  @returns the frame's byte offset; its length is lengths[sizeIndex] */
  make(flow: number, sizeIndex: number): number {
    const flowRows = this.flowRows;
    const row = flow * FLOW_WORDS;
    const turn = flowRows[row + FLOW_TURN] + sizeIndex;
    const variant = this.variants[turn];
    this.variants[turn] = variant === PATTERN_VARIANTS - 1 ? 0 : variant + 1;
    const cellRows = this.cellRows;
    const cell = (flow * this.cellStride + sizeIndex * PATTERN_VARIANTS + variant) * CELL_WORDS;
    const at = cellRows[cell + CELL_AT];
    const tcp = cellRows[cell + CELL_TCP];
    if (cellRows[cell + CELL_OWNER] !== flow) this.adopt(cell, flow);
    const half = row + tcp * HALF_WORDS;
    const sequence = flowRows[half + HALF_SEQUENCE];
    flowRows[half + HALF_SEQUENCE] = (sequence + 1) | 0;
    const id = flowRows[half + HALF_ID] | variant;
    const hi = this.timeHi;
    const lo = this.timeLo;
    const check = stampCheck(cellRows[cell + CELL_PATTERN_SUM], id, sequence, hi, lo);
    const length = cellRows[cell + CELL_LENGTH];
    const stamp = at + length - STAMP_BYTES;
    const dv = this.mem.dv;
    dv.setInt16(stamp, id);
    dv.setInt32(stamp + STAMP_SEQ, sequence);
    dv.setInt32(stamp + STAMP_TIME, hi);
    dv.setInt32(stamp + STAMP_TIME + 4, lo);
    dv.setInt32(stamp + STAMP_CHECK, check);
    let sum = id + (sequence >>> 16) + (sequence & 0xffff) + this.timeSum + (check >>> 16) + (check & 0xffff);
    sum = (sum >>> 16) + (sum & 0xffff);
    // The headers are even, so the stamp starts at an odd offset exactly when the frame's length is odd.
    if ((length & 1) !== 0) {
      sum = (sum >>> 16) + (sum & 0xffff);
      sum = ((sum & 0xff) << 8) | (sum >>> 8);
    }
    sum += flowRows[half + HALF_SUM] + cellRows[cell + CELL_BODY_SUM];
    if (tcp === 1) {
      const tcpSequence = flowRows[row + FLOW_TCP_SEQUENCE];
      flowRows[row + FLOW_TCP_SEQUENCE] = (tcpSequence + (length - (L4 + TCP_TS_BYTES))) | 0;
      const tsval = this.tsval;
      dv.setInt32(at + L4 + TCP_SEQ, tcpSequence);
      dv.setInt32(at + L4 + TCP_TSVAL, tsval);
      sum += (tcpSequence >>> 16) + (tcpSequence & 0xffff) + (tsval >>> 16) + (tsval & 0xffff);
      sum = (sum >>> 16) + (sum & 0xffff);
      sum = (sum >>> 16) + (sum & 0xffff);
      dv.setInt16(at + L4 + TCP_CHECK, ~sum);
    } else {
      sum = (sum >>> 16) + (sum & 0xffff);
      sum = (sum >>> 16) + (sum & 0xffff);
      dv.setInt16(at + L4 + UDP_CHECK, sum === 0xffff ? -1 : ~sum);
    }
    return at;
  }

  /** Send time of the frames to come, nanoseconds; for a burst once is enough. */
  setTime(timeNs: number): void {
    if (timeNs === this.time[0]) return;
    this.time[0] = timeNs;
    this.timeLo = this.timeWords[0]!;
    this.timeHi = this.timeWords[1]!;
    this.timeSum = foldSum(sum32(this.timeLo) + sum32(this.timeHi));
    // Milliseconds, as Linux's. Within a burst it stands still, so that the receiver may coalesce.
    this.tsval = Math.floor(timeNs / 1e6) | 0;
  }

  private writeFlowRow(row: number, flow: FlowSpec, h: FlowHeader, udpHalf: number): void {
    const r = this.flowRows;
    r[row + FLOW_TURN] = flow.guestIndex * this.sizes;
    r[row + FLOW_TCP_SEQUENCE] = 1;
    for (let tcp = 0; tcp < 2; tcp++) {
      const half = row + tcp * HALF_WORDS;
      r[half + HALF_SEQUENCE] = this.firstSequence;
      r[half + HALF_ID] = (flow.flowId + (tcp === 0 ? udpHalf : 0)) << 4;
      const pseudo = pseudoSum(h.srcIp, h.dstIp, tcp === 1 ? PROTO_TCP : PROTO_UDP, 0);
      r[half + HALF_SUM] = foldSum(pseudo + h.srcPort + h.dstPort);
    }
  }

  private build(base: number, pattern: Pattern, isTcp: readonly boolean[]): void {
    const { u8 } = this.mem;
    const r = this.cellRows;
    let at = base;
    for (let i = 0; i < r.length / CELL_WORDS; i++) {
      const flow = this.perFlow ? Math.floor(i / this.cellStride) : 0;
      const variant = i % PATTERN_VARIANTS;
      const size = Math.floor(i / PATTERN_VARIANTS) % this.sizes;
      const tcp = isTcp[size];
      const length = this.lengths[size];
      const payload = L4 + (tcp ? TCP_TS_BYTES : UDP_BYTES);
      const n = length - payload - STAMP_BYTES;
      const cell = i * CELL_WORDS;
      r[cell + CELL_AT] = at;
      r[cell + CELL_LENGTH] = length;
      r[cell + CELL_TCP] = tcp ? 1 : 0;
      r[cell + CELL_PATTERN_SUM] = pattern.sumOf(variant, n);
      this.adopt(cell, flow);
      u8.set(pattern.bytes.subarray(variant * PATTERN_MAX, variant * PATTERN_MAX + n), at + payload);
      u8.fill(0, at + length - STAMP_BYTES, at + length);
      // All behind the ports, and the length in the pseudo header.
      r[cell + CELL_BODY_SUM] = foldSum(sumOf(this.mem, at + L4 + 4, length - L4 - 4) + length - L4);
      at += slotBytes(length);
    }
  }

  /** Writes a flow's headers into a template; sequence, timestamp and checksum are 0 then. */
  private adopt(cell: number, flow: number): void {
    const r = this.cellRows;
    const at = r[cell + CELL_AT];
    const length = r[cell + CELL_LENGTH];
    const tcp = r[cell + CELL_TCP] === 1;
    r[cell + CELL_OWNER] = flow;
    writeHeaders(this.mem, at, this.headers[flow], tcp, length);
  }
}
