/** What a generator is asked for, and whether it can be had. */
import type { Mem } from '@grantline/machine';
import {
  ETHERTYPE_IPV4,
  ETH_BYTES,
  ETH_MAX_FRAME,
  ETH_MIN_FRAME,
  parseMac,
  writeEthernet,
  type Mac,
} from './ethernet.js';
import { IP_BYTES, PROTO_TCP, PROTO_UDP, parseIp, writeIpv4 } from './ipv4.js';
import { PATTERN_VARIANTS } from './pattern.js';
import { STAMP_BYTES, STAMP_FLOWS, UDP_HALF } from './stamp.js';
import { TCP_TS_BYTES, writeTcpTs } from './tcp.js';
import { writeUdp } from './udp.js';

/** Shortest frame that can be TCP with timestamps and a stamp. */
export const TCP_MIN_FRAME = ETH_BYTES + IP_BYTES + TCP_TS_BYTES + STAMP_BYTES;
/** Most memory that the templates of one load take. */
export const TEMPLATE_BYTES = 4 << 20;

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
export const slotBytes = (size: number): number => Math.ceil(size / SLOT_ALIGN) * SLOT_ALIGN;

/** Is a frame of that length TCP? */
export const isTcpSize = (size: number, protocol: TemplateSpec['protocol']): boolean =>
  protocol !== 'udp' && size >= TCP_MIN_FRAME;

const onceBytes = (spec: TemplateSpec): number =>
  spec.sizes.reduce((sum, size) => sum + slotBytes(size), 0) * PATTERN_VARIANTS;

/** Can each flow have templates of its own? */
export const fitsPerFlow = (spec: TemplateSpec): boolean => onceBytes(spec) * spec.flows.length <= TEMPLATE_BYTES;

/** Bytes of private memory that a load's templates take; more than TEMPLATE_BYTES when it cannot be served at all. */
export const templateBytes = (spec: TemplateSpec): number =>
  onceBytes(spec) * (fitsPerFlow(spec) ? spec.flows.length : 1);

/** @throws RangeError when frames of that kind cannot be made */
export function checkSpec(spec: TemplateSpec): void {
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
