/** IP packets made by hand, from the peer of drill.ts. */
import { fastSum, foldSum, pseudoSum, ETHERTYPE_IPV4, writeEthernet, writeIpv4 } from '@grantline/frames';
import { memOver } from '@grantline/machine';
import type { Drill } from './drill.js';
import { IP_A, IP_B, MAC_A, MAC_B, pattern } from '../testkit/peer.js';

export interface Ip {
  protocol?: number;
  src?: number;
  dst?: number;
  id?: number;
  flags?: number;
  options?: number[];
  length?: number;
  version?: number;
  payload: Uint8Array;
  badSum?: boolean;
  type?: number;
}

/** An IP packet from the peer, with a right header checksum. */
export function ip(o: Ip): Uint8Array {
  const opts = o.options ?? [];
  const head = 20 + opts.length;
  const f = memOver(new ArrayBuffer((14 + head + o.payload.length + 15) & ~7));
  writeEthernet(f, 0, MAC_A, MAC_B, o.type ?? ETHERTYPE_IPV4);
  writeIpv4(f, 14, o.length ?? head + o.payload.length, o.protocol ?? 1, o.src ?? IP_B, o.dst ?? IP_A);
  f.u8[14] = ((o.version ?? 4) << 4) | (head >> 2);
  f.dv.setUint16(18, o.id ?? 0);
  f.dv.setUint16(20, o.flags ?? 0);
  f.u8.set(opts, 34);
  f.dv.setUint16(24, 0);
  f.dv.setUint16(24, (~fastSum(f, 14, head) & 0xffff) ^ (o.badSum ? 1 : 0));
  f.u8.set(o.payload, 14 + head);
  return f.u8.slice(0, 14 + head + o.payload.length);
}

export function echo(bytes: number, type = 8): Uint8Array {
  const f = memOver(new ArrayBuffer((bytes + 15) & ~7));
  f.u8.set(pattern(bytes, 3), 8);
  f.dv.setUint16(0, type << 8);
  f.dv.setUint16(2, 0);
  f.dv.setUint32(4, 0x12340001);
  f.u8.fill(0, bytes + 8);
  f.dv.setUint16(2, ~fastSum(f, 0, bytes + 8) & 0xffff);
  return f.u8.slice(0, bytes + 8);
}

export function udp(port: number, data: Uint8Array, o: { length?: number; sum?: number } = {}): Uint8Array {
  const bytes = 8 + data.length;
  const f = memOver(new ArrayBuffer((bytes + 7) & ~7));
  f.dv.setUint16(0, 999);
  f.dv.setUint16(2, port);
  f.dv.setUint16(4, o.length ?? bytes);
  f.u8.set(data, 8);
  f.dv.setUint16(6, o.sum ?? ~foldSum(fastSum(f, 0, bytes) + pseudoSum(IP_B, IP_A, 17, bytes)) & 0xffff);
  return f.u8.slice(0, bytes);
}

/** Frames sent since the last look, of an EtherType. */
export function frames(d: Drill, type: number): DataView[] {
  const all = d.frames
    .map((f) => new DataView(f.buffer, f.byteOffset, f.length))
    .filter((v) => v.getUint16(12) === type);
  d.frames = [];
  return all;
}
