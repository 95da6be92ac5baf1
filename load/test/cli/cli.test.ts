import t, { type Test } from 'tap';
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { createServer as createHttpServer } from 'node:http';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { REPOSITORY } from '../../src/testbed/paths.js';
import { judge, type Machine } from '../../src/cli/doctor.js';
import { here, type Ran } from './cli-kit.js';
import { checkSpace, neededBytes } from '../../src/testbed/preflight.js';

const CAPTURE = join(REPOSITORY, 'load/captures/lan-http.pcap');
const bin = join(REPOSITORY, 'load/bin/grantline.mjs');
const home = `/dev/shm/grantline-test-${process.pid}-cli`;
const dir = join(home, 'bed');
mkdirSync(home, { recursive: true });
t.setTimeout(600_000);
t.teardown(() => rmSync(home, { recursive: true, force: true }));

async function run(...words: (string | NodeJS.ProcessEnv)[]): Promise<Ran> {
  const args = words.filter((w) => typeof w === 'string');
  const env = Object.assign(
    { ...process.env, GRANTLINE_DIR: dir, GRANTLINE_RESULTS: join(home, 'results'), NODE_OPTIONS: '' },
    ...words.filter((w) => typeof w !== 'string'),
  ) as NodeJS.ProcessEnv;
  const child = spawn(process.execPath, [bin, ...args], {
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: 120_000,
  });
  const ran = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const)
    child[name].setEncoding('utf8').on('data', (text: string) => (ran[name] += text));
  return new Promise((done) => child.once('close', (code) => done({ ...ran, code })));
}

const place = { GRANTLINE_DIR: dir, GRANTLINE_RESULTS: join(home, 'results') };

async function refused(t: Test, args: string[], what: RegExp, as = (words: string[]) => run(...words)): Promise<void> {
  const r = await as(args);
  t.equal(r.code, 2, args.join(' '));
  t.match(r.stderr, /^grantline: .+ - .+\n$/, 'what is wrong and what to do');
  t.equal(r.stderr.split('\n').length, 2, 'one line');
  t.match(r.stderr, what);
  t.equal(r.stdout, '');
  t.notOk(existsSync(join(dir, 'testbed.json')), 'no testbed is left');
  t.notOk(existsSync(join(home, 'results')), 'no results folder is made');
}

t.test('bad input is one line that says what and what to do, exit code 2, nothing left behind', async (t) => {
  const file = join(home, 'no-capture.pcap');
  writeFileSync(file, 'this is text');
  const cut = join(home, 'cut.pcap');
  const head = Buffer.alloc(24 + 16 + 10);
  head.writeUInt32LE(0xa1b2c3d4, 0);
  head.writeUInt32LE(65535, 16);
  head.writeUInt32LE(1, 20);
  head.writeUInt32LE(60, 24 + 8);
  head.writeUInt32LE(60, 24 + 12);
  writeFileSync(cut, head);
  const empty = join(home, 'empty.pcap');
  writeFileSync(empty, head.subarray(0, 24));
  const notFolder = file;
  const cases: [string[], RegExp][] = [
    [[], /no command.*up/],
    [['fly'], /unknown command/],
    [['compare', '--configs', 'baseline,turbo'], /"turbo".*known are baseline/],
    [['compare', '--set', 'mtu=9000'], /unknown factor "mtu".*path/],
    [['compare', '--frame', '59'], /frame size "59"/],
    [['compare', '--frame', '9015'], /60 to 9014/],
    [['compare', '--guests', '0'], /guests "0"/],
    [['compare', '--guests', '33'], /1 to 32/],
    [['compare', '--link', '0'], /link speed "0"/],
    [['compare', '--seconds', '-1'], /seconds/],
    [['compare', '--repeat', 'many'], /repeat/],
    [['compare', '--protocol', 'tcp', '--frame', '60'], /cannot be TCP/],
    [['compare', '--guests', '32', '--flows', '100'], /too many/],
    [['compare', '--warp'], /unknown option '--warp'/],
    [['compare', 'extra'], /too many arguments/],
    [['compare', '--json', '/proc/none/out.json'], /cannot write/],
    [['compare', '--json', join(notFolder, 'out.json')], /cannot write .*ENOTDIR/],
    [['compare', '--json', home], /cannot write .*it is a directory/],
    [['compare', '--dir', `/dev/shm/${'a'.repeat(100)}`], /path .* is too long/],
    [['replay'], /missing required argument/],
    [['replay', join(home, 'missing.pcap')], /no such file/],
    [['replay', home], /directory/],
    [['replay', file], /not a capture/],
    [['replay', cut], /truncated/],
    [['replay', empty], /no whole frame/],
    [['replay', file, '--pace', 'slow'], /pace "slow"/],
    [['replay', file, '--map', '02:00:00:00:00:01=guest2'], /guest2/],
    [['replay', file, '--config', 'native'], /native/],
    [['dump', 'eth0'], /vif1\.0/],
    [['dump', 'vif1.0'], /no testbed is running.*grantline up/],
    [['up', '--listen', 'here'], /HOST:PORT/],
    [['up', '--guests', '0'], /guests "0"/],
    [['up', '--rate', 'fast'], /rate "fast"/],
    [['up', '--config', 'turbo'], /"turbo"/],
    [['up', '--page', 'nowhere'], /HOST:PORT/],
    [['up', '--compose', '--config', 'baseline'], /--config is not for --compose/],
    [['up', '--guest-tap', 'guest3=gl0'], /there is 1 guest/],
    [['up', '--faults', 'loss=2'], /probability/],
    [['compare', '--rate', '5'], /--rate is not for the workload load/],
    [['compare', '--hypervisor', 'http://127.0.0.1:1'], /no operator's token/],
    [['replay', CAPTURE, '--loops', '0'], /loops "0"/],
    [['replay', CAPTURE, '--map', 'xx'], /MAC=guestN/],
    [['http', '--scenario', 'nope'], /unknown scenario/],
    [['http', '--connections', '0'], /connections "0"/],
    [['cycle', '--seconds', 'x'], /seconds "x"/],
    [['cycle', '--hypervisor', 'ftp://x'], /not the address of a hypervisor/],
    [['capture', 'vif1.0'], /required option '--out/],
    [['capture', 'vif1.0', '--out', join(home, 'x.pcapng'), '--hop', 'moon'], /unknown hop "moon"/],
    [['capture', 'vif1.0', '--out', join(home, 'x.pcapng')], /no testbed is running/],
    [['report'], /missing required argument/],
    [['down', 'extra'], /too many arguments/],
    [['doctor', 'extra'], /too many arguments/],
  ];
  for (const [args, what] of cases) await refused(t, args, what, (words) => here(place, ...words));
  for (const name of ['', 'fly', 'replay', 'http']) {
    const [args, what] = cases.find(([words]) => (words[0] ?? '') === name) ?? [[], /no such case/];
    await refused(t, args, what);
  }
});

t.test('a results folder that cannot be made is told before anything is started', async (t) => {
  const file = join(home, 'a-file');
  writeFileSync(file, '');
  // mkdir -p under /proc never ends in Node: it must not be tried.
  for (const results of [join(file, 'results'), file, '/proc/results']) {
    const r = await here({ ...place, GRANTLINE_RESULTS: results }, 'compare');
    t.equal(r.code, 2, results);
    t.match(r.stderr, /^grantline: cannot write results in .* - .*GRANTLINE_RESULTS.*\n$/);
    t.notOk(existsSync(dir));
  }
  t.end();
});

t.test('a testbed by address that does not answer is told, and nothing is made', async (t) => {
  const server = createHttpServer((_, answer) => answer.writeHead(404).end());
  server.listen(0, '127.0.0.1');
  await new Promise((done) => server.once('listening', done));
  const { port } = server.address() as { port: number };
  const url = `http://127.0.0.1:${port}`;
  const env = { GRANTLINE_TOKEN: 'x', GRANTLINE_HYPERVISOR_URL: url };
  const commands = [
    ['compare'],
    ['http'],
    ['replay', CAPTURE],
    ['dump', 'vif1.0'],
    ['capture', 'vif1.0', '--out', 'x'],
  ];
  const all = async (what: RegExp): Promise<void> => {
    for (const args of commands) {
      const r = await here({ ...place, ...env }, ...args);
      t.equal(r.code, 2, args[0]);
      t.match(r.stderr, what);
    }
  };
  await all(/^grantline: what answers at \S+ is no hypervisor \(404\) - is the testbed up, and the address right\?\n$/);
  server.closeAllConnections();
  await new Promise((done) => server.close(done));
  await all(/^grantline: no hypervisor answers at \S+ - is the testbed up, and the address right\?\n$/);
  t.notOk(existsSync(join(home, 'results')));
});

t.test('a port that takes connections and closes them at once is told, as any that does not answer', async (t) => {
  const server = createServer((socket) => socket.on('error', () => {}).end()).listen(0, '127.0.0.1');
  await new Promise((done) => server.once('listening', done));
  const { port } = server.address() as { port: number };
  const args = ['dump', 'vif1.0', '--hypervisor', `http://127.0.0.1:${port}`];
  // Whether the close is noticed before or after the request was written is a matter of moments: both must be met.
  const all = await Promise.all(Array.from({ length: 4 }, () => run({ GRANTLINE_TOKEN: 'x' }, ...args)));
  server.close();
  for (const r of all) {
    t.equal(r.code, 2);
    t.match(r.stderr, /^grantline: no hypervisor answers at \S+ - is the testbed up, and the address right\?\n$/);
  }
});

t.test('a port in use is told before anything is started', async (t) => {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((done) => server.once('listening', done));
  const { port } = server.address() as { port: number };
  await refused(t, ['up', '--listen', `127.0.0.1:${port}`], new RegExp(`port ${port} .* in use`));
  server.close();
});

t.test('a directory that a killed run left is refused with the way to remove it, and down removes it', async (t) => {
  mkdirSync(dir);
  writeFileSync(
    join(dir, 'testbed.json'),
    JSON.stringify({
      schema: 'grantline.testbed/1',
      pid: 2 ** 22 + 1,
      startTime: 1,
      hypervisor: null,
      token: join(dir, 'token'),
      use: 'own',
    }),
  );
  for (const args of [['compare'], ['up'], ['dump', 'vif1.0']]) {
    const r = await run(...args);
    t.equal(r.code, 2);
    t.match(r.stderr, /^grantline: .* was left by a killed run - remove it with: npx grantline down\n$/);
  }
  const down = await run('down');
  t.equal(down.code, 0);
  t.match(down.stdout, /removed/);
  t.notOk(existsSync(dir));
  t.match((await run('down')).stdout, /Nothing to stop/);
  t.end();
});

t.test('down and compare keep their hands off a directory that is not a testbed', async (t) => {
  mkdirSync(dir);
  writeFileSync(join(dir, 'thesis.txt'), 'years of work');
  t.equal((await run('down')).code, 2);
  t.match((await run('compare')).stderr, /not a testbed/);
  t.ok(existsSync(join(dir, 'thesis.txt')));
  rmSync(dir, { recursive: true });
  t.end();
});

t.test('what is said on a terminal is printable, whoever wrote it', async (t) => {
  for (const args of [['dump', '\x1b]0;x\x07vif1.0'], ['replay', '\x1b]52;c;eA==\x07\x9b2J'], ['\x1b[2J']]) {
    const r = await run(...args);
    t.equal(r.code, 2);
    // eslint-disable-next-line no-control-regex
    t.notMatch(r.stdout + r.stderr, /[\x00-\x09\x0b-\x1f\x7f-\x9f]/);
    t.match(r.stderr, /^grantline: .*\n$/);
  }
});

t.test('help is on stdout with exit code 0', async (t) => {
  t.match((await run('--help')).stdout, /compare[^]*replay[^]*up[^]*down[^]*dump[^]*doctor/);
  const r = await run('compare', '--help');
  t.equal(r.code, 0);
  t.match(r.stdout, /--configs/);
  t.end();
});

t.test('too little shared memory is one line with both numbers', (t) => {
  t.throws(() => checkSpace(8, 10 << 20), /8 guests need 5\d MiB of shared memory.*10 MiB are available/);
  t.throws(() => checkSpace(1, 1 << 20), /^1 guest needs 2\d MiB/);
  t.doesNotThrow(() => checkSpace(8, neededBytes(8)));
  t.end();
});

const machine: Machine = {
  platform: 'linux',
  arch: 'x64',
  node: '20.19.0',
  kernel: '6.1.0',
  cores: 2,
  cpu: 'some',
  memoryBytes: 4 << 30,
  uid: 0,
  closed: null,
  setpriv: true,
  dir: '/dev/shm/grantline-0',
  freeBytes: 1 << 30,
  testbed: 'none',
  refused: null,
  orphans: [],
  otherDirs: [],
  unbuilt: [],
  docker: null,
};

t.test('doctor finds what is essential and what is only different', (t) => {
  const levels = (m: Partial<Machine>): string =>
    judge({ ...machine, ...m })
      .map((f) => f.level)
      .filter((l) => l !== 'ok')
      .join(' ');
  t.equal(levels({}), '');
  t.equal(levels({ uid: 1000 }), 'note');
  t.equal(levels({ closed: '/root' }), 'note');
  t.equal(levels({ setpriv: false }), 'note');
  t.match(judge({ ...machine, uid: 1000 }).find((f) => f.level === 'note')?.what, /one uid/);
  t.equal(levels({ arch: 'riscv64' }), 'lacks');
  t.equal(levels({ freeBytes: 1 << 20 }), 'lacks');
  t.equal(levels({ cores: 1 }), 'note');
  t.equal(levels({ refused: "/dev/shm/x is another user's: choose one of your own" }), 'lacks');
  t.equal(
    levels({ testbed: 'stale', otherDirs: ['/dev/shm/grantline-9'], orphans: [{ pid: 1, script: 's', dir: '/d' }] }),
    'note note note',
  );
  t.equal(levels({ unbuilt: ['services/nic'] }), 'lacks');
  t.end();
});
