import fc from 'fast-check';
import t from 'tap';
import { PROTO_TCP } from '../src/headers.js';
import { foldNative, foldSum, nativeSum, sumOf } from '../src/checksum.js';
import { BULK_BYTES, BULK_HEADER, BulkTemplate } from '../src/bulk-template.js';
import { Pattern, PATTERN_MAX, STAMP_BYTES, stampCheck } from '../src/payload.js';
import { memOver } from '@grantline/machine';

const FLOW = {
  ...{ guestIndex: 0, dstMac: '02:00:00:ca:b1:e0', srcMac: '02:00:00:00:00:01' },
  ...{ dstIp: '10.255.255.254', srcIp: '10.0.0.1', dstPort: 9 },
};

t.test("the fast sum is the Internet checksum in the machine's byte order, for any place and length", (t) => {
  const mem = memOver(new ArrayBuffer(8192));
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 1600 }), fc.nat(20), (bytes, place) => {
      const at = 64 + place * 2;
      mem.u8.set(bytes, at);
      const native = foldNative(nativeSum(mem, at, bytes.length));
      const swapped = ((native & 0xff) << 8) | (native >>> 8);
      // Both zeros of one's complement are zero.
      return swapped % 0xffff === foldSum(sumOf(mem, at, bytes.length)) % 0xffff;
    }),
    { numRuns: 300 },
  );
  t.equal(foldNative(0), 0);
  t.equal(foldNative(65535 * 3), 65535);
  t.end();
});

t.test(
  'a bulk packet holds whole stamped payloads, variants in turn, sequence and TCP sequence going on by flow',
  (t) => {
    const mem = memOver(new ArrayBuffer(BULK_BYTES + 64));
    const pattern = new Pattern(5);
    for (const frameBytes of [84, 590, 1514, 9014]) {
      const flows = [0, 1].map((k) => ({ ...FLOW, flowId: 7 + k, srcPort: 10000 + k }));
      const b = new BulkTemplate(mem, 64, 5, frameBytes, flows);
      t.equal(b.bytes, BULK_HEADER + b.segments * b.mss);
      t.ok(b.bytes <= 65535 && b.segments % 5 === 0, `${frameBytes}: ${b.segments} segments`);
      const expected = [0, 0];
      const tcp = [1, 1];
      for (const [i, flow] of [0, 1, 1, 0].entries()) {
        const at = b.next(flow, 1e15 + i);
        t.equal(mem.u8[at + 23], PROTO_TCP);
        t.equal(mem.dv.getUint16(at + 34), 10000 + flow);
        t.equal(mem.dv.getUint32(at + 38), tcp[flow]);
        tcp[flow] += b.segments * b.mss;
        const n = b.mss - STAMP_BYTES;
        let good = true;
        for (let k = 0; k < b.segments; k++) {
          const from = at + BULK_HEADER + k * b.mss;
          const id = mem.dv.getUint16(from + n);
          const [sequence, hi, lo] = [2, 6, 10].map((o) => mem.dv.getInt32(from + n + o)) as [number, number, number];
          const body = Buffer.from(mem.u8.buffer as ArrayBuffer, from, n);
          good &&=
            id === (((7 + flow) << 4) | (k % 5)) &&
            sequence === expected[flow]++ &&
            mem.dv.getFloat64(from + n + 6) === 1e15 + i &&
            mem.dv.getInt32(from + n + 14) === stampCheck(pattern.sumOf(k % 5, n), id, sequence, hi, lo) &&
            body.equals(pattern.bytes.subarray((k % 5) * PATTERN_MAX, (k % 5) * PATTERN_MAX + n));
        }
        t.ok(good, `packet ${i}`);
      }
    }
    t.throws(() => new BulkTemplate(mem, 64, 5, 83, []), RangeError);
    t.end();
  },
);
