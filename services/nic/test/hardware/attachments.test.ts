import { writeSync } from 'node:fs';
import t from 'tap';
import { NICQ_AVAIL_PROD, type EventChannel, type WireError, DriverQueue } from '@grantline/xen';
import { PAGE_SIZE, type DomId } from '@grantline/base';
import { COUNTER_FILE_BYTES, CounterFile, AddressSpace, makeMemory } from '@grantline/machine';
import { EGRESS_COUNTERS } from '@grantline/observe';
import { CableOut } from '../../src/hardware/data/cable-out.js';
import { NicTx } from '../../src/hardware/data/nic-tx.js';
import { Attachments, type AttachArgs } from '../../src/hardware/control/attachments.js';
import { Kit } from '../kit.js';

const MAC = '02:00:00:00:00:01';

function setUp() {
  const kit = new Kit();
  const space = new AddressSpace(16 << 20);
  const handlers = new Map<string, (args: never) => void>();
  const replies: { rid: number; result: { queue?: number } | null; error: WireError | undefined }[] = [];
  const closed: number[] = [];
  const published: (() => number)[] = [];
  const logged: object[] = [];
  /** Binding to port 77 waits until this is called. */
  let letGo = (): void => {};
  const held = new Promise<void>((done) => (letGo = done));
  let rings = 0;
  const host = {
    client: {
      onEvent: (name: string, fn: (args: never) => void) => void handlers.set(name, fn),
      reply: (rid: number, result: object | null, error?: WireError) =>
        Promise.resolve(void replies.push({ rid, result, error })),
      descriptor: (_of: string, domid?: DomId) => {
        if (domid === 3) return Promise.reject(new Error('there is no domain 3'));
        const fd = makeMemory('test', 4 * PAGE_SIZE);
        writeSync(fd, Buffer.alloc(4 * PAGE_SIZE, 0x5a));
        return Promise.resolve(fd);
      },
    },
    channels: {
      bindInterdomain: async (_remote: DomId, port: number) => {
        if (port === 77) await held;
        if (port === 99) throw Object.assign(new Error('no such port'), { code: 'EINVAL' });
        const channel = {
          notify: () => true,
          onEvent: (_: unknown, seen: () => number) => void published.push(seen),
          close: () => Promise.resolve(void closed.push(port)),
        };
        return channel as unknown as EventChannel;
      },
    },
    // The queue's memory is the kit's; only counters and domain memory are mapped for real.
    space: Object.assign(Object.create(space) as AddressSpace, { mem: kit.mem }),
    counters: new CounterFile(space, makeMemory('test', COUNTER_FILE_BYTES)),
    log: { warn: (o: object) => void logged.push(o), info: () => {} },
    dma: kit.dma,
    nic: kit.nic,
    nicTx: new NicTx(
      { mem: kit.mem, mapPrivate: () => kit.frames },
      kit.nic,
      new CableOut(kit.block(EGRESS_COUNTERS)),
      { now: 0, lap: () => {} },
    ),
    onSender: () => void rings++,
    onDriver: () => void rings++,
  };
  const attachments = new Attachments(host);
  const begin = (event: string, args: object): void => handlers.get(event)!(args as never);
  const send = async (event: string, args: object): Promise<void> => {
    begin(event, args);
    await attachments.settled();
  };
  const pages = (domid: number): Pick<AttachArgs, 'header' | 'avail' | 'comp'> => {
    new DriverQueue(kit.mem, kit.page(domid, 0));
    return { header: kit.map(domid, domid, 0), avail: kit.map(domid, domid, 1), comp: kit.map(domid, domid, 2) };
  };
  let rid = 0;
  const request = (context: number, target: number, over: Partial<AttachArgs> = {}): object => ({
    rid: ++rid,
    context,
    target,
    ...pages(context),
    port: 5,
    mac: MAC,
    vlan: null,
    moderationFrames: 8,
    moderationUs: 20,
    ...over,
  });
  const attach = async (context: number, target: number, over: Partial<AttachArgs> = {}) => {
    await send('nic.attach', request(context, target, over));
    return replies.at(-1)!;
  };
  const slow = { port: 77, letGo };
  return {
    ...{ kit, space, send, begin, request, attach, replies, closed, published, logged, slow, attachments },
    ...{ dma: kit.dma, nicTx: host.nicTx, rings: () => rings },
  };
}

t.test('H41: attach answers the queue’s number, detach answers when the channel is closed', async (t) => {
  const { attach, send, replies, closed, kit, nicTx } = setUp();
  t.match(await attach(1000, 1), { rid: 1, result: { queue: 0 }, error: undefined });
  t.match(kit.nic.queue(0)?.settings, { name: 'vif1.0', context: 1000, target: 1, moderationFrames: 8 });
  t.match(await attach(1000, 1000, { mac: null }), { result: { queue: 1 } });
  t.equal(kit.nic.queue(1)?.settings.name, 'default');
  await send('nic.detach', { rid: 7, queue: 0 });
  t.match(replies.at(-1), { rid: 7, result: {}, error: undefined });
  t.same(closed, [5]);
  t.equal(kit.nic.queue(0), null);
  await send('nic.detach', { rid: 8, queue: 0 });
  t.match(replies.at(-1), { rid: 8, result: null, error: { code: 'ENOENT' } });
  const { queue } = (await attach(1000, 2, { direction: 'tx', mac: null })).result!;
  t.equal(nicTx.describe().length, 1);
  await send('nic.detach', { rid: 9, queue });
  t.equal(nicTx.describe().length, 0);
});

t.test('H6: the port of a queue is damped by what its driver has posted', async (t) => {
  const { attach, published, kit } = setUp();
  await attach(1000, 1);
  const header = kit.page(1000, 0);
  t.equal(published[0](), 0);
  kit.mem.u32[(header + NICQ_AVAIL_PROD) >> 2] = 7;
  t.equal(published[0](), 7);
  t.notOk(kit.guard.underWay());
});

t.test('a queue that can be has a reading of its buffers before it is attached', async (t) => {
  const { attach, attachments, kit } = setUp();
  const readings = () => attachments.readings().map((r) => [r.labels?.queue, r.value]);
  t.same(readings(), [['default', 0]]);
  await attach(1000, 1);
  kit.mem.u32[(kit.page(1000, 0) + NICQ_AVAIL_PROD) >> 2] = 7;
  t.same(readings(), [
    ['default', 0],
    ['vif1.0', 7],
  ]);
});

t.test('a queue that has stopped closes its port, so that its driver sees it, and can still be detached', async (t) => {
  const { attach, send, replies, closed, kit } = setUp();
  await attach(1000, 1);
  kit.nic.queue(0)!.failed(new Error('broken'));
  await new Promise((done) => setImmediate(done));
  t.same(closed, [5]);
  await send('nic.detach', { rid: 7, queue: 0 });
  t.match(replies.at(-1), { rid: 7, error: undefined });
  t.equal(kit.nic.queue(0), null);
});

t.test(
  'two queues with one MAC, two default queues, foreign pages and bad values are refused, and the channel is closed',
  async (t) => {
    const { attach, closed, kit } = setUp();
    await attach(1000, 1);
    t.match(await attach(2, 2), { error: { code: 'EEXIST' } });
    await attach(1000, 1000, { mac: null });
    t.match(await attach(2, 2, { mac: null }), { error: { code: 'EEXIST' } });
    t.match(await attach(2, 2, { mac: '02:00:00:00:00:02', header: kit.map(3, 3, 0) }), {
      error: { code: 'EINVAL', message: /DMA table/ },
    });
    t.equal(closed.length, 3);
    t.match(await attach(2, 2, { mac: 'nonsense' }), { error: { code: 'EINVAL' } });
    t.match(await attach(2, 2, { vlan: 4096 }), { error: { code: 'EINVAL' } });
    t.match(await attach(2, 2, { mac: '02:00:00:00:00:02', port: 99 }), { error: { code: 'EINVAL' } });
    t.match(await attach(2, 2, { mac: MAC, vlan: 7 }), { result: { queue: 2 } }, 'another VLAN is another place');
  },
);

t.test('H41: a domain that goes takes its queues, driven or targeted, and its memory is unmapped', async (t) => {
  const { attach, send, dma, kit, space } = setUp();
  await attach(1000, 1);
  await attach(2, 2, { mac: '02:00:00:00:00:02' });
  await attach(3, 3, { mac: '02:00:00:00:00:03' });
  await send('domain.new', { domid: 1, generation: 0, memoryPages: 4 });
  const at = dma.lookup(kit.map(1000, 1, 3), 1000, 1);
  t.equal(space.mem.u8[at], 0x5a);
  t.equal(dma.lookup(kit.map(1000, 1, 4), 1000, 1), -1, 'a page beyond the memory');
  await send('domain.gone', { domid: 1 });
  t.equal(kit.nic.queue(0), null);
  t.equal(dma.lookup(kit.map(1000, 1, 3), 1000, 1), -1);
  await send('domain.gone', { domid: 2 });
  t.equal(kit.nic.queue(1), null);
  t.not(kit.nic.queue(2), null);
  await send('domain.new', { domid: 1, generation: 0, memoryPages: 4 });
  t.equal(dma.lookup(kit.map(1000, 1, 3), 1000, 1), at, 'its successor gets the same addresses');
});

t.test('a domain whose memory cannot be opened does not stop the events behind it', async (t) => {
  const { attach, send } = setUp();
  await send('domain.new', { domid: 3, generation: 0, memoryPages: 4 });
  t.match(await attach(1000, 1), { result: { queue: 0 } });
});

t.test("what one domain waits for holds up nobody else's queues, births and deaths", async (t) => {
  const { begin, request, replies, slow, attachments, dma, kit, space } = setUp();
  const until = async (so: () => boolean): Promise<void> => {
    while (!so()) await new Promise((done) => setImmediate(done));
  };
  begin('domain.new', { domid: 1000, generation: 0, memoryPages: 4 });
  begin('nic.attach', request(1, 1, { port: slow.port, mac: '02:00:00:00:00:01' }));
  // The driver domain's queue for the same guest waits behind it; its queue for another guest does not.
  begin('nic.attach', request(1000, 1, { mac: '02:00:00:00:00:11' }));
  begin('domain.new', { domid: 2, generation: 0, memoryPages: 4 });
  begin('nic.attach', request(2, 2, { mac: '02:00:00:00:00:02' }));
  begin('nic.attach', request(1000, 2, { mac: '02:00:00:00:00:12' }));
  await until(() => replies.length === 2);
  t.same(
    replies.map((r) => r.rid),
    [3, 4],
  );
  t.equal(space.mem.u8[dma.lookup(kit.map(2, 2, 3), 2, 2)], 0x5a);
  begin('domain.gone', { domid: 2 });
  begin('domain.gone', { domid: 1 });
  await until(() => dma.lookup(kit.map(2, 2, 3), 2, 2) === -1);
  t.equal(replies.length, 2, 'the other one still waits');
  slow.letGo();
  await attachments.settled();
  t.same(
    replies.map((r) => r.rid),
    [3, 4, 1, 2],
  );
  t.ok(
    [0, 1, 2, 3].every((id) => kit.nic.queue(id) === null),
    'what came before the death is undone by it',
  );
});

t.test('the driver of queues goes when they have been made, and not before', async (t) => {
  const { begin, request, replies, slow, attachments, kit } = setUp();
  begin('nic.attach', request(1000, 1, { port: slow.port }));
  begin('domain.gone', { domid: 1000 });
  begin('domain.gone', { domid: 1 });
  slow.letGo();
  await attachments.settled();
  t.match(replies, [{ rid: 1, result: { queue: 0 } }]);
  t.equal(kit.nic.queue(0), null);
});

t.test('a number that is detached twice is not detached from who has it next', async (t) => {
  const { begin, request, attach, replies, slow, attachments, kit } = setUp();
  const answered = async (rid: number): Promise<void> => {
    while (!replies.some((r) => r.rid === rid)) await new Promise((done) => setImmediate(done));
  };
  await attach(1000, 1);
  begin('nic.detach', { rid: 17, queue: 0 });
  begin('nic.attach', request(1000, 1, { rid: 18, port: slow.port }));
  begin('nic.detach', { rid: 19, queue: 0 });
  await answered(17);
  begin('nic.attach', request(2, 2, { rid: 20, mac: '02:00:00:00:00:02' }));
  await answered(20);
  t.match(replies.at(-1), { rid: 20, result: { queue: 0 } });
  slow.letGo();
  await attachments.settled();
  t.match(
    replies.find((r) => r.rid === 19),
    { error: { code: 'ENOENT' } },
  );
  t.equal(kit.nic.queue(0)?.settings.context, 2);
});

t.test('what is refused is logged with the domain that asked', async (t) => {
  const { attach, logged } = setUp();
  await attach(2, 2, { port: 99 });
  t.match(logged, [{ op: 'nic.attach', domid: 2, target: 2, err: 'no such port' }]);
});
