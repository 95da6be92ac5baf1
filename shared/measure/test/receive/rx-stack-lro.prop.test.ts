import t from 'tap';
import fc from 'fast-check';
import { frame, ts, type Parts } from '@grantline/frames/testkit';
import { Receiver, SpyApp } from './kit.js';
import { TestSpace } from '@grantline/machine/testkit';

/** One frame of a hostile or merely busy sender: mostly the next of its flow, sometimes with something else about it. */
interface Step {
  flow: number;
  bytes: number;
  jump: number;
  odd: Partial<Parts>;
  newBatch: boolean;
  split: boolean;
}

const odd: fc.Arbitrary<Partial<Parts>> = fc.oneof(
  { weight: 12, arbitrary: fc.constant({}) },
  { weight: 1, arbitrary: fc.constantFrom(0x18, 0x11, 0x12, 0x14, 0x30, 0x50, 0x00).map((flags) => ({ flags })) },
  { weight: 1, arbitrary: fc.constantFrom([], ts(1), ts(9), [1, 1, 1, 1]).map((options) => ({ options })) },
  {
    weight: 1,
    arbitrary: fc.constantFrom<Partial<Parts>>({ tos: 3 }, { ttl: 9 }, { df: false }, { tag: 4 }, { ack: 0 }),
  },
  {
    weight: 1,
    arbitrary: fc.constantFrom<Partial<Parts>>({ ipOptions: [1, 1, 1, 1] }, { protocol: 17 }, { window: 3 }),
  },
);
const step: fc.Arbitrary<Step> = fc.record({
  flow: fc.oneof({ weight: 4, arbitrary: fc.nat(2) }, { weight: 1, arbitrary: fc.nat(11) }),
  bytes: fc.oneof({ weight: 6, arbitrary: fc.constant(40) }, { weight: 1, arbitrary: fc.nat(60) }),
  jump: fc.oneof({ weight: 10, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: fc.constantFrom(40, -40, 1, -1) }),
  odd,
  newBatch: fc.nat(15).map((n) => n === 0),
  split: fc.boolean(),
});

/** @returns per flow (by the first payload byte) what came out: the segments, each with its frames */
function run(
  steps: Step[],
  start: number,
  lro: boolean,
): { flows: Map<number, number[]>; rx: Receiver; frames: number; largest: number } {
  const space = new TestSpace(8 << 20);
  const app = new SpyApp(space.mem);
  const rx = new Receiver(space, app, { lro });
  const seqs = new Uint32Array(12).fill(start);
  let serial = 0;
  for (const s of steps) {
    seqs[s.flow] += s.jump;
    const payload = new Uint8Array(s.bytes).fill(s.flow);
    if (s.bytes > 1) payload[1] = ++serial;
    const parts: Parts = { srcPort: 3000 + s.flow, seq: seqs[s.flow], options: ts(5), payload, ...s.odd };
    seqs[s.flow] += s.bytes;
    const bytes = frame(parts);
    rx.add(bytes, s.split ? 100 : bytes.length);
    if (s.newBatch || rx.stack.room < 8) rx.deliver();
  }
  rx.deliver();
  const flows = new Map<number, number[]>();
  let largest = 0;
  for (const seg of app.segments) {
    largest = Math.max(largest, seg.frames);
    // UDP and TCP are different flows.
    const key = (seg.payload[0] ?? -1) + seg.socket * 100;
    if (seg.payload.length > 0) flows.set(key, [...(flows.get(key) ?? []), ...seg.payload]);
  }
  return { flows, rx, frames: app.segments.reduce((n, s) => n + s.frames, 0), largest };
}

const inOrder = (flows: Map<number, number[]>): string =>
  JSON.stringify([...flows.entries()].sort((a, b) => a[0] - b[0]));

t.test('each flow yields the same bytes in the same order with coalescing on and off, and no frame is lost', (t) => {
  let coalesced = 0;
  fc.assert(
    fc.property(
      fc.array(step, { maxLength: 150, size: 'max' }),
      fc.constantFrom(0, 0xffffff80, 0x7fffffc0),
      (steps, start) => {
        const off = run(steps, start, false);
        const on = run(steps, start, true);
        const counts = on.rx.counts();
        coalesced += counts['coalesced'] ?? 0;
        return (
          inOrder(on.flows) === inOrder(off.flows) &&
          on.frames === steps.length &&
          off.frames === steps.length &&
          (counts['toSocket'] ?? 0) === steps.length &&
          (counts['segments'] ?? 0) + (counts['coalesced'] ?? 0) === steps.length &&
          off.largest <= 1
        );
      },
    ),
    { numRuns: 100 },
  );
  t.ok(coalesced > 1000, 'and much was coalesced');
  t.end();
});
