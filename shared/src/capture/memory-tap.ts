/** A tap with a ring over plain memory, for tests: what has been captured is read at once. */
import { CounterBlock } from '../counters/block.js';
import { CAPTURE_COUNTERS } from '../counters/names.js';
import type { Mem } from '../mem/address-space.js';
import { memOver } from '../mem/address-space.js';
import { CaptureRing } from './capture-ring.js';
import { readPackets, type Packet } from './packets.js';
import { FrameTap } from './tap.js';

/** @param at byte offset of so many bytes of `mem` that nothing else uses
 *  @returns the tap, on, and a function that takes what came since the last call */
export function memoryTap(mem: Mem, at: number, bytes: number): { tap: FrameTap; packets: () => Packet[] } {
  const counters = new CounterBlock(memOver(new ArrayBuffer(256)), 0, 'capture', {}, CAPTURE_COUNTERS);
  const tap = new FrameTap();
  const ring = new CaptureRing({ mem, at, bytes, snaplen: 262144, epochNs: 10n ** 18n, counters });
  tap.add(ring);
  return {
    tap,
    packets() {
      const parts: Buffer[] = [];
      for (let b = ring.take(1 << 20); b !== null; b = ring.take(1 << 20)) parts.push(b);
      return readPackets(Buffer.concat(parts)).packets;
    },
  };
}
