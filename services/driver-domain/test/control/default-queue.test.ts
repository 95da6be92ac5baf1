import t from 'tap';
import { type Pfn, DOMID_DRIVER, DOMID_NIC, PAGE_SIZE } from '@grantline/base';
import {
  DMAOP_MAP_SELF,
  DMA_MAP_RES_BYTES,
  HYPERCALL_HEADER_BYTES,
  STATUS_RES_BYTES,
  NICQ_COMP_PROD,
  HypervisorError,
} from '@grantline/xen';
import { byMessages } from '@grantline/xen/testkit';
import { BRIDGE_COUNTERS, DRIVER_COUNTERS } from '@grantline/observe';
import type { Poller } from '@grantline/machine';
import { DefaultQueue } from '../../src/control/default-queue.js';
import type { Host } from '../../src/control/host.js';
import { NativeControl } from '../../src/control/native-control.js';
import { Uplink } from '../../src/control/uplink.js';
import { Bridge } from '../../src/data/bridge/bridge.js';
import { Buffers } from '../../src/data/bridge/buffers.js';
import { Arena, ManualMeter, block } from '../kit.js';

const BUFFERS = 4;

/** A driver domain whose NIC comes and goes: as the hypervisor does it, nothing can be asked for while there is none. */
function make() {
  const arena = new Arena(64);
  const first = arena.pages(BUFFERS);
  const nic = { isThere: false, queues: 0 };
  const open = new Set<number>();
  const unbound = new Map<number, () => void>();
  const timers: { ms: number; then: () => void }[] = [];
  const clock = { ms: 0 };
  const healing = {
    now: () => clock.ms,
    after: (ms: number, then: () => void) => {
      const timer = { ms, then };
      timers.push(timer);
      return () => void timers.splice(timers.indexOf(timer), 1);
    },
  };
  const pollers: Poller[] = [];
  const taken = new Set<number>();
  const buffers = new Buffers(first, first / PAGE_SIZE, BUFFERS);
  let port = 1;
  const refuse = (op: string, code: string): never => {
    throw new HypervisorError({ code, message: 'there is no nic' }, op);
  };
  const host = {
    domid: DOMID_DRIVER,
    mem: arena.mem,
    pages: {
      alloc: (count: number) => {
        const page = arena.pages(count) / PAGE_SIZE;
        taken.add(page);
        return page as Pfn;
      },
      release: (page: number) => void taken.delete(page),
      offset: (n: number) => n * PAGE_SIZE,
    },
    client: {
      closed: false,
      request: (op: string) => {
        if (!nic.isThere)
          return Promise.reject(new HypervisorError({ code: 'ENODEV', message: 'there is no nic' }, op));
        nic.queues += op === 'nic.attach' ? 1 : -1;
        return Promise.resolve({ queue: 1 });
      },
      hypercall: byMessages((bytes, done) => {
        const count = bytes.readUInt16LE(6);
        const isMap = bytes.readUInt16LE(4) === DMAOP_MAP_SELF;
        const size = isMap ? DMA_MAP_RES_BYTES : STATUS_RES_BYTES;
        const reply = Buffer.alloc(HYPERCALL_HEADER_BYTES + count * size);
        reply.writeUInt16LE(count, 6);
        for (let i = 0; i < count && isMap; i++) reply.writeUInt32LE(i + 1, HYPERCALL_HEADER_BYTES + i * size + 4);
        setImmediate(done, reply);
      }),
    },
    channels: {
      allocUnbound: (remote: number) => {
        if (remote !== DOMID_NIC || !nic.isThere)
          return Promise.resolve().then(() => refuse('evtchn.allocUnbound', 'ESRCH'));
        const mine = port++;
        open.add(mine);
        const close = (): Promise<void> => Promise.resolve(void open.delete(mine));
        const channel = {
          ...{ port: mine, notify: () => true, onEvent: () => {}, close },
          onUnbound: (then: () => void) => void unbound.set(mine, then),
        };
        return Promise.resolve(channel);
      },
    },
    loop: {
      add: (p: Poller) => void pollers.push(p),
      remove: (p: Poller) => void pollers.splice(pollers.indexOf(p), 1),
      schedule: () => {},
    },
    meter: new ManualMeter(),
    driver: block(DRIVER_COUNTERS),
    buffers,
    bridge: new Bridge(arena.mem, buffers, block(BRIDGE_COUNTERS)),
    refill: () => {},
    log: { info: () => {}, warn: () => {} },
  } as unknown as Host;
  const queue = new DefaultQueue(host, new Uint32Array(BUFFERS).fill(1));
  const native = new NativeControl({
    domid: DOMID_DRIVER,
    xenstore: {
      read: () => Promise.resolve(null),
      write: () => Promise.resolve(),
      watch: () => Promise.resolve(() => Promise.resolve()),
    },
    place: () => {},
    queue,
    stack: {} as never,
    apps: {} as never,
    driver: host.driver,
    sender: { start: () => Promise.resolve(), stop: () => Promise.resolve(), onBroken: () => {} },
    prepareSend: () => Promise.resolve(),
    log: host.log,
    healing,
  });
  return { unbound, timers, clock, healing, host, nic, queue, native, buffers, pollers, open, taken };
}

/** Until something has come about; if it never does, the assertion that follows says what is missing. */
async function until(done: () => boolean): Promise<void> {
  const end = Date.now() + 20_000;
  while (!done() && Date.now() < end) await new Promise((resolve) => setTimeout(resolve, 1));
}

/** Many more turns of the event loop than an attach takes. */
async function turns(): Promise<void> {
  for (let i = 0; i < 100; i++) await new Promise((resolve) => setImmediate(resolve));
}

t.test('a driver domain that is there before the NIC takes the default queue when the NIC comes', async (t) => {
  const { nic, queue, native, buffers, pollers } = make();
  await native.begin();
  let settled = false;
  const settling = native.settle('vif1.0', false, false).then((is) => {
    settled = true;
    return is;
  });
  await turns();
  t.notOk(queue.attached);
  t.notOk(settled, 'no vif connects to a bridge that no frame can reach');
  nic.isThere = true;
  t.ok(await settling);
  t.ok(queue.attached);
  t.equal(nic.queues, 1);
  t.equal(buffers.describe()['posted'], BUFFERS);
  t.equal(pollers.length, 1);
  await queue.end();
});

t.test(
  'a NIC that died is followed by the next one: nothing of the first is left, all buffers are posted again',
  async (t) => {
    const { nic, queue, native, buffers, pollers, open, taken } = make();
    nic.isThere = true;
    await native.begin();
    t.ok(await native.settle('vif1.0', false, false));
    Object.assign(nic, { isThere: false, queues: 0 });
    native.nicGone();
    await until(() => open.size === 0 && taken.size === 0 && pollers.length === 0);
    t.notOk(queue.attached);
    t.same([open.size, taken.size, pollers.length], [0, 0, 0]);
    t.equal(buffers.available, BUFFERS);
    nic.isThere = true;
    t.ok(await native.settle('vif1.0', false, false));
    t.ok(queue.attached);
    t.same([nic.queues, open.size, taken.size, pollers.length], [1, 1, 1, 1]);
    t.equal(buffers.describe()['posted'], BUFFERS);
    await queue.end();
    t.same([nic.queues, open.size, taken.size, pollers.length], [0, 0, 0, 0]);
  },
);

t.test('a service that ends does not wait for a NIC', async (t) => {
  const { queue, native } = make();
  await native.begin();
  await queue.end();
  t.ok(await native.settle('vif1.0', false, false), 'whoever waited goes on');
  t.notOk(queue.attached);
});

t.test('the uplink comes with the NIC, goes with it, and comes with the next one', async (t) => {
  const { host, nic, pollers, open, taken } = make();
  const uplink = new Uplink(host, host.driver);
  const begun = uplink.begin();
  const { port } = uplink;
  let ready = 0;
  const waiting = uplink.ready().then((p) => (ready += Number(p === port)));
  await turns();
  t.same([uplink.attached, ready, port.room()], [false, 0, 256], 'what is sent meanwhile is lost, nobody waits');
  t.same([open.size, taken.size], [0, 0], 'nothing is taken without a NIC');
  nic.isThere = true;
  await begun;
  await waiting;
  t.same([uplink.attached, ready, nic.queues, open.size, taken.size, pollers.length], [true, 1, 1, 1, 1, 1]);
  const owner = { scheduled: false, held: 0, lost: [] as number[], sent: (n: number) => void owner.lost.push(n) };
  port.promise(owner as never, 2);
  port.post(owner as never, -1, 1, 0, 64, 0, 0, 0, 0);
  port.post(owner as never, 7, 1, 0, 64, 1, 0, 0, 0);
  port.flush();
  for (let life = 0; life < 2; life++) {
    Object.assign(nic, { isThere: false, queues: 0 });
    uplink.nicGone();
    t.same(owner.lost, [7], 'the NIC had it: it is over at once');
    t.notOk(uplink.attached);
    await until(() => open.size === 0 && taken.size === 0);
    t.same([open.size, taken.size], [0, 0]);
    nic.isThere = true;
    t.equal(await uplink.ready(), port, 'vifs keep what they hold');
    t.same([nic.queues, open.size, taken.size, pollers.length, port.room()], [1, 1, 1, 1, 256]);
  }
  await uplink.end();
  t.same([nic.queues, open.size, taken.size, pollers.length], [0, 0, 0, 0]);
});

t.test(
  'a NIC that dies while the uplink attaches leaves nothing behind, and is followed by the next one',
  async (t) => {
    const { host, nic, open, taken } = make();
    nic.isThere = true;
    const request = host.client.request.bind(host.client);
    let dies = true;
    (host.client as { request: typeof request }).request = (op, args) => {
      if (op === 'nic.attach' && dies) nic.isThere = dies = false;
      return request(op, args);
    };
    const uplink = new Uplink(host, host.driver);
    const begun = uplink.begin();
    await until(() => !nic.isThere && open.size === 0 && taken.size === 0);
    t.same([uplink.attached, open.size, taken.size], [false, 0, 0]);
    nic.isThere = true;
    await begun;
    t.same([uplink.attached, nic.queues, open.size, taken.size], [true, 1, 1, 1]);
    await uplink.end();
  },
);

t.test('whoever waits for the uplink goes on when the service ends', async (t) => {
  const { host, open } = make();
  const uplink = new Uplink(host, host.driver);
  void uplink.begin();
  const waiting = uplink.ready();
  await uplink.end();
  t.equal(await waiting, uplink.port);
  t.equal(uplink.port.room(), 256);
  t.equal(open.size, 0);
});

const COMP_PROD = NICQ_COMP_PROD >> 2;

t.test(
  'a default queue whose NIC writes what cannot be is not ready until it is attached anew, ever later',
  async (t) => {
    const x = make();
    x.nic.isThere = true;
    await x.native.begin();
    t.ok(await x.native.settle('vif1.0', false, false));
    const pauses: number[] = [];
    for (let i = 0; i < 8; i++) {
      const [header] = [...x.taken];
      x.host.mem.u32[((header * PAGE_SIZE) >> 2) + COMP_PROD] += 5000;
      x.pollers[0].poll();
      x.pollers[0].poll();
      t.notOk(x.queue.attached, 'what /health/ready asks');
      t.equal(x.timers.length, 1, 'one owner');
      const { ms, then } = x.timers.pop()!;
      pauses.push(ms);
      x.clock.ms += ms;
      then();
      await until(() => x.queue.attached);
      t.ok(x.queue.attached);
      t.same([x.nic.queues, x.open.size, x.taken.size, x.pollers.length], [1, 1, 1, 1]);
      t.equal(x.buffers.describe()['posted'], BUFFERS);
    }
    t.same(pauses, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
    t.equal(x.host.driver.read()['reattached'], 8);
    x.clock.ms += 10_001;
    x.unbound.get([...x.open][0])!();
    t.notOk(x.queue.attached, 'a NIC that closes its port has given the queue up');
    t.equal(x.timers.pop()?.ms, 100, 'it held for long');
    x.native.nicGone();
    t.equal(x.timers.length, 0, 'whoever waits for the next NIC does not wait for this one');
    await until(() => x.queue.attached);
    await x.queue.end();
  },
);

t.test(
  'an uplink whose NIC completes the impossible, nothing at all, or closes its port, is attached anew',
  async (t) => {
    const x = make();
    x.nic.isThere = true;
    const uplink = new Uplink(x.host, x.host.driver, x.healing);
    await uplink.begin();
    const { port } = uplink;
    const owner = { scheduled: false, held: 0, lost: 0, sent: () => void owner.lost++ };
    for (const how of ['impossible', 'silent', 'closed'] as const) {
      port.promise(owner as never, 1);
      port.post(owner as never, 7, 1, 0, 64, 1, 0, 0, 0);
      port.flush();
      uplink.tick(0);
      uplink.tick(9e9);
      t.ok(uplink.attached, 'a packet may take a while');
      const [header] = [...x.taken];
      if (how === 'impossible') x.host.mem.u32[((header * PAGE_SIZE) >> 2) + COMP_PROD] += 5000;
      if (how === 'impossible') port.poll();
      if (how === 'silent') uplink.tick(11e9);
      if (how === 'closed') x.unbound.get([...x.open][0])!();
      t.notOk(uplink.attached, how);
      t.equal(owner.lost, 0, 'the NIC may still read its pages');
      x.clock.ms += 60_000;
      x.timers.pop()!.then();
      await uplink.ready();
      t.equal(owner.lost, 1, 'answered, as lost');
      owner.lost = 0;
      t.same([x.nic.queues, x.open.size, x.taken.size, port.room()], [1, 1, 1, 256]);
    }
    await uplink.end();
    t.equal(x.timers.length, 0);
  },
);
