import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { chmodSync, chownSync, mkdirSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { Peer, bed, tempDir, upgradeStatus, type Json } from './control-bed.js';

const MAIN = fileURLToPath(new URL('../src/main.js', import.meta.url));
t.setTimeout(120_000);

t.test('whoever has the join token of a kind is a domain of that kind by connecting, and nothing else', async (t) => {
  const b = await bed();
  t.teardown(() => b.close());
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
  t.match(dd.events[0].args, { domid: 1000, kind: 'driver-domain', home: 'domain/1000' });
  t.equal(await enter('driver-domain', tokenOf('driver-domain')), 409, 'there is one already');
  const g = await Peer.join(b.url, b.dir, 'guest');
  t.same(await g.ask('xs.read', { path: '/local/domain/1/name' }), { value: 'guest1' });
  t.match(await dd.event('domain.new'), { domid: 1, memory: 'domain/1/memory' });
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
  const b = await bed();
  t.teardown(() => b.close());
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
const GROUPS = { guest: 64901, 'driver-domain': 65000, nic: 65001, operator: 64902, peers: 64903, io: 64000 };
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

t.test('guests of one user cannot find each other, and no role opens what is not its own', asRoot, async (t) => {
  const dir = tempDir();
  mkdirSync(dir);
  chownSync(dir, 64900, 64900);
  t.teardown(() => rmSync(dir, { recursive: true, force: true }));
  const { url } = await startAs(t, dir);
  const dd = await Peer.join(url, dir, 'driver-domain');
  const nic = await Peer.join(url, dir, 'nic');
  const [g1, g2] = [await Peer.join(url, dir, 'guest'), await Peer.join(url, dir, 'guest')];
  const homeOf = (p: Peer): string => (p.events[0].args as Json & { home: string }).home;
  const at = (path: string): string => join(dir, path);
  t.match(homeOf(g1), /^domain\/1-[0-9a-f]{32}$/);
  t.not(homeOf(g1).split('-')[1], homeOf(g2).split('-')[1]);
  const { page, doorbell } = (await g1.ask('evtchn.allocUnbound', { remote: 1000 })) as Json & Record<string, string>;
  t.match(page, /^evtchn\/1-1000-[0-9a-f]{32}$/);
  t.equal(doorbell, `${homeOf(dd)}/doorbell`);
  const told = (await dd.event('domain.new', 2)) as Json & { memory: string };
  t.ok([`${homeOf(g1)}/memory`, `${homeOf(g2)}/memory`, `${homeOf(nic)}/memory`].includes(told.memory));

  const guest = tryAs(
    64901,
    [64903],
    [
      { path: at(`${homeOf(g2)}/memory`), how: 'r+' },
      { path: at(`${homeOf(g2)}/counters`), how: 'r+' },
      { path: at('join/guest'), how: 'r' },
      { path: at('domain'), how: 'list' },
      { path: at('evtchn'), how: 'list' },
      { path: dir, how: 'list' },
      { path: at('domain/1/memory'), how: 'r' },
      { path: at(`${homeOf(g2)}/memory2`), how: 'wx' },
      { path: at(`${homeOf(dd)}/memory`), how: 'r' },
      { path: at(`${homeOf(dd)}/doorbell`), how: 'r' },
      { path: at(`${homeOf(dd)}/counters`), how: 'r' },
      { path: at('dma/table'), how: 'r' },
      { path: at('token'), how: 'r' },
      { path: at('join/driver-domain'), how: 'r' },
      { path: at('join/nic'), how: 'r' },
      // Whoever can open it can lock it, and keep the next hypervisor out.
      { path: at('hypervisor.pid'), how: 'r' },
    ],
  );
  t.same(guest.slice(0, 3), ['ok', 'ok', 'ok'], 'a guest opens its own');
  t.same(guest.slice(3, 6), ['EACCES', 'EACCES', 'EACCES'], 'it cannot list where the others are');
  t.equal(guest[6], 'ENOENT', 'a name cannot be made up from the number');
  t.same(new Set(guest.slice(7)), new Set(['EACCES']));

  const driver = tryAs(
    65000,
    [64000, 64903],
    [
      { path: at(told.memory), how: 'r+' },
      { path: at(page), how: 'r+' },
      { path: at(`${homeOf(g1)}/doorbell`), how: 'r' },
      { path: at('dma/table'), how: 'r' },
      { path: at('token'), how: 'r' },
      { path: at('join/guest'), how: 'r' },
    ],
  );
  t.same(
    driver,
    ['ok', 'ok', 'EACCES', 'EACCES', 'EACCES', 'EACCES'],
    'the driver domain maps, but takes no ring away',
  );
  const device = tryAs(
    65001,
    [64000, 64903],
    [
      { path: at(told.memory), how: 'r+' },
      { path: at('dma/table'), how: 'r' },
      { path: at('dma/table'), how: 'r+' },
      { path: at('dma/burst'), how: 'r+' },
      { path: at('join/nic'), how: 'r' },
    ],
  );
  t.same(device, ['ok', 'ok', 'EACCES', 'ok', 'ok']);
  t.same(
    tryAs(
      64902,
      [],
      [
        { path: at('token'), how: 'r' },
        { path: at(`${homeOf(g1)}/memory`), how: 'r' },
      ],
    ),
    ['ok', 'EACCES'],
  );
  for (const p of [dd, nic, g1, g2]) p.ws.terminate();
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
    const before = readdirSync(join(dir, 'domain'));
    await t.rejects(startAs(t, dir, { GRANTLINE_RECLAIM: '1' }), /is in use by the hypervisor/);
    first.child.kill('SIGKILL');
    await g.until(() => g.closeCode !== null);
    await t.rejects(startAs(t, dir), /was left by a run that was killed/);
    const second = await startAs(t, dir, { GRANTLINE_RECLAIM: '1' });
    t.same(readdirSync(join(dir, 'domain')), ['0'], `gone: ${before.join(', ')}`);
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
