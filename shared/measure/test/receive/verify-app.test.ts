import t from 'tap';
import { APP_COUNTERS } from '@grantline/observe';
import { PATTERN_MAX, Pattern, STAMP_BYTES, type FlowTemplates, type TemplateSpec } from '@grantline/frames';
import { memOver, type CounterBlock } from '@grantline/machine';
import { VerifyApp } from '../../src/receive/verify-app.js';
import { flowSpec, frame, take, templates, writeStamp } from '@grantline/frames/testkit';
import { Receiver, appBlock, latencyBlock, nonZero } from './kit.js';
import { TestSpace, block } from '@grantline/machine/testkit';

interface Setup {
  space: TestSpace;
  made: FlowTemplates;
  counters: CounterBlock;
  latency: CounterBlock;
  app: VerifyApp;
  rx: Receiver;
  /** The faults that were counted. */
  faults: () => Record<string, number>;
}

function setup(sizes: number[], more: Partial<TemplateSpec> = {}, lro = false): Setup {
  const space = new TestSpace();
  const made = templates(space, sizes, more);
  const counters = appBlock(space);
  const latency = latencyBlock(space);
  const app = new VerifyApp(space, counters, latency);
  app.reset({ seed: more.seed ?? 7, firstSequence: more.firstSequence ?? 0 });
  const rx = new Receiver(space, app, { lro });
  const faults = (): Record<string, number> => {
    const { corrupt, duplicate, reordered, missing, foreign } = counters.read();
    return nonZero({ corrupt, duplicate, reordered, missing, foreign });
  };
  return { space, made, counters, latency, app, rx, faults };
}

const several = (s: Setup, count: number, size = 0): Uint8Array[] =>
  Array.from({ length: count }, () => take(s.space, s.made, 0, size));

t.test('what the generator makes is right in every length, over every path', (t) => {
  for (const lro of [false, true])
    for (const part of [9100, 2048, 100]) {
      const sizes = [60, 61, 83, 84, 85, 100, 590, 1513, 1514, 4000, 8999, 9014];
      const s = setup(sizes, {}, lro);
      let bytes = 0;
      for (let i = 0; i < 300; i++) {
        const one = take(s.space, s.made, 0, (i * i) % sizes.length);
        bytes += one.length;
        if (s.rx.stack.room < 100) s.rx.deliver();
        s.rx.add(one, part);
      }
      s.rx.deliver();
      t.same(s.faults(), {});
      const got = s.counters.read();
      t.equal(got['frames'], 300);
      t.equal(got['bytes'], bytes);
      t.ok(part > 9014 ? got['copies'] === 300 : got['copies'] > 300);
    }
  t.end();
});

t.test('lengths that were not announced, and more than 64 of them, are verified as well', (t) => {
  const sizes = Array.from({ length: 90 }, (_, i) => 60 + i * 3);
  const s = setup(sizes);
  s.app.reset({ seed: 7 });
  for (let i = 0; i < 180; i++) s.rx.add(take(s.space, s.made, 0, i % 90));
  s.rx.deliver();
  t.same(s.faults(), {});
  const bad = take(s.space, s.made, 0, 89);
  bad[200] = bad[200] ^ 1;
  s.rx.add(bad).deliver();
  t.same(s.faults(), { corrupt: 1 });
  t.end();
});

t.test('a run takes no memory: an address space that is full changes nothing', (t) => {
  const s = setup([100, 200, 300]);
  const small = new TestSpace(10 << 20);
  const counters = block(small, APP_COUNTERS);
  const app = new VerifyApp(small, counters, latencyBlock(small));
  const rx = new Receiver(small, app);
  try {
    for (;;) small.mapPrivate(4096);
  } catch {
    // full now
  }
  app.reset({ seed: 7 });
  for (let i = 0; i < 30; i++) rx.add(take(s.space, s.made, 0, i % 3));
  rx.deliver();
  t.match(counters.read(), { frames: 30, corrupt: 0, foreign: 0, missing: 0 });
  t.end();
});

t.test('any bit flipped in pattern or stamp makes exactly one frame corrupt', (t) => {
  for (const [size, header] of [
    [60, 42],
    [61, 42],
    [90, 66],
    [300, 66],
  ] as const) {
    const s = setup([size]);
    const wrong: number[] = [];
    for (let bit = header * 8; bit < size * 8; bit++) {
      s.app.reset({ seed: 7, firstSequence: 4 * (bit - header * 8) });
      const frames = several(s, 4);
      const victim = frames[bit % 4];
      victim[bit >> 3] = victim[bit >> 3] ^ (1 << (bit & 7));
      for (const one of frames) s.rx.add(one);
      s.rx.deliver();
      const { corrupt, foreign, duplicate, frames: count } = s.counters.read();
      if (corrupt !== 1 || foreign !== 0 || duplicate !== 0 || count !== 4) wrong.push(bit);
    }
    t.same(wrong, [], `${size} bytes`);
  }
  t.end();
});

t.test('a damaged pattern does not hide the sequence; a damaged stamp does', (t) => {
  const s = setup([500]);
  const [a, b, c] = several(s, 3) as [Uint8Array, Uint8Array, Uint8Array];
  a[100] = a[100] ^ 4;
  b[490] = b[490] ^ 4;
  s.rx.add(a).add(b).add(c).deliver();
  t.same(s.faults(), { corrupt: 2, missing: 1 });
  t.end();
});

t.test('several damaged frames in one run are counted one by one', (t) => {
  const s = setup([1514]);
  several(s, 100).forEach((one, i) => {
    if (i % 9 === 0) one[66 + i * 14] = one[66 + i * 14] ^ 128;
    s.rx.add(one);
  });
  s.rx.deliver();
  t.same(s.faults(), { corrupt: 12 });
  t.end();
});

t.test('a frame that still holds a part of the one before in its page is corrupt', (t) => {
  for (const cut of [67, 700, 1495]) {
    const s = setup([1514]);
    const [old, fresh] = several(s, 2) as [Uint8Array, Uint8Array];
    const stale = fresh.slice();
    stale.set(old.subarray(cut, 1496), cut);
    s.rx.add(old).add(stale).deliver();
    t.same(s.faults(), { corrupt: 1 }, `from byte ${cut}`);
  }
  t.end();
});

t.test('a ring of 256 buffers never meets its own earlier frame as the right one', (t) => {
  const s = setup([200]);
  const frames = several(s, 512);
  for (let i = 0; i < 256; i++) {
    const stale = frames[i + 256].slice();
    stale.set(frames[i].subarray(66, 182), 66);
    s.rx.add(frames[i]);
    if (i % 64 === 63) s.rx.deliver();
    frames[i] = stale;
  }
  for (let i = 0; i < 256; i++) {
    s.rx.add(frames[i]);
    if (i % 64 === 63) s.rx.deliver();
  }
  t.equal(s.faults()['corrupt'], 256);
  t.end();
});

t.test('lost frames are missing until they come; then they are reordered', (t) => {
  const s = setup([100]);
  const f = several(s, 10);
  for (const i of [0, 1, 4, 5, 9]) s.rx.add(f[i]);
  s.rx.deliver();
  t.same(s.faults(), { missing: 5 });
  for (const i of [3, 7]) s.rx.add(f[i]);
  s.rx.deliver();
  t.same(s.faults(), { missing: 3, reordered: 2 });
  t.end();
});

t.test('a frame that comes twice is a duplicate, at once or late, and counts as a frame', (t) => {
  const s = setup([100]);
  const f = several(s, 6);
  for (const i of [0, 0, 1, 3, 2, 2, 1, 5, 5]) s.rx.add(f[i]);
  s.rx.deliver();
  t.same(s.faults(), { duplicate: 4, reordered: 1, missing: 1 });
  t.equal(s.counters.read()['frames'], 9);
  t.end();
});

t.test('the sequence wraps at 2^32 without a fault', (t) => {
  const s = setup([100], { firstSequence: 0xfffffffd });
  for (const one of several(s, 6)) s.rx.add(one);
  s.rx.deliver();
  t.same(s.faults(), {});
  t.end();
});

t.test('flows are told apart, also the UDP and the TCP half of one flow with coalescing', (t) => {
  const flows = [flowSpec(0), flowSpec(1), flowSpec(2)];
  const s = setup([60, 300, 1514], { flows }, true);
  for (let i = 0; i < 200; i++) s.rx.add(take(s.space, s.made, i % 3, (i * 7 + (i >> 2)) % 3));
  s.rx.deliver();
  t.same(s.faults(), {});
  t.ok((s.rx.counts()['coalesced'] ?? 0) > 0);
  t.end();
});

t.test('what the generator did not make is foreign, and still counted as delivered', (t) => {
  const s = setup([200]);
  s.rx.add(frame({ payload: new Uint8Array(100) }));
  s.rx.add(frame({ payload: [1, 2, 3] }));
  s.rx.add(frame({ payload: [] }));
  s.rx.add(frame({ protocol: 17, payload: new Uint8Array(20000).fill(7) }), 2000);
  s.rx.deliver();
  t.same(s.faults(), { foreign: 4 });
  t.equal(s.counters.read()['frames'], 4);
  t.end();
});

t.test('a frame of another run (another seed) is not taken for one of this run', (t) => {
  const s = setup([60, 500]);
  s.app.reset({ seed: 8 });
  s.rx
    .add(take(s.space, s.made, 0, 0))
    .add(take(s.space, s.made, 0, 1))
    .deliver();
  const { corrupt, foreign, frames } = s.counters.read();
  t.equal(frames, 2);
  t.equal(corrupt + foreign, 2);
  t.end();
});

t.test('a stamp is worth nothing on a pattern of another length', (t) => {
  const pattern = new Pattern(7);
  const mem = memOver(new ArrayBuffer(256));
  mem.u8.set(pattern.bytes.subarray(PATTERN_MAX, PATTERN_MAX + 100));
  writeStamp(mem, 100, pattern.sumOf(1, 100), 1, 0, 1e9);
  const s = setup([200]);
  s.rx.add(frame({ protocol: 17, payload: mem.u8.subarray(0, 100 + STAMP_BYTES) }));
  s.rx.deliver();
  t.same(s.faults(), {});
  s.rx.add(frame({ protocol: 17, payload: [...mem.u8.subarray(0, 99), ...mem.u8.subarray(100, 118)] }));
  s.rx.deliver();
  t.same(s.faults(), { corrupt: 1 });
  t.end();
});

t.test('a new run begins with zero, and a frame of the old sequence is then a new one', (t) => {
  const s = setup([100]);
  const [a] = several(s, 1) as [Uint8Array];
  s.rx.add(a).deliver();
  s.app.reset({ seed: 7 });
  t.same(nonZero(s.counters.read()), {});
  s.rx.add(a).deliver();
  t.same(s.faults(), {});
  t.equal(s.counters.read()['frames'], 1);
  t.end();
});

t.test('receiving 200000 frames leaves the heap as it was', (t) => {
  const s = setup([100, 1514], { flows: [flowSpec(0), flowSpec(1)] }, true);
  const page = s.space.mapPrivate(64 * 2048);
  const { u8 } = s.space.mem;
  const batch = (): void => {
    for (let i = 0; i < 64; i++) {
      const size = i & 1;
      const from = s.made.next((i >> 1) & 1, size, 1e9);
      const to = page + i * 2048;
      u8.copyWithin(to, from, from + s.made.lengths[size]);
      s.rx.stack.fragment(to, s.made.lengths[size], false);
    }
    s.rx.stack.process();
    s.rx.stack.deliver(2e9);
  };
  const run = (frames: number): number => {
    const before = process.memoryUsage().heapUsed;
    for (let i = 0; i < frames; i += 64) batch();
    return process.memoryUsage().heapUsed - before;
  };
  for (let i = 0; i < 5; i++) run(20000);
  // The least of several: other parts of the process allocate now and then. One object a frame would be megabytes.
  const grown = Math.min(...[0, 1, 2, 3, 4].map(() => run(40000)));
  t.ok(grown < 400_000, `grew by ${grown} bytes`);
  t.same(s.faults(), {});
  t.end();
});
