import t from 'tap';
import fc from 'fast-check';
import { assertPow2, idxAdd, idxDist, passed, ringIdx } from '../../src/ring/indices.js';

const u32 = fc.integer({ min: 0, max: 0xffffffff });
const near = fc.oneof(u32, fc.integer({ min: 0xfffffff0, max: 0xffffffff }));

t.test('the distance to an index n further on is n, also across the wrap', (t) => {
  fc.assert(
    fc.property(near, fc.integer({ min: 0, max: 0xffffffff }), (start, n) => {
      return idxDist(ringIdx(start), idxAdd(ringIdx(start), n)) === n;
    }),
  );
  t.equal(idxDist(ringIdx(0xfffffffe), ringIdx(1)), 3);
  t.end();
});

t.test('H7: a notification is due exactly when the event index lies in (old, new]', (t) => {
  fc.assert(
    fc.property(near, fc.integer({ min: 0, max: 256 }), fc.integer({ min: -300, max: 300 }), (old, moved, ahead) => {
      const from = ringIdx(old);
      const event = ringIdx(old + ahead);
      const expected = ahead > 0 && ahead <= moved;
      return passed(event, from, idxAdd(from, moved)) === expected;
    }),
  );
  t.end();
});

t.test('a ring size that is no power of two is refused', (t) => {
  for (const bad of [0, 3, 6, 255, -2, 1.5]) t.throws(() => assertPow2(bad), RangeError, String(bad));
  t.doesNotThrow(() => assertPow2(256));
  t.end();
});
