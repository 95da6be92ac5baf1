import { spawn } from 'node:child_process';
import {
  closeSync,
  fstatSync,
  ftruncateSync,
  lstatSync,
  openSync,
  readFileSync,
  readSync,
  readdirSync,
  readlinkSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { PAGE_SIZE, type DomId } from '@grantline/base';
import { readCounterFile } from '@grantline/observe/testkit';
import { AddressSpace, NoDescriptor, fetchDescriptor, sealSeals } from '@grantline/machine';
import { SHARED_SOCKET } from '@grantline/xen';
import { MemoryPool } from '../../src/control/memory-pool.js';
import { Shares, Tickets } from '../../src/control/shares.js';
import { Peer, bed, tempDir } from './bed.js';

t.setTimeout(120_000);
const isRoot = process.getuid?.() === 0;
const GUEST = fileURLToPath(new URL('./shared-guest.js', import.meta.url));
const MAIN = fileURLToPath(new URL('../../src/main.js', import.meta.url));

/** Descriptors of this process, and what they lead to. */
function descriptors(): { fd: number; to: string }[] {
  return readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      return [{ fd: Number(fd), to: readlinkSync(`/proc/self/fd/${fd}`) }];
    } catch {
      return [];
    }
  });
}

/** The one that leads to shared memory of that name. */
const fdOf = (name: string): number =>
  descriptors().find(({ to }) => to.startsWith(`/memfd:grantline:${name} `))?.fd ?? -1;

/** Those of what is shared. */
const openFds = (): number => descriptors().filter(({ to }) => /^(\/memfd:grantline|pipe:)/.test(to)).length;

t.test(
  'F4 a guest can neither shorten nor lengthen what it shares, and has no way to what is not its own',
  async (t) => {
    const b = await bed(t);
    await b.open('driver-domain');
    await b.open('nic');
    const { domid, secret, uid } = (await b.create('guest')) as { domid: number; secret: string; uid?: number | null };
    const other = await b.open('guest');
    const child = spawn(process.execPath, [GUEST, String(process.pid), String(fdOf('memory 2'))], {
      env: {
        ...{
          PATH: process.env['PATH'],
          GRANTLINE_DIR: b.dir,
          GRANTLINE_DOMID: String(domid),
          GRANTLINE_SECRET: secret,
        },
        GRANTLINE_HYPERVISOR: b.url.replace('http', 'ws'),
        ...(uid === undefined || uid === null ? {} : { GRANTLINE_UID: String(uid) }),
      },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    t.teardown(() => child.kill('SIGKILL'));
    let out = '';
    child.stdout.on('data', (d: Buffer) => (out += d.toString()));
    await new Promise((resolve) => child.once('exit', resolve));
    const said = JSON.parse(out.trim().split('\n').at(-1) ?? '{}') as Record<string, string>;
    const sealed = isRoot ? 'EPERM EPERM EPERM EACCES' : 'EPERM EPERM EPERM EPERM';
    for (const of of ['memory', 'counters', 'page']) {
      t.ok(said[of].startsWith(sealed), `${of}: ${said[of]}`);
      t.match(said[of], /(Operation not permitted|Permission denied)/);
    }
    const refused = Object.entries(said).filter(([what]) => what.includes(' '));
    t.equal(refused.length, 9);
    for (const [what, code] of refused) t.equal(code, 'EPERM', what);
    // As one user they are one trust zone: what such a descriptor leads to can be read, and is sealed all the same.
    t.equal(said['proc'], isRoot ? 'EACCES' : 'ok');

    // The hypervisor and the others have all of it: a missing page would end this process.
    const { base, pages } = b.hv.memory.get(other.domid)!;
    let sum = 0;
    for (let p = 0; p < pages; p++) sum += b.hv.space.mem.u8[base + p * PAGE_SIZE];
    t.equal(sum, 0);
    t.equal(fstatSync(await b.shared(other, 'memory')).size, 4 << 20);
    t.same(await other.ask('evtchn.allocUnbound', { remote: 1000 }), { port: 1 });
  },
);

t.test('F4 only the hypervisor writes the DMA table, and only the nic may read it', async (t) => {
  const b = await bed(t);
  const dd = await b.open('driver-domain');
  const nic = await b.open('nic');
  const [dpn] = await dd.mapSelf([10]);
  const table = await b.shared(nic, 'dma-table');
  const entry = Buffer.alloc(16);
  readSync(table, entry, 0, 16, 16 * dpn);
  t.not(entry.readUInt32LE(0), 0, 'what the hypervisor writes is seen');
  t.throws(() => writeSync(table, entry, 0, 16, 16 * dpn), { code: 'EBADF' });
  t.throws(() => ftruncateSync(table, 0));
  t.throws(() => new AddressSpace(1 << 20).mapWhole(openSync(`/proc/self/fd/${table}`, 'r'), PAGE_SIZE, true), /errno/);
  for (const of of ['dma-table', 'dma-burst'] as const)
    t.equal(await dd.ask('shared.ticket', { of, domid: 1000 }), 'EPERM');
  t.equal(fstatSync(await b.shared(dd, 'memory', 1001)).size, 16 * PAGE_SIZE);
  t.equal(await dd.ask('shared.ticket', { of: 'memory', domid: 7 }), 'ESRCH');
  t.equal(await dd.ask('shared.ticket', { of: 'everything', domid: 7 }), 'EINVAL');
});

t.test('a ticket is good once, for a short time, and as long as its holder and what it is for live', async (t) => {
  const b = await bed(t);
  const dd = await b.open('driver-domain');
  const g = await b.open('guest');
  const at = join(b.dir, SHARED_SOCKET);
  const { ticket } = await g.ask('shared.ticket', { of: 'memory', domid: 1 });
  t.match(ticket, /^[0-9a-f]{32}$/);
  closeSync(await fetchDescriptor(at, ticket));
  await t.rejects(fetchDescriptor(at, ticket), NoDescriptor, 'used');
  const { ticket: own } = await g.ask('shared.ticket', { of: 'memory', domid: 1 });
  const { ticket: theirs } = await dd.ask('shared.ticket', { of: 'memory', domid: 1 });
  g.ws.terminate();
  await dd.event('domain.gone');
  await t.rejects(fetchDescriptor(at, own), NoDescriptor, 'the holder is dead');
  while (b.hv.shares.has(1 as DomId)) await new Promise((resolve) => setTimeout(resolve, 5));
  await t.rejects(fetchDescriptor(at, theirs), NoDescriptor, 'what it was for is gone');

  let now = 0;
  let opened = 0;
  const tickets = new Tickets(() => now);
  const open = (): number => ++opened;
  const old = tickets.issue(1 as DomId, open);
  now += 10e9;
  t.equal(tickets.use(old), null, 'stale');
  const crowd = Array.from({ length: 200 }, () => tickets.issue(1 as DomId, open));
  const other = tickets.issue(2 as DomId, open);
  t.equal(crowd.filter((one) => tickets.use(one) !== null).length, 64, 'one holder has so many at most');
  t.not(tickets.use(other), null, 'which takes none from another');
});

t.test('F4 whoever has a descriptor of a doorbell can ring, or hear its own, and stop nobody else', async (t) => {
  const b = await bed(t);
  const dd = await b.open('driver-domain');
  const g = await b.open('guest');
  t.equal(
    await g.ask('shared.ticket', { of: 'ringer', domid: 1000 }),
    'EPERM',
    'without a channel there is no need to',
  );
  await g.ask('evtchn.allocUnbound', { remote: 1000 });
  const ringer = await b.shared(g, 'ringer', 1000);
  t.throws(() => readSync(ringer, Buffer.alloc(1)), { code: 'EBADF' }, 'it takes no ring away');
  // A full bell, as by one who rings all the time: the hypervisor does not wait for room in it.
  t.throws(
    () => {
      for (;;) writeSync(ringer, Buffer.alloc(4096));
    },
    { code: 'EAGAIN' },
  );
  await dd.ask('evtchn.bindInterdomain', { remote: 1, remotePort: 1 });
  const bell = await b.shared(dd, 'doorbell');
  t.equal(readSync(bell, Buffer.alloc(1 << 20)), 65536);
});

t.test('F5 what could not be made for want of memory leaves nothing, and is made when there is some', async (t) => {
  let room = Infinity;
  const b = await bed(t, 5000, () => room);
  const dd = await b.open('driver-domain');
  const g = await b.open('guest');
  const before = openFds();
  room = 1 << 20;
  for (let i = 0; i < 3; i++) {
    const r = await b.api('POST', '/api/domains', { kind: 'guest' });
    t.equal(r.status, 507);
    t.equal(
      r.body.message,
      'too little shared memory: memory 2 needs 4096 KiB, 1024 KiB are available; free some, or raise the limit (docker run --memory)',
    );
  }
  room = 0;
  t.equal(await g.ask('evtchn.allocUnbound', { remote: 1000 }), 'ENOMEM');
  t.equal(await dd.ask('evtchn.allocUnbound', { remote: 1 }), 'ENOMEM');
  t.equal(openFds(), before, 'no descriptor is left');
  room = Infinity;
  t.same(await g.ask('evtchn.allocUnbound', { remote: 1000 }), { port: 1 });
  t.equal((await b.create('guest')).domid, 2);
});

t.test('F5 a place in the address space is used again, also after a failure', (t) => {
  const space = new AddressSpace(1 << 20);
  let room = Infinity;
  const pool = new MemoryPool(space, () => room);
  const one = pool.make('one', PAGE_SIZE, 'both');
  pool.release(one);
  pool.release(one);
  const before = openFds();
  for (let i = 0; i < 3; i++) {
    t.throws(() => pool.make('all', 1 << 21, 'both'), RangeError);
    room = 0;
    t.throws(() => pool.make('one', PAGE_SIZE, 'both'), { code: 'ENOMEM' });
    room = Infinity;
  }
  t.equal(openFds(), before);
  t.equal(pool.make('one', PAGE_SIZE, 'both').at, one.at);
  // One that cannot be sealed any more is found out when it is mapped already.
  const mapFd = space.mapFd.bind(space);
  let place = -1;
  space.mapFd = (at, fd, ...rest) => {
    mapFd((place = at), fd, ...rest);
    sealSeals(fd);
  };
  const sealed = openFds();
  t.throws(() => pool.make('sealed', PAGE_SIZE, 'both'), /F_ADD_SEALS/);
  space.mapFd = mapFd;
  t.equal(openFds(), sealed);
  t.notMatch(readFileSync('/proc/self/maps', 'utf8'), /grantline:sealed/);
  t.equal(pool.make('two', PAGE_SIZE, 'both').at, place);
  // A domain has all that it shares, or nothing.
  for (const missing of ['counters', 'hypercalls']) {
    const free = (): number => (fails ? 0 : Infinity);
    let fails = false;
    const few = new MemoryPool(new AddressSpace(16 << 20), free);
    const make = few.make.bind(few);
    few.make = (name, ...rest) => {
      fails = name.startsWith(missing) && name.endsWith(' 1');
      return make(name, ...rest);
    };
    const short = new Shares(few);
    const fds = openFds();
    t.throws(() => short.makeDomain(1 as DomId, 1 << 20), { code: 'ENOMEM' }, `memory there was, for ${missing} none`);
    t.equal(openFds(), fds);
    t.notOk(short.has(1 as DomId));
  }
  const shares = new Shares(new MemoryPool(new AddressSpace(16 << 20), () => Infinity));
  const fds = openFds();
  shares.makeDomain(1 as DomId, 1 << 20);
  t.equal(openFds(), fds + 5);
  shares.removeDomain(1 as DomId);
  shares.removeDomain(1 as DomId);
  t.equal(openFds(), fds);
  t.end();
});

t.test('F5 a domain whose birth fails at a later step leaves nothing of the earlier ones', async (t) => {
  const b = await bed(t);
  const { shares, counterFile, memory } = b.hv;
  const before = openFds();
  for (const [kind, part, step] of [
    ['guest', counterFile, 'block'],
    ['guest', memory, 'add'],
    ['nic', shares, 'resetBurst'],
    ['nic', shares, 'renewFence'],
    ['nic', counterFile, 'block'],
    ['nic', memory, 'add'],
  ] as [string, object, string][]) {
    const broken = part as Record<string, unknown>;
    broken[step] = () => {
      throw new RangeError('there is no room');
    };
    t.equal((await b.api('POST', '/api/domains', { kind })).status, 500, `${kind}: ${step}`);
    delete broken[step];
    t.equal(openFds(), before);
  }
  t.same((await b.api('GET', '/api/testbed')).body.domains, []);
  t.equal((await b.create('guest')).domid, 1);
  t.equal((await b.create('nic')).domid, 1001);
});

t.test('the operator, and nobody else, gets counters to be read', async (t) => {
  const b = await bed(t);
  await b.create('guest');
  t.equal((await b.api('POST', '/api/domains/1/counters', undefined, 'wrong')).status, 401);
  t.equal((await b.api('POST', '/api/domains/7/counters')).status, 404);
  const at = join(b.dir, SHARED_SOCKET);
  const mine = await fetchDescriptor(at, (await b.api('POST', '/api/domains/0/counters')).body.ticket);
  t.teardown(() => closeSync(mine));
  t.ok(readCounterFile(`/proc/self/fd/${mine}`).some((block) => block.kind === 'hypercalls'));
  const guests = await fetchDescriptor(at, (await b.api('POST', '/api/domains/1/counters')).body.ticket);
  t.teardown(() => closeSync(guests));
  t.throws(() => writeSync(guests, Buffer.alloc(1)), { code: 'EBADF' });
});

t.test('F4 a hypervisor that is killed leaves no memory behind', async (t) => {
  const dir = tempDir();
  t.teardown(() => rmSync(dir, { recursive: true, force: true }));
  const child = spawn(process.execPath, [MAIN], {
    env: {
      ...process.env,
      GRANTLINE_DIR: dir,
      GRANTLINE_HTTP: '127.0.0.1:0',
      GRANTLINE_LOG: 'info',
      GRANTLINE_TOKEN: 't'.repeat(22),
    },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.teardown(() => child.kill('SIGKILL'));
  const url = await new Promise<string>((resolve) => {
    let out = '';
    child.stdout.on('data', (d: Buffer) => {
      out += d.toString();
      const said = /"url":"(http:[^"]+)"/.exec(out)?.[1];
      if (said !== undefined) resolve(said);
    });
  });
  const made = await fetch(`${url}/api/domains`, {
    method: 'POST',
    headers: { authorization: 'Bearer t', 'content-type': 'application/json' },
    body: '{"kind":"guest"}',
  });
  const { domid, secret } = (await made.json()) as { domid: number; secret: string };
  const g = await Peer.connect(url, domid, secret);
  child.kill('SIGKILL');
  await g.until(() => g.closeCode !== null);
  const left = readdirSync(dir, { recursive: true }).map((name) => lstatSync(join(dir, String(name))));
  t.ok(left.length > 0);
  t.ok(left.filter((s) => s.isFile()).reduce((sum, s) => sum + s.size, 0) < PAGE_SIZE, 'tokens alone');
});
