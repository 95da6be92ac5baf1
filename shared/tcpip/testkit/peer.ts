/** What tests of the stack share: a link that records, what a device does with what is sent, an application. */
import { fastSum, foldSum } from '@grantline/frames';
import { Rng } from '@grantline/base';
import { memOver, type Mem } from '@grantline/machine';
import type { NetLink } from '../src/host.js';
import type { ConnectionEvents } from '../src/tcp/tcb.js';
import { Secret } from '../src/storage/keyed-hash.js';
import type { Connection } from '../src/tcp/connection.js';
import type { TestSpace } from '@grantline/machine/testkit';

export const IP_A = 0x0a000001;
export const IP_B = 0x0a000002;
export const MAC_A = { hi: 0x0200, lo: 0xa };
export const MAC_B = { hi: 0x0200, lo: 0xb };

export interface Sent {
  frame: Uint8Array;
  csumStart: number;
  csumOffset: number;
  gsoSize: number;
}

/** Takes what a stack sends. `room` counts down; 0: the link is full. */
export class TestLink implements NetLink {
  readonly mem: Mem;
  room = Infinity;
  private readonly at: number;
  private readonly take: (sent: Sent) => void;

  constructor(space: TestSpace, take: (sent: Sent) => void) {
    this.mem = space.mem;
    this.at = space.mapPrivate(1 << 17) + 2;
    this.take = take;
  }

  reserve(): number {
    return this.room > 0 ? this.at : -1;
  }

  send(at: number, bytes: number, csumStart: number, csumOffset: number, gsoSize: number): void {
    this.room--;
    this.take({ frame: this.mem.u8.slice(at, at + bytes), csumStart, csumOffset, gsoSize });
  }
}

const memOf = (frame: Uint8Array): Mem => {
  const buffer = new ArrayBuffer((frame.length + 71) & ~7);
  new Uint8Array(buffer).set(frame);
  return memOver(buffer);
};

/** What a device does with a frame whose checksum it is to fill in. */
export function complete(s: Sent): Uint8Array {
  if (s.csumStart === 0) return s.frame;
  const mem = memOf(s.frame);
  const sum = ~foldSum(fastSum(mem, s.csumStart, s.frame.length - s.csumStart)) & 0xffff;
  mem.dv.setUint16(s.csumStart + s.csumOffset, sum);
  return mem.u8.slice(0, s.frame.length);
}

/** What a device does with a packet to be segmented: TCP over IPv4 without IP options. */
export function segment(s: Sent): Uint8Array[] {
  if (s.gsoSize === 0) return [complete(s)];
  const src = memOf(s.frame);
  const thl = (src.u8[46] >> 4) << 2;
  const head = 34 + thl;
  const out: Uint8Array[] = [];
  for (let from = head; from < s.frame.length; from += s.gsoSize) {
    const bytes = Math.min(s.gsoSize, s.frame.length - from);
    const mem = memOf(new Uint8Array(head + bytes));
    mem.u8.set(s.frame.subarray(0, head));
    mem.u8.set(s.frame.subarray(from, from + bytes), head);
    mem.dv.setUint16(16, 20 + thl + bytes);
    mem.dv.setUint16(24, 0);
    mem.dv.setUint16(24, ~foldSum(fastSum(mem, 14, 20)) & 0xffff);
    mem.dv.setInt32(38, (src.dv.getInt32(38) + from - head) | 0);
    if (from + bytes < s.frame.length) mem.u8[47] &= ~9; // FIN and PSH belong to the last
    // The pseudo header has this segment's length.
    const before = s.frame.length - 34;
    const pseudo = foldSum(src.dv.getUint16(50) + (~before & 0xffff) + thl + bytes);
    mem.dv.setUint16(50, pseudo);
    out.push(complete({ frame: mem.u8.slice(0, head + bytes), csumStart: 34, csumOffset: 16, gsoSize: 0 }));
  }
  return out;
}

/** An application for tests: sends `outgoing`, collects what comes, notes events. */
export class Peer implements ConnectionEvents {
  connection: Connection | null = null;
  readonly events: string[] = [];
  error = -1;
  /** Closes its side when the other has. */
  closeOnEnd = true;
  /** Shuts its side down once all is written. */
  shutdownAfter = true;
  reading = true;
  received = 0;
  chunks: Uint8Array[] = [];
  keep = true;
  private readonly outgoing: Uint8Array;
  private at = 0;

  constructor(outgoing: Uint8Array = new Uint8Array(0)) {
    this.outgoing = outgoing;
  }

  onOpen(): void {
    this.events.push('open');
    this.push();
  }
  onReadable(): void {
    if (this.reading) this.pull();
  }
  onEnd(): void {
    this.events.push('end');
    this.pull();
    if (this.closeOnEnd && this.at === this.outgoing.length) this.connection?.shutdown();
  }
  onWritable(): void {
    this.push();
  }
  onClose(error: number): void {
    this.events.push('close');
    this.error = error;
  }

  pull(): void {
    const buffer = new Uint8Array(1 << 16);
    for (;;) {
      const n = this.connection!.read(buffer);
      if (n === 0) return;
      this.received += n;
      if (this.keep) this.chunks.push(buffer.slice(0, n));
    }
  }

  push(): void {
    if (!this.connection) return;
    if (this.at < this.outgoing.length) this.at += this.connection.write(this.outgoing, this.at);
    if (this.at === this.outgoing.length && this.shutdownAfter) this.connection.shutdown();
  }

  get data(): Uint8Array {
    return Buffer.concat(this.chunks);
  }
}

/** A stack's secret, the same in each run. */
export const knownSecret = (n: number): Secret => Secret.known(new Uint8Array(16).fill(n));

export function pattern(bytes: number, seed: number): Uint8Array {
  const rng = new Rng(seed);
  const out = new Uint8Array(bytes);
  for (let i = 0; i < bytes; i++) out[i] = rng.u32() >>> 13;
  return out;
}
