/** One stack, and its peer played by hand: segments in, segments out, in virtual time. After packetdrill. */
import {
  fastSum,
  foldSum,
  pseudoSum,
  ETHERTYPE_ARP,
  ETHERTYPE_IPV4,
  writeEthernet,
  type Mac,
  writeIpv4,
} from '@grantline/frames';
import { memOver, type Mem } from '@grantline/machine';
import type { NetSettings } from '../src/settings.js';
import { NetStack } from '../src/net-stack.js';
import { IP_A, IP_B, MAC_A, MAC_B, Peer, TestLink, complete, knownSecret } from '../testkit/peer.js';
import { TestSpace } from '@grantline/machine/testkit';

/** Our first sequence number, just below the wrap, and the peer's. */
export const ISS = -10;
export const IRS = 0x7ffffff0;

export interface Seg {
  /** Letters of S, A, F, R, P, U. */
  flags: string;
  /** Relative to the first of each side: 0 is the SYN. */
  seq: number;
  ack?: number;
  win?: number;
  data?: number | string;
  mss?: number;
  scale?: number;
  sackOk?: boolean;
  ts?: [number, number];
  sack?: [number, number][];
  /** Raw options instead. */
  options?: number[];
  port?: number;
  toPort?: number;
  /** Instead of the peer's address. */
  src?: number;
  broken?: boolean;
}

/** What the stack sent. */
export interface Out {
  flags: string;
  seq: number;
  len: number;
  ack: number;
  win: number;
  mss?: number;
  scale?: number;
  sackOk?: boolean;
  ts?: [number, number];
  sack?: [number, number][];
  data: Uint8Array;
  port: number;
}

const BITS = 'FSRPAU';

export class Drill {
  readonly stack: NetStack;
  readonly link: TestLink;
  readonly mem: Mem;
  readonly space = new TestSpace(8 << 20);
  nowNs = 5e9;
  frames: Uint8Array[] = [];
  gso: number[] = [];
  port = 80;
  peerPort = 4000;
  private readonly at: number;

  constructor(settings: Partial<NetSettings> = {}, coalesce = false, knowsPeer = true) {
    this.mem = this.space.mem;
    this.link = new TestLink(this.space, (sent) => {
      this.frames.push(sent.gsoSize > 0 ? sent.frame : complete(sent));
      this.gso.push(sent.gsoSize);
    });
    this.at = this.space.mapPrivate(1 << 17);
    this.stack = new NetStack({
      link: this.link,
      space: this.space,
      secret: knownSecret(3),
      address: { mac: MAC_A, ip: IP_A, prefix: 24, gateway: 0x0a0000fe },
      settings: { memory: 1 << 20, sendBuffer: 1 << 18, receiveBuffer: 1 << 16, gso: 0, arpStaleMs: 1e12, ...settings },
      coalesce,
      isn: () => ISS,
    });
    this.stack.poll(this.nowNs);
    if (knowsPeer) {
      this.arp(1, MAC_B, IP_B, IP_A);
      this.frames = [];
      this.gso = [];
    }
  }

  /** Gives frames in that lie one after the other, and flushes. */
  receive(...frames: Uint8Array[]): void {
    let at = this.at + 2;
    for (const frame of frames) {
      this.mem.u8.set(frame, at);
      this.stack.input(at, frame.length);
      at += (frame.length + 71) & ~63;
    }
    this.stack.flush();
  }

  advance(ms: number): void {
    const end = this.nowNs + ms * 1e6;
    while (this.stack.nextDeadlineNs <= end) {
      this.nowNs = Math.max(this.nowNs, this.stack.nextDeadlineNs);
      this.stack.poll(this.nowNs);
      this.stack.flush();
    }
    this.nowNs = end;
    this.stack.poll(end);
    this.stack.flush();
  }

  arp(op: number, mac: Mac, ip: number, target: number, to: Mac = { hi: 0xffff, lo: 0xffffffff }): void {
    const f = memOver(new ArrayBuffer(64));
    writeEthernet(f, 0, to, mac, ETHERTYPE_ARP);
    f.dv.setInt32(14, 0x00010800);
    f.dv.setInt32(18, 0x06040000 | op);
    f.dv.setUint16(22, mac.hi);
    f.dv.setUint32(24, mac.lo);
    f.dv.setUint32(28, ip);
    f.dv.setUint32(38, target);
    this.receive(f.u8.slice(0, 60));
  }

  segment(s: Seg): Uint8Array {
    const opts = s.options ? [...s.options] : optionsOf(s);
    while (opts.length % 4) opts.push(1);
    const data = typeof s.data === 'string' ? Buffer.from(s.data) : new Uint8Array(s.data ?? 0);
    if (typeof s.data === 'number') data.forEach((_, i) => (data[i] = (s.seq + i) & 255));
    const tcpBytes = 20 + opts.length + data.length;
    const f = memOver(new ArrayBuffer((34 + tcpBytes + 7) & ~7));
    writeEthernet(f, 0, MAC_A, MAC_B, ETHERTYPE_IPV4);
    writeIpv4(f, 14, 20 + tcpBytes, 6, s.src ?? IP_B, IP_A);
    const dv = f.dv;
    dv.setUint16(34, s.port ?? this.peerPort);
    dv.setUint16(36, s.toPort ?? this.port);
    dv.setInt32(38, (IRS + s.seq) | 0);
    dv.setInt32(42, s.ack === undefined ? 0 : (ISS + s.ack) | 0);
    let flags = 0;
    for (const c of s.flags) flags |= 1 << BITS.indexOf(c);
    dv.setUint16(46, ((20 + opts.length) << 10) | flags);
    dv.setUint16(48, s.win ?? 65535);
    f.u8.set(opts, 54);
    f.u8.set(data, 54 + opts.length);
    dv.setUint16(50, ~foldSum(fastSum(f, 34, tcpBytes) + pseudoSum(s.src ?? IP_B, IP_A, 6, tcpBytes)) & 0xffff);
    if (s.broken) f.u8[50] ^= 1;
    return f.u8.slice(0, 34 + tcpBytes);
  }

  /** One segment in. @returns what goes out at once */
  give(s: Seg): string[] {
    this.receive(this.segment(s));
    return this.out();
  }

  /** TCP segments sent since the last look. */
  sent(): Out[] {
    const out = this.frames.filter((f) => f[12] === 8 && f[13] === 0 && f[23] === 6).map(parse);
    this.frames = [];
    this.gso = [];
    return out;
  }

  out(): string[] {
    return this.sent().map((o) => `${o.flags} ${o.seq}+${o.len} ${o.ack}`);
  }

  count(name: string): number {
    return this.stack.counts()[name];
  }

  /** A listener on the port, and the handshake, by the peer. */
  accept(peer: Peer = quiet(), syn: Partial<Seg> = {}): Peer {
    this.stack.listen(this.port, (c) => {
      peer.connection = c;
      return peer;
    });
    this.receive(this.segment({ flags: 'S', seq: 0, mss: 1460, ...syn }));
    const [answer] = this.sent();
    const ts = syn.ts && answer.ts ? { ts: [syn.ts[0], answer.ts[0]] as [number, number] } : {};
    this.give({ flags: 'A', seq: 1, ack: 1, win: syn.win ?? 65535, ...ts });
    return peer;
  }

  /** A connection to the peer, handshake included. */
  connect(peer: Peer = quiet(), answer: Partial<Seg> = {}): Peer {
    this.peerPort = 7000;
    peer.connection = this.stack.connect(IP_B, 7000, peer);
    this.stack.flush();
    this.port = this.sent()[0].port;
    this.give({ flags: 'SA', seq: 0, ack: 1, mss: 1460, ...answer });
    return peer;
  }
}

/** An application that neither sends nor closes. */
export function quiet(): Peer {
  const peer = new Peer();
  peer.shutdownAfter = false;
  peer.closeOnEnd = false;
  return peer;
}

function optionsOf(s: Seg): number[] {
  const o: number[] = [];
  const w32 = (n: number): number[] => [(n >>> 24) & 255, (n >>> 16) & 255, (n >>> 8) & 255, n & 255];
  if (s.mss !== undefined) o.push(2, 4, s.mss >> 8, s.mss & 255);
  if (s.scale !== undefined) o.push(1, 3, 3, s.scale);
  if (s.sackOk) o.push(1, 1, 4, 2);
  if (s.ts) o.push(1, 1, 8, 10, ...w32(s.ts[0]), ...w32(s.ts[1]));
  if (s.sack) o.push(1, 1, 5, 2 + 8 * s.sack.length, ...s.sack.flatMap(([a, b]) => [...w32(ISS + a), ...w32(ISS + b)]));
  return o;
}

export function parse(f: Uint8Array): Out {
  const dv = new DataView(f.buffer, f.byteOffset, f.length);
  const thl = (f[46] >> 4) << 2;
  let flags = '';
  for (let i = 0; i < BITS.length; i++) if (f[47] & (1 << i)) flags += BITS[i];
  const len = dv.getUint16(16) - 20 - thl;
  const out: Out = {
    flags: flags.replace('P', ''),
    seq: (dv.getInt32(38) - ISS) | 0,
    len,
    ack: f[47] & 16 ? (dv.getInt32(42) - IRS) | 0 : 0,
    win: dv.getUint16(48),
    data: f.slice(34 + thl, 34 + thl + len),
    port: dv.getUint16(34),
  };
  for (let at = 54; at < 34 + thl;) {
    const kind = f[at];
    if (kind === 1) {
      at++;
      continue;
    }
    if (kind === 0) break;
    if (kind === 2) out.mss = dv.getUint16(at + 2);
    if (kind === 3) out.scale = f[at + 2];
    if (kind === 4) out.sackOk = true;
    if (kind === 8) out.ts = [dv.getInt32(at + 2), dv.getInt32(at + 6)];
    if (kind === 5) {
      out.sack = [];
      for (let i = at + 2; i < at + f[at + 1]; i += 8)
        out.sack.push([(dv.getInt32(i) - IRS) | 0, (dv.getInt32(i + 4) - IRS) | 0]);
    }
    at += f[at + 1];
  }
  return out;
}
