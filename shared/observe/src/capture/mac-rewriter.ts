/** Gives the hosts of a capture new MAC addresses, so that its frames go to chosen guests. */
import { formatMac, isGroup, keyOf, macOf, parseMac } from '@grantline/frames';
import type { Capture } from './capture.js';

/** One host of the capture and the address that it gets. Both as aa:bb:cc:dd:ee:ff. */
export interface MacMapping {
  readonly from: string;
  readonly to: string;
}

/** Frames of a capture by one destination. */
export interface Destination {
  readonly mac: string;
  readonly frames: number;
  readonly bytes: number;
}

/** @returns the key of the address at a byte offset: a capture's frames lie in no address space */
export function keyAt(u8: Uint8Array, at: number): number {
  const low = ((u8[at + 2] << 24) | (u8[at + 3] << 16) | (u8[at + 4] << 8) | u8[at + 5]) >>> 0;
  return (u8[at] * 256 + u8[at + 1]) * 2 ** 32 + low;
}

/** Rewrites frames in place. A mapped host keeps its new address both as destination and, where it sends, as source:
 *  else a bridge would learn an address that nobody answers to. Nothing behind the Ethernet header is changed. */
export class MacRewriter {
  /** Six bytes, by the key of the address that they replace. */
  private readonly map = new Map<number, Uint8Array>();

  /** @throws RangeError for an address that is none, a group address, or one that is mapped twice */
  constructor(mappings: readonly MacMapping[]) {
    for (const { from, to } of mappings) {
      const old = parseMac(from);
      if (isGroup(old.hi) || isGroup(parseMac(to).hi))
        throw new RangeError(`${from} to ${to}: a group address cannot be mapped`);
      if (this.map.has(keyOf(old))) throw new RangeError(`${from} is mapped twice`);
      this.map.set(keyOf(old), Buffer.from(to.replaceAll(':', ''), 'hex'));
    }
  }

  /** @returns true when the frame at `at` was changed. Frames under 12 bytes have no addresses and stay */
  apply(u8: Uint8Array, at: number, length: number): boolean {
    if (length < 12) return false;
    const destination = this.map.get(keyAt(u8, at));
    const source = this.map.get(keyAt(u8, at + 6));
    if (destination !== undefined) u8.set(destination, at);
    if (source !== undefined) u8.set(source, at + 6);
    return destination !== undefined || source !== undefined;
  }
}

/** @returns the capture's destinations, most frames first: what there is to map */
export function destinations(capture: Capture): Destination[] {
  const seen = new Map<number, { frames: number; bytes: number }>();
  for (let i = 0; i < capture.count; i++) {
    if (capture.lengths[i] < 12) continue;
    const mac = keyAt(capture.bytes, capture.offsets[i]);
    const entry = seen.get(mac) ?? { frames: 0, bytes: 0 };
    entry.frames++;
    entry.bytes += capture.lengths[i];
    seen.set(mac, entry);
  }
  return [...seen]
    .map(([mac, n]) => ({ mac: formatMac(macOf(mac)), frames: n.frames, bytes: n.bytes }))
    .sort((a, b) => b.frames - a.frames || (a.mac < b.mac ? -1 : 1));
}
