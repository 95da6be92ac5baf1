import { spawn } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import {
  slots,
  BLOCKS_AT,
  COUNTER_FILE_BYTES,
  COUNTER_MAGIC,
  CounterFile,
  TOC_AT,
  AddressSpace,
  makeMemory,
} from '@grantline/machine';
import { CounterReader, readerOf, type ReadAt } from '../../src/counters/counter-reader.js';
import { readCounterFile } from '../../testkit/read-back.js';
import { anew } from '@grantline/machine/testkit';

const dir = mkdtempSync('/dev/shm/grantline-counters-');
t.teardown(() => rmSync(dir, { recursive: true, force: true }));
const names = ['frames', 'bytes'] as const;
const vif = { kind: 'vif', names };
const C = slots(names);

/** A counter file, and where it can be read. */
function counterFile(): { file: CounterFile; path: string } {
  const fd = makeMemory('test', COUNTER_FILE_BYTES);
  return { file: new CounterFile(new AddressSpace(1 << 20), anew(fd)), path: `/proc/${process.pid}/fd/${fd}` };
}

t.test('counts are private until committed, and then another process can read them', (t) => {
  const { file, path } = counterFile();
  const block = file.block(vif, { vif: 'vif1.0' });
  block.v[C.frames] += 3;
  t.same(readCounterFile(path), [{ kind: 'vif', labels: { vif: 'vif1.0' }, values: { frames: 0, bytes: 0 } }]);
  block.v[C.bytes] += 2 ** 40;
  block.commit();
  t.same(readCounterFile(path)[0]?.values, { frames: 3, bytes: 2 ** 40 });
  t.same(file.snapshot(), readCounterFile(path));
  file.reset();
  t.same(readCounterFile(path)[0]?.values, { frames: 0, bytes: 0 });
  t.end();
});

t.test('the same kind and labels give the same block, so that a vif that comes back goes on counting', (t) => {
  const { file } = counterFile();
  t.equal(file.block(vif, { vif: 'vif1.0' }), file.block(vif, { vif: 'vif1.0' }));
  t.not(file.block(vif, { vif: 'vif1.0' }), file.block(vif, { vif: 'vif2.0' }));
  t.end();
});

t.test('a block for which there is no room leaves nothing behind, and others still find theirs', (t) => {
  const { file, path } = counterFile();
  file.block(vif, { vif: 'one' });
  const label = { vif: 'x'.repeat(BLOCKS_AT) };
  for (let i = 0; i < 2; i++) t.throws(() => file.block(vif, label), /table of contents/, 'also when asked again');
  const names = Array.from({ length: COUNTER_FILE_BYTES / 8 }, () => 'c');
  t.throws(() => file.block({ kind: 'wide', names }), /is full/);
  file.block(vif, { vif: 'two' });
  t.same(
    readCounterFile(path).map((b) => b.labels['vif']),
    ['one', 'two'],
  );
  t.same(
    file.snapshot().map((b) => b.labels['vif']),
    ['one', 'two'],
  );
  t.end();
});

t.test('a reset empties the counters of a run, and totals go on', (t) => {
  const { file } = counterFile();
  const block = file.block(vif);
  block.v[C.frames] += 3;
  block.commit();
  block.v[C.frames] += 2;
  file.reset();
  t.same(
    [file.snapshot()[0].values, file.totals()[0].values],
    [
      { frames: 0, bytes: 0 },
      { frames: 5, bytes: 0 },
    ],
  );
  block.v[C.frames]++;
  block.v[C.bytes] += 7;
  block.commit();
  block.reset();
  t.same(file.totals()[0].values, { frames: 6, bytes: 7 }, 'also those that a block of its own was put to');
  t.end();
});

t.test('a reader of the file gets a block as it was committed, never half of it', async (t) => {
  const { file, path } = counterFile();
  const wide = Array.from({ length: 400 }, (_, i) => `c${i}`);
  file.block({ kind: 'wide', names: wide });
  // Another process writes all the time; every value of a commit is the same number.
  const script = `
    const { openSync, writeSync } = require('node:fs');
    const fd = openSync(process.argv[1], 'r+');
    const word = Buffer.alloc(4), half = Buffer.alloc(1600);
    process.stdout.write('x');
    for (let n = 1; ; n++) {
      word.writeUInt32LE(((n * 2) - 1) >>> 0); writeSync(fd, word, 0, 4, 65536);
      for (let i = 0; i < 200; i++) half.writeDoubleLE(n, i * 8);
      writeSync(fd, half, 0, 1600, 65544); writeSync(fd, half, 0, 1600, 65544 + 1600);
      word.writeUInt32LE((n * 2) >>> 0); writeSync(fd, word, 0, 4, 65536);
      for (const end = performance.now() + 0.05; performance.now() < end; );
    }`;
  const writer = spawn(process.execPath, ['-e', script, path], { stdio: ['ignore', 'pipe', 'inherit'] });
  t.teardown(() => writer.kill('SIGKILL'));
  await new Promise((resolve) => writer.stdout.once('data', resolve));
  const fd = openSync(path, 'r+');
  t.teardown(() => closeSync(fd));
  // Its time stands still: however long the writer does without the core, it is not taken for dead.
  let nowNs = 0;
  const reader = new CounterReader(readerOf(fd), () => nowNs);
  let torn = 0;
  let before = 0;
  const seen = new Set<number>();
  const end = performance.now() + 60_000;
  while (seen.size < 300 && performance.now() < end) {
    let values: number[] = [];
    try {
      values = Object.values(reader.read()[0].values);
    } catch (error) {
      // Only as long as there is no whole one that could be told.
      t.equal((error as Error).message, 'the counters are being written');
      t.equal(seen.size, 0);
      continue;
    }
    if (values.some((v) => v !== values[0]) || values[0] < before) torn++;
    before = values[0];
    seen.add(values[0]);
  }
  t.equal(torn, 0);
  t.equal(seen.size, 300, 'the writer was at work');

  writer.kill('SIGKILL');
  writeSync(fd, Buffer.from([1, 0, 0, 0]), 0, 4, BLOCKS_AT);
  t.equal(Object.values(reader.read()[0].values)[0], before, 'of a block that is being written, what it was');
  writeSync(fd, Buffer.alloc(8), 0, 8, BLOCKS_AT + 8);
  nowNs = 2e9;
  t.equal(Object.values(reader.read()[0].values)[0], 0, 'a writer that died in a commit holds nobody up');
});

/** A file as a hostile domain makes it, and how often it is read. */
function hostile(toc: string, word = 0) {
  const bytes = Buffer.alloc(COUNTER_FILE_BYTES);
  bytes.writeUInt32LE(COUNTER_MAGIC, 0);
  bytes.writeUInt32LE(1, 4);
  bytes.writeUInt32LE(Buffer.byteLength(toc), 8);
  bytes.write(toc, TOC_AT);
  for (let at = BLOCKS_AT; at < bytes.length; at += 8) bytes.writeUInt32LE(word, at);
  const made = { reads: 0, bytes: 0 };
  const readAt: ReadAt = (into, at) => {
    made.reads++;
    made.bytes += into.length;
    bytes.copy(into, 0, at);
  };
  const at = { ns: 0 };
  return { reader: new CounterReader(readAt, () => at.ns), made, at };
}

t.test('a look takes a bounded number of reads, whatever stands in the file: 1400 blocks that are never whole', (t) => {
  const entries = Array.from({ length: 1400 }, (_, i) => ({ kind: '', labels: {}, names: [], at: BLOCKS_AT + i * 8 }));
  const { reader, made, at } = hostile(JSON.stringify(entries), 1);
  t.throws(() => reader.read(), /are being written/);
  t.ok(made.reads <= 20, `${made.reads} reads`);
  t.ok(made.bytes <= 20 * COUNTER_FILE_BYTES);
  at.ns = 2e9;
  t.equal(reader.read().length, 1400, 'its writer has not gone on for two seconds');
  t.ok(made.reads <= 40, `${made.reads} reads`);
  t.end();
});

t.test('a table of contents that no writer of ours makes is refused', (t) => {
  const good = { kind: 'vif', labels: { vif: 'vif1.0' }, names: ['frames'], at: BLOCKS_AT };
  t.equal(hostile(JSON.stringify([good])).reader.read().length, 1);
  const bad: unknown[] = [
    ...[{}, null, 1, 'text', [null], [[]], [{ ...good, kind: 1 }], [{ ...good, kind: 'x'.repeat(101) }]],
    ...[[{ ...good, names: { length: 2e8 } }], [{ ...good, names: 'frames' }], [{ ...good, names: [1] }]],
    ...[
      [{ ...good, names: Array.from({ length: 1025 }, () => 'n') }],
      [{ ...good, labels: { a: 1 } }],
      [{ ...good, labels: null }],
    ],
    ...[
      -8,
      0,
      BLOCKS_AT - 8,
      BLOCKS_AT + 4,
      BLOCKS_AT + 0.5,
      COUNTER_FILE_BYTES - 8,
      COUNTER_FILE_BYTES,
      2 ** 40,
      1e308,
      '65536',
    ].map((at) => [{ ...good, at }]),
    [{ ...good, more: 1 }],
  ];
  for (const toc of bad)
    t.throws(
      () => hostile(JSON.stringify(toc)).reader.read(),
      /table of contents cannot be read/,
      JSON.stringify(toc).slice(0, 80),
    );
  t.throws(() => hostile('['.repeat(60_000)).reader.read(), /table of contents cannot be read/);
  t.throws(() => hostile('{"half').reader.read(), /table of contents cannot be read/);
  t.end();
});

t.test('a file that is no counter file is refused', (t) => {
  writeFileSync(join(dir, 'c'), 'hello');
  t.throws(() => readCounterFile(join(dir, 'c')), /not a counter file/);
  t.end();
});
