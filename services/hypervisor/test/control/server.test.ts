import { once } from 'node:events';
import { constants, fstatSync, openSync, readSync, readdirSync, writeSync } from 'node:fs';
import { request, type IncomingMessage } from 'node:http';
import { connect } from 'node:net';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import {
  GNTMAP_DEVICE_MAP,
  GNTMAP_HOST_MAP,
  GNTST,
  GRANT_DOMID,
  GRANT_ENTRY_BYTES,
  GRANT_FLAGS,
  GRANT_FRAME,
  GTF_PERMIT_ACCESS,
  GNTTABOP_MAP,
  GNTTABOP_UNMAP,
  HYPERCALL_HEADER_BYTES,
  MAP_BYTES,
  MAP_DOM,
  MAP_FLAGS,
  MAP_REF,
  MAP_RES_HANDLE,
  MAP_RES_STATUS,
  UNMAP_BYTES,
  UNMAP_HANDLE,
  UNMAP_HOST_ADDR,
} from '@grantline/xen';
import type { DomId } from '@grantline/base';
import { Doorbell } from '@grantline/machine';
import { bed, upgradeStatus, Peer, type Bed } from './bed.js';

/** Of doorbells: a descriptor of its own, since the bed closes the one that it fetched. */
const HEAR = constants.O_RDWR | constants.O_NONBLOCK;

t.test('only a living domain with its own secret may connect, and only once', async (t) => {
  const b = await bed(t);
  const one = await b.create('guest');
  const two = await b.create('guest');
  const as = (domid: string, secret: string): Promise<number> =>
    upgradeStatus(b.url, { 'x-grantline-domid': domid, authorization: `Bearer ${secret}` });
  t.equal(await as('1', 'wrong'), 401);
  t.equal(await as('1', two.secret), 401, "another domain's secret");
  t.equal(await as('9', one.secret), 401);
  t.equal(await as('-1', one.secret), 401);
  t.equal(await as('__proto__', one.secret), 401);
  t.equal(await upgradeStatus(b.url, { 'x-grantline-domid': '1' }), 401);
  t.equal(await upgradeStatus(b.url, { authorization: `Bearer ${one.secret}` }), 401);
  const peer = await Peer.connect(b.url, one.domid, one.secret);
  t.same(peer.events[0], {
    event: 'welcome',
    args: {
      ...{ domid: 1, kind: 'guest', memoryPages: 1024, guests: [1, 2] },
      controlKey: b.hv.domains.get(1)!.controlKey,
    },
  });
  const other = await Peer.connect(b.url, two.domid, two.secret);
  t.match(other.events[0].args.controlKey, /^[0-9a-f]{64}$/);
  t.not(other.events[0].args.controlKey, peer.events[0].args.controlKey, 'a key of captures is for one domain alone');
  t.equal(await as('1', one.secret), 409);
  peer.ws.close();
  await peer.until(() => peer.closeCode !== null);
  while ((await b.api('GET', '/api/testbed')).body.domains[0].state !== 'dead')
    await new Promise((r) => setImmediate(r));
  t.equal(await as('1', one.secret), 401, 'a dead domain does not come back');
});

t.test('an offer of a protocol that is not understood is ignored at both doors, and reaches nothing', async (t) => {
  const b = await bed(t);
  const headers = { connection: 'Upgrade, HTTP2-Settings', upgrade: 'h2c', 'http2-settings': 'AAMAAABk' };
  const ask = async (to: object, path: string): Promise<number> => {
    const asked = request({ ...to, path, headers }).end();
    const [answer] = (await once(asked, 'response')) as [IncomingMessage];
    answer.resume();
    return answer.statusCode ?? 0;
  };
  const { hostname, port } = new URL(b.url);
  const address = { hostname, port };
  // At the socket file there are hypercalls and nothing else.
  const socket = { socketPath: join(b.dir, 'hypervisor.sock') };
  t.equal(await ask(address, '/health/live'), 200);
  for (const to of [address, socket]) t.equal(await ask(to, '/hypercall'), 404);
  t.equal(await ask(socket, '/health/live'), 404);
});

t.test('a domain acts as itself only: there is no way to say "I am another"', async (t) => {
  const b = await bed(t);
  const dd = await b.open('driver-domain');
  const g1 = await b.open('guest');
  const g2 = await b.open('guest');
  t.same(await g1.ask('xs.write', { path: 'data/x', value: '1' }), {});
  t.equal(await g2.ask('xs.read', { path: '/local/domain/1/data/x' }), 'EACCES');
  t.equal(await g1.ask('evtchn.allocUnbound', { remote: 1000, domid: 2 }), 'EINVAL', 'unknown arguments are refused');
  const { port } = await g1.ask('evtchn.allocUnbound', { remote: 1000 });
  t.equal(await g2.ask('evtchn.close', { port }), 'EINVAL');
  t.equal(await g2.ask('reply', { rid: 1, result: {} }), 'EPERM');
  t.equal(await dd.ask('reply', { rid: 1, result: {} }), 'EPERM');
  t.same(await g1.ask('xs.directory', { path: 'device/vif/0' }), {
    entries: ['backend', 'backend-id', 'gateway', 'handle', 'ip', 'mac', 'prefix', 'state'],
  });
  t.equal(await g1.ask('xs.write', { path: 'device/vif/0/mac', value: 'x' }), 'EACCES', 'H36');
  t.equal(
    await g1.ask('xs.write', { path: '/local/domain/1000/backend/vif/1/0/path', value: 'direct' }),
    'EACCES',
    'H36',
  );
  t.equal(await dd.ask('xs.write', { path: '/local/domain/1000/backend/vif/1/0/path', value: 'direct' }), 'EACCES');
  t.equal(
    await dd.ask('xs.write', { path: '/local/domain/1000/backend/vif/7/0/state', value: '2' }),
    'EACCES',
    'no vif for a guest that is not there',
  );
  t.same(await dd.ask('xs.write', { path: '/local/domain/1000/backend/vif/1/0/state', value: '2' }), {});
});

t.test('wrong arguments and unknown operations get EINVAL, and the connection lives on', async (t) => {
  const b = await bed(t);
  const g = await b.open('guest');
  const wrong: [string, unknown][] = [
    ['xs.read', {}],
    ['xs.read', { path: 7 }],
    ['xs.read', []],
    ['xs.read', null],
    ['xs.read', 'path'],
    ['xs.write', { path: 'data', value: 1 }],
    ['xs.transaction', { ops: [{ op: 'chmod', path: 'data' }] }],
    ['evtchn.allocUnbound', { remote: 1.5 }],
    ['evtchn.allocUnbound', { remote: '1000' }],
    ['evtchn.allocUnbound', { remote: 0x7ff0 }],
    ['evtchn.bindInterdomain', { remote: 1000, remotePort: -1 }],
    ['nic.attach', { target: 1 }],
    ['service.announce', { http: 'file:///etc/passwd', pid: 1 }],
    ['service.announce', { http: 'http://[::', pid: 1 }],
    ['service.announce', { http: 'http://host:99999', pid: 1 }],
    ['service.announce', { http: 'http://user:password@host', pid: 1 }],
    ['service.announce', { http: 'http://host?query', pid: 1 }],
    ['constructor', {}],
    ['__proto__', {}],
    ['nonsense', {}],
  ];
  for (const [op, args] of wrong) t.equal(await g.ask(op, args as object), 'EINVAL', `${op} ${JSON.stringify(args)}`);
  t.same(await g.ask('xs.read', { path: 'data' }), { value: '' });
  t.equal((await b.api('GET', '/prometheus/targets')).status, 200, 'what one guest says of itself harms no list');
});

t.test('H35: garbage, and what is too long, closes the connection, is counted, and the domain is dead', async (t) => {
  const b = await bed(t);
  const messages: [string | Buffer, number][] = [
    ['no json', 1008],
    ['[]', 1008],
    ['{"op":"xs.read"}', 1008],
    ['{"id":"1","op":"xs.read"}', 1008],
    [Buffer.alloc(0), 1008],
    [Buffer.alloc(7), 1008],
    // ws itself refuses what is too long, with the code that RFC 6455 has for it.
    [Buffer.alloc(65537), 1009],
    ['x'.repeat(65537), 1009],
  ];
  for (const [message, closeCode] of messages) {
    const g = await b.open('guest');
    g.ws.send(message);
    await g.until(() => g.closeCode !== null || g.binary.length > 0);
    t.equal(g.closeCode, closeCode);
    await t.resolves(until(() => b.hv.domains.get(g.domid)?.state === 'dead'));
  }
  t.equal(b.hv.counter('garbage'), messages.length);
  const alive = await b.open('guest');
  t.same(await alive.ask('xs.read', { path: 'data' }), { value: '' });
});

t.test('hypercalls are answered in order, and a batch that is no good says why', async (t) => {
  const b = await bed(t);
  const dd = await b.open('driver-domain');
  const dpns = await dd.mapSelf([10, 11]);
  t.ok(dpns.every((d) => d > 0));
  const reply = await dd.hypercall(99, 1, Buffer.alloc(8), 5);
  t.equal(reply.readUInt32LE(0), 5);
  t.equal(reply.readInt16LE(4), -38);
  for (let seq = 0; seq < 200; seq++) {
    const head = Buffer.alloc(8);
    head.writeUInt32LE(seq, 0);
    head.writeUInt16LE(seq % 2 ? 1 : 0x101, 4);
    dd.ws.send(head);
  }
  await dd.until(() => dd.binary.length >= 202);
  t.same(
    dd.binary.slice(2).map((r) => r.readUInt32LE(0)),
    Array.from({ length: 200 }, (_, i) => i),
  );
});

t.test('a batch waits while the NIC is inside a burst; what comes behind it keeps its place', async (t) => {
  const b = await bed(t);
  const dd = await b.open('driver-domain');
  const nic = await b.open('nic');
  const [dpn] = await dd.mapSelf([10]);
  const burst = await b.shared(nic, 'dma-burst');
  writeWord(burst, 1);
  const unmap = Buffer.alloc(12);
  unmap.writeUInt16LE(0x101, 4);
  unmap.writeUInt16LE(1, 6);
  unmap.writeUInt32LE(dpn, 8);
  dd.ws.send(unmap);
  const other = Buffer.alloc(8);
  other.writeUInt32LE(1, 0);
  dd.ws.send(other);
  // Requests are not held up; once this is answered, the two batches have been seen.
  t.same(await dd.ask('xs.read', { path: 'data' }), { value: '' });
  t.equal(dd.binary.length, 1, 'only the reply to mapSelf so far');
  writeWord(burst, 2);
  await dd.until(() => dd.binary.length === 3);
  t.equal(dd.binary[1].readUInt32LE(0), 0);
  t.equal(dd.binary[1].readInt16LE(8), 0);
  t.equal(dd.binary[2].readUInt32LE(0), 1);
  // And a nic that dies in the middle of a burst holds up nobody.
  const [again] = await dd.mapSelf([10]);
  writeWord(burst, 3);
  unmap.writeUInt32LE(again, 8);
  dd.ws.send(unmap);
  nic.ws.terminate();
  await dd.until(() => dd.binary.length === 5);
  t.equal(dd.binary[4].readInt16LE(8), 0);
});

t.test(
  'H35: what a domain can make the hypervisor hold is bounded in bytes, behind a batch and for pings',
  async (t) => {
    const b = await bed(t);
    const dd = await b.open('driver-domain');
    const nic = await b.open('nic');
    const [dpn] = await dd.mapSelf([10]);
    writeWord(await b.shared(nic, 'dma-burst'), 1);
    const unmap = Buffer.alloc(12);
    unmap.writeUInt16LE(0x101, 4);
    unmap.writeUInt16LE(1, 6);
    unmap.writeUInt32LE(dpn, 8);
    dd.ws.send(unmap);
    // 30 MB in far fewer messages than may wait.
    for (let i = 0; i < 500; i++) dd.ws.send(Buffer.alloc(60_000));
    await dd.until(() => dd.closeCode !== null);
    t.equal(b.hv.counter('tooSlow'), 1);

    const g = await b.open('guest');
    g.ws.pause();
    const filler = Buffer.alloc(125);
    // Each is answered by as many bytes, which nobody reads: 40 MB, far more than any socket's buffers.
    for (let i = 0; i < 300_000; i++) g.ws.ping(filler);
    for (let i = 0; i < 4000 && b.hv.counter('tooSlow') < 2; i++)
      await new Promise((resolve) => setTimeout(resolve, 5));
    t.equal(b.hv.counter('tooSlow'), 2);
    const other = await b.open('guest');
    const pong = new Promise<Buffer>((resolve) => other.ws.once('pong', resolve));
    other.ws.ping('well?');
    t.equal((await pong).toString(), 'well?', 'who reads is answered');
  },
);

t.test(
  'an event channel between two domains: page, doorbells, pending bit of the binder, bound and unbound',
  async (t) => {
    const b = await bed(t);
    const dd = await b.open('driver-domain');
    const g = await b.open('guest');
    const bell = new Doorbell(openSync(`/proc/self/fd/${await b.shared(dd, 'doorbell')}`, HEAR));
    t.teardown(() => bell.close());
    const a = await g.ask('evtchn.allocUnbound', { remote: 1000 });
    t.same(a, { port: 1 });
    const bound = await dd.ask('evtchn.bindInterdomain', { remote: 1, remotePort: a.port });
    t.same(bound, { port: 1 });
    t.same(await g.event('evtchn.bound'), { port: 1, remotePort: 1 });
    t.ok(bell.wait(1e6), 'the binder is rung');
    const page = await b.shared(g, 'page', 1000);
    t.equal(readWord(page, 2048 + 128), 1 << 1, 'its port is pending');
    t.equal(readWord(page, 128), 0);
    t.same((await b.api('GET', '/api/domains/1000/ports')).body, {
      ports: [{ port: 1, status: 'interdomain', remote: 1, remotePort: 1, pending: true }],
    });
    t.same(await dd.ask('evtchn.close', { port: 1 }), {});
    t.same(await g.event('evtchn.unbound'), { port: 1 });
    const again = await b.shared(g, 'page', 1000);
    t.equal(fstatSync(again).ino, fstatSync(page).ino);
    t.same(await g.ask('evtchn.close', { port: 1 }), {});
    t.equal(await g.ask('shared.ticket', { of: 'page', domid: 1000 }), 'EPERM', 'no channel, no page');
    await g.ask('evtchn.allocUnbound', { remote: 1000 });
    t.equal(fstatSync(await b.shared(g, 'page', 1000)).ino, fstatSync(page).ino, 'which stays while both live');
  },
);

t.test('a caller has its reply before the watch event that it caused; a transaction fires once', async (t) => {
  const b = await bed(t);
  const g = await b.open('guest');
  const dd = await b.open('driver-domain');
  const path = '/local/domain/1/device/vif/0/state';
  t.same(await dd.ask('xs.watch', { path, token: 'w' }), {});
  t.same(await dd.event('xs.watch'), { path, token: 'w' });
  t.ok(dd.order.indexOf('reply 1') < dd.order.indexOf('xs.watch'));
  const ops = [1, 2, 3].map((v) => ({ op: 'write', path, value: String(v) }));
  t.same(await g.ask('xs.transaction', { ops }), {});
  t.same(await dd.event('xs.watch', 2), { path, token: 'w' });
  t.same(await dd.ask('xs.read', { path }), { value: '3' });
  t.equal(dd.events.filter((e) => e.event === 'xs.watch').length, 2);
  t.equal(await g.ask('xs.transaction', { ops: [...ops, { op: 'rm', path: '/tool' }] }), 'EACCES');
});

t.test('an event whose sender died before it rang does not keep those of its successor from ringing', async (t) => {
  const b = await bed(t);
  const dd = await b.open('driver-domain');
  const g = await b.open('guest');
  const bell = new Doorbell(openSync(`/proc/self/fd/${await b.shared(g, 'doorbell')}`, HEAR));
  t.teardown(() => bell.close());
  const { port } = await g.ask('evtchn.allocUnbound', { remote: 1000 });
  const { port: theirs } = await dd.ask('evtchn.bindInterdomain', { remote: 1, remotePort: port });
  // Marked pending, and neither selected nor rung: as by a process that was killed between the two.
  const page = await b.shared(g, 'page', 1000);
  writeWord(page, 1 << port, 128);
  await dd.ask('evtchn.close', { port: theirs });
  bell.wait(0);
  await dd.ask('evtchn.bindInterdomain', { remote: 1, remotePort: port });
  t.ok(bell.wait(1e6), 'the owner is rung');
  t.equal(readWord(page, 0), 1, 'and finds which word to look at');
});

t.test('H35: a guest that changes nodes faster than the driver domain reads does not have it cut off', async (t) => {
  const b = await bed(t);
  const dd = await b.open('driver-domain');
  const g = await b.open('guest');
  const front = '/local/domain/1/device/vif/0';
  await dd.ask('xs.watch', { path: `${front}/state`, token: 'state' });
  await dd.ask('xs.watch', { path: front, token: 'all' });
  await dd.event('xs.watch', 2);
  dd.ws.pause();
  // Each of these would tell of 500 paths: nearly 10 MB in all.
  const transaction = (round: number): object => ({
    ops: Array.from({ length: 500 }, (_, i) => ({ op: 'write', path: `${front}/n${i}`, value: String(round) })),
  });
  for (let round = 0; round < 100; round++) await g.call('xs.transaction', transaction(round));
  await g.ask('xs.write', { path: `${front}/state`, value: '4' });
  t.equal(b.hv.counter('tooSlow'), 0);
  t.equal(b.hv.domains.get(1000)?.state, 'running');
  const heard = dd.events.length;
  dd.ws.resume();
  // The last of all; not each of the thousands before it is looked through each time.
  await dd.until(() => dd.events.at(-1)?.args.path === `${front}/state`);
  t.ok(dd.events.slice(heard).some((e) => e.args.path === `${front}/state` && e.args.token === 'state'));
  t.same(await dd.ask('xs.read', { path: `${front}/state` }), { value: '4' });
});

t.test('the driver domain and the nic hear of domains that come and go; the nic of all that were there', async (t) => {
  const b = await bed(t);
  const dd = await b.open('driver-domain');
  const g = await b.open('guest');
  t.match(await dd.event('domain.new'), { domid: 1, kind: 'guest', memoryPages: 1024 });
  const nic = await b.open('nic');
  await nic.event('domain.new', 2);
  t.same(
    nic.events.filter((e) => e.event === 'domain.new').map((e) => e.args.domid),
    [1, 1000],
  );
  g.ws.terminate();
  t.same(await dd.event('domain.gone'), { domid: 1 });
  t.same(await nic.event('domain.gone'), { domid: 1 });
  t.equal((await b.api('GET', '/api/xenstore?path=/local/domain/1')).status, 404);
  t.equal((await b.api('GET', '/api/xenstore?path=/local/domain/1000/backend/vif/1')).status, 404);
  await until(() => !b.hv.shares.has(1 as DomId));
});

t.test('a dead driver domain leaves vifs that are Closed, and a successor starts afresh', async (t) => {
  const b = await bed(t);
  const dd = await b.open('driver-domain');
  const g = await b.open('guest');
  const state = '/local/domain/1000/backend/vif/1/0/state';
  await dd.ask('xs.write', { path: state, value: '4' });
  await g.ask('xs.watch', { path: state, token: 'w' });
  await g.event('xs.watch');
  dd.ws.terminate();
  t.same(await g.event('xs.watch', 2), { path: state, token: 'w' });
  t.same(await g.ask('xs.read', { path: state }), { value: '6' });
  t.equal((await b.api('POST', '/api/domains', { kind: 'nic' })).status, 200);
  t.equal((await b.api('POST', '/api/domains', { kind: 'nic' })).status, 409, 'one nic at a time');
  const again = await b.open('driver-domain');
  t.equal(again.domid, 1000);
  t.same(again.events[0].args.guests, [1]);
  t.equal(await again.ask('xs.read', { path: state }), 'ENOENT');
  t.same(await again.ask('xs.write', { path: state, value: '2' }), {});
});

t.test('H22, H27: a dead domain is not over before the NIC has let go of what it had mapped', async (t) => {
  const b = await bed(t);
  const dd = await b.open('driver-domain');
  const nic = await b.open('nic');
  await b.open('guest');
  await mapsPageOfGuest1(t, b, dd, GNTMAP_DEVICE_MAP);
  const burst = await b.shared(nic, 'dma-burst');
  writeWord(burst, 1);
  dd.ws.terminate();
  await nic.event('domain.gone');
  t.ok(b.hv.shares.has(1000 as DomId));
  t.equal((await b.api('POST', '/api/domains', { kind: 'driver-domain' })).status, 409);
  writeWord(burst, 2);
  await until(() => !b.hv.shares.has(1000 as DomId));
  t.equal((await b.create('driver-domain')).domid, 1000);
});

t.test('H22: what the driver domain has mapped stays until it is unmapped, although its guest is dead', async (t) => {
  const b = await bed(t);
  const dd = await b.open('driver-domain');
  const g = await b.open('guest');
  const handle = await mapsPageOfGuest1(t, b, dd, GNTMAP_HOST_MAP);
  t.match((await b.api('GET', '/api/domains/1/grants')).body.entries, [
    { gref: 8, domid: 1000, frame: 20, pins: { hostWrite: 1 } },
  ]);
  g.ws.terminate();
  await dd.event('domain.gone');
  t.ok(b.hv.shares.has(1 as DomId));
  t.equal((await b.api('GET', '/api/testbed')).body.domains[0].state, 'dead');
  const unmap = Buffer.alloc(UNMAP_BYTES);
  unmap.writeUInt32LE(1, UNMAP_HOST_ADDR);
  unmap.writeUInt32LE(handle, UNMAP_HANDLE);
  t.equal((await dd.hypercall(GNTTABOP_UNMAP, 1, unmap)).readInt16LE(HYPERCALL_HEADER_BYTES), 0);
  await until(() => !b.hv.shares.has(1 as DomId));
  t.equal((await b.create('guest')).domid, 2, 'the number is not used again');
});

/** Guest 1 grants its page 20 to the driver domain by gref 8, and that maps it. @param flags GNTMAP_* @returns the handle */
async function mapsPageOfGuest1(t: Test, b: Bed, dd: Peer, flags: number): Promise<number> {
  const gref = 8;
  const entry = b.hv.memory.get(1)!.base + gref * GRANT_ENTRY_BYTES;
  const { u16, u32 } = b.hv.space.mem;
  u16[(entry + GRANT_DOMID) >> 1] = dd.domid;
  u32[(entry + GRANT_FRAME) >> 2] = 20;
  u16[(entry + GRANT_FLAGS) >> 1] = GTF_PERMIT_ACCESS;
  const map = Buffer.alloc(MAP_BYTES);
  map.writeUInt32LE(flags, MAP_FLAGS);
  map.writeUInt32LE(gref, MAP_REF);
  map.writeUInt16LE(1, MAP_DOM);
  const reply = await dd.hypercall(GNTTABOP_MAP, 1, map);
  t.equal(reply.readInt16LE(HYPERCALL_HEADER_BYTES + MAP_RES_STATUS), GNTST.okay);
  return reply.readUInt32LE(HYPERCALL_HEADER_BYTES + MAP_RES_HANDLE);
}

async function until(ok: () => boolean): Promise<void> {
  while (!ok()) await new Promise((r) => setTimeout(r, 5));
}

/** A word of shared memory, as another process would write it. */
function writeWord(fd: number, value: number, at = 0): void {
  const word = Buffer.alloc(4);
  word.writeUInt32LE(value);
  writeSync(fd, word, 0, 4, at);
}

function readWord(fd: number, at: number): number {
  const word = Buffer.alloc(4);
  readSync(fd, word, 0, 4, at);
  return word.readUInt32LE(0);
}

t.test('H35: upgrades that are refused cost no descriptor, at the address and at the socket file', async (t) => {
  const b = await bed(t);
  const descriptors = (): number => readdirSync('/proc/self/fd').length;
  const before = descriptors();
  const one = async (at: { port: number } | { path: string }): Promise<void> => {
    const s = connect({ ...at, allowHalfOpen: true });
    s.on('error', () => {});
    s.write(
      'GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n' +
        'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n',
    );
    await new Promise((done) => s.once('data', done).once('close', done));
    s.write('x');
    s.destroy();
  };
  const port = Number(new URL(b.url).port);
  for (let round = 0; round < 20; round++)
    await Promise.all(Array.from({ length: 100 }, (_, i) => one(i % 2 ? { port } : { path: b.hv.files.socket })));
  await t.resolves(until(() => descriptors() <= before));
  t.same(await (await b.open('guest')).ask('xs.read', { path: 'data' }), { value: '' }, 'and others are served');
});
