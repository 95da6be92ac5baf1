/** A tap with a ring over plain memory, for tests: what has been captured is read at once. */
import { CounterBlock, type Mem, memOver } from '@grantline/machine';
import { CAPTURE_COUNTERS } from '../src/counters/every-service.js';
import { CaptureRing } from '../src/capture/capture-ring.js';
import { readPackets, type Packet } from '../src/capture/packets.js';
import { FrameTap } from '../src/capture/tap.js';

/** @param at byte offset of so many bytes of `mem` that nothing else uses
 *  @returns the tap, on, and a function that takes what came since the last call */
export function memoryTap(mem: Mem, at: number, bytes: number): { tap: FrameTap; packets: () => Packet[] } {
  const counters = new CounterBlock(memOver(new ArrayBuffer(256)), 0, CAPTURE_COUNTERS);
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
