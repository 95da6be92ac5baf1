import { spawn, spawnSync } from 'node:child_process';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { Peer, bed, tempDir } from '../control/bed.js';

const MAIN = fileURLToPath(new URL('../../src/main.js', import.meta.url));
const TOKEN = 'stop-the-hypervisor-of-this-test';
// Ten processes one after the other, on a machine that may be busy.
t.setTimeout(120_000);

interface Running {
  child: ReturnType<typeof spawn>;
  url: string;
  ended: Promise<number | null>;
}

function start(dir: string, env: Record<string, string> = {}): Promise<Running> {
  const child = spawn(process.execPath, [MAIN], {
    env: { ...process.env, GRANTLINE_DIR: dir, GRANTLINE_HTTP: '127.0.0.1:0', GRANTLINE_LOG: 'info', ...env },
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  const ended = new Promise<number | null>((resolve) => child.on('exit', (code) => resolve(code)));
  return new Promise((resolve, reject) => {
    let out = '';
    child.stdout.on('data', (d: Buffer) => {
      out += d.toString();
      const url = /"url":"(http:[^"]+)"/.exec(out)?.[1];
      if (url) resolve({ child, url, ended });
    });
    void ended.then((code) => reject(new Error(`exit ${code}: ${out}`)));
  });
}

/** Runs it to its end. */
function refused(dir: string): { code: number | null; stderr: string } {
  const r = spawnSync(process.execPath, [MAIN], {
    env: { ...process.env, GRANTLINE_DIR: dir, GRANTLINE_HTTP: '127.0.0.1:0' },
    encoding: 'utf8',
    timeout: 20_000,
  });
  return { code: r.status, stderr: r.stderr };
}

t.test(
  'a directory that a living hypervisor uses, and one that a killed run left, are refused with one line and code 2',
  async (t) => {
    const dir = tempDir();
    t.teardown(() => rmSync(dir, { recursive: true, force: true }));
    const first = await start(dir);
    const busy = refused(dir);
    t.equal(busy.code, 2);
    t.match(busy.stderr, /^grantline hypervisor: .* is in use by the hypervisor with pid \d+: .*\n$/);
    t.ok(existsSync(join(dir, 'token')), 'the living one is not harmed');
    first.child.kill('SIGKILL');
    await first.ended;
    const stale = refused(dir);
    t.equal(stale.code, 2);
    t.match(stale.stderr, /^grantline hypervisor: .* was left by a run that was killed: remove it .*\n$/);
    // The pid may be somebody else's by now: the start time tells.
    writeFileSync(join(dir, 'hypervisor.pid'), `${process.pid} 1\n`);
    t.match(refused(dir).stderr, /was left by a run that was killed/);
  },
);

for (const [how, end] of [
  ['SIGTERM', (r: Running) => void r.child.kill('SIGTERM')],
  ['SIGINT', (r: Running) => void r.child.kill('SIGINT')],
  ['the end of stdin', (r: Running) => void r.child.stdin!.end()],
  [
    'POST /api/shutdown',
    (r: Running) =>
      void fetch(`${r.url}/api/shutdown`, { method: 'POST', headers: { authorization: `Bearer ${TOKEN}` } }),
  ],
] as const) {
  t.test(`${how} closes the domains' sockets, leaves nothing and exits 0`, async (t) => {
    const dir = tempDir();
    const r = await start(dir, { GRANTLINE_LIFELINE: 'stdin', GRANTLINE_TOKEN: TOKEN });
    t.equal(readFileSync(join(dir, 'token'), 'utf8'), `${TOKEN}\n`);
    const made = await fetch(`${r.url}/api/domains`, {
      method: 'POST',
      headers: { authorization: `Bearer ${TOKEN}`, 'content-type': 'application/json' },
      body: '{"kind":"guest"}',
    });
    const { domid, secret } = (await made.json()) as { domid: number; secret: string };
    const g = await Peer.connect(r.url, domid, secret);
    end(r);
    await g.until(() => g.closeCode !== null);
    t.equal(g.closeCode, 1001);
    t.equal(await r.ended, 0);
    t.notOk(existsSync(dir));
  });
}

t.test('a port in use is one line and code 2, and nothing stays', async (t) => {
  const dir = tempDir();
  const b = await bed(t);
  const r = spawnSync(process.execPath, [MAIN], {
    env: { ...process.env, GRANTLINE_DIR: dir, GRANTLINE_HTTP: b.url.slice('http://'.length), GRANTLINE_LOG: 'error' },
    encoding: 'utf8',
    timeout: 20_000,
  });
  t.equal(r.status, 2);
  t.match(r.stderr, /^grantline hypervisor: .* in use.*\n$/);
  t.notOk(existsSync(dir));
});
