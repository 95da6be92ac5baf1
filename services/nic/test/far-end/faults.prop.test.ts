import t from 'tap';
import fc from 'fast-check';
import { CounterBlock, memOver } from '@grantline/machine';
import { FAULTS_COUNTERS } from '@grantline/observe';
import type { FaultSettings } from '@grantline/base';
import { F, Faults, NOT_TAKEN, OVERTAKE_NS, HELD_FRAMES } from '../../src/far-end/data/faults.js';

const FRAME = 80;
const FRAMES_AT = 1 << 16;

/** An injector over plain memory, and what came out behind it. */
class Bench {
  readonly mem = memOver(new ArrayBuffer(4 << 20));
  readonly counters = new CounterBlock(this.mem, 1024, FAULTS_COUNTERS);
  readonly came: { flow: number; sequence: number; damaged: boolean }[] = [];
  /** Asked at each frame: whether there is room for it. */
  room = (): boolean => true;
  now = 1e9;
  readonly faults: Faults;

  constructor(settings: FaultSettings, lends = false) {
    let at = 1 << 20;
    const space = {
      mem: this.mem,
      mapPrivate: (bytes: number) => {
        at += bytes;
        return at - bytes;
      },
    };
    const carry = (head: number, bytes: number): number => {
      if (!this.room()) return NOT_TAKEN;
      const { dv, u8 } = this.mem;
      let bits = 0;
      for (let i = 46; i < bytes; i++) for (let x = u8[head + i] ^ 0xaa; x > 0; x &= x - 1) bits++;
      this.came.push({ flow: dv.getUint16(head + 34), sequence: dv.getUint32(head + 42), damaged: bits > 0 });
      return 1;
    };
    this.faults = new Faults({ space, counters: this.counters, carry, lends });
    this.faults.set(settings);
  }

  /** UDP over IPv4: its source port is the flow, its payload a number and filling. */
  offer(flow: number, sequence: number): boolean {
    const { dv, u8 } = this.mem;
    u8.fill(0, FRAMES_AT, FRAMES_AT + 46);
    u8.fill(0xaa, FRAMES_AT + 46, FRAMES_AT + FRAME);
    dv.setUint16(FRAMES_AT + 12, 0x0800);
    u8[FRAMES_AT + 14] = 0x45;
    dv.setUint16(FRAMES_AT + 16, FRAME - 14);
    u8[FRAMES_AT + 23] = 17;
    dv.setUint16(FRAMES_AT + 34, flow);
    dv.setUint32(FRAMES_AT + 42, sequence);
    return this.faults.offer(FRAMES_AT, FRAME, 0, 0, this.now) !== NOT_TAKEN;
  }

  /** Lets all that is held go on. */
  rest(): void {
    this.room = () => true;
    for (let i = 0; i < 5; i++) {
      this.now += OVERTAKE_NS + 1e9;
      this.faults.release(this.now);
    }
    this.faults.settled();
    this.faults.commit();
  }
}

const chance = fc.double({ min: 0, max: 0.15, noNaN: true });
const settings = fc.record({
  seed: fc.integer({ min: 0, max: 0xffffffff }),
  ...{ loss: chance, duplicate: chance, corrupt: chance, reorder: chance, delay: chance },
  delayUs: fc.integer({ min: 1, max: 100_000 }),
});
const NOTHING = { seed: 1, loss: 0, duplicate: 0, corrupt: 0, reorder: 0, delay: 0, delayUs: 1 };

t.test('whatever it does and whoever is full: what goes in comes out, but for what is counted', (t) => {
  let most = 0;
  fc.assert(
    fc.property(
      settings,
      fc.integer({ min: 1, max: 4 }),
      fc.double({ min: 0, max: 0.9, noNaN: true }),
      (s, flows, full) => {
        const b = new Bench(s);
        let x = 1;
        b.room = () => (x = (Math.imul(x, 1103515245) + 12345) & 0x7fffffff) / 0x7fffffff >= full;
        const next = new Array<number>(flows).fill(0);
        for (let i = 0; i < 600; i++) {
          b.now += 1e5;
          const flow = (i >> 3) % flows;
          if (b.offer(flow, next[flow])) next[flow]++;
          if (i % 16 === 0) b.faults.release(b.now);
          most = Math.max(most, b.faults.held.count);
        }
        b.rest();
        const v = b.counters.v;
        const sent = next.reduce((a, n) => a + n, 0);
        t.equal(v[F.frames], sent, 'it has looked at each that was taken, once');
        t.equal(b.came.length, sent - v[F.lost] + v[F.duplicated], 'nothing is lost that was not counted');
        t.equal(v[F.held], 0);
        const first = new Set<string>();
        let again = 0;
        let late = 0;
        const newest = new Array<number>(flows).fill(-1);
        for (const { flow, sequence, damaged } of b.came) {
          if (damaged) continue;
          if (flow >= flows) continue;
          const key = `${flow} ${sequence}`;
          if (first.has(key)) again++;
          else if (sequence < newest[flow]) late++;
          first.add(key);
          newest[flow] = Math.max(newest[flow], sequence);
        }
        // A bit of the number itself may have been hit.
        t.ok(again <= v[F.duplicated] + v[F.corrupted], 'no frame comes twice that was not duplicated');
        if (s.corrupt === 0) {
          t.equal(again, v[F.duplicated]);
          t.equal(b.came.filter((f) => f.damaged).length, 0);
          if (s.delay === 0 && full === 0) t.equal(late, v[F.reordered], 'late are those that were overtaken');
        }
      },
    ),
    { numRuns: 60 },
  );
  t.ok(most <= HELD_FRAMES);
  t.end();
});

t.test('off it does nothing; the same seed and frames give the same, also where a frame is offered again', (t) => {
  const plain = new Bench(NOTHING);
  for (let i = 0; i < 50; i++) plain.offer(1, i);
  t.same(
    plain.came.map((f) => f.sequence),
    Array.from({ length: 50 }, (_, i) => i),
  );
  const s = { ...NOTHING, seed: 7, loss: 0.1, duplicate: 0.1, corrupt: 0.1 };
  const once = new Bench(s);
  const often = new Bench(s);
  let turn = 0;
  // Whoever has room only each third time.
  often.room = () => ++turn % 3 === 0;
  for (let i = 0; i < 300; i++) {
    once.offer(1, i);
    while (!often.offer(1, i));
    often.faults.release((often.now += 1e6));
  }
  once.rest();
  often.rest();
  t.same([...often.counters.v], [...once.counters.v]);
  const good = (b: Bench): number[] =>
    [...new Set(b.came.filter((f) => !f.damaged).map((f) => f.sequence))].sort((x, y) => x - y);
  t.same(good(often), good(once), 'the same frames are hit');
  t.end();
});

t.test('a corrupted frame differs in one bit, its original in none; a full hold leaves faults out and says so', (t) => {
  const b = new Bench({ ...NOTHING, corrupt: 1 });
  for (let i = 0; i < 100; i++) b.offer(1, 0xaaaaaaaa);
  t.equal(b.counters.v[F.corrupted], 100);
  t.ok(b.counters.v[F.headersHit] > 0 && b.counters.v[F.headersHit] < 50);
  t.equal(b.mem.u8[FRAMES_AT + 50], 0xaa);

  const slow = new Bench({ ...NOTHING, delay: 1, delayUs: 1000 });
  for (let i = 0; i < HELD_FRAMES + 44; i++) slow.offer(1, i);
  t.equal(slow.counters.v[F.delayed], HELD_FRAMES);
  t.equal(slow.counters.v[F.full], 44);
  t.equal(slow.came.length, 44);
  slow.now += 999e3;
  t.equal(slow.faults.release(slow.now), 0, 'not before their time');
  slow.now += 1e3;
  t.equal(slow.faults.release(slow.now), HELD_FRAMES);
  t.same(
    slow.came.slice(44).map((f) => f.sequence),
    Array.from({ length: HELD_FRAMES }, (_, i) => i),
  );
  t.end();
});

t.test(
  'what found no buffer goes on with the next one, before what comes after it, however often all are in use',
  (t) => {
    for (const kind of ['reorder', 'duplicate', 'delay'] as const) {
      const bench = new Bench({ ...NOTHING, [kind]: 0.2 });
      // Bursts that each end when the buffers do: those that come back meanwhile are the next burst's.
      let room = 0;
      bench.room = () => room-- > 0;
      let sequence = 0;
      for (let burst = 0; burst < 5000; burst++) {
        room = 1 + (burst % 3);
        while (bench.offer(1, sequence)) sequence++;
        bench.faults.release(bench.now);
        bench.now += 1000;
      }
      const { held } = bench.faults;
      t.ok(held.count < 10, `${kind}: ${held.count} are held`);
      let latest = -1;
      let behind = 0;
      for (const { sequence: n } of bench.came) {
        latest = Math.max(latest, n);
        behind = Math.max(behind, latest - n);
      }
      t.ok(behind < 20, `${kind}: ${behind} went by`);
    }
    t.end();
  },
);

t.test('where frames are looked at later, one that was shown room for has it, whatever else waits', (t) => {
  const bench = new Bench({ ...NOTHING, duplicate: 0.3 }, true);
  let room = 0;
  bench.room = () => room-- > 0;
  for (let i = 0; i < 100; i++) {
    room = 1;
    t.ok(bench.offer(1, i));
    bench.now += 1000;
  }
  t.ok(bench.faults.held.count > 10, 'copies wait');
  t.end();
});

t.test('what is looked at later is kept until then', (t) => {
  const b = new Bench({ ...NOTHING, corrupt: 1 }, true);
  for (let i = 0; i < HELD_FRAMES + 10; i++) b.offer(1, 0xaaaaaaaa);
  t.equal(b.counters.v[F.corrupted], HELD_FRAMES, 'no slot is used twice before it was looked at');
  t.equal(b.counters.v[F.full], 10);
  b.faults.settled();
  b.offer(1, 0xaaaaaaaa);
  t.equal(b.counters.v[F.corrupted], HELD_FRAMES + 1);
  t.end();
});
