#!/usr/bin/env node
// Tries the stack in containers for real: up, figures, guests added, services restarted and killed, down, nothing left.
// Takes a few minutes. Skips, saying why, where there is no Docker or the base images are not there; GRANTLINE_PULL=1
// lets Docker fetch them.
import { execFile, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { setup } from './setup.mjs';

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const PROJECT = `grantline-check-${process.pid}`;
const LABEL = `label=com.docker.compose.project=${PROJECT}`;

/** @typedef {{ code: number, out: string, err: string }} Done */

/** @param {string} file @param {string[]} args @param {NodeJS.ProcessEnv} env @returns {Promise<Done>} */
function run(file, args, env = process.env) {
  return new Promise((resolve) => {
    execFile(file, args, { cwd: ROOT, env, maxBuffer: 64 << 20, timeout: 900_000 }, (error, out, err) => {
      const code = error === null ? 0 : typeof error.code === 'number' ? error.code : 1;
      resolve({ code, out: String(out), err: String(err) });
    });
  });
}

/** @param {string} why @returns {never} */
function skip(why) {
  console.log(`compose: skipped: ${why}`);
  process.exit(0);
}

/** @returns {Promise<number>} */
function freePort() {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => resolve(address !== null && typeof address === 'object' ? address.port : 0));
    });
  });
}

if ((await run('docker', ['version', '--format', '{{.Server.Version}}'])).code !== 0)
  skip('no Docker daemon answers here');
const compose = (await run('docker', ['compose', 'version'])).code === 0 ? ['docker', 'compose'] : ['docker-compose'];
if ((await run(compose[0], [...compose.slice(1), 'version'])).code !== 0) skip('there is no Docker Compose');
const text = readFileSync(join(ROOT, 'docker-compose.yml'), 'utf8') + readFileSync(join(ROOT, 'Dockerfile'), 'utf8');
const images = [...text.matchAll(/^\s*(?:image:|FROM)\s+(\S+:\S+)/gm)].map((m) => m[1]);
for (const image of new Set(images)) {
  if (process.env['GRANTLINE_PULL'] === '1') break;
  if ((await run('docker', ['image', 'inspect', image])).code !== 0)
    skip(`the image ${image} is not here: docker pull ${image}, or GRANTLINE_PULL=1`);
}

setup();

const ports = {
  GRANTLINE_PORT: await freePort(),
  PROMETHEUS_PORT: await freePort(),
  GRAFANA_PORT: await freePort(),
  EDGE_PORT: await freePort(),
};
const results = mkdtempSync(join(tmpdir(), 'grantline-compose-'));
const env = {
  ...process.env,
  ...Object.fromEntries(Object.entries(ports).map(([name, port]) => [name, String(port)])),
  COMPOSE_PROJECT_NAME: PROJECT,
  GRANTLINE_RESULTS: results,
};
const hypervisor = `http://127.0.0.1:${ports.GRANTLINE_PORT}`;
const prometheus = `http://127.0.0.1:${ports.PROMETHEUS_PORT}`;

/** @param {string[]} args */
const grantline = (...args) => run(process.execPath, [join(ROOT, 'load/bin/grantline.mjs'), ...args], env);
/** @param {string[]} args */
const dc = (...args) => run(compose[0], [...compose.slice(1), ...args], env);
/** Each call of Compose takes more than a second of a core: what needs none of its own goes by Docker.
 *  @param {string[]} args */
const docker = (...args) => run('docker', args);
/** A container of that service, whether it runs or not. @param {string} service */
async function containerOf(service) {
  const [id] = await ids('ps', '-a', '--filter', `label=com.docker.compose.service=${service}`);
  must(id !== undefined, `${service} has no container`);
  return id;
}
/** A command in a container. @param {string} service @param {string[]} command */
const exec = async (service, ...command) => docker('exec', await containerOf(service), ...command);
/** A script in a container. @param {string} service @param {string} script */
const inside = (service, script) => exec(service, 'node', '-e', script);

/** What the stack's own services said last, for a failure that is not easily had again. */
async function explain() {
  for (const service of ['driver-domain', 'nic', 'guest', 'hypervisor', 'experimenter']) {
    for (const id of await ids('ps', '-a', '--filter', `label=com.docker.compose.service=${service}`)) {
      const { out, err } = await docker('logs', '--tail', '15', id);
      for (const line of `${out}${err}`.split('\n').filter(Boolean)) console.log(`#   ${service}: ${line}`);
    }
  }
}

let passed = 0;
let failed = 0;
/** @param {string} what @param {() => Promise<void>} check */
async function step(what, check) {
  const start = Date.now();
  const seconds = () => ((Date.now() - start) / 1000).toFixed(0);
  try {
    await check();
    passed++;
    console.log(`ok ${what} (${seconds()} s)`);
  } catch (error) {
    failed++;
    console.log(`not ok ${what} (${seconds()} s): ${error instanceof Error ? error.message : String(error)}`);
    await explain();
  }
}
/** @param {unknown} ok @param {string} message @returns {asserts ok} */
function must(ok, message) {
  if (!ok) throw new Error(message);
}
/** What a command said, the start as well as the end: a verdict stands before the table, a stack behind it.
 *  @param {string} text @param {number} most */
const ends = (text, most = 1500) =>
  text.length <= 2 * most
    ? text
    : `${text.slice(0, most)}\n[${text.length - 2 * most} characters]\n${text.slice(-most)}`;
/** @param {Done} done */
const succeeded = ({ code, out, err }) =>
  must(code === 0, `exit code ${code}: ${ends(err.trim())}${out.trim() === '' ? '' : `\n${ends(out.trim())}`}`);
/** @param {string} url @param {Record<string, string>} headers @returns {Promise<any>} */
async function json(url, headers = {}) {
  const answer = await fetch(url, { headers, signal: globalThis.AbortSignal.timeout(5000) });
  must(answer.ok, `${url}: ${answer.status}`);
  return answer.json();
}
/** The operator's API of the hypervisor. Its token lies in the stack, and is a new one each time it starts.
 *  @param {string} path @returns {Promise<any>} */
async function api(path) {
  const { code, out, err } = await exec('hypervisor', 'cat', '/run/grantline/token');
  must(code === 0, `no token: ${err}`);
  return json(`${hypervisor}${path}`, { authorization: `Bearer ${out.trim()}` });
}
/** @param {string} what @param {() => Promise<unknown>} so */
async function until(what, so, limitMs = 60_000) {
  const end = Date.now() + limitMs;
  let last = '';
  while (Date.now() < end) {
    try {
      if (await so()) return;
      last = '';
    } catch (error) {
      last = error instanceof Error ? `: ${error.message}` : '';
    }
    await sleep(200);
  }
  throw new Error(`not within ${limitMs / 1000} s: ${what}${last}`);
}
/** Values of a query, by domain. @param {string} expr @returns {Promise<Map<string, number>>} */
async function query(expr) {
  const { data } = await json(`${prometheus}/api/v1/query?query=${encodeURIComponent(expr)}`);
  return new Map(data.result.map((/** @type {any} */ r) => [r.metric.domain ?? '', Number(r.value[1])]));
}
/** @param {number} guests */
const allUp = (guests) => async () => {
  const up = await query('up{job="grantline"}');
  const there = ['hypervisor', 'driver-domain', 'nic'].every((d) => up.get(d) === 1);
  const { domains } = await api('/api/testbed');
  const live = domains.filter((/** @type {any} */ d) => d.state === 'running').map((/** @type {any} */ d) => d.name);
  const wanted = live.filter((/** @type {string} */ name) => name.startsWith('guest'));
  return there && wanted.length === guests && wanted.every((/** @type {string} */ name) => up.get(name) === 1);
};
/** @param {number} guests */
const settled = (guests) => async () => {
  const { domains } = await api('/api/testbed');
  const running = domains.filter((/** @type {any} */ d) => d.state === 'running' && d.http !== null);
  return running.length === guests + 2 && (await api('/api/config')).settled;
};
/** The counters of runs that are not as they should be, at the end of each: every one that is not 0.
 *  @param {string} file */
function tellCounters(file) {
  if (!existsSync(file)) return;
  for (const r of JSON.parse(readFileSync(file, 'utf8')).runs) {
    if (r.conservation === 'ok' && r.delivered.frames > 0) continue;
    console.log(
      `#   ${r.config}: ${r.sent} sent, ${r.received} received, conservation ${JSON.stringify(r.conservation)}`,
    );
    for (const s of r.raw.c) {
      for (const b of s.blocks) {
        if (['cpu', 'latency', 'hypercalls'].includes(b.kind)) continue;
        const values = Object.entries(b.values).filter(([, n]) => n !== 0);
        console.log(
          `#   ${s.name} ${b.kind} ${JSON.stringify(b.labels)}: ${values.map(([k, n]) => `${k} ${n}`).join(', ')}`,
        );
      }
    }
  }
}
/** @param {number} guests @param {string} configs */
async function compare(guests, configs) {
  const file = join(results, `${configs}-${guests}.json`);
  const done = await grantline(
    ...['compare', '--compose', '--guests', String(guests), '--configs', configs],
    ...['--seconds', '0.5', '--warmup', '0.2', '--json', file],
  );
  if (done.code !== 0) tellCounters(file);
  succeeded(done);
  const { runs } = JSON.parse(readFileSync(file, 'utf8'));
  must(runs.length === configs.split(',').length, `${runs.length} runs`);
  for (const r of runs) {
    must(r.conservation === 'ok', `${r.config}: ${r.conservation}`);
    must(r.corrupt === 0 && r.delivered.frames > 0, `${r.config}: ${r.delivered.frames} frames, ${r.corrupt} corrupt`);
    must(Object.keys(r.deliveredBy).length === guests, `${r.config}: delivered to ${Object.keys(r.deliveredBy)}`);
  }
}

/** What Docker has of this stack. @param {string[]} what */
async function ids(...what) {
  const done = await docker(...what, '-q', '--filter', LABEL);
  // No answer is not an empty one.
  succeeded(done);
  return done.out.split('\n').filter(Boolean);
}
/** Nor may containers come later: what made them may still be at it. */
async function nothingLeft() {
  for (const look of [1, 2]) {
    for (const what of [
      ['ps', '-a'],
      ['network', 'ls'],
      ['volume', 'ls'],
    ]) {
      const left = await ids(...what);
      must(left.length === 0, `${what[0]}: ${left.join(' ')}`);
    }
    if (look === 1) await sleep(3000);
  }
}
/** Processes of services in containers, by number: what they are, in which container, and since when.
 *  @returns {Map<string, string>} */
function containerProcesses() {
  const found = new Map();
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      const args = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
      if (!args.some((a) => /services\/(hypervisor|driver-domain|guest|nic)\/dist\/src\/main\.js$/.test(a))) continue;
      const group = readFileSync(`/proc/${pid}/cgroup`, 'utf8').trim();
      const id = /[0-9a-f]{64}/.exec(group)?.[0] ?? null;
      const status = readFileSync(`/proc/${pid}/status`, 'utf8');
      const state = /^State:\s*(.*)$/m.exec(status)?.[1];
      const parent = /^PPid:\s*(\d+)$/m.exec(status)?.[1];
      if (id !== null) found.set(pid, `${args.join(' ').trim()}, ${state}, child of ${parent}, container ${id}`);
    } catch {
      // It has just ended.
    }
  }
  return found;
}
/** Those of somebody else's stack. */
const before = containerProcesses();
for (const [pid, what] of before) console.log(`# was here before: process ${pid}: ${what}`);

// Whatever happens, nothing of this stays.
const clear = async () => {
  const left = (await docker('ps', '-aq', '--filter', LABEL)).out.split('\n').filter(Boolean);
  if (left.length > 0) await docker('rm', '-f', ...left);
  await dc('down', '--volumes', '--remove-orphans', '--timeout', '5');
  rmSync(results, { recursive: true, force: true });
};
for (const signal of /** @type {const} */ (['SIGINT', 'SIGTERM'])) {
  process.once(signal, () => void clear().finally(() => process.exit(1)));
}

await step('a port in use is one line and exit code 2, and nothing is started', async () => {
  const server = createServer();
  await new Promise((resolve) => server.listen(ports.PROMETHEUS_PORT, '127.0.0.1', () => resolve(null)));
  const { code, err } = await grantline('up', '--compose');
  server.close();
  must(code === 2, `exit code ${code}: ${err}`);
  must(/^grantline: port \d+ on 127\.0\.0\.1 is in use - .*PROMETHEUS_PORT.*\n$/.test(err), err);
  must((await ids('ps', '-a')).length === 0, 'containers were made');
});

await step('grantline up --compose brings everything up and says where', async () => {
  const done = await grantline('up', '--compose', '--guests', '2');
  succeeded(done);
  for (const port of Object.values(ports)) must(done.out.includes(`http://127.0.0.1:${port}/`), done.out);
  await until('Prometheus reaches all services', allUp(2));
});

await step('the experimenter has frames delivered, in one configuration after another', async () => {
  await until('frames', async () => {
    const rates = await query('sum by (domain) (rate(grantline_delivered_frames_total[10s]))');
    return [...rates.values()].some((r) => r > 100);
  });
  await until(
    'a figure of a finished configuration',
    async () => (await query('grantline_result_frames_per_second{domain="experimenter"}')).size > 0,
  );
});

await step('Grafana answers and has its data source and dashboards', async () => {
  must((await json(`http://127.0.0.1:${ports.GRAFANA_PORT}/api/health`)).database === 'ok', 'not healthy');
  const seen = await exec('grafana', 'ls', '-R', '/etc/grafana/provisioning', '/var/lib/grafana/dashboards');
  must(/\.ya?ml/.test(seen.out) && /\.json/.test(seen.out), seen.out);
});

await step('a comparison runs in the stack, and the cycle goes on after it', async () => {
  await compare(2, 'baseline,optimised');
  must((await exec('experimenter', 'true')).code === 0, 'the experimenter does not run');
  // Its container had the experimenter's name meanwhile.
  const seen = 'count by (domain) (last_over_time(grantline_result_frames_per_second{run!~"cycle-.*"}[5m]))';
  must(
    (await query(seen)).get('experimenter') === 2,
    'Prometheus has seen other results than the two of the comparison',
  );
  await until(
    'Prometheus reads the cycle again',
    async () => (await query('grantline_run_info{run=~"cycle-.*"}')).size > 0,
  );
});

await step('http loads the guests in the stack, and loopback beside them; curl reaches guest 1', async () => {
  const file = join(results, 'http.json');
  const scenarios = ['--scenario', 'json,bytes:64K', '--seconds', '0.5', '--warmup', '0.2'];
  const done = await grantline('http', '--compose', '--configs', 'optimised', ...scenarios, '--json', file);
  must(done.code === 0 || /void: /.test(done.err), `exit code ${done.code}: ${done.err}`);
  const { runs } = JSON.parse(readFileSync(file, 'utf8'));
  must(runs.length === 4, `${runs.length} runs`);
  for (const r of runs) {
    const wrong = Object.values(r.generated.errors).reduce((a, b) => a + b, 0);
    must(wrong === 0 && r.generated.answered > 0, `${r.target} ${r.scenario}: ${r.generated.answered}, ${wrong} wrong`);
  }
  // The cycle of configurations has one in which no guest answers.
  await until('guest 1 answers at the published port', async () =>
    String((await json(`http://127.0.0.1:${ports.EDGE_PORT}/`)).name).startsWith('guest'),
  );
});

await step('guests can be added while it runs', async () => {
  succeeded(await grantline('up', '--compose', '--guests', '4'));
  await until('Prometheus reaches four guests', allUp(4));
  await compare(4, 'grant-reuse');
});

await step('a container has no rights, and a guest finds nothing that is not its own', async () => {
  for (const service of ['hypervisor', 'driver-domain', 'nic', 'guest', 'experimenter']) {
    const script = `const s = fs.readFileSync('/proc/self/status', 'utf8');
      const tries = (fn) => { try { fn(); return 'ok' } catch (e) { return e.code } };
      console.log(JSON.stringify({ uid: process.getuid(), caps: /CapEff:\\s*(\\S+)/.exec(s)[1], bound: /CapBnd:\\s*(\\S+)/.exec(s)[1],
        nnp: /NoNewPrivs:\\s*(\\d)/.exec(s)[1], root: tries(() => fs.writeFileSync('/grantline/x', '')) }))`;
    const done = await inside(service, script);
    succeeded(done);
    const is = JSON.parse(done.out);
    must(is.uid !== 0 && /^0+$/.test(is.caps) && /^0+$/.test(is.bound) && is.nnp === '1', `${service}: ${done.out}`);
    must(is.root === 'EROFS' || is.root === 'EACCES', `${service} can write to its image: ${is.root}`);
  }
  const script = `const d = '/run/grantline/', net = require('net'), http = require('http');
    const tries = (fn) => { try { fn(); return 'ok' } catch (e) { return e.code } };
    const read = (f) => tries(() => fs.closeSync(fs.openSync(d + f, 'r')));
    const reach = (host) => new Promise((r) => { const s = net.connect({ host, port: 7600, timeout: 3000 }, () => { s.destroy(); r('open') });
      s.on('error', (e) => r(e.code)); s.on('timeout', () => { s.destroy(); r('timeout') }) });
    const api = () => new Promise((r) => http.get({ socketPath: d + 'hypervisor.sock', path: '/api/xenstore' }, (a) => { a.resume(); r(a.statusCode) }).on('error', (e) => r(e.code)));
    (async () => console.log(JSON.stringify({
      list: [d, d + 'join'].map((p) => tries(() => fs.readdirSync(p))),
      closed: ['token', 'join/driver-domain', 'join/nic', 'hypervisor.pid'].map(read),
      ticket: await new Promise((r) => { const s = net.connect(d + 'shared.sock', () => s.write(Buffer.alloc(16))); let n = 0;
        s.on('data', (b) => (n += b.length)); s.on('error', (e) => r(e.code)); s.on('close', () => r(n)) }),
      own: read('join/guest'), net: [await reach('hypervisor'), await reach('nic'), await reach('driver-domain')], api: await api() })))()`;
  const done = await inside('guest', script);
  succeeded(done);
  const is = JSON.parse(done.out);
  const all = (/** @type {string[]} */ list, /** @type {string} */ code) => list.every((c) => c === code);
  must(all(is.list, 'EACCES') && all(is.closed, 'EACCES') && is.ticket === 0, done.out);
  must(is.own === 'ok' && is.api === 404, done.out);
  must(!is.net.includes('open'), `a guest reaches the control network: ${done.out}`);
  const there = await inside('hypervisor', `console.log(fs.readdirSync('/run/grantline').sort().join())`);
  must(there.out.trim() === 'hypervisor.pid,hypervisor.sock,join,shared.sock,token', there.out);
});

await step('the driver domain and the NIC come back after a restart, and frames with them', async () => {
  for (const service of ['driver-domain', 'nic']) {
    succeeded(await docker('restart', '-t', '5', await containerOf(service)));
    await until(`the vifs connect after a restart of ${service}`, settled(4));
    // Frames of `baseline` come through the default queue, those of `optimised` through each guest's own.
    await compare(4, 'baseline,optimised');
  }
});

await step('the driver domain may start before the NIC', async () => {
  const nic = await containerOf('nic');
  succeeded(await docker('stop', '-t', '5', nic));
  succeeded(await docker('restart', '-t', '5', await containerOf('driver-domain')));
  await until('the driver domain joins', async () => {
    const { domains } = await api('/api/testbed');
    return domains.some(
      (/** @type {any} */ d) => d.kind === 'driver-domain' && d.state === 'running' && d.http !== null,
    );
  });
  succeeded(await docker('start', nic));
  await until('the vifs connect', settled(4));
  await compare(4, 'baseline');
});

await step('a killed hypervisor starts again without what it left, and all domains join anew', async () => {
  const kill = `for (const p of fs.readdirSync('/proc')) { let c = ''; try { c = fs.readFileSync('/proc/' + p + '/cmdline', 'utf8') } catch {}
    if (Number(p) > 1 && c.startsWith('node\\0services/hypervisor/')) process.kill(Number(p), 'SIGKILL') }`;
  await inside('hypervisor', kill);
  await until('another hypervisor', async () => {
    const id = await containerOf('hypervisor');
    const { out } = await docker('inspect', '-f', '{{.RestartCount}} {{.State.Running}}', id);
    return /^[1-9]\d* true/.test(out);
  });
  await until('all domains are back', settled(4), 90_000);
  await compare(4, 'optimised');
});

await step('every container of ours ends by itself within its grace', async () => {
  const running = await ids('ps', '-a');
  must(running.length > 0, 'nothing runs');
  succeeded(await dc('stop'));
  for (const id of running) {
    const { out } = await docker('inspect', '-f', '{{.Name}} {{.State.ExitCode}}', id);
    must(!/ 137$/.test(out.trim()), `killed: ${out.trim()}`);
  }
});

await step('grantline down --compose leaves nothing', async () => {
  succeeded(await grantline('down', '--compose'));
  await nothingLeft();
});

/** Runs the command, and interrupts it once it is so far.
 *  @param {string[]} args @param {NodeJS.Signals} signal @param {(said: string) => unknown} soFar */
async function interrupted(args, signal, soFar) {
  const child = spawn(process.execPath, [join(ROOT, 'load/bin/grantline.mjs'), ...args], {
    ...{ cwd: ROOT, env, stdio: ['ignore', 'ignore', 'pipe'] },
  });
  let said = '';
  child.stderr?.on('data', (d) => (said += d));
  const ended = new Promise((resolve) => child.once('exit', (code) => resolve(code)));
  await until('the command is so far', async () => soFar(said), 240_000);
  child.kill(signal);
  const code = await ended;
  must(code === (signal === 'SIGINT' ? 130 : 143), `exit code ${String(code)}: ${said}`);
}

await step('a signal while containers are being made leaves none', async () => {
  await interrupted(['up', '--compose'], 'SIGTERM', async () => (await ids('ps', '-a')).length > 0);
  await nothingLeft();
});

await step(
  'compare --compose without a stack brings up its own and leaves nothing, also when interrupted',
  async () => {
    for (const later of [0, 3000]) {
      const args = ['compare', '--compose', '--seconds', '30', '--configs', 'optimised'];
      await interrupted(args, 'SIGINT', async (said) => {
        if (!said.includes('Containers ready')) return false;
        await sleep(later);
        return true;
      });
      await nothingLeft();
    }
  },
);

await clear();

await step('no process outlives its container', async () => {
  /** @type {[string, string][]} */
  let left = [];
  for (const end = Date.now() + 10_000; Date.now() < end; await sleep(500)) {
    left = [...containerProcesses()].filter(([pid]) => !before.has(pid));
    if (left.length === 0) return;
  }
  for (const [, what] of left) {
    const id = /[0-9a-f]{64}$/.exec(what)?.[0] ?? '';
    const { out, err } = await docker('inspect', '-f', '{{.Name}} {{json .State}} {{json .Config.Labels}}', id);
    console.log(`#   ${id.slice(0, 12)}: ${(out || err).trim()}`);
  }
  throw new Error(left.map(([pid, what]) => `process ${pid}: ${what}`).join('\n'));
});

console.log(`compose: ${passed} passed, ${failed} failed (${process.uptime().toFixed(0)} s)`);
process.exit(failed === 0 ? 0 : 1);
