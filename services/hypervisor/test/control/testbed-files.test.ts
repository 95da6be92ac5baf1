import { spawnSync } from 'node:child_process';
import {
  chmodSync,
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
import { TestbedFiles } from '../../src/control/testbed-files.js';
import { bed, tempDir } from './bed.js';

const isRoot = process.getuid?.() === 0;
const asRoot = isRoot ? {} : { skip: 'owners of files can be set as root only' };

t.test('each file has its owner and mode, and what domains share has no file', asRoot, async (t) => {
  const b = await bed(t);
  const dd = await b.open('driver-domain');
  await b.open('nic');
  const g = await b.open('guest');
  await g.ask('evtchn.allocUnbound', { remote: 1000 });
  await dd.ask('evtchn.allocUnbound', { remote: 1001 });
  const want: [string, number, number, number][] = [
    ['.', 0, 0, 0o755],
    ['token', 0, 0, 0o600],
    ['hypervisor.pid', 0, 0, 0o600],
    ['hypervisor.sock', 0, 0, 0o666],
    ['shared.sock', 0, 0, 0o666],
    ['join', 0, 0, 0o711],
    ['join/guest', 0, 0, 0o600],
  ];
  for (const [path, uid, gid, mode] of want) {
    const s = statSync(join(b.dir, path));
    t.same([s.uid, s.gid, (s.mode & 0o777).toString(8)], [uid, gid, mode.toString(8)], path);
  }
  t.same(readdirSync(b.dir).sort(), ['hypervisor.pid', 'hypervisor.sock', 'join', 'shared.sock', 'token']);
  t.match((await b.api('POST', '/api/domains', { kind: 'guest' })).body, {
    domid: 2,
    uid: 64002,
    gid: 64002,
    groups: [],
  });
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
  const main = JSON.stringify(fileURLToPath(new URL('../../src/main.js', import.meta.url)));
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
  symlinkSync(victim, join(dir, 'join', 'nic'));
  t.throws(() => files.writeJoinToken('nic', 't'), /EEXIST/);
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
