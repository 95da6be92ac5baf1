/** What the tests of frames and of the stack share: plain memory, counters, frames made by hand, a receiver. */
import { CounterBlock } from '../src/counters/block.js';
import { APP_COUNTERS, STACK_COUNTERS } from '../src/counters/names.js';
import { internetChecksum, pseudoSum } from '../src/frame/checksum.js';
import { parseMac } from '../src/frame/ethernet.js';
import { FlowTemplates, type FlowSpec, type PrivateMemory, type TemplateSpec } from '../src/frame/flow-templates.js';
import { parseIp } from '../src/frame/ipv4.js';
import { memOver, type Mem } from '../src/mem/address-space.js';
import type { FrameApp, PieceList } from '../src/stack/frame-app.js';
import { latencyNames } from '../src/stack/latency.js';
import { RxStack } from '../src/stack/rx-stack.js';

export const MAC = '00:16:3e:00:00:01';
export const IP = '10.0.0.1';

/** An address space of plain memory. */
export class TestSpace implements PrivateMemory {
  readonly mem: Mem;
  private next = 4096;

  constructor(bytes = 24 << 20) {
    this.mem = memOver(new ArrayBuffer(bytes));
  }

  mapPrivate(bytes: number): number {
    const at = this.next;
    const size = Math.ceil(bytes / 4096) * 4096;
    if (at + size > this.mem.u8.length) throw new RangeError('full');
    this.next = at + size;
    return at;
  }

  unmap(): void {}

  mapPrivateAt(offset: number, bytes: number): void {
    this.mem.u8.fill(0, offset, offset + bytes);
  }
}

export const block = (space: TestSpace, names: readonly string[]): CounterBlock =>
  new CounterBlock(space.mem, space.mapPrivate(8 + names.length * 8), 'test', {}, names);
export const appBlock = (space: TestSpace): CounterBlock => block(space, APP_COUNTERS);
export const latencyBlock = (space: TestSpace): CounterBlock => block(space, latencyNames());

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

/** Keeps every segment's payload. */
export class SpyApp implements FrameApp {
  readonly segments: { socket: number; payload: number[]; frames: number; bytes: number }[] = [];
  readonly rawFrames: number[][] = [];
  wantsRaw = false;
  private readonly mem: Mem;

  constructor(mem: Mem) {
    this.mem = mem;
  }
  begin(): void {}
  end(): void {}
  raw(p: PieceList, from: number, to: number): void {
    this.rawFrames.push(this.join(p, from, to));
  }
  segment(p: PieceList, from: number, to: number, socket: number): void {
    const ends = Array.from(p.frameBytes.slice(from, to)).filter((n) => n > 0);
    const bytes = ends.reduce((a, b) => a + b, 0);
    this.segments.push({ socket, payload: this.join(p, from, to), frames: ends.length, bytes });
  }
  private join(p: PieceList, from: number, to: number): number[] {
    const out: number[] = [];
    for (let i = from; i < to; i++) out.push(...this.mem.u8.subarray(p.off[i], p.off[i] + p.len[i]));
    return out;
  }
}

/** A stack with sockets 0 (UDP 9) and 1 (TCP 9), fed with whole frames. */
export class Receiver {
  readonly stack: RxStack;
  readonly counters: CounterBlock;
  private readonly space: TestSpace;
  private readonly buffers: number;
  private used = 0;

  constructor(space: TestSpace, app: FrameApp, options: { lro?: boolean; promiscuous?: boolean } = {}) {
    this.space = space;
    this.counters = block(space, STACK_COUNTERS);
    this.buffers = space.mapPrivate(4 << 20);
    const own = { macs: [parseMac(MAC)], ips: [parseIp(IP)] };
    const { lro = false, promiscuous = false } = options;
    this.stack = new RxStack({ mem: space.mem, counters: this.counters, lro, promiscuous, ...own, app });
    this.stack.listen(17, 9, 0);
    this.stack.listen(6, 9, 1);
  }

  /** Adds a frame in buffers of at most `part` bytes, each at an address of its own. */
  add(bytes: Uint8Array, part = bytes.length): this {
    for (let i = 0; i < bytes.length; i += part) {
      const piece = bytes.subarray(i, i + part);
      const at = this.buffers + this.used + 2;
      this.space.mem.u8.set(piece, at);
      this.used += Math.ceil((piece.length + 2) / 16) * 16;
      this.stack.fragment(at, piece.length, i + part < bytes.length);
    }
    return this;
  }

  deliver(nowNs = 1e9): this {
    this.stack.process();
    this.stack.deliver(nowNs);
    this.used = 0;
    return this;
  }

  /** Stack counters that are not zero. */
  counts(): Record<string, number> {
    return nonZero(this.counters.read());
  }
}

export const nonZero = (values: Record<string, number>): Record<string, number> =>
  Object.fromEntries(Object.entries(values).filter(([, n]) => n !== 0));
