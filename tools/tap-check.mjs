#!/usr/bin/env node
// Tries TAP devices against the Linux kernel, in network namespaces that it makes itself and removes again: a kernel at the
// far end of the cable, kernels as two guests' stacks, our own stack in a third. About a minute. Skips, saying why, without
// root, /dev/net/tun or one of the programs.
import { execFile, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  accessSync,
  constants,
  existsSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { setup } from './setup.mjs';
import { hostile } from './tap-hostile.mjs';

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const BIN = join(ROOT, 'load/bin/grantline.mjs');
const TAG = `gl${process.pid % 100000}`;
/** Namespaces: the far end, guest1, guest2. */
const [FAR, ONE, TWO] = ['f', 'a', 'b'].map((n) => TAG + n);
const FAR_IP = '10.77.255.254';
const [IP1, IP2, IP3] = ['10.77.0.1', '10.77.0.2', '10.77.0.3'];
const CONFIG = process.env['GRANTLINE_TAP_CONFIG'] || 'optimised';

/** @typedef {{ code: number, out: string, err: string }} Done */

/** @param {string} file @param {string[]} args @param {number} [limitMs] @returns {Promise<Done>} */
function run(file, args, limitMs = 60_000) {
  return new Promise((resolve) => {
    execFile(file, args, { cwd: ROOT, maxBuffer: 64 << 20, timeout: limitMs }, (error, out, err) => {
      const code = error === null ? 0 : typeof error.code === 'number' ? error.code : 1;
      resolve({ code, out: String(out), err: String(err) });
    });
  });
}
/** A program in a namespace. @param {string} ns @param {string[]} argv @param {number} [limitMs] */
const inside = (ns, argv, limitMs) => run('ip', ['netns', 'exec', ns, ...argv], limitMs);

/** @param {string} why @returns {never} */
function skip(why) {
  console.log(`tap: skipped: ${why}`);
  process.exit(0);
}

if (process.getuid?.() !== 0) skip('not root');
try {
  accessSync('/dev/net/tun', constants.R_OK | constants.W_OK);
} catch {
  skip('there is no /dev/net/tun that can be opened: modprobe tun');
}
for (const [tool, pack] of [
  ...[
    ['ip', 'iproute2'],
    ['ping', 'iputils-ping'],
    ['curl', 'curl'],
    ['iperf3', 'iperf3'],
    ['ethtool', 'ethtool'],
  ],
  ...[
    ['tcpdump', 'tcpdump'],
    ['tshark', 'tshark'],
  ],
])
  if ((await run('sh', ['-c', `command -v ${tool}`])).code !== 0) skip(`no ${tool} here: apt-get install ${pack}`);

setup();

const dir = mkdtempSync(join(tmpdir(), 'grantline-tap-'));
const bed = join('/dev/shm', `grantline-tap-${process.pid}`);
const env = { ...process.env, GRANTLINE_DIR: bed, GRANTLINE_RESULTS: join(dir, 'results') };
/** @type {import('node:child_process').ChildProcess[]} */
const children = [];

let passed = 0;
let failed = 0;
/** @param {string} what @param {() => Promise<string | void>} check */
async function step(what, check) {
  const start = Date.now();
  try {
    const note = await check();
    passed++;
    console.log(`ok ${what}${note ? `: ${note}` : ''} (${((Date.now() - start) / 1000).toFixed(1)} s)`);
  } catch (error) {
    failed++;
    console.log(`not ok ${what}: ${error instanceof Error ? error.message : String(error)}`);
  }
}
/** @param {unknown} ok @param {string} message @returns {asserts ok} */
function must(ok, message) {
  if (!ok) throw new Error(message);
}
/** @param {Done} done */
const succeeded = ({ code, out, err }) => must(code === 0, `exit code ${code}: ${(err + out).trim().slice(-800)}`);
/** @param {string} what @param {() => Promise<unknown> | unknown} so */
async function until(what, so, limitMs = 20_000) {
  const end = Date.now() + limitMs;
  while (Date.now() < end) {
    if (await so()) return;
    await sleep(50);
  }
  throw new Error(`not within ${limitMs / 1000} s: ${what}`);
}

/** A child that stays. @param {string} file @param {string[]} argv */
function start(file, argv) {
  const child = spawn(file, argv, { cwd: ROOT, env, stdio: ['ignore', 'pipe', 'pipe'] });
  children.push(child);
  const state = { child, out: '', err: '', code: /** @type {number | null} */ (null), over: false };
  child.stdout.on('data', (d) => (state.out += d));
  child.stderr.on('data', (d) => (state.err += d));
  child.once('exit', (code, signal) => {
    state.over = true;
    state.code = code ?? (signal === 'SIGKILL' ? 137 : 1);
  });
  return state;
}
/** @param {ReturnType<typeof start>} state @param {NodeJS.Signals} signal */
async function end(state, signal = 'SIGINT') {
  if (!state.over) state.child.kill(signal);
  await until('the end of a program', () => state.over, 8000).catch(() => state.child.kill('SIGKILL'));
}
/** grantline up, until it says that it runs. @param {string[]} args */
async function up(...args) {
  const state = start(process.execPath, [BIN, 'up', '--no-page', '--listen', '127.0.0.1:0', ...args]);
  await until('the testbed runs', () => state.out.includes('Running in') || state.over, 40_000);
  must(!state.over, `it ended: ${state.err || state.out}`);
  return state;
}
/** @param {string} ns */
const devices = async (ns) => (await run('ip', ['-n', ns, '-o', 'link'])).out.replace(/.* lo: .*\n/, '').trim();
/** @param {string} name */
const sha = (name) =>
  createHash('sha256')
    .update(readFileSync(join(dir, name)))
    .digest('hex');

// Whatever happens, nothing of this stays. Only our own namespaces, and in them only what we started.
let cleared = false;
async function clear() {
  if (cleared) return;
  cleared = true;
  for (const child of children.reverse()) if (child.exitCode === null) child.kill('SIGTERM');
  await sleep(300);
  for (const ns of [FAR, ONE, TWO]) {
    for (const pid of (await run('ip', ['netns', 'pids', ns])).out.split('\n').filter(Boolean)) {
      try {
        process.kill(Number(pid), 'SIGKILL');
      } catch {
        // It has ended.
      }
    }
    await run('ip', ['netns', 'del', ns]);
  }
  for (let i = 0; i < 30 && existsSync(bed); i++) await sleep(100);
  rmSync(bed, { recursive: true, force: true });
  rmSync(dir, { recursive: true, force: true });
}
for (const signal of /** @type {const} */ (['SIGINT', 'SIGTERM', 'SIGHUP']))
  process.once(signal, () => void clear().finally(() => process.exit(1)));

for (const ns of [FAR, ONE, TWO]) {
  succeeded(await run('ip', ['netns', 'add', ns]));
  await run('ip', ['-n', ns, 'link', 'set', 'lo', 'up']);
}
// What it serves is made from the length alone, so that both sides can tell its checksum.
writeFileSync(
  join(dir, 'server.mjs'),
  `import { createServer } from 'node:http'; import { createHash } from 'node:crypto';
const made = new Map();
const body = (n) => { let b = made.get(n); if (!b) { b = Buffer.alloc(n); let x = 123456789 ^ n; for (let i = 0; i < n; i++) { x = Math.imul(x, 1103515245) + 12345; b[i] = x >>> 16; } made.set(n, b); } return b; };
createServer((q, r) => {
  if (q.method === 'POST') { const h = createHash('sha256'); q.on('data', (d) => h.update(d)); q.on('end', () => r.end(h.digest('hex'))); return; }
  const n = Number(q.url.split('/')[2]); const b = body(n);
  if (q.url.startsWith('/sum/')) return r.end(createHash('sha256').update(b).digest('hex'));
  r.setHeader('content-length', n); r.end(b);
}).listen(8080);`,
);
/** Curl from a namespace, checksums compared. @param {string} ns @param {string} ip @param {number} n @param {number} limitS */
async function fetchAndCompare(ns, ip, n, limitS = 60) {
  const file = join(dir, 'body');
  const at = `http://${ip}:8080`;
  const got = await inside(
    ns,
    ['curl', '-sS', '-m', String(limitS), '-o', file, `${at}/bytes/${n}`],
    limitS * 1000 + 5000,
  );
  must(got.code === 0, `${n} bytes: ${got.err}`);
  const sum = await inside(ns, ['curl', '-sS', '-m', '20', `${at}/sum/${n}`]);
  must(sum.out === sha('body'), `${n} bytes: checksums differ`);
}
/** @param {string} ns @param {string} ip @param {number} n @param {number} limitS */
async function uploadAndCompare(ns, ip, n, limitS = 60) {
  writeFileSync(join(dir, 'up'), createHash('shake256', { outputLength: n }).update('grantline').digest());
  const argv = ['curl', '-sS', '-m', String(limitS), '-T', join(dir, 'up'), '-X', 'POST', `http://${ip}:8080/`];
  const got = await inside(ns, argv, limitS * 1000 + 5000);
  must(got.code === 0 && got.out === sha('up'), `${n} bytes: ${got.err || 'checksums differ'}`);
}
/** Echo requests of a namespace that no reply has come to, ever. @param {string} ns */
async function unanswered(ns) {
  const lines = (await inside(ns, ['cat', '/proc/net/snmp'])).out.split('\n').filter((l) => l.startsWith('Icmp: '));
  const [names, values] = lines.map((l) => l.split(' '));
  const of = (/** @type {string} */ name) => Number(values[names.indexOf(name)]);
  return of('OutEchos') - of('InEchoReps');
}
/** Pings, and asks the kernel whether all came back: ping itself waits for late ones no longer than two round trips, which on
 *  a busy machine is no time at all. @param {[string, string][]} pairs @param {number} bytes @param {string[]} more */
async function pings(pairs, bytes, count = 10, more = []) {
  const from = [...new Set(pairs.map(([ns]) => ns))];
  const before = await Promise.all(from.map(unanswered));
  await Promise.all(
    pairs.map(async ([ns, ip]) => {
      const argv = ['ping', '-n', '-q', '-c', String(count), '-i', '0.01', '-W', '3', '-s', String(bytes), ...more, ip];
      const done = await inside(ns, argv);
      must(
        / [1-9]\d* received/.test(done.out),
        `${bytes} bytes to ${ip}: ${done.out.trim().split('\n').slice(-2).join(' ')}${done.err}`,
      );
      must(!/duplicate|errors/.test(done.out), `${bytes} bytes to ${ip}: ${done.out}`);
    }),
  );
  for (const [i, ns] of from.entries()) {
    let lost = NaN;
    await until('', async () => (lost = (await unanswered(ns)) - before[i]) === 0, 3000).catch(() => {});
    must(lost === 0, `${bytes} bytes from ${ns}: ${lost} of ${count} were not answered`);
  }
}
/** @param {string} ns @param {string} ip @param {number} bytes @param {string[]} more */
const ping = (ns, ip, bytes, count = 10, more = []) => pings([[ns, ip]], bytes, count, more);
/** @param {string} ns @param {string} ip @param {string[]} more @returns {Promise<number>} Gb/s received */
async function iperf(ns, ip, more = []) {
  const done = await inside(ns, ['iperf3', '-J', '-t', '2', '-c', ip, ...more], 30_000);
  const json = JSON.parse(done.out);
  must(!json.error, json.error);
  return json.end.sum_received.bits_per_second / 1e9;
}

await step('what cannot work is one line and exit code 2, and leaves nothing', async () => {
  const cases = [
    [['--tap', 'a-name-that-is-too-long'], /names no device/],
    [['--tap', `gl0,${TAG}-none`], /ip netns add/],
    [['--tap', `gl0,${FAR}`, '--guest-tap', `gl1,${FAR}`], /each its own/],
    [['--guest-tap', `guest4=gl1,${ONE}`], /guest4/],
    [['--tap', `lo,${FAR}`], /another name/],
    [['--tap', 'gl0,pid:2000000000'], /no process 2000000000/],
    [['--tap', 'gl0,/dev/zero'], /is no network namespace/],
    [['--tap', `gl0,${FAR}`, '--guest-tap', `gl1,/run/netns/${FAR}`], /each its own/],
  ];
  for (const [args, expected] of cases) {
    const state = start(process.execPath, [
      BIN,
      'up',
      '--no-page',
      '--listen',
      '127.0.0.1:0',
      .../** @type {string[]} */ (args),
    ]);
    await until('it ends', () => state.over, 20_000);
    must(state.code === 2, `${args}: exit code ${state.code}: ${state.err}`);
    must(
      /^grantline: [^\n]+\n$/.test(state.err) && /** @type {RegExp} */ (expected).test(state.err),
      `${args}: ${state.err}`,
    );
  }
  const nobody = await run('setpriv', [
    '--reuid',
    '65534',
    '--regid',
    '65534',
    '--clear-groups',
    process.execPath,
    BIN,
    'up',
    '--no-page',
    '--tap',
    'gl0',
  ]);
  if (nobody.code !== 127)
    must(nobody.code === 2 && /CAP_NET_ADMIN|right/.test(nobody.err), `without root: ${nobody.code} ${nobody.err}`);
  must(!existsSync(bed) && (await devices(FAR)) === '', 'something is left');
});

/** @type {Awaited<ReturnType<typeof up>>} */
let testbed;
await step(`a testbed with kernels at the far end and in two guests (${CONFIG})`, async () => {
  testbed = await up(
    '--guests',
    '3',
    '--config',
    CONFIG,
    '--tap',
    `gl0,${FAR}`,
    '--guest-tap',
    `gl1,${ONE}`,
    '--guest-tap',
    `gl1,${TWO}`,
  );
  must(testbed.out.includes(`ip netns exec ${FAR} ping ${IP1}`), testbed.out);
  const line = await run('ip', ['-n', ONE, '-br', 'link', 'show', 'gl1']);
  must(line.out.includes('00:16:3e:00:00:01'), line.out);
  await until('an answer', async () => (await inside(FAR, ['ping', '-c', '1', '-W', '1', IP1])).code === 0);
});
start('ip', ['netns', 'exec', ONE, process.execPath, join(dir, 'server.mjs')]);
start('ip', ['netns', 'exec', FAR, process.execPath, join(dir, 'server.mjs')]);
start('ip', ['netns', 'exec', ONE, 'iperf3', '-s']);
start('ip', ['netns', 'exec', TWO, 'iperf3', '-s']);

await step('ARP both ways', async () => {
  for (const [ns, ip, mac] of [
    ...[
      [FAR, IP1, '00:16:3e:00:00:01'],
      [FAR, IP3, '00:16:3e:00:00:03'],
      [ONE, FAR_IP, '02:00:00:ca:b1:e1'],
    ],
    ...[
      [ONE, IP2, '00:16:3e:00:00:02'],
      [TWO, IP3, '00:16:3e:00:00:03'],
    ],
  ]) {
    await run('ip', ['-n', ns, 'neigh', 'flush', 'all']);
    await ping(ns, ip, 56, 1);
    const { out } = await run('ip', ['-n', ns, 'neigh', 'show', ip]);
    must(out.includes(`lladdr ${mac}`), `${ns} ${ip}: ${out}`);
  }
});
await step('ping of all sizes, over the MTU in fragments, and none is lost', async () => {
  /** @type {[string, string][]} */
  const pairs = [
    [FAR, IP1],
    [FAR, IP3],
    [ONE, FAR_IP],
    [ONE, IP2],
    [TWO, IP3],
  ];
  for (const bytes of [0, 1, 17, 18, 56, 1471, 1472, 1473, 4000, 20000]) await pings(pairs, bytes);
  await ping(FAR, IP1, 65507, 3);
  await ping(ONE, FAR_IP, 65507, 3);
});
await step('what may not be fragmented fits the MTU or is refused at once', async () => {
  await ping(FAR, IP1, 1472, 3, ['-M', 'do']);
  const { code, out, err } = await inside(FAR, ['ping', '-c', '1', '-M', 'do', '-s', '1473', IP1]);
  must(code !== 0 && /too long|too large/i.test(out + err), out + err);
});
await step('curl of 1 B to 100 MB, checksums compared', async () => {
  await until(
    'the server answers',
    async () => (await inside(FAR, ['curl', '-s', `http://${IP1}:8080/sum/1`])).code === 0,
  );
  for (const n of [1, 1447, 1448, 1449, 65535, 1_000_000, 100_000_000]) await fetchAndCompare(FAR, IP1, n);
  await fetchAndCompare(ONE, FAR_IP, 20_000_000);
  await fetchAndCompare(TWO, IP1, 20_000_000);
});
await step('uploads, checksums compared', async () => {
  await uploadAndCompare(FAR, IP1, 30_000_000);
  await uploadAndCompare(TWO, IP1, 5_000_000);
});
await step('200 connections at the same time', async () => {
  const list = join(dir, 'urls');
  writeFileSync(
    list,
    Array.from({ length: 200 }, () => `url = "http://${IP1}:8080/bytes/50000"\noutput = /dev/null\n`).join(''),
  );
  const argv = ['curl', '-sS', '--no-keepalive', '--parallel', '--parallel-immediate', '--parallel-max', '200'];
  const done = await inside(FAR, [...argv, '-w', '%{http_code} %{size_download}\n', '-K', list], 60_000);
  succeeded(done);
  must(done.out.split('\n').filter((l) => l === '200 50000').length === 200, done.out.slice(0, 300));
});
await step('a closed port is refused at once', async () => {
  for (const [ns, ip] of [
    [FAR, IP1],
    [FAR, IP3],
    [ONE, FAR_IP],
    [TWO, IP1],
  ]) {
    const begin = Date.now();
    const { code, err } = await inside(ns, ['curl', '-sS', '-m', '5', `http://${ip}:4444/`]);
    must(code === 7 && Date.now() - begin < 2000, `${ip}: exit code ${code} after ${Date.now() - begin} ms: ${err}`);
  }
});
await step("the guest's own stack serves a kernel's client", async () => {
  const { code, out, err } = await inside(FAR, ['curl', '-sS', '-m', '10', '-w', '\n%{http_code}', `http://${IP3}/`]);
  must(code === 0 && /\n[2-4]\d\d$/.test(out), `exit code ${code}: ${err}${out.slice(-200)}`);
  const bytes = await inside(FAR, [
    'curl',
    '-sS',
    '-m',
    '10',
    '-o',
    join(dir, 'own'),
    '-w',
    '%{http_code}',
    `http://${IP3}/bytes/1000000`,
  ]);
  if (bytes.out !== '200' || readFileSync(join(dir, 'own')).length !== 1_000_000) return 'it has no /bytes';
  const again = await inside(FAR, ['curl', '-sS', '-m', '10', '-o', join(dir, 'own2'), `http://${IP3}/bytes/1000000`]);
  must(
    again.code === 0 && sha('own') === sha('own2') && readFileSync(join(dir, 'own')).length === 1_000_000,
    'bodies differ',
  );
});
await step('iperf3 both directions, and guest to guest', async () => {
  const to = await iperf(FAR, IP1);
  const from = await iperf(FAR, IP1, ['-R']);
  const between = await iperf(ONE, IP2, ['-t', '1']);
  const udp = await iperf(FAR, IP1, ['-u', '-b', '50M', '-t', '1']);
  must(to > 0.01 && from > 0.01 && between > 0.01 && udp > 0.01, `${to} ${from} ${between} ${udp}`);
  return `${to.toFixed(2)} Gb/s to the guest, ${from.toFixed(2)} from it, ${between.toFixed(2)} between two, UDP ${(udp * 1000).toFixed(0)} of 50 Mb/s`;
});
await step('tshark finds no malformed frame and no wrong checksum', async () => {
  // A kernel that leaves checksums to the device is seen without them on its own side: for once they do them themselves.
  for (const [ns, device] of [
    [FAR, 'gl0'],
    [ONE, 'gl1'],
  ])
    succeeded(await inside(ns, ['ethtool', '-K', device, 'tx', 'off']));
  const files = [
    [FAR, 'gl0'],
    [ONE, 'gl1'],
  ].map(([ns, device]) => {
    const file = join(dir, `${device}.pcap`);
    return {
      file,
      dump: start('ip', ['netns', 'exec', ns, 'tcpdump', '-q', '-n', '-U', '-B', '65536', '-i', device, '-w', file]),
    };
  });
  await until('tcpdump listens', () => files.every(({ dump }) => dump.err.includes('listening')));
  await ping(FAR, IP1, 3000, 5);
  await fetchAndCompare(FAR, IP1, 2_000_000);
  await uploadAndCompare(FAR, IP1, 2_000_000);
  await ping(FAR, IP3, 3000, 5);
  await inside(FAR, ['curl', '-sS', '-m', '10', '-o', '/dev/null', `http://${IP3}/`]);
  await iperf(FAR, IP1, ['-u', '-b', '20M', '-t', '1']);
  await sleep(300);
  for (const { dump } of files) await end(dump);
  let frames = 0;
  for (const { file } of files) {
    const checks = ['ip', 'tcp', 'udp'].flatMap((p) => ['-o', `${p}.check_checksum:TRUE`]);
    const bad =
      '_ws.malformed || ip.checksum.status == 0 || tcp.checksum.status == 0 || udp.checksum.status == 0 || icmp.checksum.status == 0';
    const all = await run('tshark', ['-r', file, '-T', 'fields', '-e', 'frame.number']);
    frames += all.out.split('\n').filter(Boolean).length;
    const found = await run('tshark', ['-r', file, ...checks, '-Y', bad]);
    succeeded(found);
    must(found.out.trim() === '', `${file}: ${found.out.split('\n').slice(0, 3).join(' | ')}`);
  }
  for (const [ns, device] of [
    [FAR, 'gl0'],
    [ONE, 'gl1'],
  ])
    await inside(ns, ['ethtool', '-K', device, 'tx', 'on', 'tso', 'on']);
  must(frames > 500, `only ${frames} frames`);
  return `${frames} frames and joined packets`;
});

/** Loss and reordering on the way: netem where the kernel has it, else our injector. @returns {Promise<(() => Promise<void>) | null>} */
async function disturb() {
  const netem = ['netem', 'loss', '1%', 'delay', '1ms', 'reorder', '99%', '25%'];
  const [a, b] = [
    await run('tc', ['-n', FAR, 'qdisc', 'add', 'dev', 'gl0', 'root', ...netem]),
    await run('tc', ['-n', ONE, 'qdisc', 'add', 'dev', 'gl1', 'root', ...netem]),
  ];
  if (a.code === 0 && b.code === 0)
    return async () => {
      for (const [ns, device] of [
        [FAR, 'gl0'],
        [ONE, 'gl1'],
      ])
        await run('tc', ['-n', ns, 'qdisc', 'del', 'dev', device, 'root']);
    };
  const http = /^nic +(\S+)\/documentation/m.exec(testbed.out)?.[1];
  const bearer = (/** @type {string} */ key) => ({ authorization: `Bearer ${key}` });
  const { hypervisor } = JSON.parse(readFileSync(join(bed, 'testbed.json'), 'utf8'));
  const token = readFileSync(join(bed, 'token'), 'utf8').trim();
  const access = await fetch(`${hypervisor}/api/domains/1001/control`, { headers: bearer(token) });
  const { key } = /** @type {{ key: string }} */ (await access.json());
  const way = (/** @type {number} */ seed) => ({
    seed,
    loss: 0.01,
    duplicate: 0,
    corrupt: 0,
    reorder: 0.01,
    delay: 0.01,
    delayUs: 500,
  });
  /** @param {object} body */
  const put = (body) =>
    fetch(`${http}/faults`, {
      method: 'PUT',
      headers: { ...bearer(key), 'content-type': 'application/json' },
      body: JSON.stringify(body),
    });
  if (!(await put({ in: way(1), out: way(2) })).ok) return null;
  return async () => void (await put({ in: null, out: null }));
}
const undo = await disturb();
if (undo === null) console.log('skipped loss and reordering: the kernel has no netem, and the nic has no injector');
else
  await step('the same under 1 % loss and reordering', async () => {
    for (const n of [1, 100_000, 5_000_000]) await fetchAndCompare(FAR, IP1, n, 40);
    await uploadAndCompare(FAR, IP1, 5_000_000, 40);
    await undo();
    await ping(FAR, IP1, 56, 5);
  });

/** The service's page. @param {string} name */
const pageOf = (name) => new RegExp(`^${name} +(http:\\S+)/documentation$`, 'm').exec(testbed.out)?.[1] ?? '';
/** Frames that were refused because their sender is somebody else. */
async function spoofed() {
  const text = await (await fetch(`${pageOf('driver-domain')}/metrics`)).text();
  const lines = text.split('\n').filter((l) => /^grantline_dropped_frames_total\{.*reason="spoofed"/.test(l));
  must(lines.length > 0, 'no such metric');
  return lines.reduce((n, l) => n + Number(l.split(' ').at(-1)), 0);
}
/** What a kernel believes. @param {string} ns @param {string} ip */
const neighbour = async (ns, ip) =>
  /lladdr (\S+)/.exec((await run('ip', ['-n', ns, 'neigh', 'show', ip])).out)?.[1] ?? 'nothing';

await step(
  "a guest that claims the gateway's, another guest's or no one's address is refused and counted",
  async () => {
    await pings([[TWO, FAR_IP], [TWO, IP1], [FAR, IP2]], 56, 1); // prettier-ignore
    for (const claimed of [FAR_IP, IP2, '10.77.3.3']) {
      const before = await spoofed();
      await run('ip', ['-n', ONE, 'neigh', 'flush', 'all']);
      succeeded(await run('ip', ['-n', ONE, 'addr', 'add', `${claimed}/32`, 'dev', 'gl1']));
      // An ARP request that tells everybody, and packets from there.
      for (const ip of [IP3, IP2 === claimed ? FAR_IP : IP2])
        await inside(ONE, ['ping', '-n', '-c', '2', '-i', '0.2', '-W', '1', '-I', claimed, ip]);
      await until('they are counted', async () => (await spoofed()) > before);
      succeeded(await run('ip', ['-n', ONE, 'addr', 'del', `${claimed}/32`, 'dev', 'gl1']));
    }
    const before = await spoofed();
    succeeded(await run('ip', ['-n', ONE, 'link', 'set', 'gl1', 'address', '00:16:3e:00:00:02']));
    await inside(ONE, ['ping', '-n', '-c', '2', '-i', '0.2', '-W', '1', FAR_IP]);
    await until("another's MAC address is counted", async () => (await spoofed()) > before);
    succeeded(await run('ip', ['-n', ONE, 'link', 'set', 'gl1', 'address', '00:16:3e:00:00:01']));
    await pings([[ONE, FAR_IP], [TWO, FAR_IP], [TWO, IP1], [FAR, IP2]], 56, 3); // prettier-ignore
    for (const [ns, ip, mac] of [
      ...[
        [TWO, FAR_IP, '02:00:00:ca:b1:e1'],
        [TWO, IP1, '00:16:3e:00:00:01'],
      ],
      ...[[FAR, IP2, '00:16:3e:00:00:02']],
    ])
      must((await neighbour(ns, ip)) === mac, `${ns} takes ${await neighbour(ns, ip)} for ${ip}`);
  },
);

const VLAN = ['type', 'vlan', 'id', '5'];
const tagged = await run('ip', ['-n', FAR, 'link', 'add', 'link', 'gl0', 'name', 'gl0.5', ...VLAN]);
if (tagged.code !== 0) console.log(`skipped frames with VLAN tags: this kernel makes none: ${tagged.err.trim()}`);
else
  await step('frames with VLAN tags, with offloads', async () => {
    succeeded(await run('ip', ['-n', ONE, 'link', 'add', 'link', 'gl1', 'name', 'gl1.5', ...VLAN]));
    for (const [ns, device, ip] of [
      [FAR, 'gl0.5', '10.88.0.1/24'],
      [ONE, 'gl1.5', '10.88.0.2/24'],
    ]) {
      succeeded(await run('ip', ['-n', ns, 'addr', 'add', ip, 'dev', device]));
      succeeded(await run('ip', ['-n', ns, 'link', 'set', device, 'up']));
    }
    for (const bytes of [0, 17, 1472, 1473, 20000]) await pings([[FAR, '10.88.0.2'], [ONE, '10.88.0.1']], bytes, 5); // prettier-ignore
    await fetchAndCompare(FAR, '10.88.0.2', 20_000_000);
    await uploadAndCompare(FAR, '10.88.0.2', 5_000_000);
    for (const [ns, device] of [
      [FAR, 'gl0.5'],
      [ONE, 'gl1.5'],
    ])
      succeeded(await run('ip', ['-n', ns, 'link', 'del', device]));
  });

await hostile({
  ...{ dir, root: ROOT, ns: FAR, device: 'gl0', ip: IP3, mac: '00:16:3e:00:00:03' },
  ...{ step, inside, start, end, until, must },
});
await step('every service of the testbed has come through it', async () => {
  must(!testbed.over, `it ended: ${testbed.err}`);
  for (const [, name, at] of testbed.out.matchAll(/^(\S+) +(http:\S+)\/documentation$/gm))
    must((await fetch(`${at}/health/ready`)).ok, `${name} is not ready`);
  must(testbed.err === '', testbed.err);
  for (const bytes of [56, 20000]) await pings([[FAR, IP1], [FAR, IP3], [ONE, IP2]], bytes); // prettier-ignore
});

await step('an interrupt ends it, and leaves no device, process or file', async () => {
  await end(testbed);
  must(testbed.code === 130, `exit code ${testbed.code}`);
  must(!existsSync(bed), `${bed} is left`);
  for (const ns of [FAR, ONE, TWO]) must((await devices(ns)) === '', `${ns}: ${await devices(ns)}`);
});
await step('so does a crash; without vnet header and offloads it works too', async () => {
  testbed = await up('--config', 'baseline', '--no-tap-offload', '--tap', `gl0,${FAR}`, '--guest-tap', `gl1,${ONE}`);
  for (const bytes of [1, 1472, 1473, 9000]) await ping(FAR, IP1, bytes, 5);
  await fetchAndCompare(FAR, IP1, 1_000_000);
  await uploadAndCompare(FAR, IP1, 1_000_000);
  testbed.child.kill('SIGKILL');
  await until('no device is left', async () => (await devices(FAR)) === '' && (await devices(ONE)) === '', 10_000);
  const services = () =>
    readdirSync('/proc').filter((pid) => {
      try {
        const is = (/** @type {string} */ file, /** @type {string} */ text) =>
          readFileSync(`/proc/${pid}/${file}`, 'utf8').includes(text);
        return /^\d+$/.test(pid) && is('environ', `GRANTLINE_DIR=${bed}\0`) && is('cmdline', '/services/');
      } catch {
        return false;
      }
    });
  await until('no service is left', () => services().length === 0, 10_000);
  const down = await run(process.execPath, [BIN, 'down', '--dir', bed]);
  must(down.code === 0 && !existsSync(bed), down.err);
});

const sleeper = start('ip', ['netns', 'exec', ONE, 'sleep', '1000']);
await step('devices that are there already, in namespaces given by path and by process, are taken', async () => {
  succeeded(await run('ip', ['-n', FAR, 'tuntap', 'add', 'dev', 'gl0', 'mode', 'tap']));
  succeeded(await run('ip', ['-n', FAR, 'addr', 'add', `${FAR_IP}/16`, 'dev', 'gl0']));
  succeeded(await run('ip', ['-n', FAR, 'link', 'set', 'gl0', 'up']));
  testbed = await up(
    ...['--guests', '2', '--config', CONFIG, '--nested', 'guest1'],
    ...['--tap', `gl0,/run/netns/${FAR}`, '--guest-tap', `gl1,pid:${sleeper.child.pid}`],
  );
  must(testbed.out.includes(`nsenter --net=/run/netns/${FAR} ping ${IP1}`), testbed.out);
  await until('an answer', async () => (await inside(FAR, ['ping', '-c', '1', '-W', '1', IP1])).code === 0);
  await pings([[FAR, IP1], [ONE, FAR_IP], [FAR, IP2]], 3000, 5); // prettier-ignore
});
await step(
  'stations behind a guest that is said to be nested: by macvlan where the kernel has it, or a bridge',
  async () => {
    const station = '10.77.9.9';
    const macvlan = await run('ip', [
      '-n',
      ONE,
      'link',
      'add',
      'link',
      'gl1',
      'name',
      'st',
      'type',
      'macvlan',
      'mode',
      'bridge',
    ]);
    const bridge = async () => {
      succeeded(await run('ip', ['-n', ONE, 'link', 'add', 'br', 'type', 'bridge']));
      succeeded(await run('ip', ['-n', ONE, 'link', 'add', 'st', 'type', 'veth', 'peer', 'name', 'stp']));
      for (const port of ['gl1', 'stp']) succeeded(await run('ip', ['-n', ONE, 'link', 'set', port, 'master', 'br']));
      for (const device of ['br', 'stp']) succeeded(await run('ip', ['-n', ONE, 'link', 'set', device, 'up']));
    };
    if (macvlan.code !== 0) await bridge();
    // In a namespace of its own: a station, not another address of the guest's.
    succeeded(await run('ip', ['-n', ONE, 'link', 'set', 'st', 'netns', TWO]));
    succeeded(await run('ip', ['-n', TWO, 'addr', 'add', `${station}/16`, 'dev', 'st']));
    succeeded(await run('ip', ['-n', TWO, 'link', 'set', 'st', 'up']));
    await until('an answer', async () => (await inside(TWO, ['ping', '-c', '1', '-W', '1', FAR_IP])).code === 0);
    await pings([[TWO, FAR_IP], [TWO, IP2], [FAR, station]], 3000, 5); // prettier-ignore
    succeeded(await run('ip', ['-n', TWO, 'link', 'del', 'st']));
    if (macvlan.code !== 0) await run('ip', ['-n', ONE, 'link', 'del', 'br']);
    return macvlan.code === 0 ? 'macvlan' : 'a bridge';
  },
);
await step('a device that is removed under the testbed: a line, no readiness, and nothing spins', async () => {
  succeeded(await run('ip', ['-n', ONE, 'link', 'del', 'gl1']));
  await until('up says so', () => /^grantline: guest1 is not ready: the TAP device gl1 is gone$/m.test(testbed.err));
  const { status } = await fetch(`${pageOf('guest1')}/health/ready`);
  must(status === 503, `guest1 answers ${status}`);
  must((await fetch(`${pageOf('nic')}/health/ready`)).ok, 'the nic is not ready');
  const cpu = async () =>
    /** @type {{ processCpuNs: number, atNs: number }} */ (await (await fetch(`${pageOf('guest1')}/counters`)).json());
  const before = await cpu();
  await sleep(2000);
  const after = await cpu();
  const share = (after.processCpuNs - before.processCpuNs) / (after.atNs - before.atNs);
  must(share < 0.3, `guest1 takes ${(share * 100).toFixed(0)} % of a core`);
  await ping(FAR, IP2, 56, 3);
});
await step('a device that was there stays, and nothing else', async () => {
  await end(testbed);
  must(testbed.code === 130 && !existsSync(bed), `exit code ${testbed.code}`);
  must(/\bgl0\b/.test(await devices(FAR)), 'the device is gone');
  must((await devices(ONE)) === '', await devices(ONE));
  succeeded(await run('ip', ['-n', FAR, 'link', 'del', 'gl0']));
});

await clear();
console.log(`tap: ${passed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
