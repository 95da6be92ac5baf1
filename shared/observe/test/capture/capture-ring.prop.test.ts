/** What a probe was shown is what the file holds: bytes, times, directions, comments, order; or it is counted as lost. */
import t from 'tap';
import fc from 'fast-check';
import { CaptureRing } from '../../src/capture/capture-ring.js';
import { allReasons, NOT_DROPPED, reasonOf, UNSEEN } from '../../src/capture/drop-reasons.js';
import { INBOUND, OUTBOUND, interfaceBlock, sectionBlock, statisticsBlock } from '../../src/capture/pcapng-blocks.js';
import { parseCapture } from '../../src/capture/pcap.js';
import { RxProbe, FrameProbe } from '../../src/capture/probe.js';
import { CounterBlock, memOver } from '@grantline/machine';
import { COUNTERS, CAPTURE_COUNTERS } from '../../src/counters/names.js';
import { STACK_COUNTERS } from '../../src/counters/guest.js';
import { readPackets } from '../../testkit/read-back.js';

const FRAMES_AT = 1 << 20;
const EPOCH = 1_795_000_000_123_456_789n;
const HEAD = Buffer.concat([
  sectionBlock({ hardware: 'a machine', os: 'an os', application: 'ünïcode' }),
  interfaceBlock({ name: 'vif1.0:guest', description: '', snaplen: 262144 }),
]);

function make(bytes: number, snaplen = 262144) {
  const mem = memOver(new ArrayBuffer(4 << 20));
  for (let i = 0; i < 1 << 19; i++) mem.u8[FRAMES_AT + i] = (i * 31 + (i >> 8)) & 255;
  const counters = new CounterBlock(memOver(new ArrayBuffer(256)), 0, CAPTURE_COUNTERS);
  const clock = { ns: 0 };
  const ring = new CaptureRing({ mem, at: 4096, bytes, snaplen, epochNs: EPOCH, counters, now: () => clock.ns });
  const probe = new FrameProbe();
  probe.add(ring);
  const got: Buffer[] = [];
  const drain = (most = 1 << 20): void => {
    for (let b = ring.take(most); b !== null; b = ring.take(most)) got.push(b);
  };
  return { mem, ring, probe, clock, counters, drain, got, file: () => Buffer.concat([HEAD, ...got]) };
}

const big = (_: string, v: unknown): unknown => (typeof v === 'bigint' ? String(v) : v);
const reasons = [...allReasons().keys()];

t.test('frames of any size, in any pieces, with any reason: read back as they were, lost ones counted', (t) => {
  const step = fc.oneof(
    fc.record({
      pieces: fc.array(fc.record({ at: fc.nat(400_000), len: fc.integer({ min: 1, max: 5000 }) }), { maxLength: 6 }),
      out: fc.boolean(),
      reason: fc.constantFrom(NOT_DROPPED, ...reasons),
      later: fc.integer({ min: 0, max: 5_000_000_000 }),
    }),
    fc.constant('drain' as const),
    fc.constant('take one' as const),
  );
  const seen = { whole: 0, cut: 0, lost: 0 };
  fc.assert(
    fc.property(
      fc.array(step, { maxLength: 60, size: 'max' }),
      fc.constantFrom(4096, 8192, 65536, 1 << 20),
      fc.constantFrom(1, 64, 1500, 262144),
      (steps, bytes, snaplen) => {
        const x = make(bytes, snaplen);
        const want: { bytes: string; length: number; time: bigint; out: boolean; reason: number }[] = [];
        for (const s of steps) {
          if (s === 'drain') x.drain();
          else if (s === 'take one') {
            const b = x.ring.take(1);
            if (b !== null) x.got.push(b);
          } else {
            x.clock.ns += s.later;
            const before = x.ring.dropped;
            x.probe.begin();
            for (const p of s.pieces) x.probe.piece(FRAMES_AT + p.at, p.len);
            const whole = Buffer.concat(
              s.pieces.map((p) => Buffer.from(x.mem.u8.slice(FRAMES_AT + p.at, FRAMES_AT + p.at + p.len))),
            );
            x.probe.end(whole.length, s.out ? OUTBOUND : INBOUND, s.reason);
            if (x.ring.dropped > before) continue;
            want.push({
              ...{ bytes: whole.subarray(0, snaplen).toString('hex'), length: whole.length },
              ...{ time: EPOCH + BigInt(x.clock.ns), out: s.out, reason: s.reason },
            });
          }
        }
        x.drain();
        const { packets } = readPackets(x.file());
        const text = allReasons();
        const have = packets.map((p) => [p.bytes.toString('hex'), p.length, p.timeNs, p.direction, p.comment]);
        const should = want.map((w) => [
          ...[w.bytes, w.length, w.time, w.out ? OUTBOUND : INBOUND, text.get(w.reason) ?? null],
        ]);
        if (JSON.stringify(have, big) !== JSON.stringify(should, big)) return false;
        // The general reader agrees, on what is whole.
        const read = parseCapture(x.file());
        const whole = want.filter((w) => w.bytes.length / 2 === w.length);
        if (read.count !== whole.length || read.cut !== want.length - whole.length) return false;
        for (let i = 0; i < read.count; i++) {
          const b = Buffer.from(read.bytes.subarray(read.offsets[i], read.offsets[i] + read.lengths[i]));
          if (b.toString('hex') !== whole[i].bytes) return false;
          if (BigInt(read.timesNs[i]) !== whole[i].time - want[0].time) return false;
        }
        const [frames, , overflow] = x.counters.v;
        seen.whole += whole.length;
        seen.cut += read.cut;
        seen.lost += x.ring.dropped;
        return (
          x.ring.received === want.length + x.ring.dropped && frames === want.length && overflow === x.ring.dropped
        );
      },
    ),
    { numRuns: 150 },
  );
  for (const [what, count] of Object.entries(seen)) t.ok(count > 20, `frames that are ${what}: ${count}`);
  t.end();
});

t.test('a ring that is full takes frames again once it was read; a frame larger than the ring is lost alone', (t) => {
  const x = make(4096);
  for (let round = 0; round < 50; round++) {
    for (let i = 0; i < 4; i++) x.probe.frame(FRAMES_AT, 1400, INBOUND, NOT_DROPPED);
    x.drain();
  }
  t.equal(x.ring.received, 200);
  t.equal(x.ring.dropped, 100, 'two of four fit');
  x.probe.frame(FRAMES_AT, 9000, INBOUND, NOT_DROPPED);
  x.probe.frame(FRAMES_AT, 60, INBOUND, NOT_DROPPED);
  x.drain();
  t.equal(x.ring.dropped, 101);
  t.equal(readPackets(x.file()).packets.at(-1)?.length, 60);
  t.end();
});

t.test('a batch: a frame that the stack drops has its reason with it, and nothing is written before settle', (t) => {
  const x = make(65536);
  const rx = new RxProbe(x.probe);
  rx.fragment(FRAMES_AT, 100, true);
  rx.fragment(FRAMES_AT + 4096, 50, false);
  rx.fragment(FRAMES_AT + 8192, 60, false);
  rx.dropped(FRAMES_AT + 8192, reasonOf(STACK_COUNTERS, 'dropNoSocket'));
  rx.dropped(FRAMES_AT + 4096, reasonOf(STACK_COUNTERS, 'dropNoSocket'));
  x.drain();
  t.equal(x.got.length, 0);
  rx.settle();
  rx.fragment(FRAMES_AT, 70, false);
  rx.settle();
  x.drain();
  const { packets } = readPackets(x.file());
  t.same(
    packets.map((p) => [p.length, p.comment]),
    [
      [150, null],
      [60, 'dropped at stack: no_socket'],
      [70, null],
    ],
  );
  t.same(packets[0].bytes.subarray(100), Buffer.from(x.mem.u8.slice(FRAMES_AT + 4096, FRAMES_AT + 4146)));
  t.end();
});

t.test('off: a probe without a ring says so, and tells who asks to be told', (t) => {
  const x = make(4096);
  let changes = 0;
  x.probe.onChange = () => changes++;
  t.equal(x.probe.on, true);
  x.probe.remove(x.ring);
  t.equal(x.probe.on, false);
  t.equal(changes, 1);
  t.end();
});

t.test('every counter of drops on the path is a reason with a comment of its own, in the words of the metric', (t) => {
  const texts = [...allReasons().values()];
  t.equal(new Set(texts).size, texts.length);
  t.match(texts, [/bytes not seen here/]);
  t.ok(reasons.includes(UNSEEN));
  for (const kind of ['nic', 'nicQueue', 'nicTx', 'netback', 'netbackTx', 'netfront', 'stack'] as const) {
    const declared = COUNTERS.get(kind)!;
    for (const name of declared.names.filter((n) => n.startsWith('drop')))
      t.match(allReasons().get(reasonOf(declared, name)), /^dropped at [a-z_]+: [a-z_]+$/, `${kind}.${name}`);
  }
  t.end();
});

t.test('statistics are read as they were written', (t) => {
  const s = { startNs: EPOCH, endNs: EPOCH + 5n, atNs: EPOCH + 6n, received: 2n ** 40n + 7n, dropped: 3n };
  t.same(readPackets(Buffer.concat([HEAD, statisticsBlock(0, s)])).statistics.get(0), s);
  t.end();
});
