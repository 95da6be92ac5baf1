import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, readFileSync, readSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { DMA_ENTRY_BYTES, DMA_OWNER, SHARED_SOCKET, type SharedKind } from '@grantline/xen';
import { fetchDescriptor } from '@grantline/machine';
import { GUEST_QUEUES_MAX, NIC_ASKED_MAX } from '../../src/control/nic-control.js';
import { Peer, bed, type Bed, type Event, type Json } from './bed.js';

const STOPPED_NIC = fileURLToPath(new URL('./stopped-nic.js', import.meta.url));

const MODERATION = { moderationFrames: 0, moderationUs: 0 };

async function queueArgs(who: Peer): Promise<Record<string, unknown>> {
  const [header, avail, comp] = await who.mapSelf([10, 11, 12]);
  const { port } = await who.ask('evtchn.allocUnbound', { remote: 1001 });
  return { target: who.domid, header, avail, comp, port, mac: null, vlan: null, ...MODERATION };
}

/** A nic that answers as told. */
function answering(nic: Peer, answer: (event: string) => object): void {
  nic.ws.on('message', (data: Buffer) => {
    const m = JSON.parse(data.toString()) as Event;
    if (m.event?.startsWith('nic.')) void nic.call('reply', { rid: m.args.rid, ...answer(m.event) });
  });
}

async function direct(b: Bed): Promise<void> {
  t.equal((await b.api('PUT', '/api/config', { path: 'direct' })).status, 200);
}

t.setTimeout(120_000);

t.test(
  'attach goes to the nic with the caller as its context, and the answer comes back; detach by the attacher only',
  async (t) => {
    const b = await bed(t);
    const nic = await b.open('nic');
    const dd = await b.open('driver-domain');
    const g = await b.open('guest');
    answering(nic, (event) => ({ result: event === 'nic.attach' ? { queue: 3 } : {} }));
    const args = await queueArgs(dd);
    const mac = '00:16:3e:00:00:01';
    t.same(await dd.ask('nic.attach', { ...args, target: 1, mac }), { queue: 3 });
    t.match(await nic.event('nic.attach'), { ...args, target: 1, mac, context: 1000 });
    t.equal(await g.ask('nic.detach', { queue: 3 }), 'EPERM');
    t.equal(await dd.ask('nic.detach', { queue: 4 }), 'ENOENT');
    t.same(await dd.ask('nic.detach', { queue: 3 }), {});
    t.match(await nic.event('nic.detach'), { queue: 3 });
    t.equal(await dd.ask('nic.detach', { queue: 3 }), 'ENOENT', 'it is gone');
  },
);

t.test('a refusal of the nic comes back with its code', async (t) => {
  const b = await bed(t);
  const nic = await b.open('nic');
  const dd = await b.open('driver-domain');
  answering(nic, () => ({ error: { code: 'EBUSY', message: 'there is a default queue' } }));
  t.equal(await dd.ask('nic.attach', await queueArgs(dd)), 'EBUSY');
});

t.test(
  "H40: pages that are not the caller's own, and ports that are not for the nic, never reach the nic",
  async (t) => {
    const b = await bed(t);
    const nic = await b.open('nic');
    const dd = await b.open('driver-domain');
    await b.open('guest');
    const args = await queueArgs(dd);
    const { port: forGuest } = await dd.ask('evtchn.allocUnbound', { remote: 1 });
    for (const wrong of [
      { header: 0 },
      { header: 65535 },
      { avail: 4000 },
      { comp: args.header },
      { port: forGuest },
      { port: 900 },
      { target: 2 },
      { target: 1001 },
      { target: 0 },
      { mac: 'broadcast' },
      { vlan: 4096 },
      { moderationUs: -1 },
      { context: 1 },
    ])
      t.equal(await dd.ask('nic.attach', { ...args, ...wrong }), 'EINVAL', JSON.stringify(wrong));
    t.equal(nic.events.filter((e) => e.event === 'nic.attach').length, 0);
  },
);

t.test('H42: a guest attaches for itself only, only when its path is direct, and with its own address', async (t) => {
  const b = await bed(t);
  const nic = await b.open('nic');
  await b.open('driver-domain');
  const g = await b.open('guest');
  await b.open('guest');
  answering(nic, () => ({ result: { queue: 0 } }));
  const early = await g.hypercall(0x100, 1, Buffer.from([10, 0, 0, 0, 2, 0, 0, 0]));
  t.ok(early.readInt16LE(8) < 0, 'no DMA of its own while the path is split');
  const bare = { target: 1, header: 1, avail: 2, comp: 3, port: 1, mac: null, vlan: null, ...MODERATION };
  t.equal(await g.ask('nic.attach', bare), 'EPERM');
  await direct(b);
  const args = await queueArgs(g);
  t.equal(await g.ask('nic.attach', { ...args, target: 2 }), 'EPERM');
  t.equal(await g.ask('nic.attach', { ...args, target: 1000 }), 'EPERM');
  t.equal(await g.ask('nic.attach', { ...args, vlan: 7 }), 'EPERM', 'nobody has put it into that VLAN');
  t.equal(await nic.ask('nic.attach', args), 'EPERM');
  t.same(await g.ask('nic.attach', { ...args, mac: '00:16:3e:00:00:02' }), { queue: 0 });
  t.match(await nic.event('nic.attach'), { context: 1, target: 1, mac: '00:16:3e:00:00:01' });
  const second = await queueArgs(g);
  t.same(await g.ask('nic.attach', second), { queue: 0 });
  t.match(await nic.event('nic.attach', 2), { mac: '00:16:3e:00:00:01' }, 'nor can it have the default queue');
});

t.test(
  'no nic is ENODEV, also when it dies before it answers; no answer is ETIMEDOUT, and a late queue is detached',
  async (t) => {
    const b = await bed(t, 50);
    const dd = await b.open('driver-domain');
    const { secret } = await b.create('nic');
    const args = await dd.mapSelf([10, 11, 12]).then(async ([header, avail, comp]) => {
      const { port } = await dd.ask('evtchn.allocUnbound', { remote: 1001 });
      return { target: 1000, header, avail, comp, port, mac: null, vlan: null, ...MODERATION };
    });
    t.equal(await dd.ask('nic.attach', args), 'ENODEV');
    const nic = await Peer.connect(b.url, 1001, secret);
    t.equal(await dd.ask('nic.attach', args), 'ETIMEDOUT');
    const { rid } = await nic.event('nic.attach');
    t.same(await nic.ask('reply', { rid, result: { queue: 5 } }), {});
    t.match(await nic.event('nic.detach'), { queue: 5 });
    t.same(await nic.ask('reply', { rid: 999, result: {} }), {}, 'an answer to nothing does no harm');
    const pending = dd.ask('nic.attach', args);
    await nic.event('nic.attach', 2);
    nic.ws.terminate();
    t.equal(await pending, 'ENODEV');
  },
);

t.test('a queue number is never used again by the next nic: a late detach means no queue of it', async (t) => {
  const b = await bed(t);
  const dd = await b.open('driver-domain');
  const numbers: number[] = [];
  for (let life = 0; life < 2; life++) {
    const nic = await b.open('nic');
    answering(nic, (event) => ({ result: event === 'nic.attach' ? { queue: 3 } : {} }));
    const { queue } = (await dd.ask('nic.attach', await queueArgs(dd))) as { queue: number };
    numbers.push(queue);
    if (life === 0) {
      nic.ws.terminate();
      await dd.event('domain.gone');
      continue;
    }
    t.equal(await dd.ask('nic.detach', { queue: numbers[0] }), 'ENOENT');
    t.same(await dd.ask('nic.detach', { queue }), {});
    t.match(await nic.event('nic.detach'), { queue: 3 }, 'the nic is told its own number');
  }
  t.not(numbers[0], numbers[1]);
});

t.test("a queue of a domain that died while the nic was asked for it is nobody's", async (t) => {
  for (const dies of ['attacher', 'target'] as const) {
    const b = await bed(t);
    const nic = await b.open('nic');
    const dd = await b.open('driver-domain');
    const g = await b.open('guest');
    const asked = dd.call('nic.attach', { ...(await queueArgs(dd)), target: g.domid, mac: '00:16:3e:00:00:01' });
    const { rid } = await nic.event('nic.attach');
    (dies === 'attacher' ? dd : g).ws.terminate();
    await nic.event('domain.gone');
    t.same(await nic.ask('reply', { rid, result: { queue: 3 } }), {});
    if (dies === 'target') t.equal((await asked).error?.code, 'ESRCH');
    await nic.ask('xs.read', { path: 'data' });
    t.same(b.hv.nic.list(), [], `its ${dies} is dead`);
    t.notOk(
      nic.events.some((e) => e.event === 'nic.detach'),
      "the nic has heard of the death, and takes the queue off itself: its number may be another one's by now",
    );
  }
});

t.test('H35: a guest that asks the nic for more than it answers is refused, and fills nothing up', async (t) => {
  const b = await bed(t, 50);
  const nic = await b.open('nic');
  const dd = await b.open('driver-domain');
  const g = await b.open('guest');
  await direct(b);
  const attached = g.ask('nic.attach', await queueArgs(g));
  await nic.call('reply', { rid: (await nic.event('nic.attach')).rid, result: { queue: 0 } });
  const { queue } = await attached;
  const asked = await Promise.all(Array.from({ length: 3 * NIC_ASKED_MAX }, () => g.call('nic.detach', { queue })));
  const count = (code: string): number => asked.filter((a) => a.error?.code === code).length;
  t.same([count('ETIMEDOUT'), count('EBUSY')], [NIC_ASKED_MAX, 2 * NIC_ASKED_MAX]);
  t.equal(await g.ask('nic.detach', { queue }), 'EBUSY', 'what the nic still owes an answer to counts');
  const events = nic.events.filter((e) => e.event === 'nic.detach');
  t.equal(events.length, NIC_ASKED_MAX);
  t.equal(await dd.ask('nic.attach', await queueArgs(dd)), 'ETIMEDOUT', 'others may ask');
  for (const { args } of events) await nic.ask('reply', { rid: args.rid, error: { code: 'EIO', message: 'not yet' } });
  t.equal(await g.ask('nic.detach', { queue }), 'ETIMEDOUT', 'it may ask again');
});

t.test(
  'H42: a guest has two queues of each direction at most, however it asks, and takes none from others',
  async (t) => {
    const b = await bed(t);
    const nic = await b.open('nic');
    const dd = await b.open('driver-domain');
    const g = await b.open('guest');
    await direct(b);
    let next = 0;
    answering(nic, (event) => ({ result: event === 'nic.attach' ? { queue: next++ } : {} }));
    const args = await queueArgs(g);
    for (const direction of ['tx', 'rx']) {
      const asked = await Promise.all(Array.from({ length: 70 }, () => g.ask('nic.attach', { ...args, direction })));
      const given = asked.filter((a) => typeof a === 'object');
      t.equal(given.length, GUEST_QUEUES_MAX, direction);
      t.equal(asked.filter((a) => (a as unknown) === 'ENOSPC').length, 70 - GUEST_QUEUES_MAX);
      t.same(await g.ask('nic.detach', { queue: given[0].queue }), {});
      t.type((await g.ask('nic.attach', { ...args, direction })).queue, 'number', 'one that was given back is free');
    }
    t.type((await dd.ask('nic.attach', await queueArgs(dd))).queue, 'number');
  },
);

t.test(
  'H42: a guest that has left direct loses its queues and its DMA entries, also if it never answers',
  async (t) => {
    const b = await bed(t, 5000, undefined, { leaveMs: 50 });
    const nic = await b.open('nic');
    await b.open('driver-domain');
    const g = await b.open('guest');
    await direct(b);
    let next = 0;
    answering(nic, (event) => ({ result: event === 'nic.attach' ? { queue: next++ } : {} }));
    const args = await queueArgs(g);
    for (const direction of ['tx', 'rx']) await g.ask('nic.attach', { ...args, direction });
    t.equal(b.hv.dma.isSelf(args['header'] as number, 1), true);
    t.equal((await b.api('PUT', '/api/config', { path: 'split' })).status, 200);
    const gone = [await nic.event('nic.detach', 1), await nic.event('nic.detach', 2)];
    t.same(gone.map((e) => e.queue).sort(), [0, 1]);
    await soon(() =>
      [10, 11, 12].every((_, i) => !b.hv.dma.isSelf([args['header'], args['avail'], args['comp']][i] as number, 1)),
    );
    const entries = [args['header'], args['avail'], args['comp']] as number[];
    for (const dpn of entries)
      t.equal(b.hv.dma.isHeld(dpn, 1), true, "its number is nobody else's before the guest has unmapped it");
    t.same(b.hv.nic.list(), []);
    t.same(await g.unmapSelf(entries), [0, 0, 0], 'a guest that is slow is told that the NIC has let go of its pages');
    t.equal(b.hv.dma.used, 0);
    t.not((await g.unmapSelf(entries))[0], 0, 'once');
    t.equal(await g.ask('nic.attach', args), 'EPERM');
    t.equal(await g.ask('nic.detach', { queue: 0 }), 'ENOENT', 'it went with the right to it');
  },
);

/** A guest in direct with a queue. */
async function attached(t: Test, leaveMs: number): Promise<Bed> {
  const b = await bed(t, 5000, undefined, { leaveMs });
  const nic = await b.open('nic');
  await b.open('driver-domain');
  const g = await b.open('guest');
  await direct(b);
  answering(nic, () => ({ result: { queue: 0 } }));
  await g.ask('nic.attach', await queueArgs(g));
  return b;
}

t.test('H42: a guest that comes back to direct in time keeps what it has', async (t) => {
  const b = await attached(t, 100);
  // Both before any timer of the hypervisor can be due: it is in this process.
  b.hv.toolstack.configure({ path: 'split' });
  b.hv.toolstack.configure({ path: 'direct' });
  await new Promise((r) => setTimeout(r, 200));
  t.equal(b.hv.nic.list().length, 1);
});

t.test('H42: a guest that came back and leaves once more has its whole time again', async (t) => {
  const b = await attached(t, 400);
  b.hv.toolstack.configure({ path: 'split' });
  await new Promise((r) => setTimeout(r, 200));
  b.hv.toolstack.configure({ path: 'direct' });
  b.hv.toolstack.configure({ path: 'split' });
  const left = performance.now();
  await soon(() => b.hv.nic.list().length === 0);
  t.ok(performance.now() - left > 350, 'not when the first time was over');
});

t.test('H42: an attach that is answered after the guest has left direct is undone', async (t) => {
  const b = await bed(t);
  const nic = await b.open('nic');
  await b.open('driver-domain');
  const g = await b.open('guest');
  await direct(b);
  const asked = g.ask('nic.attach', await queueArgs(g));
  const { rid } = await nic.event('nic.attach');
  t.equal((await b.api('PUT', '/api/config', { path: 'split' })).status, 200);
  await nic.call('reply', { rid, result: { queue: 5 } });
  t.equal(await asked, 'EPERM');
  t.equal((await nic.event('nic.detach')).queue, 5);
});

t.test('H42: the second of two queues with one address is refused, and the first goes on', async (t) => {
  const b = await bed(t);
  const nic = await b.open('nic');
  await b.open('driver-domain');
  const [one, two] = [await b.open('guest'), await b.open('guest')];
  await direct(b);
  const taken = new Set<string>();
  nic.ws.on('message', (data: Buffer) => {
    const m = JSON.parse(data.toString()) as Event;
    if (m.event !== 'nic.attach') return;
    const { mac, rid } = m.args as unknown as { mac: string; rid: number };
    const free = !taken.has(mac);
    taken.add(mac);
    void nic.call(
      'reply',
      free ? { rid, result: { queue: taken.size } } : { rid, error: { code: 'EEXIST', message: mac } },
    );
  });
  const mac = '00:16:3e:00:00:01';
  t.type((await one.ask('nic.attach', { ...(await queueArgs(one)), mac })).queue, 'number');
  t.type(
    (await two.ask('nic.attach', { ...(await queueArgs(two)), mac })).queue,
    'number',
    'it gets its own address instead',
  );
  t.same([...taken], [mac, '00:16:3e:00:00:02']);
  t.equal(await one.ask('nic.attach', { ...(await queueArgs(one)), mac }), 'EEXIST');
  t.equal(b.hv.nic.list().length, 2);
});

t.test('a nic that stands still inside a burst is dead after a while, and holds up nobody', async (t) => {
  const b = await bed(t, 5000, undefined, { stuckMs: 50 });
  const dd = await b.open('driver-domain');
  const nic = await b.open('nic');
  const [dpn] = await dd.mapSelf([10]);
  writeSync(await b.shared(nic, 'dma-burst'), new Uint8Array([1]), 0, 1, 0);
  const reply = await dd.hypercall(0x101, 1, Buffer.from(new Uint32Array([dpn]).buffer));
  t.equal(reply.readInt16LE(8), 0);
  t.equal((await dd.event('domain.gone')).domid, 1001);
  await soon(() => b.hv.domains.get(1001)?.state === 'dead');
  t.type((await b.open('nic')).domid, 'number', 'and another may come');
});

t.test(
  'H23 H41: nothing of what a dead nic may still write to is given away before its process has ended',
  async (t) => {
    const b = await bed(t, 5000, undefined, { stuckMs: 50 });
    const dd = await b.open('driver-domain');
    const { domid, secret } = await b.create('nic');
    const env = {
      ...{ GRANTLINE_DIR: b.dir, GRANTLINE_DOMID: String(domid), GRANTLINE_SECRET: secret },
    };
    const child = spawn(process.execPath, [STOPPED_NIC], { env, stdio: ['ignore', 'pipe', 'inherit'] });
    t.teardown(() => child.kill('SIGKILL'));
    const ended = once(child, 'exit');
    await once(child.stdout, 'data');
    const status = (): string => {
      try {
        return readFileSync(`/proc/${child.pid}/status`, 'latin1');
      } catch {
        return '';
      }
    };
    await soon(() => /^State:\s+T/m.test(status()));
    const [dpn] = await dd.mapSelf([10]);
    const reply = await dd.hypercall(0x101, 1, Buffer.from(new Uint32Array([dpn]).buffer));
    t.notMatch(status(), /^VmSize/m, 'by then it has no memory any more');
    t.equal(reply.readInt16LE(8), 0);
    t.same(await ended, [null, 'SIGKILL']);
  },
);

t.test('H23 H41: also one that was destroyed, or broke its connection, is waited for', async (t) => {
  for (const end of ['destroyed', 'disconnected'] as const) {
    const b = await bed(t);
    const dd = await b.open('driver-domain');
    const nic = await b.open('nic');
    // This process stands for the nic's: it lives for as long as this is open.
    const fence = await fetchDescriptor(join(b.dir, SHARED_SOCKET), (await ticket(nic, 'fence')).ticket);
    writeSync(await b.shared(nic, 'dma-burst'), new Uint8Array([1]), 0, 1, 0);
    const [dpn] = await dd.mapSelf([10]);
    if (end === 'destroyed') await b.api('DELETE', '/api/domains/1001');
    else nic.ws.terminate();
    await dd.event('domain.gone');
    let answered = false;
    const reply = dd.hypercall(0x101, 1, Buffer.from(new Uint32Array([dpn]).buffer)).then((r) => {
      answered = true;
      return r;
    });
    t.equal((await b.api('POST', '/api/domains', { kind: 'nic' })).status, 409, end);
    const rung = Buffer.alloc(1);
    await soon(() => tryRead(fence, rung) === 1);
    t.notOk(answered, 'it is told to end, and has not yet');
    closeSync(fence);
    t.equal((await reply).readInt16LE(8), 0);
    t.equal((await b.api('POST', '/api/domains', { kind: 'nic' })).status, 200, end);
  }
});

const ticket = (of: Peer, kind: SharedKind): Promise<Json> => of.ask('shared.ticket', { of: kind, domid: of.domid });

function tryRead(fd: number, into: Buffer): number {
  try {
    return readSync(fd, into);
  } catch {
    return 0;
  }
}

async function soon(so: () => boolean): Promise<void> {
  while (!so()) await new Promise((r) => setTimeout(r, 5));
}

t.test('H40: the nic is told which of the domains that have had a number has it now', async (t) => {
  const b = await bed(t);
  const nic = await b.open('nic');
  const told = (n: number): Promise<unknown> => nic.event('domain.new', n);
  await b.open('driver-domain');
  t.match(await told(1), { domid: 1000, generation: 1 });
  await b.open('guest');
  t.match(await told(2), { domid: 1, generation: 1 });
  t.equal((await b.api('DELETE', '/api/domains/1000')).status, 200);
  const dd = await b.open('driver-domain');
  t.match(await told(3), { domid: 1000, generation: 2 });
  const [dpn] = await dd.mapSelf([10]);
  t.equal(b.hv.space.mem.u32[(b.hv.shares.dmaTable.at + DMA_ENTRY_BYTES * dpn + DMA_OWNER) >> 2], 1000 + 0x20000);
  await b.api('DELETE', '/api/domains/1001');
  const next = await b.open('nic');
  await next.event('domain.new', 2);
  t.match(
    next.events.filter((e) => e.event === 'domain.new').map((e) => e.args),
    [
      { domid: 1, generation: 1 },
      { domid: 1000, generation: 2 },
    ],
    'a nic that comes later, too',
  );
});
