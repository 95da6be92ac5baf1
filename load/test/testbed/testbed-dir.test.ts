import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { openOwnDir, readOwnFile, startTimeOf } from '@grantline/base';
import { discover } from '../../src/testbed/discover.js';
import { takeRunLock } from '../../src/testbed/run-lock.js';
import { REPOSITORY } from '../../src/testbed/paths.js';
import { parseTestbedFile, TestbedRecord, type TestbedFile } from '../../src/testbed/testbed-file.js';

const home = `/dev/shm/grantline-test-${process.pid}-owner`;
const dir = join(home, 'bed');
const isRoot = process.getuid?.() === 0;
const asRoot = isRoot ? {} : { skip: 'files can be given away as root only' };
mkdirSync(home, { mode: 0o755 });
t.teardown(() => rmSync(home, { recursive: true, force: true }));
t.beforeEach(() => {
  rmSync(dir, { recursive: true, force: true });
  mkdirSync(dir, { mode: 0o700 });
});
t.setTimeout(400_000);

const valid: TestbedFile = {
  schema: 'grantline.testbed/1',
  pid: process.pid,
  startTime: startTimeOf(process.pid) ?? 0,
  hypervisor: 'http://127.0.0.1:1',
  token: join(dir, 'token'),
  use: 'up',
};
const put = (file: object): void => writeFileSync(join(dir, 'testbed.json'), JSON.stringify(file), { mode: 0o644 });

/** The command in a process group of its own, with a shell that is still there afterwards. */
async function command(...args: string[]): Promise<{ code: number; stderr: string; survived: boolean }> {
  const env = { ...process.env, GRANTLINE_DIR: undefined, NODE_OPTIONS: undefined };
  const script = '"$@"; echo "code $?"';
  const grantline = join(REPOSITORY, 'load/bin/grantline.mjs');
  const child = spawn('sh', ['-c', script, 'sh', process.execPath, grantline, ...args, '--dir', dir], {
    env,
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (text) => (stdout += text));
  child.stderr.on('data', (text) => (stderr += text));
  await new Promise((done) => child.once('close', done));
  return { code: Number(/code (\d+)\n$/.exec(stdout)?.[1] ?? NaN), stderr, survived: /code \d+\n$/.test(stdout) };
}

function sleeper(t: { teardown: (end: () => unknown) => unknown }): ChildProcess {
  const child = spawn('sleep', ['600'], { stdio: 'ignore' });
  t.teardown(() => child.kill('SIGKILL'));
  return child;
}

t.test('down ends nothing that a testbed.json names which is no process of this testbed', async (t) => {
  const other = sleeper(t);
  const cases: [string, object][] = [
    ['everybody', { ...valid, pid: -1, startTime: null }],
    ['the own group', { ...valid, pid: 0, startTime: null }],
    ['the own group, with a start', { ...valid, pid: 0, startTime: 0 }],
    ['init', { ...valid, pid: 1, startTime: startTimeOf(1) ?? 0 }],
    ["somebody else's process", { ...valid, pid: other.pid, startTime: startTimeOf(other.pid ?? 0) }],
    ['a fraction', { ...valid, pid: 2.5 }],
    ['a text', { ...valid, pid: String(process.pid) }],
  ];
  for (const [what, file] of cases) {
    put(file);
    const down = await command('down');
    t.equal(down.code, 2, what);
    t.match(down.stderr, /^grantline: [^\n]*testbed\.json [^\n]*\n$/, what);
    t.ok(down.survived, `${what}: its group lives`);
    t.same(readdirSync(dir), ['testbed.json'], `${what}: nothing is removed`);
  }
  t.equal(other.exitCode ?? other.signalCode, null, 'the other process lives');
});

t.test('a supervisor is who holds the file open: its number and its start are not enough', (t) => {
  put(valid);
  t.throws(() => discover(dir), /names process \d+, which is not this testbed's/);
  rmSync(join(dir, 'testbed.json'));
  const record = TestbedRecord.claim(dir, valid);
  t.equal(discover(dir).state, 'alive');
  t.throws(() => TestbedRecord.claim(dir, valid), /just being started/);
  t.same(readdirSync(dir), ['testbed.json'], 'no draft is left');
  record.write({ ...valid, page: 'http://127.0.0.1:7680/' });
  t.equal(discover(dir).state, 'alive', 'also after the file was replaced');
  record.close();
  t.throws(() => discover(dir), /not this testbed's/);
  put({ ...valid, startTime: valid.startTime + 1 });
  t.equal(discover(dir).state, 'stale', 'its number is another process by now');
  t.end();
});

t.test('a testbed that writes its file anew, or ends, is never taken for a stranger meanwhile', async (t) => {
  // A supervisor that starts and ends all the time: with the file it opens others, as a supervisor does.
  const script = `
    const { mkdirSync, openSync, rmSync } = await import('node:fs');
    const { TestbedRecord } = await import(${JSON.stringify(new URL('../../src/testbed/testbed-file.js', import.meta.url).href)});
    const { startTimeOf } = await import(${JSON.stringify(import.meta.resolve('@grantline/base'))});
    const file = { ...JSON.parse(process.env.TESTBED), pid: process.pid, startTime: startTimeOf(process.pid) };
    const pause = () => new Promise((done) => setTimeout(done, 40 * Math.random()));
    for (let i = 0; i < 100; i++) openSync('/dev/null');
    console.log('ready');
    for (;;) {
      mkdirSync(${JSON.stringify(dir)}, { recursive: true, mode: 0o700 });
      const record = TestbedRecord.claim(${JSON.stringify(dir)}, file);
      for (let i = 0; i < 3; i++) {
        await pause();
        record.write(file);
      }
      rmSync(${JSON.stringify(dir)}, { recursive: true });
      record.close();
      await pause();
    }`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    env: { ...process.env, TESTBED: JSON.stringify(valid) },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ended = new Promise((done) => child.once('close', done));
  t.teardown(() => child.kill('SIGKILL'));
  await new Promise((done) => child.stdout.once('data', done));
  const seen = new Map<string, number>();
  for (let look = 0; look < 1500; look++) {
    let what: string;
    try {
      what = discover(dir).state;
    } catch (error) {
      what = String(error);
    }
    seen.set(what, (seen.get(what) ?? 0) + 1);
    if (look % 50 === 0) await sleep(1);
  }
  child.kill('SIGKILL');
  // Or it makes the directory again after it was removed.
  await ended;
  t.ok((seen.get('alive') ?? 0) > 0, 'it is seen');
  t.same(
    [...seen.keys()].filter((k) => !['alive', 'none', 'stale'].includes(k)),
    [],
  );
});

t.test('nothing that a testbed.json names leads out of the directory or the machine', (t) => {
  const wrong: [Partial<Record<keyof TestbedFile, unknown>>, RegExp][] = [
    [{ token: '/etc/hostname' }, /token: another file/],
    [{ token: join(dir, '..', 'bed', '..', 'token') }, /token/],
    [{ hypervisor: 'http://192.0.2.1:7600' }, /hypervisor: no address of this machine/],
    [{ hypervisor: 'http://evil.example:7600' }, /hypervisor/],
    [{ hypervisor: 'https://127.0.0.1:7600' }, /hypervisor/],
    [{ hypervisor: 'http://u:p@127.0.0.1:7600' }, /hypervisor/],
    [{ hypervisor: 'http://127.0.0.1:7600/x?' }, /hypervisor/],
    [{ page: 'http://198.51.100.7:80/' }, /page/],
    [{ use: 'mine' }, /use/],
    [{ schema: 'grantline.testbed/2' }, /schema/],
    [{ kernelGuests: [0] }, /kernelGuests/],
  ];
  for (const [change, what] of wrong)
    t.throws(() => parseTestbedFile(dir, JSON.stringify({ ...valid, ...change })), what, JSON.stringify(change));
  t.throws(() => parseTestbedFile(dir, '{'), /no JSON/);
  t.throws(() => parseTestbedFile(dir, 'null'), /is not what a testbed writes/);
  for (const hypervisor of ['http://127.0.0.1:7600', 'http://[::1]:7600', 'http://localhost:1', null])
    t.same(parseTestbedFile(dir, JSON.stringify({ ...valid, hypervisor })).hypervisor, hypervisor);
  t.end();
});

const COMMANDS = [
  ['down'],
  ['compare', '--no-page'],
  ['up', '--no-page'],
  ['dump', 'vif1.0'],
  ['capture', 'vif1.0', '--out', '/dev/null'],
];

t.test(
  'a directory that others can write or replace is refused by every command, before anything is read or made',
  async (t) => {
    const all = async (what: RegExp, commands = COMMANDS): Promise<void> => {
      const before = existsSync(dir) ? readdirSync(dir) : [];
      for (const args of commands) {
        const r = await command(...args);
        t.equal(r.code, 2, args[0]);
        t.match(r.stderr, what, args[0]);
        t.equal(r.stderr.split('\n').length, 2, 'one line');
      }
      t.same(existsSync(dir) ? readdirSync(dir) : [], before);
    };
    put(valid);
    chmodSync(dir, 0o770);
    await all(/others may write in /);
    chmodSync(dir, 0o700);
    rmSync(dir, { recursive: true });
    mkdirSync(join(home, 'other'), { mode: 0o700 });
    symlinkSync(join(home, 'other'), dir);
    await all(/is a symbolic link/, [['down']]);
    rmSync(dir);
    symlinkSync('/nonexistent', dir);
    await all(/is a symbolic link/, [['down']]);
  },
);

t.test("another user's directory is refused, also by root", asRoot, async (t) => {
  put(valid);
  chownSync(dir, 64901, 64901);
  for (const args of COMMANDS) {
    const r = await command(...args);
    t.equal(r.code, 2);
    t.match(r.stderr, /^grantline: \S+ is another user's: [^\n]*\n$/, args[0]);
  }
  t.same(readdirSync(dir), ['testbed.json']);
  const below = join(dir, 'mine');
  mkdirSync(below, { mode: 0o700 });
  t.throws(() => openOwnDir(below), /is below \S+, which is another user's/);
  t.throws(() => openOwnDir(join(dir, 'new', 'one'), 0o700), /another user's/);
});

t.test('a directory below one where others may write is refused, unless its names are theirs who made them', (t) => {
  const open = join(home, 'open');
  const mine = join(open, 'mine');
  mkdirSync(mine, { recursive: true, mode: 0o700 });
  chmodSync(open, 0o777);
  t.throws(() => openOwnDir(mine), /is below \S+, where others may write/);
  chmodSync(open, 0o1777);
  t.match(openOwnDir(mine), { path: mine, mode: 0o700, made: false });
  t.throws(() => openOwnDir(open), /is for all users of this machine/);
  symlinkSync(open, join(home, 'way'));
  t.equal(openOwnDir(join(home, 'way', 'mine'))?.path, mine, 'links above it are followed once');
  t.equal(openOwnDir(join(home, 'none')), null);
  t.match(openOwnDir(join(home, 'a', 'b'), 0o700), { made: true, mode: 0o700 });
  t.end();
});

t.test('a file in the directory is read when it is a plain one of ours that nobody else may write', (t) => {
  const file = join(dir, 'token');
  writeFileSync(file, 'secret\n', { mode: 0o600 });
  t.equal(readOwnFile(file), 'secret\n');
  chmodSync(file, 0o666);
  t.throws(() => readOwnFile(file), /may be written by others/);
  rmSync(file);
  symlinkSync('/etc/hostname', file);
  t.throws(() => readOwnFile(file), /is a symbolic link/);
  rmSync(file);
  mkdirSync(file);
  t.throws(() => readOwnFile(file), /is no plain file/);
  t.equal(readOwnFile(join(dir, 'none')), null);
  t.end();
});

t.test(
  'one measures at a time: a lock whose holder is alive is kept, a left one is taken, and only the own is given back',
  (t) => {
    const path = join(dir, 'run.lock');
    const release = takeRunLock(dir);
    t.throws(() => takeRunLock(dir), new RegExp(`process ${process.pid} is measuring`));
    release();
    t.notOk(existsSync(path));
    release();
    // What a killed one left; nobody holds it, whatever is written in it.
    writeFileSync(path, `${process.pid} ${startTimeOf(process.pid)}\n`, { mode: 0o600 });
    const again = takeRunLock(dir);
    rmSync(path);
    const other = takeRunLock(dir);
    again();
    t.ok(existsSync(path), "the other's lock is still there");
    t.throws(() => takeRunLock(dir), /is measuring/);
    other();
    symlinkSync(join(home, 'victim'), path);
    t.throws(() => takeRunLock(dir), /is a symbolic link/);
    t.notOk(existsSync(join(home, 'victim')));
    t.end();
  },
);

t.test('the usual place is the directory of the session where it is large enough, or where a testbed is', (t) => {
  const uid = isRoot ? 64901 : (process.geteuid?.() ?? 0);
  const session = join(home, 'session');
  mkdirSync(session, { mode: 0o700 });
  if (isRoot) chownSync(session, uid, uid);
  const runtimeDir = import.meta.resolve('@grantline/base');
  // Root has one place: it is somebody else who asks.
  const script = `${isRoot ? `process.setgroups([]); process.setgid(${uid}); process.setuid(${uid});` : ''}
    const fs = require('node:fs');
    import(${JSON.stringify(runtimeDir)}).then(({ usualDir }) => {
      const said = [];
      const env = { XDG_RUNTIME_DIR: ${JSON.stringify(session)} };
      said.push(usualDir(env), usualDir(env, Infinity), usualDir({}), usualDir({ XDG_RUNTIME_DIR: 'x' }));
      fs.mkdirSync(env.XDG_RUNTIME_DIR + '/grantline', { mode: 0o700 });
      fs.writeFileSync(env.XDG_RUNTIME_DIR + '/grantline/testbed.json', '');
      said.push(usualDir(env, Infinity));
      fs.chmodSync(env.XDG_RUNTIME_DIR, 0o755);
      said.push(usualDir(env));
      fs.writeSync(1, JSON.stringify(said));
      process.kill(process.pid, 'SIGKILL');
    });`;
  const said = spawnSync(process.execPath, ['-e', script], { encoding: 'utf8', env: { PATH: process.env['PATH'] } });
  const own = join(session, 'grantline');
  const shm = `/dev/shm/grantline-${uid}`;
  t.same(JSON.parse(said.stdout), [own, shm, shm, shm, own, shm], 'large, small, none, relative, found, open to all');
  t.end();
});

t.test('what is made has the mode that it is to have, whatever the umask', (t) => {
  const before = process.umask(0);
  t.teardown(() => process.umask(before));
  openOwnDir(join(home, 'wide'), 0o700);
  t.equal(statSync(join(home, 'wide')).mode & 0o777, 0o700);
  t.end();
});
