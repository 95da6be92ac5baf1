import { spawnSync } from 'node:child_process';
import t from 'tap';
import { AddressSpace, memOver } from '../../src/mem/address-space.js';
import { makeMemory } from '../../src/mem/memory-file.js';
import { anew } from '../../testkit/handles.js';

const moduleUrl = new URL('../../src/mem/address-space.js', import.meta.url).href;

t.test('two mappings of one file show the same bytes, and a copy between mappings is one call', (t) => {
  const fd = makeMemory('test', 8192);
  const space = new AddressSpace(1 << 20);
  const a = space.mapWhole(anew(fd), 8192, true);
  const b = space.mapWhole(fd, 8192, true);
  const own = space.mapPrivate(4096);
  space.mem.u8.set([1, 2, 3], own);
  space.mem.u8.copyWithin(a + 4096, own, own + 3);
  t.same([...space.mem.u8.subarray(b + 4096, b + 4099)], [1, 2, 3]);
  t.end();
});

t.test('atomic operations on a word do and return the same over a space and over a plain buffer', (t) => {
  const space = new AddressSpace(65536);
  const at = space.mapPrivate(4096);
  const same: unknown[] = [];
  for (const [mem, base] of [
    [space.mem, at],
    [memOver(new ArrayBuffer(64)), 0],
  ] as const) {
    const { bulk, u32 } = mem;
    const word = base + 8;
    const seen: number[] = [];
    const does = (result: number | void): void => void seen.push(result ?? 0, u32[word >> 2]);
    does(bulk.store32(word, -2));
    does(bulk.cas32(word, -2, 0x7fffffff));
    does(bulk.cas32(word, 0, 5));
    does(bulk.cas32(word, 0x7fffffff, 0x83e8001d | 0));
    does(bulk.and32(word, ~0x18));
    does(bulk.and32(word, 0));
    t.same([u32[(word >> 2) - 1], u32[(word >> 2) + 1]], [0, 0], 'its neighbours are left alone');
    same.push(seen);
  }
  t.same(same[0], [
    ...[0, 0xfffffffe],
    ...[-2, 0x7fffffff],
    ...[0x7fffffff, 0x7fffffff],
    ...[0x7fffffff, 0x83e8001d],
    ...[0x83e8001d | 0, 0x83e80005],
    ...[0x83e80005 | 0, 0],
  ]);
  t.same(same[1], same[0]);
  t.throws(() => space.mem.bulk.store32(at + 2, 1), 'a word lies at a multiple of 4');
  t.end();
});

t.test('what does not fit the reservation is refused', (t) => {
  const space = new AddressSpace(65536);
  t.throws(() => space.mapPrivate(65537), RangeError);
  t.throws(() => space.unmap(65536, 4096), RangeError);
  t.throws(() => space.unmap(100, 4096), RangeError, 'not page aligned');
  t.throws(() => new AddressSpace(2 ** 31), RangeError);
  t.end();
});

t.test('memory that need not be there at once takes pages as it is touched', (t) => {
  const MB = 1 << 20;
  const space = new AddressSpace(256 * MB);
  const before = process.memoryUsage.rss();
  const at = space.mapPrivate(64 * MB, false);
  const mapped = process.memoryUsage.rss();
  t.ok(mapped - before < 16 * MB, `${(mapped - before) / MB} MiB`);
  space.mem.u8.fill(1, at, at + 32 * MB);
  t.ok(process.memoryUsage.rss() - mapped > 24 * MB, 'touched');
  space.mapPrivate(64 * MB);
  t.ok(process.memoryUsage.rss() - mapped > 88 * MB, 'and the usual kind is there at once');
  t.end();
});

t.test('a stray access to an unmapped page ends that process by SIGSEGV and nothing else', (t) => {
  const touch = (code: string): ReturnType<typeof spawnSync> =>
    spawnSync(process.execPath, [
      '--input-type=module',
      '-e',
      `import { AddressSpace } from '${moduleUrl}'; const s = new AddressSpace(1 << 20); const at = s.mapPrivate(4096); ${code}`,
    ]);
  t.equal(touch('s.mem.u8[at] = 1; process.exit(7)').status, 7, 'a mapped page can be used');
  t.equal(touch('s.mem.u8[at + 4096] = 1; process.exit(7)').signal, 'SIGSEGV', 'its neighbour cannot');
  t.equal(touch('s.unmap(at, 4096); const x = s.mem.u8[at]; process.exit(x)').signal, 'SIGSEGV', 'nor an unmapped one');
  t.end();
});
