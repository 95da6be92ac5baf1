/** A probe with a ring over plain memory, for tests: what has been captured is read at once. */
import { CounterBlock, type Mem, memOver } from '@grantline/machine';
import { CAPTURE_COUNTERS } from '../src/counters/names.js';
import { CaptureRing } from '../src/capture/capture-ring.js';
import { FrameProbe } from '../src/capture/probe.js';
import { readPackets, type Packet } from './read-back.js';

/** @param at byte offset of so many bytes of `mem` that nothing else uses
 *  @returns the probe, on, and a function that takes what came since the last call */
export function memoryProbe(mem: Mem, at: number, bytes: number): { probe: FrameProbe; packets: () => Packet[] } {
  const counters = new CounterBlock(memOver(new ArrayBuffer(256)), 0, CAPTURE_COUNTERS);
  const probe = new FrameProbe();
  const ring = new CaptureRing({ mem, at, bytes, snaplen: 262144, epochNs: 10n ** 18n, counters });
  probe.add(ring);
  return {
    probe,
    packets() {
      const parts: Buffer[] = [];
      for (let b = ring.take(1 << 20); b !== null; b = ring.take(1 << 20)) parts.push(b);
      return readPackets(Buffer.concat(parts)).packets;
    },
  };
}
