import { once } from 'node:events';
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { chmodSync, chownSync, closeSync, mkdirSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { fetchDescriptor } from '@grantline/machine';
import { Peer, bed, tempDir, upgradeStatus } from './bed.js';

const MAIN = fileURLToPath(new URL('../../src/main.js', import.meta.url));
const JOINING = fileURLToPath(new URL('./joining-guest.js', import.meta.url));
t.setTimeout(120_000);

t.test('whoever has the join token of a kind is a domain of that kind by connecting, and nothing else', async (t) => {
  const b = await bed(t);
  const tokenOf = (kind: string): string => readFileSync(join(b.dir, 'join', kind), 'utf8').trim();
  const enter = (kind: string, token: string): Promise<number> =>
    upgradeStatus(b.url, { 'x-grantline-join': kind, authorization: `Bearer ${token}` });
  t.equal(await enter('guest', tokenOf('nic')), 401, 'the token of another kind');
  t.equal(await enter('driver-domain', tokenOf('guest')), 401);
  t.equal(await enter('hypervisor', tokenOf('guest')), 401);
  t.equal(await enter('guest', 'operator'), 401, "the operator's token is for the API");
  t.equal((await b.api('POST', '/api/domains', { kind: 'guest' }, tokenOf('guest'))).status, 401);
  t.equal((await b.api('PUT', '/api/config', { lro: true }, tokenOf('guest'))).status, 401);
  t.same((await b.api('GET', '/api/testbed')).body.domains, [], 'nothing was made for those refused');

  const dd = await Peer.join(b.url, b.dir, 'driver-domain');
  t.match(dd.events[0].args, { domid: 1000, kind: 'driver-domain' });
  t.equal(await enter('driver-domain', tokenOf('driver-domain')), 409, 'there is one already');
  const g = await Peer.join(b.url, b.dir, 'guest');
  t.same(await g.ask('xs.read', { path: '/local/domain/1/name' }), { value: 'guest1' });
  t.match(await dd.event('domain.new'), { domid: 1, kind: 'guest' });
  dd.ws.terminate();
  g.ws.terminate();
  await waitUntil(async () => (await b.api('GET', '/api/testbed')).body.domains.length === 1);
  t.match(
    (await b.api('GET', '/api/testbed')).body.domains,
    [{ domid: 1000, state: 'dead' }],
    'a guest leaves no trace',
  );
  const again = await Peer.join(b.url, b.dir, 'driver-domain');
  t.equal(again.events[0].args.domid, 1000, 'the driver domain comes back in its place');
  const other = await Peer.join(b.url, b.dir, 'guest');
  t.equal(other.events[0].args.domid, 2, 'a guest comes back as another');
  again.ws.terminate();
  other.ws.terminate();
});

t.test('a guest whose driver domain is gone before it is buried is no trouble', async (t) => {
  const b = await bed(t);
  await b.create('driver-domain');
  await b.create('guest');
  const guest = b.hv.domains.get(1)!;
  // As when all end at once, and the guest's burial waits for the NIC to let go.
  guest.state = 'dead';
  b.hv.toolstack.domainDied(b.hv.domains.get(1000)!);
  t.doesNotThrow(() => b.hv.toolstack.domainDied(guest));
  guest.state = 'created';
});

/** Users and groups as in docker-compose.yml. */
const GROUPS = { guest: 64901, 'driver-domain': 65000, nic: 65001, operator: 64902 };
const ROLES = Object.entries(GROUPS)
  .map(([role, gid]) => `${role}=${gid}`)
  .join(',');

interface Running {
  child: ChildProcess;
  url: string;
}

/** A hypervisor that is no root, in the groups of all roles. */
function startAs(t: Test, dir: string, extra: Record<string, string> = {}): Promise<Running> {
  const become = `process.setgroups(${JSON.stringify(Object.values(GROUPS))}); process.setgid(64900); process.setuid(64900);`;
  const child = spawn(process.execPath, ['-e', `${become} import(${JSON.stringify(MAIN)})`], {
    env: {
      PATH: process.env['PATH'],
      GRANTLINE_DIR: dir,
      GRANTLINE_HTTP: '127.0.0.1:0',
      GRANTLINE_ROLES: ROLES,
      ...extra,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  t.teardown(() => void child.kill('SIGKILL'));
  return new Promise((resolve, reject) => {
    let out = '';
    const collect = (d: Buffer): void => {
      out += d.toString();
      const url = /"url":"(http:[^"]+)"/.exec(out)?.[1];
      if (url) resolve({ child, url });
    };
    child.stdout.on('data', collect);
    child.stderr.on('data', collect);
    child.on('exit', (code) => reject(new Error(`exit ${code}: ${out}`)));
  });
}

/** Tries each path as that user. @returns 'ok' or the errno's name for each */
function tryAs(uid: number, groups: number[], tries: { path: string; how: 'r' | 'r+' | 'wx' | 'list' }[]): string[] {
  const script = `process.setgroups(${JSON.stringify(groups)}); process.setgid(${uid}); process.setuid(${uid});
    const one = ({ path, how }) => { try { if (how === 'list') fs.readdirSync(path); else fs.closeSync(fs.openSync(path, how)); return 'ok' } catch (e) { return e.code } };
    fs.writeSync(1, JSON.stringify(${JSON.stringify(tries)}.map(one)));
    process.kill(process.pid, 'SIGKILL'); // no exit hook of the test runner: it would write files of this uid`;
  return JSON.parse(spawnSync(process.execPath, ['-e', script], { encoding: 'utf8' }).stdout) as string[];
}

const asRoot = process.getuid?.() === 0 ? {} : { skip: 'processes of several users can be started as root only' };

t.test('no role opens what is not its own, and guests of one user have no way to each other', asRoot, async (t) => {
  const dir = tempDir();
  mkdirSync(dir);
  chownSync(dir, 64900, 64900);
  t.teardown(() => rmSync(dir, { recursive: true, force: true }));
  const { url } = await startAs(t, dir);
  const dd = await Peer.join(url, dir, 'driver-domain');
  const nic = await Peer.join(url, dir, 'nic');
  const [g1, g2] = [await Peer.join(url, dir, 'guest'), await Peer.join(url, dir, 'guest')];
  const at = (path: string): string => join(dir, path);
  const all = ['token', 'join/guest', 'join/driver-domain', 'join/nic', 'hypervisor.pid'];
  const opens = (uid: number): string[] => {
    const got = tryAs(
      uid,
      [],
      [...all.map((path) => ({ path: at(path), how: 'r' as const })), { path: dir, how: 'list' }],
    );
    t.same(new Set(got.filter((code) => code !== 'ok')), new Set(['EACCES']));
    return all.filter((_, i) => got[i] === 'ok');
  };
  t.same(opens(GROUPS.guest), ['join/guest'], 'nobody can lock hypervisor.pid and keep the next hypervisor out');
  t.same(opens(GROUPS['driver-domain']), ['join/driver-domain']);
  t.same(opens(GROUPS.nic), ['join/nic']);
  t.same(opens(GROUPS.operator), ['token']);
  // A guest may have what is its own and its peers', and each by a ticket that only it is told.
  t.equal(await g1.ask('shared.ticket', { of: 'memory', domid: g2.domid }), 'EPERM');
  const { ticket } = await g1.ask('shared.ticket', { of: 'memory', domid: g1.domid });
  const memory = await fetchDescriptor(at('shared.sock'), ticket);
  t.teardown(() => closeSync(memory));
  const size = `fs.fstatSync(3).size + ' ' + (() => { try { fs.openSync('/proc/self/fd/3', 'r+') } catch (e) { return e.code } })()`;
  const become = `process.setgroups([]); process.setgid(${GROUPS.guest}); process.setuid(${GROUPS.guest});`;
  const held = spawnSync(
    process.execPath,
    ['-e', `${become} fs.writeSync(1, ${size}); process.kill(process.pid, 'SIGKILL')`],
    {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe', memory],
    },
  );
  t.equal(held.stdout, `${4 << 20} EACCES`, 'who is given a descriptor has it as it was given');
  for (const p of [dd, nic, g1, g2]) p.ws.terminate();
});

t.test('H35: one container is one guest, and one that does not show where it is is none', asRoot, async (t) => {
  const dir = tempDir();
  mkdirSync(dir);
  chownSync(dir, 64900, 64900);
  t.teardown(() => rmSync(dir, { recursive: true, force: true }));
  const { url } = await startAs(t, dir);
  const token = (kind: string): string => readFileSync(join(dir, 'join', kind), 'utf8').trim();
  const ask = (kind: string, place?: string): Promise<number> =>
    upgradeStatus(url, {
      'x-grantline-join': kind,
      authorization: `Bearer ${token(kind)}`,
      ...(place === undefined ? {} : { 'x-grantline-place': place }),
    });
  t.equal(await ask('guest'), 403);
  t.equal(await ask('guest', '0'.repeat(32)), 403, 'nobody has shown that');
  const env = { PATH: process.env['PATH'], GRANTLINE_DIR: dir, GRANTLINE_JOIN: join(dir, 'join', 'guest') };
  // A mount namespace of its own is what makes it a container here.
  const contained = async (): Promise<string[]> => {
    const child = spawn('unshare', ['--mount', process.execPath, JOINING], {
      env,
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    t.teardown(() => child.kill('SIGKILL'));
    const [line] = (await once(child.stdout, 'data')) as [Buffer];
    return JSON.parse(line.toString()) as string[];
  };
  const refused = /lets no guest join: .*there is a guest from this container already/;
  t.match(await contained(), ['guest 1', refused, refused, refused, 'guest 2']);
  t.match(await contained(), ['guest 3', refused, refused, refused, 'guest 4'], 'another container is another');
  const [one, two] = [await Peer.join(url, dir, 'guest'), await Peer.join(url, dir, 'guest')];
  t.same([one.domid, two.domid], [5, 6], 'where the hypervisor is, is no container');
  one.ws.terminate();
  two.ws.terminate();
});

t.test(
  'a hypervisor that may reclaim starts on what a killed one left, and on nothing that is in use',
  asRoot,
  async (t) => {
    const dir = tempDir();
    mkdirSync(dir);
    chownSync(dir, 64900, 64900);
    chmodSync(dir, 0o755);
    t.teardown(() => rmSync(dir, { recursive: true, force: true }));
    const first = await startAs(t, dir);
    const g = await Peer.join(first.url, dir, 'guest');
    await t.rejects(startAs(t, dir, { GRANTLINE_RECLAIM: '1' }), /is in use by the hypervisor/);
    first.child.kill('SIGKILL');
    await g.until(() => g.closeCode !== null);
    await t.rejects(startAs(t, dir), /was left by a run that was killed/);
    const second = await startAs(t, dir, { GRANTLINE_RECLAIM: '1' });
    const again = await Peer.join(second.url, dir, 'guest');
    t.equal(again.domid, 1);
    const ended = new Promise((resolve) => second.child.once('exit', resolve));
    second.child.kill('SIGTERM');
    await ended;
    t.same(readdirSync(dir), [], 'and leaves nothing');
  },
);

async function waitUntil(ok: () => Promise<boolean>): Promise<void> {
  while (!(await ok())) await new Promise((r) => setTimeout(r, 5));
}
