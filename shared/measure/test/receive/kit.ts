/** What the tests of the receive side share: an application that remembers, and a receiver that is fed with whole frames. */
import { type CounterBlock, type Mem, LATENCY } from '@grantline/machine';
import { APP_COUNTERS, STACK_COUNTERS } from '@grantline/observe';
import { parseMac, parseIp } from '@grantline/frames';
import type { FrameApp, PieceList } from '../../src/receive/frame-app.js';
import { RxStack } from '../../src/receive/rx-stack.js';
import { IP, MAC } from '@grantline/frames/testkit';
import { block, type TestSpace } from '@grantline/machine/testkit';

export const appBlock = (space: TestSpace): CounterBlock => block(space, APP_COUNTERS);
export const latencyBlock = (space: TestSpace): CounterBlock => block(space, LATENCY);

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
  private added = 0;

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
      // Mostly as buffers are, now and then at an odd word.
      const at = this.buffers + this.used + (++this.added % 4 === 0 ? 2 : 0);
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
