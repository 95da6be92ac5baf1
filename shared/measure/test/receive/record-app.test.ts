import t from 'tap';
import { CopyApp } from '../../src/receive/frame-app.js';
import { LATENCY, latencyPercentiles, mergeLatency, recordLatency } from '@grantline/machine';
import { FrameDigest, RecordApp } from '../../src/receive/record-app.js';
import { RECORD_CHUNKS, RECORD_CHUNK_BYTES } from '@grantline/observe';
import { frame } from '@grantline/frames/testkit';
import { Receiver, appBlock, latencyBlock, nonZero } from './kit.js';
import { TestSpace, block } from '@grantline/machine/testkit';

const some = (count: number, bytes = 300): Uint8Array[] =>
  Array.from({ length: count }, (_, i) =>
    frame({ payload: new Uint8Array(bytes + i).fill(i), type: i % 3 ? 0x0800 : 0x86dd }),
  );

t.test('frames are kept byte for byte in order of arrival, from one buffer or several', (t) => {
  const space = new TestSpace();
  const counters = appBlock(space);
  const app = new RecordApp(space, counters);
  const rx = new Receiver(space, app, { lro: true });
  const frames = some(40);
  frames.forEach((bytes, i) => rx.add(bytes, i % 2 ? 128 : bytes.length));
  rx.deliver();
  t.same([...app.frames()], frames);
  const bytes = frames.reduce((n, f) => n + f.length, 0);
  t.same([app.count, app.bytes], [40, bytes]);
  t.match(nonZero(counters.read()), { frames: 40, bytes });
  t.end();
});

t.test('the digest is that of the set of frames, whatever their order, and counts repeats', (t) => {
  const digest = (frames: Uint8Array[]): string => {
    const sum = new FrameDigest();
    for (const f of frames) sum.add(f);
    return sum.value();
  };
  const frames = some(10);
  const space = new TestSpace();
  const app = new RecordApp(space, appBlock(space));
  const rx = new Receiver(space, app);
  for (const f of frames.toReversed()) rx.add(f);
  rx.deliver();
  t.equal(app.digest(), digest(frames));
  t.not(digest(frames), digest(frames.slice(1)));
  t.not(digest(frames), digest([...frames, frames[0]]));
  t.end();
});

t.test('a reset forgets the frames and uses the memory again', (t) => {
  const space = new TestSpace(16 << 20);
  const app = new RecordApp(space, appBlock(space));
  const rx = new Receiver(space, app);
  for (let i = 0; i < 20; i++) {
    app.reset();
    for (const f of some(30, 1400)) rx.add(f);
    rx.deliver();
  }
  t.equal([...app.frames()].length, 30);
  t.equal(app.notKept, 0);
  t.end();
});

t.test('frames beyond the cap are told, not counted as received', (t) => {
  const space = new TestSpace(16 << 20);
  const counters = appBlock(space);
  const app = new RecordApp(space, counters);
  const rx = new Receiver(space, app);
  const [big] = some(1, 60000);
  // 8 MiB are left for recording: two steps of 4 MiB.
  for (let i = 0; i < 200; i++) rx.add(big, 4096).deliver();
  t.ok(app.notKept > 0);
  t.equal(app.count + app.notKept, 200);
  t.equal(counters.read()['frames'], app.count);
  t.equal([...app.frames()].length, app.count);
  t.equal(RECORD_CHUNKS * RECORD_CHUNK_BYTES, 256 << 20);
  t.end();
});

t.test('the copying application counts and copies, and verifies nothing', (t) => {
  const space = new TestSpace();
  const counters = appBlock(space);
  const rx = new Receiver(space, new CopyApp(space, counters));
  const bytes = frame({ payload: new Uint8Array(4000) });
  for (let i = 0; i < 100; i++) rx.add(bytes, 2048).deliver();
  t.same(nonZero(counters.read()), { frames: 100, bytes: 100 * bytes.length, payloadBytes: 400000, copies: 200 });
  t.end();
});

t.test('each latency is counted in the bucket that it belongs to, exact to a sixteenth', (t) => {
  const space = new TestSpace();
  for (const ns of [0, 1, 1023, 1024, 1087, 1088, 5000, 123456, 1e6, 17e9, 17.17e9]) {
    const latency = latencyBlock(space);
    recordLatency(latency, ns);
    const counted = LATENCY.names.filter((name, i) => name.startsWith('lt') && latency.v[i] === 1);
    t.equal(counted.length, 1);
    const upper = Number(counted[0].slice(2));
    t.ok(ns < upper && (upper === 1024 || ns >= upper - Math.max(64, upper / 16)), `${ns} in ${counted[0]}`);
  }
  t.end();
});

t.test('latencies out of range are counted at the ends, never lost', (t) => {
  const space = new TestSpace();
  const latency = latencyBlock(space);
  for (const ns of [-5, NaN, 18e9, 1e300, Infinity]) recordLatency(latency, ns);
  latency.commit();
  const values = latency.read();
  t.equal(values['count'], 5);
  t.equal(values['lt1024'], 2);
  t.equal(values['ltInfinity'], 3);
  t.end();
});

t.test('percentiles of one snapshot and of several together', (t) => {
  const space = new TestSpace();
  const one = block(space, LATENCY);
  const two = block(space, LATENCY);
  for (let i = 1; i <= 1000; i++) recordLatency(i % 2 ? one : two, i * 1000);
  one.commit();
  two.commit();
  const [p50, p99, max] = latencyPercentiles(mergeLatency([one.read(), two.read()]), [0.5, 0.99, 1]) as [
    number,
    number,
    number,
  ];
  t.ok(p50 >= 500e3 && p50 <= 500e3 * 1.07, `${p50}`);
  t.ok(p99 >= 990e3 && p99 <= 1e6, `${p99}`);
  t.equal(max, 1e6);
  t.same(latencyPercentiles({}, [0.5]), [NaN]);
  t.end();
});
