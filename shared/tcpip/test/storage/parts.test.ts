import fc from 'fast-check';
import t from 'tap';
import { fastSum, foldSum, sumOf } from '@grantline/frames';
import { Rng } from '@grantline/base';
import { memOver } from '@grantline/machine';
import { Arena, ByteRing } from '../../src/storage/byte-ring.js';
import { KeyedHash, Secret } from '../../src/storage/keyed-hash.js';
import { Limiter } from '../../src/ip/icmp.js';
import { MAX_RANGES, Ranges } from '../../src/tcp/seq.js';
import { netSettings } from '../../src/settings.js';
import { Timed, TimerHeap } from '../../src/storage/timer-heap.js';
import { knownSecret } from '../../testkit/peer.js';

t.test('the arena gives blocks that do not overlap and takes all back', (t) => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.boolean(), fc.nat(5)), { maxLength: 80 }), (steps) => {
      const arena = new Arena(4096, 1 << 18);
      const held: [number, number][] = [];
      for (const [give, order] of steps) {
        if (give) {
          const at = arena.alloc(order);
          if (at >= 0) held.push([at, order]);
        } else if (held.length > 0) {
          const [at, o] = held.splice(order % held.length, 1)[0];
          arena.free(at, o);
        }
        const sorted = [...held].sort((a, b) => a[0] - b[0]);
        let end = 4096;
        for (const [at, o] of sorted) {
          if (at < end || at + (4096 << o) > 4096 + (1 << 18)) return false;
          end = at + (4096 << o);
        }
      }
      for (const [at, o] of held) arena.free(at, o);
      return arena.used === 0 && arena.alloc(6) === 4096;
    }),
    { seed: 1 },
  );
  t.equal(Arena.orderOf(4096), 0);
  t.equal(Arena.orderOf(4097), 1);
  t.equal(Arena.orderOf(1 << 20), 8);
  t.end();
});

t.test('a ring keeps its content while it wraps and grows, also what lies beyond a gap', (t) => {
  const mem = memOver(new ArrayBuffer(1 << 20));
  const arena = new Arena(1 << 19, 1 << 18);
  const ring = new ByteRing(mem, arena, 1 << 16);
  const bytes = Uint8Array.from({ length: 4000 }, (_, i) => i & 255);
  const out = new Uint8Array(4000);
  ring.ensure(4000);
  ring.append(bytes, 0, 3000);
  t.equal(ring.take(out, 0, 2500), 2500);
  ring.append(bytes, 3000, 1000);
  ring.ensure(20_000);
  mem.u8.set(bytes, 0);
  ring.put(1500, 0, 1000);
  ring.ensure(40_000);
  t.equal(ring.used, 1500);
  ring.extend(1000);
  t.equal(ring.take(out, 0, 4000), 2500);
  t.same(out.slice(0, 500), bytes.slice(2500, 3000));
  t.same(out.slice(500, 1500), bytes.slice(3000, 4000));
  t.same(out.slice(1500, 2500), bytes.slice(0, 1000));
  t.equal(ring.ensure(1 << 17), false, 'not beyond its limit');
  ring.shrink();
  t.equal(arena.used, 0);
  t.end();
});

t.test('lent bytes stay as they are until the loan ends, whatever becomes of the ring, and nothing is lost', (t) => {
  const step = fc.oneof(
    fc.record({ do: fc.constant('append' as const), n: fc.integer({ min: 1, max: 6000 }) }),
    fc.record({ do: fc.constant('lend' as const), n: fc.integer({ min: 1, max: 9000 }) }),
    fc.record({ do: fc.constantFrom('end' as const, 'shrink' as const, 'take' as const), n: fc.nat(9000) }),
    fc.record({ do: fc.constant('fill' as const), n: fc.nat(2) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 120, size: 'max' }), fc.boolean(), (steps, releases) => {
      const mem = memOver(new ArrayBuffer(1 << 20));
      const arena = new Arena(1 << 16, 1 << 18);
      const ring = new ByteRing(mem, arena, 1 << 16);
      const others: [number, number][] = [];
      let put = 0;
      let got = 0;
      let loan: Uint8Array | null = null;
      const byte = (i: number): number => (i * 7 + (i >> 8)) & 255;
      const isNext = (bytes: Uint8Array): boolean => bytes.every((b, i) => b === byte(got + i));
      for (const { do: what, n } of steps) {
        if (what === 'append' && ring.ensure(ring.used + n)) {
          ring.append(
            Uint8Array.from({ length: n }, (_, i) => byte(put + i)),
            0,
            n,
          );
          put += n;
        } else if (what === 'lend') {
          const wasLent = ring.isLent;
          const view = ring.lend(n);
          if (view !== null && (wasLent || view.length > n)) return false;
          loan ??= view;
        } else if (what === 'end' && loan !== null) {
          if (!isNext(loan)) return false;
          got += loan.length;
          loan = null;
          ring.endLoan();
        } else if (what === 'take' && loan === null) {
          const out = new Uint8Array(n);
          const bytes = ring.take(out, 0, n);
          if (!isNext(out.subarray(0, bytes))) return false;
          got += bytes;
        } else if (what === 'shrink') {
          ring.shrink();
        } else if (what === 'fill') {
          // Others write over whatever memory is free.
          const at = arena.alloc(n);
          if (at >= 0) {
            mem.u8.fill(0xee, at, at + (4096 << n));
            others.push([at, n]);
            if (others.length > 8) arena.free(...others.shift()!);
          }
        }
        if (ring.used !== put - got || (loan !== null && !isNext(loan))) return false;
      }
      if (releases) ring.release();
      if (loan !== null && !isNext(loan)) return false;
      if (loan !== null) ring.endLoan();
      ring.release();
      for (const [at, order] of others) arena.free(at, order);
      return arena.used === 0 && !ring.isLent;
    }),
    { seed: 1, numRuns: 300 },
  );
  t.end();
});

t.test('ranges behave as a set of numbers does, also across the wrap', (t) => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(200), fc.integer({ min: 1, max: 30 })), { maxLength: 40 }),
      fc.nat(240),
      (adds, cut) => {
        const base = 0x7fffffc0;
        const ranges = new Ranges();
        const model = new Set<number>();
        for (const [from, bytes] of adds) {
          const before = model.size;
          const news = ranges.add((base + from) | 0, (base + from + bytes) | 0);
          if (news < 0) continue;
          for (let i = 0; i < bytes; i++) model.add(from + i);
          if (model.size - before !== news) return false;
        }
        ranges.dropBefore((base + cut) | 0);
        for (let i = 0; i < cut; i++) model.delete(i);
        for (let i = 0; i < 240; i++) if (ranges.find((base + i) | 0) >= 0 !== model.has(i)) return false;
        return ranges.bytes === model.size && ranges.count <= MAX_RANGES;
      },
    ),
    { seed: 2 },
  );
  t.end();
});

t.test('timers come up in order, early ones when moved closer, removed ones never', (t) => {
  class Thing extends Timed {
    readonly fired: number[] = [];
    now = 0;
    override expire(): void {
      this.fired.push(this.now);
    }
  }
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(20), fc.nat(1000), fc.boolean()), { maxLength: 200 }), (steps) => {
      const heap = new TimerHeap();
      const things = Array.from({ length: 21 }, () => new Thing());
      const due = new Map<Thing, number>();
      for (const [i, at, remove] of steps) {
        if (remove) {
          heap.remove(things[i]);
          due.delete(things[i]);
        } else {
          heap.wake(things[i], at);
          due.set(things[i], Math.min(at, due.get(things[i]) ?? Infinity));
        }
      }
      for (let now = 0; now <= 1000; now += 10) {
        for (const thing of things) thing.now = now;
        heap.run(now);
      }
      return (
        heap.count === 0 && things.every((x) => (due.has(x) ? x.fired[0] === Math.ceil(due.get(x)! / 10) * 10 : true))
      );
    }),
    { seed: 3 },
  );
  t.end();
});

t.test('the quick checksum is the plain one', (t) => {
  const mem = memOver(new ArrayBuffer(1 << 17));
  const rng = new Rng(4);
  for (let i = 0; i < mem.u32.length; i++) mem.u32[i] = rng.u32();
  for (let i = 0; i < 500; i++) {
    const at = rng.below(100);
    const bytes = rng.below(i < 400 ? 3000 : 65_000);
    if (fastSum(mem, at, bytes) !== sumOf(mem, at, bytes)) t.fail(`at ${at}, ${bytes} bytes`);
  }
  mem.u8.fill(255);
  t.equal(fastSum(mem, 2, 65_000), foldSum(sumOf(mem, 2, 65_000)));
  t.end();
});

t.test('the keyed hash depends on every input and on the key; SipHash-2-4 by its own vector', (t) => {
  // Key 00..0f, input 00..0f (bytes in order): low half of vectors_sip64[16] of the reference code.
  const key = Uint8Array.from({ length: 16 }, (_, i) => i);
  const hash = new KeyedHash(Secret.known(key));
  t.equal(hash.of(0x03020100, 0x07060504, 0x0b0a0908, 0x0f0e0d0c) >>> 0, 0x57c29bdb);
  for (let i = 0; i < 16; i++) {
    const bent = key.slice();
    bent[i] ^= 0x80;
    t.not(new KeyedHash(Secret.known(bent)).of(1, 2, 3, 4), hash.of(1, 2, 3, 4), `byte ${i} of the key counts`);
  }
  const other = new KeyedHash(knownSecret(5));
  const one = other.of(1, 2, 3, 4);
  t.equal(
    new Set([one, other.of(2, 2, 3, 4), other.of(1, 3, 3, 4), other.of(1, 2, 4, 4), other.of(1, 2, 3, 5)]).size,
    5,
  );
  t.end();
});

t.test('a limit is that of each peer: ten at once and ten in the second, whatever others do', (t) => {
  const limiter = new Limiter(new KeyedHash(knownSecret(1)), 10);
  let greedy = 0;
  let modest = 0;
  for (let ms = 0; ms < 1000; ms++) {
    for (let i = 0; i < 5; i++) if (limiter.allow(ms, 0x0a000001)) greedy++;
    if (ms % 100 === 99 && limiter.allow(ms, 0x0a000002)) modest++;
  }
  t.ok(greedy >= 18 && greedy <= 20, `${greedy} for who asks all the time`);
  t.equal(modest, 10, 'and all for who does not');
  let many = 0;
  for (let peer = 0; peer < 100_000; peer++) if (limiter.allow(2000, peer << 8)) many++;
  t.ok(many <= 256 * 10, `${many} of a hundred thousand addresses`);
  t.end();
});

t.test('settings that make no sense are refused by name', (t) => {
  t.throws(() => netSettings({ mtu: 100 }), /mtu 100 is out of range/);
  t.throws(() => netSettings({ receiveBuffer: 5000 }), /receiveBuffer 5000/);
  t.throws(() => netSettings({ memory: 3 << 20 }), /memory/);
  t.end();
});
