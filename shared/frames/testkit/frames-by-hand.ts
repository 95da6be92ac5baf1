/** Frames made by hand, and templates as a generator has them, for tests. */
import { internetChecksum, pseudoSum } from '../src/checksum.js';
import { FlowTemplates, type FlowSpec, type TemplateSpec } from '../src/flow-templates.js';
import { parseIp } from '../src/headers.js';
import { STAMP_CHECK, STAMP_SEQ, STAMP_TIME, stampCheck } from '../src/payload.js';
import { memOver, type Mem } from '@grantline/machine';
import type { TestSpace } from '@grantline/machine/testkit';

export const MAC = '00:16:3e:00:00:01';
export const IP = '10.0.0.1';

export const flowSpec = (flowId: number, more: Partial<FlowSpec> = {}): FlowSpec => ({
  flowId,
  guestIndex: 0,
  dstMac: MAC,
  srcMac: '02:00:00:00:00:01',
  dstIp: IP,
  srcIp: '10.0.1.1',
  srcPort: 1000 + flowId,
  dstPort: 9,
  ...more,
});

export const templates = (space: TestSpace, sizes: number[], more: Partial<TemplateSpec> = {}): FlowTemplates =>
  new FlowTemplates(space, { seed: 7, flows: [flowSpec(0)], sizes, protocol: 'auto', ...more });

/** A copy of the next frame. */
export function take(space: TestSpace, t: FlowTemplates, flow: number, size: number, timeNs = 1e9): Uint8Array {
  const at = t.next(flow, size, timeNs);
  return space.mem.u8.slice(at, at + t.lengths[size]);
}

export interface Parts {
  dstMac?: string;
  type?: number;
  tag?: number;
  tos?: number;
  ttl?: number;
  df?: boolean;
  fragment?: number;
  ipOptions?: number[];
  srcIp?: string;
  dstIp?: string;
  protocol?: number;
  srcPort?: number;
  dstPort?: number;
  seq?: number;
  ack?: number;
  flags?: number;
  window?: number;
  options?: number[];
  payload?: ArrayLike<number>;
  padTo?: number;
}

const u16 = (n: number): number[] => [(n >>> 8) & 255, n & 255];
const u32 = (n: number): number[] => [...u16(n >>> 16), ...u16(n & 0xffff)];
export const ts = (value: number, echo = 1): number[] => [1, 1, 8, 10, ...u32(value), ...u32(echo)];

/** Builds a frame from its parts, all checksums right. TCP unless protocol says 17. */
export function frame(p: Parts = {}): Uint8Array {
  const mac = (text: string): number[] => text.split(':').map((h) => parseInt(h, 16));
  const protocol = p.protocol ?? 6;
  const payload = Array.from(p.payload ?? [1, 2, 3, 4]);
  const options = p.options ?? [];
  const ports = [...u16(p.srcPort ?? 1000), ...u16(p.dstPort ?? 9)];
  const l4 =
    protocol === 17
      ? [...ports, ...u16(8 + payload.length), 0, 0]
      : [
          ...ports,
          ...u32(p.seq ?? 1),
          ...u32(p.ack ?? 1),
          ((20 + options.length) >> 2) << 4,
          p.flags ?? 0x10,
          ...u16(p.window ?? 1000),
          ...[0, 0, 0, 0],
          ...options,
        ];
  const ipOptions = p.ipOptions ?? [];
  const ihl = 20 + ipOptions.length;
  const src = parseIp(p.srcIp ?? '10.0.1.1');
  const dst = parseIp(p.dstIp ?? IP);
  const total = ihl + l4.length + payload.length;
  const ip = [
    0x40 | (ihl >> 2),
    p.tos ?? 0,
    ...u16(total),
    ...[0, 0],
    ...u16(((p.df ?? true) ? 0x4000 : 0) | (p.fragment ?? 0)),
    p.ttl ?? 64,
    protocol,
    ...[0, 0],
    ...u32(src),
    ...u32(dst),
    ...ipOptions,
  ];
  const tag = p.tag === undefined ? [] : [0x81, 0, ...u16(p.tag)];
  const eth = [...mac(p.dstMac ?? MAC), ...mac('02:00:00:00:00:01'), ...tag, ...u16(p.type ?? 0x0800)];
  const bytes = Uint8Array.from([...eth, ...ip, ...l4, ...payload]);
  const mem = memOver(new ArrayBuffer(Math.ceil(bytes.length / 8) * 8));
  mem.u8.set(bytes);
  mem.dv.setUint16(eth.length + 10, internetChecksum(mem, eth.length, ihl));
  const at = eth.length + ihl;
  const sum = internetChecksum(mem, at, l4.length + payload.length, pseudoSum(src, dst, protocol, total - ihl));
  mem.dv.setUint16(at + (protocol === 17 ? 6 : 16), sum);
  const out = new Uint8Array(Math.max(bytes.length, p.padTo ?? 0));
  out.set(mem.u8.subarray(0, bytes.length));
  return out;
}

/** Writes a whole stamp, as the generator's own loop does by parts. */
export function writeStamp(
  mem: Mem,
  at: number,
  patternSum: number,
  id: number,
  sequence: number,
  timeNs: number,
): void {
  mem.dv.setUint16(at, id);
  mem.dv.setUint32(at + STAMP_SEQ, sequence);
  mem.dv.setFloat64(at + STAMP_TIME, timeNs);
  const hi = mem.dv.getInt32(at + STAMP_TIME);
  const lo = mem.dv.getInt32(at + STAMP_TIME + 4);
  mem.dv.setInt32(at + STAMP_CHECK, stampCheck(patternSum, id, sequence, hi, lo));
}
