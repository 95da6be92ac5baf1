import { spawn } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { slots } from '../src/counters/block.js';
import { COUNTER_FILE_BYTES, CounterFile, readCounterFile } from '../src/counters/file.js';
import { AddressSpace } from '../src/mem/address-space.js';
import { makeMemory } from '../src/mem/memory-file.js';
import { anew } from './client-fake.js';

const dir = mkdtempSync('/dev/shm/grantline-counters-');
t.teardown(() => rmSync(dir, { recursive: true, force: true }));
const names = ['frames', 'bytes'] as const;
const C = slots(names);

/** A counter file, and where it can be read. */
function counterFile(): { file: CounterFile; path: string } {
  const fd = makeMemory('test', COUNTER_FILE_BYTES);
  return { file: new CounterFile(new AddressSpace(1 << 20), anew(fd)), path: `/proc/${process.pid}/fd/${fd}` };
}

t.test('counts are private until committed, and then another process can read them', (t) => {
  const { file, path } = counterFile();
  const block = file.block('vif', { vif: 'vif1.0' }, names);
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
  t.equal(file.block('vif', { vif: 'vif1.0' }, names), file.block('vif', { vif: 'vif1.0' }, names));
  t.not(file.block('vif', { vif: 'vif1.0' }, names), file.block('vif', { vif: 'vif2.0' }, names));
  t.end();
});

t.test('a reset empties the counters of a run, and totals go on', (t) => {
  const { file } = counterFile();
  const block = file.block('vif', {}, names);
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
  file.block('vif', {}, wide);
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
  let torn = 0;
  const seen = new Set<number>();
  const end = performance.now() + 60_000;
  while (seen.size < 300 && performance.now() < end) {
    // The writer lives: however long it does without the core, it comes to the end of its commit.
    const values = Object.values(readCounterFile(path, 60_000)[0].values);
    if (values.some((v) => v !== values[0])) torn++;
    seen.add(values[0]);
  }
  t.equal(torn, 0);
  t.equal(seen.size, 300, 'the writer was at work');

  writer.kill('SIGKILL');
  const fd = openSync(path, 'r+');
  writeSync(fd, Buffer.from([1, 0, 0, 0]), 0, 4, 65536);
  closeSync(fd);
  t.equal(Object.keys(readCounterFile(path)[0].values).length, 400, 'a writer that died in a commit holds nobody up');
});

t.test('a file that is no counter file is refused', (t) => {
  writeFileSync(join(dir, 'c'), 'hello');
  t.throws(() => readCounterFile(join(dir, 'c')), /not a counter file/);
  t.end();
});
