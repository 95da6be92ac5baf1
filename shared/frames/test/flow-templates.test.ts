import t from 'tap';
import fc from 'fast-check';
import { internetChecksum, pseudoSum } from '../src/checksum.js';
import { type FlowTemplates, TCP_MIN_FRAME, templateBytes } from '../src/flow-templates.js';
import { PATTERN_MAX, PATTERN_VARIANTS, Pattern, stampCheck } from '../src/payload.js';
import { memOver } from '@grantline/machine';
import { MAC, flowSpec, take, templates } from '../testkit/frames-by-hand.js';
import { TestSpace } from '@grantline/machine/testkit';

interface Parsed {
  tcp: boolean;
  tcpSeq: number;
  tsval: number;
  flow: number;
  variant: number;
  sequence: number;
  timeNs: number;
}

/** Takes a frame apart as a protocol analyser would; throws an Error at the first thing that is wrong. */
function parse(bytes: Uint8Array, pattern: Pattern): Parsed {
  const mem = memOver(new ArrayBuffer(Math.ceil(bytes.length / 8) * 8));
  mem.u8.set(bytes);
  const must = (ok: boolean, what: string): void => {
    if (!ok) throw new Error(what);
  };
  const dv = mem.dv;
  must(dv.getUint16(12) === 0x0800, 'type');
  must(dv.getUint8(14) === 0x45 && dv.getUint16(16) === bytes.length - 14, 'IP length');
  must(internetChecksum(mem, 14, 20) === 0, 'IP checksum');
  const protocol = dv.getUint8(23);
  const l4 = bytes.length - 34;
  must(internetChecksum(mem, 34, l4, pseudoSum(dv.getUint32(26), dv.getUint32(30), protocol, l4)) === 0, 'L4 checksum');
  const tcp = protocol === 6;
  if (tcp)
    must(dv.getUint8(46) >> 4 === 8 && dv.getUint8(47) === 0x10 && dv.getUint32(54) === 0x0101080a, 'TCP header');
  else must(protocol === 17 && dv.getUint16(38) === l4 && dv.getUint16(40) !== 0, 'UDP header');
  const payload = 34 + (tcp ? 32 : 8);
  const stamp = bytes.length - 18;
  const id = dv.getUint16(stamp);
  const n = stamp - payload;
  const variant = id & 15;
  must(variant < PATTERN_VARIANTS, 'variant');
  const start = variant * PATTERN_MAX;
  must(Buffer.compare(pattern.bytes.subarray(start, start + n), bytes.subarray(payload, stamp)) === 0, 'pattern');
  const sequence = dv.getUint32(stamp + 2);
  const check = stampCheck(pattern.sumOf(variant, n), id, sequence, dv.getInt32(stamp + 6), dv.getInt32(stamp + 10));
  must(check === dv.getInt32(stamp + 14), 'check');
  const [tcpSeq, tsval] = tcp ? [dv.getUint32(38), dv.getUint32(58)] : [0, 0];
  return { tcp, tcpSeq, tsval, flow: id >>> 4, variant, sequence, timeNs: dv.getFloat64(stamp + 6) };
}

t.test('every frame of every size, flow and protocol is right in all its checksums', (t) => {
  const size = fc.integer({ min: 60, max: 9014 });
  fc.assert(
    fc.property(
      fc.array(size, { minLength: 1, maxLength: 4 }),
      fc.constantFrom<'auto' | 'udp'>('auto', 'udp'),
      fc.array(fc.record({ flow: fc.nat(2), size: fc.nat(3), time: fc.double({ min: 0, max: 1e17, noNaN: true }) }), {
        minLength: 1,
        maxLength: 20,
      }),
      fc.constantFrom(0, 0xfffffffe),
      (sizes, protocol, picks, firstSequence) => {
        const space = new TestSpace(8 << 20);
        const pattern = new Pattern(7);
        const flows = [flowSpec(3), flowSpec(0, { srcIp: '192.168.255.254', dstPort: 65535 }), flowSpec(2047)];
        const made = templates(space, sizes, { flows, protocol, firstSequence });
        for (const p of picks) {
          const i = p.size % sizes.length;
          const got = parse(take(space, made, p.flow, i, p.time), pattern);
          const mixed =
            protocol === 'auto' && sizes.some((s) => s < TCP_MIN_FRAME) && sizes.some((s) => s >= TCP_MIN_FRAME);
          const half = mixed && !got.tcp ? 2048 : 0;
          if (got.flow !== flows[p.flow].flowId + half || got.timeNs !== p.time) return false;
        }
        return true;
      },
    ),
    { numRuns: 60 },
  );
  t.end();
});

t.test('a 60-byte frame is UDP and holds the stamp alone; an 84-byte one is TCP', (t) => {
  const space = new TestSpace();
  const made = templates(space, [60, 83, 84]);
  const pattern = new Pattern(7);
  t.same(
    [0, 1, 2].map((i) => parse(take(space, made, 0, i), pattern).tcp),
    [false, false, true],
  );
  t.end();
});

t.test('sequences count per flow and wrap at 2^32; UDP and TCP of one flow count apart', (t) => {
  const space = new TestSpace();
  const pattern = new Pattern(7);
  const made = templates(space, [60, 200], { firstSequence: 0xffffffff });
  const got = [0, 1, 1, 0].map((size) => parse(take(space, made, 0, size), pattern));
  t.same(
    got.map((g) => [g.flow, g.sequence]),
    [
      [2048, 0xffffffff],
      [0, 0xffffffff],
      [0, 0],
      [2048, 0],
    ],
  );
  t.end();
});

t.test('TCP sequence numbers advance by payload, across sizes; the timestamp counts milliseconds', (t) => {
  const space = new TestSpace();
  const pattern = new Pattern(7);
  const made = templates(space, [100, 1514]);
  const got = [1, 0, 1].map((size, i) => parse(take(space, made, 0, size, i * 1e6), pattern));
  t.same(
    got.map((g) => [g.tcpSeq, g.tsval]),
    [
      [1, 0],
      [1449, 1],
      [1483, 2],
    ],
  );
  t.end();
});

t.test('the frames of one size at one receiver have consecutive variants, whatever their flows', (t) => {
  const space = new TestSpace();
  const pattern = new Pattern(7);
  const flows = [flowSpec(0), flowSpec(1), flowSpec(2, { guestIndex: 1 })];
  const made: FlowTemplates = templates(space, [100, 200], { flows });
  const variant = (flow: number, size: number): number => parse(take(space, made, flow, size), pattern).variant;
  t.same(
    [variant(0, 0), variant(1, 0), variant(0, 1), variant(2, 0), variant(0, 0), variant(1, 0)],
    [0, 1, 0, 0, 2, 3],
  );
  t.same([variant(1, 0), variant(0, 0)], [4, 0]);
  t.end();
});

t.test(
  'where each flow cannot have templates of its own they are shared, and the frames are right all the same',
  (t) => {
    const space = new TestSpace();
    const pattern = new Pattern(7);
    const flows = Array.from({ length: 200 }, (_, i) => flowSpec(i, { srcIp: `10.0.2.${i}`, guestIndex: i % 3 }));
    const sizes = [60, 1514, 9014];
    const made = templates(space, sizes, { flows });
    t.equal(made.perFlow, false);
    t.ok(templateBytes({ seed: 7, flows, sizes, protocol: 'auto' }) < 64 * 1024);
    t.ok(templateBytes({ seed: 7, flows, sizes: [1514], protocol: 'auto' }) <= 256 * 1024, 'and fit into a cache');
    for (let i = 0; i < 500; i++) {
      const flow = (i * 7) % 200;
      const bytes = take(space, made, flow, i % 3);
      t.equal(parse(bytes, pattern).flow & 2047, flow);
      t.equal(bytes[29], flow);
    }
    t.end();
  },
);

t.test('the same seed gives the same frames, another seed others', (t) => {
  const make = (seed: number): Uint8Array => {
    const space = new TestSpace();
    return take(space, templates(space, [500], { seed }), 0, 0);
  };
  t.same(make(1), make(1));
  t.not(Buffer.compare(make(1), make(2)), 0);
  t.end();
});

t.test('the variants of a pattern differ in every byte', (t) => {
  const { bytes } = new Pattern(3);
  let same = 0;
  for (let a = 0; a < PATTERN_VARIANTS; a++)
    for (let b = 0; b < a; b++)
      for (let i = 0; i < PATTERN_MAX; i++) if (bytes[a * PATTERN_MAX + i] === bytes[b * PATTERN_MAX + i]) same++;
  t.equal(same, 0);
  t.end();
});

t.test('what cannot be sent is refused', (t) => {
  const space = new TestSpace();
  for (const sizes of [[], [59], [9015], [100.5], [NaN]]) t.throws(() => templates(space, sizes), RangeError);
  t.throws(() => templates(space, [83], { protocol: 'tcp' }), RangeError);
  t.throws(() => templates(space, [100], { flows: [] }), RangeError);
  t.throws(() => templates(space, [100], { flows: [flowSpec(4096)] }), RangeError);
  t.throws(() => templates(space, [60, 100], { flows: [flowSpec(2048)] }), RangeError);
  t.throws(() => templates(space, [100], { flows: [flowSpec(1), flowSpec(1)] }), RangeError);
  t.throws(() => templates(space, [100], { flows: [flowSpec(1, { dstIp: 'x' })] }), RangeError);
  const many = Array.from({ length: 120 }, (_, i) => 9014 - i);
  t.throws(() => templates(space, many), RangeError);
  t.equal(take(space, templates(space, [100]), 0, 0)[0], parseInt(MAC.slice(0, 2), 16));
  t.end();
});
