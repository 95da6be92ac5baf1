import { spawn } from 'node:child_process';
import {
  closeSync,
  ftruncateSync,
  mkdirSync,
  mkdtempSync,
  readSync,
  readdirSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { connect } from 'node:net';
import { dirname, join } from 'node:path';
import t, { type Test } from 'tap';
import { AddressSpace } from '../../src/mem/address-space.js';
import { availableMemory } from '@grantline/base';
import { DescriptorDoor, NoDescriptor, fetchDescriptor } from '../../src/mem/descriptors.js';
import { makeMemory, sealSeals, sealWrites } from '../../src/mem/memory-file.js';
import { anew, testDir, until } from '../../testkit/handles.js';

const KIB = 1024;

t.test('F4 shared memory keeps its size, whoever holds it, and its maker too', (t) => {
  const fd = makeMemory('test', 64 * KIB);
  sealSeals(fd);
  const other = anew(fd);
  t.teardown(() => [fd, other].forEach((f) => closeSync(f)));
  for (const held of [fd, other]) {
    t.throws(() => ftruncateSync(held, 0), { code: 'EPERM' });
    t.throws(() => ftruncateSync(held, 64 * KIB + 1), { code: 'EPERM' });
    t.throws(() => writeSync(held, Buffer.alloc(8), 0, 8, 64 * KIB), { code: 'EPERM' });
  }
  t.throws(() => sealWrites(fd), /errno 1/, 'and nobody can seal it against its users');
  const word = Buffer.from('good');
  t.equal(writeSync(other, word, 0, 4, 100), 4);
  t.equal(readSync(fd, word, 0, 4, 100), 4);
  t.equal(word.toString(), 'good');
  t.end();
});

t.test('F4 what others only read is written by the mapping that there was before, and in no other way', (t) => {
  const fd = makeMemory('test', 4 * KIB);
  t.teardown(() => closeSync(fd));
  const space = new AddressSpace(1 << 20);
  const at = space.mapWhole(anew(fd), 4 * KIB, true);
  sealWrites(fd);
  space.mem.u8[at] = 7;
  const reader = space.mapWhole(anew(fd, 'r'), 4 * KIB, false);
  t.equal(space.mem.u8[reader], 7);
  space.mem.u8[at] = 8;
  t.equal(space.mem.u8[reader], 8);
  t.throws(() => space.mapWhole(anew(fd), 4 * KIB, true), /errno 1/);
  t.throws(() => writeSync(fd, Buffer.alloc(1), 0, 1, 0), { code: 'EPERM' });
  t.end();
});

/** A door that hands out one descriptor, for the ticket ff..ff. */
function door(t: Test): { door: DescriptorDoor; path: string; memory: number } {
  const dir = testDir();
  const path = join(dir, 'shared.sock');
  const memory = makeMemory('test', 4 * KIB);
  const door = new DescriptorDoor(path, (ticket) => (ticket === GOOD ? anew(memory) : null));
  t.teardown(() => {
    door.close();
    closeSync(memory);
    rmSync(dir, { recursive: true, force: true });
  });
  return { door, path, memory };
}

const GOOD = 'f'.repeat(32);
const MODULE = new URL('../../src/mem/descriptors.js', import.meta.url).href;
const openFds = (): number => readdirSync('/proc/self/fd').length;

t.test('a ticket brings a descriptor into another process; a wrong one, or none at all, brings nothing', async (t) => {
  const { path, memory } = door(t);
  const own = await fetchDescriptor(path, GOOD);
  writeSync(own, 'hello', 0);
  const word = Buffer.alloc(5);
  readSync(memory, word, 0, 5, 0);
  t.equal(word.toString(), 'hello');
  closeSync(own);
  await t.rejects(fetchDescriptor(path, '0'.repeat(32)), NoDescriptor);
  await t.rejects(fetchDescriptor(`${path}2`, GOOD), { code: 'ENOENT', path: `${path}2` });
  const script = `import { fetchDescriptor } from ${JSON.stringify(MODULE)}; import { readSync, writeSync } from 'node:fs';
    const fd = await fetchDescriptor(process.argv[1], process.argv[2]); const b = Buffer.alloc(5); readSync(fd, b, 0, 5, 0); writeSync(1, b);`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script, path, GOOD]);
  t.teardown(() => child.kill('SIGKILL'));
  let out = '';
  child.stdout.on('data', (d: Buffer) => (out += d.toString()));
  await new Promise((resolve) => child.once('exit', resolve));
  t.equal(out, 'hello');
  // Too short, too long, and in two parts: the server hangs up.
  for (const parts of [['short'], ['x'.repeat(17)], ['x'.repeat(8), 'y'.repeat(8)]]) {
    const s = connect(path);
    let answered = 0;
    // It may be hung up on while it still writes.
    s.on('error', () => {}).on('data', (d: Buffer) => (answered += d.length));
    const closed = new Promise((resolve) => s.once('close', resolve));
    for (const part of parts) {
      s.write(part);
      await new Promise((resolve) => setImmediate(resolve));
    }
    await closed;
    t.equal(answered, 0, `${parts.join(' and ')} is hung up on`);
  }
});

t.test('F5 callers that say nothing cost no descriptor for longer than a second, and keep nobody out', async (t) => {
  const { door: d, path } = door(t);
  const before = openFds();
  const silent = Array.from({ length: 100 }, () => connect(path));
  let closed = 0;
  for (const s of silent)
    s.on('error', () => {})
      .on('close', () => closed++)
      .resume();
  closeSync(await fetchDescriptor(path, GOOD));
  t.ok(d.waiting <= 32, `${d.waiting} are listened to`);
  await until(() => closed === silent.length);
  t.equal(d.waiting, 0);
  await until(() => openFds() <= before);
  closeSync(await fetchDescriptor(path, GOOD));
  d.close();
  d.close();
  await t.rejects(fetchDescriptor(path, GOOD), { code: 'ENOENT' });
});

t.test(
  'available memory is that of the machine and of each control group above, where what can be dropped counts',
  (t) => {
    const root = mkdtempSync('/tmp/grantline-available-');
    t.teardown(() => rmSync(root, { recursive: true }));
    const put = (path: string, text: string): void => {
      mkdirSync(dirname(join(root, path)), { recursive: true });
      writeFileSync(join(root, path), text);
    };
    t.equal(availableMemory(root), Infinity, 'a system that says nothing');
    put('proc/meminfo', 'MemTotal: 9000 kB\nMemAvailable:    4000 kB\n');
    t.equal(availableMemory(root), 4000 * KIB);
    put('proc/self/cgroup', '0::/a/b\n');
    put('sys/fs/cgroup/a/b/memory.max', 'max\n');
    put('sys/fs/cgroup/a/memory.max', '1000000\n');
    put('sys/fs/cgroup/a/memory.current', '900000\n');
    put('sys/fs/cgroup/a/memory.stat', 'anon 5\ninactive_file 100000\nactive_file 20000\nshmem 7\n');
    t.equal(availableMemory(root), 220_000);
    put('sys/fs/cgroup/a/memory.current', '2000000\n');
    t.equal(availableMemory(root), 0);
    // The older groups, in a container: the path is the host's, and only the top is mounted.
    put('proc/self/cgroup', '5:cpu:/docker/x\n4:memory:/docker/x\n0::/docker/x\n');
    put('sys/fs/cgroup/memory/memory.limit_in_bytes', '500000\n');
    put('sys/fs/cgroup/memory/memory.usage_in_bytes', '450000\n');
    put('sys/fs/cgroup/memory/memory.stat', 'inactive_file 1\ntotal_inactive_file 30000\ntotal_active_file 0\n');
    t.equal(availableMemory(root), 80_000);
    t.ok(availableMemory() > 0, 'and this one has some');
    t.end();
  },
);
