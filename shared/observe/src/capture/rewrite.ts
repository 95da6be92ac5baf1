/** Gives the hosts of a capture new MAC addresses, so that its frames go to chosen guests. */
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

/** @returns the address as a number below 2^48. @throws RangeError when it is not written as aa:bb:cc:dd:ee:ff */
export function parseMac(mac: string): number {
  if (!/^[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}$/.test(mac))
    throw new RangeError(`${mac} is not a MAC address (aa:bb:cc:dd:ee:ff)`);
  return Number.parseInt(mac.replaceAll(':', ''), 16);
}

/** @returns the address as aa:bb:cc:dd:ee:ff */
export function formatMac(mac: number): string {
  return mac
    .toString(16)
    .padStart(12, '0')
    .replace(/..(?=.)/g, '$&:');
}

/** @returns the address at a byte offset, as a number below 2^48 */
export function readMac(u8: Uint8Array, at: number): number {
  const low = ((u8[at + 2] << 24) | (u8[at + 3] << 16) | (u8[at + 4] << 8) | u8[at + 5]) >>> 0;
  return (u8[at] * 256 + u8[at + 1]) * 2 ** 32 + low;
}

function writeMac(u8: Uint8Array, at: number, mac: number): void {
  for (let i = 5, rest = mac; i >= 0; i--) {
    u8[at + i] = rest % 256;
    rest = Math.floor(rest / 256);
  }
}

/** Rewrites frames in place. A mapped host keeps its new address both as destination and, where it sends, as source:
 *  else a bridge would learn an address that nobody answers to. Nothing behind the Ethernet header is changed. */
export class MacRewriter {
  private readonly map = new Map<number, number>();

  /** @throws RangeError for an address that is none, a group address, or one that is mapped twice */
  constructor(mappings: readonly MacMapping[]) {
    for (const { from, to } of mappings) {
      const key = parseMac(from);
      const value = parseMac(to);
      if (isGroup(key) || isGroup(value)) throw new RangeError(`${from} to ${to}: a group address cannot be mapped`);
      if (this.map.has(key)) throw new RangeError(`${from} is mapped twice`);
      this.map.set(key, value);
    }
  }

  /** @returns true when the frame at `at` was changed. Frames under 12 bytes have no addresses and stay */
  apply(u8: Uint8Array, at: number, length: number): boolean {
    if (length < 12) return false;
    const destination = this.map.get(readMac(u8, at));
    const source = this.map.get(readMac(u8, at + 6));
    if (destination !== undefined) writeMac(u8, at, destination);
    if (source !== undefined) writeMac(u8, at + 6, source);
    return destination !== undefined || source !== undefined;
  }
}

/** @returns the capture's destinations, most frames first: what there is to map */
export function destinations(capture: Capture): Destination[] {
  const seen = new Map<number, { frames: number; bytes: number }>();
  for (let i = 0; i < capture.count; i++) {
    if (capture.lengths[i] < 12) continue;
    const mac = readMac(capture.bytes, capture.offsets[i]);
    const entry = seen.get(mac) ?? { frames: 0, bytes: 0 };
    entry.frames++;
    entry.bytes += capture.lengths[i];
    seen.set(mac, entry);
  }
  return [...seen]
    .map(([mac, n]) => ({ mac: formatMac(mac), frames: n.frames, bytes: n.bytes }))
    .sort((a, b) => b.frames - a.frames || (a.mac < b.mac ? -1 : 1));
}

/** True for broadcast and multicast addresses. */
export function isGroup(mac: number): boolean {
  return Math.floor(mac / 2 ** 40) % 2 === 1;
}
