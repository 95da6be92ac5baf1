import t from 'tap';
import fc from 'fast-check';
import { parseIp, parseMac } from '@grantline/frames';
import { IP, MAC, frame, ts } from '@grantline/frames/testkit';
import { TestSpace } from '@grantline/machine/testkit';
import { Receiver, SpyApp } from './kit.js';

/** A frame of a burst: mostly with the headers of those before it, sometimes with a bit of them changed, or cut off. */
interface Step {
  kind: 'tcp' | 'bare tcp' | 'udp';
  flow: number;
  bytes: number;
  flip: number;
  cut: number;
  deliver: boolean;
}

const HEADER_BITS = 66 * 8;
const rarely = (values: fc.Arbitrary<number>, weight: number): fc.Arbitrary<number> =>
  fc.oneof({ weight, arbitrary: fc.constant(-1) }, { weight: 1, arbitrary: values });
const step: fc.Arbitrary<Step> = fc.record({
  kind: fc.constantFrom('tcp', 'tcp', 'tcp', 'bare tcp', 'udp', 'udp'),
  flow: fc.oneof({ weight: 6, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: fc.constant(1) }),
  bytes: fc.oneof({ weight: 6, arbitrary: fc.constant(40) }, { weight: 1, arbitrary: fc.nat(60) }),
  flip: rarely(fc.nat(HEADER_BITS - 1), 2),
  cut: rarely(fc.nat(80), 9),
  deliver: fc.nat(15).map((n) => n === 0),
});

/** @param forgets the stack has seen no header when it judges a frame */
function run(steps: Step[], lro: boolean, forgets: boolean) {
  const space = new TestSpace(8 << 20);
  const app = new SpyApp(space.mem);
  const rx = new Receiver(space, app, { lro });
  const seqs = [0xffffff00, 1];
  for (const s of steps) {
    const udp = s.kind === 'udp';
    const payload = new Uint8Array(s.bytes).fill(s.flow + 1);
    const options = s.kind === 'tcp' ? ts(5) : [];
    const bytes = frame({
      ...{ protocol: udp ? 17 : 6, srcPort: 3000 + s.flow, seq: seqs[s.flow] >>> 0, options, payload },
    });
    if (!udp) seqs[s.flow] += s.bytes;
    if (s.flip >= 0 && s.flip >> 3 < bytes.length) bytes[s.flip >> 3] ^= 1 << (s.flip & 7);
    rx.add(s.cut >= 0 ? bytes.subarray(0, Math.max(1, s.cut)) : bytes);
    if (s.deliver || forgets || rx.stack.room < 8) rx.deliver();
    if (forgets) rx.stack.setAddresses([parseMac(MAC)], [parseIp(IP)]);
  }
  rx.deliver();
  const { segments, coalesced, ...counts } = rx.counts();
  return { counts, frames: (segments ?? 0) + (coalesced ?? 0), payloads: app.segments };
}

t.test('a header is judged alike, whatever headers came before it', (t) => {
  let dropped = 0;
  fc.assert(
    fc.property(fc.array(step, { maxLength: 120, size: 'max' }), fc.boolean(), (steps, lro) => {
      const seen = run(steps, lro, false);
      const fresh = run(steps, lro, true);
      t.same(seen.counts, fresh.counts);
      t.equal(seen.frames, fresh.frames);
      dropped += (seen.counts['inFrames'] ?? 0) - seen.frames;
      if (lro) {
        const bytes = (of: typeof seen): number => of.payloads.reduce((sum, s) => sum + s.payload.length, 0);
        return bytes(seen) === bytes(fresh);
      }
      return JSON.stringify(seen.payloads) === JSON.stringify(fresh.payloads);
    }),
    { numRuns: 60 },
  );
  t.ok(dropped > 100, 'bad headers were among them');
  t.end();
});
