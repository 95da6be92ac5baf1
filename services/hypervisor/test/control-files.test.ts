import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  constants,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import type { DomId } from '@grantline/shared/abi/page.js';
import { TestbedFiles } from '../src/control/files.js';
import { bed, tempDir } from './control-bed.js';

const isRoot = process.getuid?.() === 0;
const asRoot = isRoot ? {} : { skip: 'owners of files can be set as root only' };

t.test('each file has its owner and mode', asRoot, async (t) => {
  const b = await bed();
  t.teardown(() => b.close());
  const dd = await b.open('driver-domain');
  await b.open('nic');
  const g = await b.open('guest');
  await g.ask('evtchn.allocUnbound', { remote: 1000 });
  await dd.ask('evtchn.allocUnbound', { remote: 1001 });
  const want: [string, number, number, number][] = [
    ['.', 0, 0, 0o755],
    ['token', 0, 0, 0o600],
    ['hypervisor.pid', 0, 0, 0o600],
    ['domain/1', 0, 0, 0o711],
    ['domain/1/memory', 64001, 64000, 0o660],
    ['domain/1/doorbell', 64001, 64000, 0o620],
    ['domain/1/counters', 64001, 64001, 0o644],
    ['domain/1000/memory', 65000, 64000, 0o660],
    ['domain/1000/doorbell', 65000, 64000, 0o622],
    ['domain/1001/doorbell', 65001, 64000, 0o622],
    ['evtchn/1-1000', 64001, 64000, 0o660],
    ['evtchn/1000-1001', 65000, 64000, 0o660],
    ['dma/table', 0, 65001, 0o640],
    ['dma/burst', 65001, 65001, 0o644],
  ];
  for (const [path, uid, gid, mode] of want) {
    const s = statSync(join(b.dir, path));
    t.same([s.uid, s.gid, (s.mode & 0o777).toString(8)], [uid, gid, mode.toString(8)], path);
  }
  t.match((await b.api('POST', '/api/domains', { kind: 'guest' })).body, {
    domid: 2,
    uid: 64002,
    gid: 64002,
    groups: [],
  });
});

t.test('the operating system keeps a guest out of all that is not its own', asRoot, async (t) => {
  const b = await bed();
  t.teardown(() => b.close());
  await b.open('driver-domain');
  await b.open('nic');
  const g1 = await b.open('guest');
  await b.open('guest');
  await g1.ask('evtchn.allocUnbound', { remote: 1000 });
  const rw = constants.O_RDWR;
  const ro = constants.O_RDONLY;
  const ring = constants.O_WRONLY | constants.O_NONBLOCK;
  const make = constants.O_WRONLY | constants.O_CREAT;
  const cases: [uid: number, groups: number[], tries: [path: string, flags: number, want: string, why?: string][]][] = [
    [
      64001,
      [],
      [
        ['domain/1/memory', rw, 'ok'],
        ['domain/1000/memory', ro, 'EACCES'],
        ['domain/1000/doorbell', ring, 'ENXIO', 'ringing the driver domain is allowed; nobody listens'],
        ['domain/1/evil', make, 'EACCES', 'a domain cannot replace its own files by links'],
      ],
    ],
    [
      64002,
      [],
      [
        ['domain/1/memory', rw, 'EACCES'],
        ['domain/1/memory', ro, 'EACCES'],
        ['evtchn/1-1000', rw, 'EACCES'],
        ['dma/table', ro, 'EACCES'],
        ['token', ro, 'EACCES'],
        ['domain/1/doorbell', ring, 'EACCES', 'it may not even ring another guest'],
      ],
    ],
    [
      65000,
      [64000],
      [
        ['domain/1/memory', rw, 'ok', 'the driver domain maps what it is granted'],
        ['dma/table', ro, 'EACCES'],
      ],
    ],
    [
      65001,
      [64000],
      [
        ['dma/table', ro, 'ok'],
        ['dma/table', rw, 'EACCES', 'the nic reads the table only'],
        ['dma/burst', rw, 'ok'],
      ],
    ],
  ];
  for (const [uid, groups, tries] of cases) {
    const script = `process.setgroups(${JSON.stringify(groups)}); process.setgid(${uid}); process.setuid(${uid});
      const open = ([path, flags]) => { try { fs.closeSync(fs.openSync(path, flags)); return 'ok' } catch (e) { return e.code } };
      fs.writeSync(1, JSON.stringify(${JSON.stringify(tries.map(([path, flags]) => [join(b.dir, path), flags]))}.map(open)));
      process.kill(process.pid, 'SIGKILL'); // no exit hook of the test runner: it would write files of this uid`;
    const got = JSON.parse(spawnSync(process.execPath, ['-e', script], { encoding: 'utf8' }).stdout) as string[];
    tries.forEach(([path, , want, why], i) =>
      t.equal(got[i], want, `uid ${uid} opens ${path}${why ? `: ${why}` : ''}`),
    );
  }
});

t.test('too little shared memory is one clear error now, with sizes, and leaves nothing half made', (t) => {
  const dir = tempDir();
  let free = 10 << 20;
  const files = new TestbedFiles(dir, { freeBytes: () => free });
  t.teardown(() => files.removeAll());
  files.makeDma();
  free = 3 << 20;
  const message = `too little shared memory: ${dir}/domain/1/memory needs 4096 KiB, 3072 KiB are available; enlarge /dev/shm or set GRANTLINE_DIR`;
  t.throws(() => files.makeDomain(1 as DomId, 4 << 20), { message });
  t.same(readdirSync(join(dir, 'domain')), ['0']);
  files.makeDomain(1001 as DomId, 64 << 10);
  t.equal(statSync(files.memory(1001 as DomId)).blocks * 512, 64 << 10, 'what there is, is reserved now');
  t.end();
});

t.test("a directory that is everybody's is refused and left as it was; one of its own gets its mode back", (t) => {
  const dir = tempDir();
  mkdirSync(dir);
  t.teardown(() => rmSync(dir, { recursive: true, force: true }));
  const mode = (): string => (statSync(dir).mode & 0o7777).toString(8);
  chmodSync(dir, 0o1777);
  t.throws(() => new TestbedFiles(dir), {
    message: `${dir} is for all users of this machine, as /dev/shm is: choose a directory below it`,
  });
  t.same([mode(), readdirSync(dir)], ['1777', []]);
  chmodSync(dir, 0o750);
  const files = new TestbedFiles(dir);
  t.equal(mode(), isRoot ? '755' : '700');
  files.removeAll();
  t.same([mode(), readdirSync(dir)], ['750', []]);
  t.end();
});

t.test("another user's directory is refused in one line, and nothing is left in it", asRoot, (t) => {
  const dir = tempDir();
  mkdirSync(dir);
  t.teardown(() => rmSync(dir, { recursive: true, force: true }));
  chmodSync(dir, 0o777);
  const main = JSON.stringify(fileURLToPath(new URL('../src/main.js', import.meta.url)));
  const become = 'process.setgroups([]); process.setgid(64901); process.setuid(64901);';
  const run = spawnSync(process.execPath, ['-e', `${become} import(${main})`], {
    env: { PATH: process.env['PATH'], GRANTLINE_DIR: dir, GRANTLINE_HTTP: '127.0.0.1:0' },
    encoding: 'utf8',
    timeout: 20_000,
  });
  t.equal(run.stderr, `grantline hypervisor: ${dir} is another user's: choose a directory of your own\n`);
  t.equal(run.status, 2);
  t.same([(statSync(dir).mode & 0o777).toString(8), readdirSync(dir)], ['777', []]);
  t.end();
});

t.test('what somebody put into the directory beforehand is neither written through nor taken', (t) => {
  const dir = tempDir();
  const victim = `${dir}-victim`;
  mkdirSync(dir, { mode: 0o700 });
  t.teardown(() => {
    for (const path of [dir, victim]) rmSync(path, { recursive: true, force: true });
  });
  symlinkSync(victim, join(dir, 'hypervisor.pid'));
  t.throws(() => new TestbedFiles(dir), /hypervisor\.pid is a symbolic link/);
  t.notOk(existsSync(victim), 'no file is made through a link');
  rmSync(join(dir, 'hypervisor.pid'));
  const files = new TestbedFiles(dir);
  t.teardown(() => files.removeAll());
  writeFileSync(victim, 'mine');
  symlinkSync(victim, join(dir, 'token'));
  t.throws(() => files.writeToken('t'), /EEXIST/);
  symlinkSync(victim, join(dir, 'dma', 'table'));
  t.throws(() => files.makeDma(), /EEXIST/);
  t.equal(readFileSync(victim, 'utf8'), 'mine');
  t.end();
});

t.test('a directory that is a link, or that others may write, is refused', (t) => {
  const dir = tempDir();
  const real = `${dir}-real`;
  mkdirSync(real, { mode: 0o700 });
  t.teardown(() => {
    for (const path of [dir, real]) rmSync(path, { recursive: true, force: true });
  });
  symlinkSync(real, dir);
  t.throws(() => new TestbedFiles(dir), /is a symbolic link/);
  chmodSync(real, 0o775);
  t.throws(() => new TestbedFiles(real), /others may write in/);
  t.same(readdirSync(real), []);
  t.end();
});
