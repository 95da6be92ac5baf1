import t from 'tap';
import { Rng } from '@grantline/base';
import { foldNative, nativeSum } from '../src/checksum.js';
import { AddressSpace, memOver } from '@grantline/machine';

const BYTES = 160 * 1024;

/** A mapped space and a plain buffer with the same contents; the space's begin at `at`. */
function make(fill: (i: number) => number) {
  const space = new AddressSpace(1 << 20);
  const at = space.mapPrivate(BYTES);
  const plain = memOver(new ArrayBuffer(BYTES));
  for (let i = 0; i < BYTES; i++) plain.u8[i] = space.mem.u8[at + i] = fill(i);
  return { space, at, plain };
}

t.test('sums, comparisons and copies by SIMD give what the loop gives, at any place and length', (t) => {
  const rng = new Rng(3);
  const { space, at, plain } = make(() => rng.u32() >>> 24);
  const { bulk, u8 } = space.mem;
  let odd = 0;
  let wrong = 0;
  for (let k = 0; k < 4000; k++) {
    const from = rng.below(300);
    const bytes = k < 300 ? k : rng.below(3000);
    odd += from & bytes & 1;
    if (bulk.sum(at + from, bytes) !== plain.bulk.sum(from, bytes)) wrong++;
    const to = at + 8192 + rng.below(64);
    u8[to + bytes] = 77;
    bulk.copy(to, at + from, bytes);
    if (bulk.same(to, at + from, bytes) !== 1 || u8[to + bytes] !== 77) wrong++;
    if (bytes === 0) continue;
    u8[to + rng.below(bytes)] ^= 1 << rng.below(8);
    if (bulk.same(to, at + from, bytes) !== 0) wrong++;
  }
  t.equal(wrong, 0);
  t.ok(odd > 500, 'odd places with odd lengths were among them');
  t.end();
});

t.test('what is taken is copied whole and no byte further, and any one bit that differs is found', (t) => {
  const rng = new Rng(4);
  const { space, at } = make(() => rng.u32() >>> 24);
  const plain = memOver(new ArrayBuffer(BYTES));
  plain.u8.set(space.mem.u8.subarray(at, at + BYTES));
  let wrong = 0;
  for (const [mem, base] of [
    [space.mem, at],
    [plain, 0],
  ] as const) {
    const { bulk, u8 } = mem;
    for (let k = 0; k < 3000; k++) {
      const bytes = k < 300 ? k : rng.below(3000);
      const from = base + rng.below(300);
      const expected = base + 16384 + rng.below(64);
      const to = base + 32768 + rng.below(64);
      u8.copyWithin(expected, from, from + bytes);
      u8.fill(0, to - 1, to + bytes + 1);
      u8[to - 1] = u8[to + bytes] = 77;
      if (bulk.take(to, from, expected, bytes) !== 1) wrong++;
      if (bulk.same(to, expected, bytes) !== 1 || u8[to - 1] !== 77 || u8[to + bytes] !== 77) wrong++;
      if (bytes === 0) continue;
      const bad = rng.below(bytes);
      u8[from + bad] ^= 1 << rng.below(8);
      if (bulk.take(to, from, expected, bytes) !== 0) wrong++;
      if (bulk.same(to, from, bytes) !== 1 || u8[to - 1] !== 77 || u8[to + bytes] !== 77) wrong++;
    }
  }
  t.equal(wrong, 0);
  t.end();
});

t.test('the longest range of the largest words does not overflow, and only zeros sum to zero', (t) => {
  const { space, at, plain } = make(() => 0xff);
  for (const bytes of [2, 64, 65535, 65536, 131072]) t.equal(space.mem.bulk.sum(at, bytes), plain.bulk.sum(0, bytes));
  space.mem.u8.fill(0, at, at + BYTES);
  t.equal(nativeSum(space.mem, at, 131072), 0);
  t.equal(foldNative(0), 0);
  t.throws(() => space.mem.bulk.sum(space.bytes - 8, 64), 'beyond the end of the memory');
  t.end();
});
