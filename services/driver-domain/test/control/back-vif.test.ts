import t from 'tap';
import { PAGE_SIZE, type DomId, type Pfn } from '@grantline/base';
import {
  CTRL_TYPE_ADD_GREF_MAPPING,
  TX_SLOT_BYTES,
  RING_REQ_PROD,
  TX_RING_SIZE,
  FrontRing,
  idxAdd,
  HypervisorError,
  DMAOP_MAP_SELF,
  DMAOP_UNMAP_SELF,
  DMA_MAP_RES_BYTES,
  DMA_UNMAP_BYTES,
  GNTTABOP_MAP,
  GNTTABOP_UNMAP,
  HYPERCALL_HEADER_BYTES,
  MAP_RES_BYTES,
  STATUS_RES_BYTES,
  UNMAP_BYTES,
  UNMAP_HANDLE,
  TxDriverQueue,
} from '@grantline/xen';
import { byMessages } from '@grantline/xen/testkit';
import type { CounterBlock, Poller } from '@grantline/machine';
import { BRIDGE_COUNTERS, DRIVER_COUNTERS } from '@grantline/observe';
import type { Host } from '../../src/control/host.js';
import { BackVif } from '../../src/control/back-vif.js';
import { Vifs } from '../../src/control/vifs.js';
import { Bridge, handTo } from '../../src/data/bridge/bridge.js';
import { TxPort } from '../../src/data/tx/tx-port.js';
import { Buffers } from '../../src/data/bridge/buffers.js';
import { HEADER_PAGES } from '../../src/data/tx/tx-requests.js';
import { STORM_BURST } from '@grantline/frames';
import { Arena, CTRL_RING_SIZE, CTRL_SLOT_BYTES, ManualMeter, MockFront, block } from '../kit.js';

const GUEST = 3 as DomId;
const BACK = '/local/domain/1000/backend/vif/3/0';
const FRONT = '/local/domain/3/device/vif/0';
const FACTORS = {
  path: 'split',
  'nic-queues': 'single',
  grants: 'per-frame',
  'buffer-bytes': '4096',
  lro: '0',
  tso: '0',
  batching: '0',
  mac: '02:00:00:00:00:03',
};

const TWO_QUEUES = {
  'multi-queue-num-queues': 2,
  'queue-0/tx-ring-ref': 8,
  'queue-0/rx-ring-ref': 9,
  'queue-0/event-channel': 5,
  'queue-1/tx-ring-ref': 10,
  'queue-1/rx-ring-ref': 11,
  'queue-1/event-channel': 6,
};

/** Xenstore in a map; watches are called by hand, so that a test decides when a change is seen. */
class Store {
  readonly nodes = new Map<string, string>();
  readonly states: string[] = [];
  read = (path: string): Promise<string | null> => Promise.resolve(this.nodes.get(path) ?? null);
  /** Nothing can be written any more. */
  refuses = false;
  write = (path: string, value: string | number): Promise<void> => {
    if (this.refuses) return Promise.reject(new Error('EACCES'));
    this.nodes.set(path, String(value));
    if (path === `${BACK}/state`) this.states.push(String(value));
    return Promise.resolve();
  };
  directory = (path: string): Promise<string[]> =>
    Promise.resolve([
      ...new Set(
        [...this.nodes.keys()]
          .filter((k) => k.startsWith(`${path}/`))
          .map((k) => k.slice(path.length + 1).split('/')[0]),
      ),
    ]);
  async transaction(ops: readonly { op: string; path: string; value?: string }[]): Promise<void> {
    for (const o of ops) {
      if (o.op === 'rm') this.nodes.delete(o.path);
      else await this.write(o.path, o.value ?? '');
    }
  }
  private readonly watchers: { path: string; fn: (path: string) => void }[] = [];
  watch = (path: string, fn: (path: string) => void): Promise<() => Promise<void>> => {
    this.watchers.push({ path, fn });
    return Promise.resolve(() => Promise.resolve());
  };
  fire(path: string): void {
    for (const w of this.watchers) if (path.startsWith(w.path)) w.fn(path);
  }
  put(dir: string, values: Record<string, string | number>): void {
    for (const [key, value] of Object.entries(values)) this.nodes.set(`${dir}/${key}`, String(value));
  }
}

/** Bytes of a result of what gives something. */
const RESULT_BYTES: Record<number, number> = {
  [DMAOP_MAP_SELF]: DMA_MAP_RES_BYTES,
  [GNTTABOP_MAP]: MAP_RES_BYTES,
};

function make(pagesThere = 256) {
  const arena = new Arena(pagesThere);
  const store = new Store();
  const mapped = new Set<number>();
  const open = new Set<number>();
  const handles = new Set<number>();
  const dpns = new Set<number>();
  let nextNumber = 1;
  let pagesTaken = 0;
  let windowTaken = 0;
  const published = new Map<number, (() => number) | null>();
  const pollers: Poller[] = [];
  const onFault = new Map<Poller, (err: unknown) => void>();
  const pages = new Map<number, number>([
    [8, arena.pages()],
    [9, arena.pages()],
    [10, arena.pages()],
    [11, arena.pages()],
  ]);
  const front = new MockFront(arena.mem, pages.get(9)!);
  let port = 100;
  const channel = () => {
    const mine = port++;
    open.add(mine);
    return Promise.resolve({
      port: mine as never,
      notify: () => true,
      onEvent: (_: () => void, seen?: () => number) => void published.set(mine, seen ?? null),
      onUnbound: () => {},
      close: () => Promise.resolve(void open.delete(mine)),
    });
  };
  const buffers = new Buffers(arena.pages(4), 1, 4);
  const requests: Record<string, (args: unknown) => Promise<unknown>> = {};
  const warnings: object[] = [];
  const host: Host = {
    domid: 1000 as DomId,
    mem: arena.mem,
    pages: {
      alloc: (n: number) => {
        pagesTaken += n;
        return (arena.pages(n) / PAGE_SIZE) as Pfn;
      },
      release: (_: Pfn, n: number) => void (pagesTaken -= n),
      offset: (n: number) => n * PAGE_SIZE,
    } as unknown as Host['pages'],
    client: {
      closed: false,
      request: <T>(op: string, args: unknown) =>
        (requests[op]?.(args) ?? Promise.reject(new Error('no nic'))) as Promise<T>,
      hypercall: byMessages((bytes, done) => {
        const count = bytes.readUInt16LE(6);
        const cmd = bytes.readUInt16LE(4);
        const size = RESULT_BYTES[cmd] ?? STATUS_RES_BYTES;
        const reply = Buffer.alloc(HYPERCALL_HEADER_BYTES + count * size);
        reply.writeUInt16LE(count, 6);
        for (let i = 0; i < count; i++) {
          const given = nextNumber++;
          const asked = (at: number): number => bytes.readUInt32LE(HYPERCALL_HEADER_BYTES + at);
          if (cmd === GNTTABOP_MAP) handles.add(given);
          if (cmd === DMAOP_MAP_SELF) dpns.add(given);
          if (cmd in RESULT_BYTES) reply.writeUInt32LE(given, HYPERCALL_HEADER_BYTES + i * size + 4);
          if (cmd === GNTTABOP_UNMAP) handles.delete(asked(i * UNMAP_BYTES + UNMAP_HANDLE));
          if (cmd === DMAOP_UNMAP_SELF) dpns.delete(asked(i * DMA_UNMAP_BYTES));
        }
        setImmediate(done, reply);
      }),
    },
    xenstore: store,
    channels: { allocUnbound: channel, bindInterdomain: channel },
    window: {
      free: 9,
      take: () => ++windowTaken * PAGE_SIZE,
      mapAt: () => {},
      unmap: () => void windowTaken--,
      forget: () => {},
      mapGrant: (_, __, gref) => {
        const offset = pages.get(gref);
        if (offset === undefined) return Promise.reject(new Error(`map of gref ${gref}: badGntref`));
        mapped.add(gref);
        return Promise.resolve({ offset, handle: gref as never });
      },
      unmapGrant: (_, m) => Promise.resolve(void mapped.delete(m.handle)),
    },
    loop: {
      add: (p, fault) => {
        pollers.push(p);
        if (fault) onFault.set(p, fault);
      },
      remove: (p) => void pollers.splice(pollers.indexOf(p), 1),
      schedule: (p) => void (p.scheduled = true),
    },
    meter: new ManualMeter(),
    counters: { block },
    driver: block(DRIVER_COUNTERS),
    buffers,
    bridge: new Bridge(arena.mem, buffers, block(BRIDGE_COUNTERS)),
    uplink: {
      ready: () => {
        const port = new TxPort({ schedule: () => {} }, new ManualMeter(), block(DRIVER_COUNTERS));
        port.connect(new TxDriverQueue(arena.mem, arena.pages(3)), { notify: () => {} });
        return Promise.resolve(port);
      },
    },
    local: { take: () => 0, leave: () => {} },
    refill: () => {},
    log: { info: () => {}, warn: (what) => void warnings.push(what), error: (what) => void warnings.push(what) },
  };
  const native = { settle: () => Promise.resolve(true), forget: () => {} };
  const vif = new BackVif(host, native, GUEST, 1);
  const isReleased = (): boolean =>
    [mapped.size, open.size, pollers.length, handles.size, dpns.size, pagesTaken, windowTaken].every((n) => n === 0) &&
    host.bridge.portAt(1) === null;
  store.put(BACK, { ...FACTORS, generation: 1 });
  store.put(FRONT, { state: 1 });
  const frontConnects = (keys: Record<string, string | number> = {}): void =>
    store.put(FRONT, {
      'request-rx-copy': 1,
      'tx-ring-ref': 8,
      'rx-ring-ref': 9,
      'event-channel': 5,
      'offer-ack': store.nodes.get(`${BACK}/offer`) ?? '',
      state: 4,
      ...keys,
    });
  return {
    arena,
    pages,
    store,
    vif,
    host,
    native,
    front,
    pollers,
    onFault,
    published,
    mapped,
    open,
    handles,
    isReleased,
    frontConnects,
    requests,
    warnings,
  };
}

t.test('a vif comes up, is reconfigured, and goes down, by the state machine', async (t) => {
  const x = make();
  await x.vif.look();
  t.same(x.store.states, ['6', '2']);
  t.equal(await x.store.read(`${BACK}/feature-rx-copy`), '1');
  x.frontConnects();
  await x.vif.look();
  t.equal(x.store.states.at(-1), '4');
  t.equal(await x.store.read(`${BACK}/generation-ack`), '1');
  t.equal(x.pollers.length, 2, 'one for each direction');
  x.store.put(BACK, { generation: 2 });
  await x.vif.look();
  t.same(x.store.states.slice(3), ['5', '6'], 'then it waits for the frontend');
  t.ok(x.isReleased());
  x.store.put(FRONT, { state: 6 });
  await x.vif.look();
  t.equal(x.store.states.at(-1), '2');
  x.frontConnects();
  await x.vif.look();
  t.equal(await x.store.read(`${BACK}/generation-ack`), '2');
});

t.test('native: the vif stays Closed and is acknowledged', async (t) => {
  const x = make();
  x.store.put(BACK, { path: 'native' });
  await x.vif.look();
  t.same(x.store.states, ['6', '6']);
  t.equal(await x.store.read(`${BACK}/generation-ack`), '1');
  await x.vif.look();
  t.equal(x.store.states.length, 2, 'once');
});

for (const [what, keys] of [
  ['garbage as ring reference', { 'rx-ring-ref': 'x' }],
  ['a ring page that was not granted', { 'rx-ring-ref': 77 }],
  ['one page for two rings', { 'rx-ring-ref': 8 }],
  ['too many queues', { 'multi-queue-num-queues': 2 }],
] as const)
  t.test(`${what}: refused with a reason, and all given back (H33, H34)`, async (t) => {
    const x = make();
    await x.vif.look();
    x.frontConnects(keys);
    await x.vif.look();
    t.same(x.store.states, ['6', '2', '5', '6']);
    t.ok(await x.store.read(`${BACK}/error`));
    t.ok(x.isReleased());
    x.store.put(FRONT, { state: 6 });
    await x.vif.look();
    t.equal(x.store.states.length, 4, 'not before the next generation');
    x.store.put(BACK, { generation: 2 });
    await x.vif.look();
    t.equal(x.store.states.at(-1), '2');
    t.equal(await x.store.read(`${BACK}/error`), null);
  });

t.test('a ring that is impossible at connect is refused (H1)', async (t) => {
  const x = make();
  await x.vif.look();
  x.arena.mem.u32[(x.front.ring.base + RING_REQ_PROD) >> 2] = 5000;
  x.frontConnects();
  await x.vif.look();
  t.match(await x.store.read(`${BACK}/error`), /5000 ahead/);
  t.ok(x.isReleased());
});

t.test('a fault on the data path closes this vif, with its reason (H1)', async (t) => {
  const x = make();
  await x.vif.look();
  x.frontConnects();
  await x.vif.look();
  x.arena.mem.u32[(x.front.ring.base + RING_REQ_PROD) >> 2] = 5000;
  const id = x.host.buffers.take();
  x.host.buffers.filled(id);
  x.vif.connection!.bridgeRx!.deliver(id, 60);
  x.host.buffers.release(id);
  x.pollers[0].poll();
  await x.vif.look();
  t.same(x.store.states.slice(-2), ['5', '6']);
  t.match(await x.store.read(`${BACK}/error`), /req_prod/);
  t.ok(x.isReleased());
  t.equal(x.host.buffers.held, 0);
});

t.test('H6: the port of a vif is damped by what its guest has published in either ring', async (t) => {
  const x = make();
  await x.vif.look();
  x.frontConnects();
  await x.vif.look();
  const [seen] = [...x.published.values()].filter((s) => s !== null);
  const before = seen();
  x.front.post(8);
  t.equal(seen(), before + 1);
  x.arena.mem.u32[(x.pages.get(8)! + RING_REQ_PROD) >> 2] = 1;
  t.equal(seen(), before + 2);
  await x.vif.end();
  t.ok(
    [...x.published.values()].every((s) => s === null),
    'nothing reads a ring after the disconnect',
  );
});

t.test('an exception in the work of a vif closes that vif, with its reason, once, and all is given back', async (t) => {
  for (const where of ['rx', 'tx', 'deliver', 'tick', 'stop'] as const) {
    const x = make();
    await x.vif.look();
    x.frontConnects();
    await x.vif.look();
    const { bridgeRx, tx } = x.vif.connection!;
    const broken = (): never => {
      throw new Error(`broken in ${where}`);
    };
    const inside = bridgeRx as unknown as Record<'waiting' | 'filler', Record<string, unknown>>;
    if (where === 'tx') (tx[0] as unknown as { grants: { settle: unknown } }).grants.settle = broken;
    if (where === 'deliver') inside.waiting['add'] = broken;
    if (where === 'tick') inside.waiting['expire'] = broken;
    if (where === 'rx' || where === 'stop') inside.filler['settle'] = broken;
    if (where === 'stop') inside.filler['abandon'] = broken;
    const id = x.host.buffers.take();
    x.host.buffers.filled(id);
    handTo(bridgeRx!, id, 60);
    x.host.buffers.release(id);
    if (where === 'tick') x.vif.tick(1);
    // As the loop does.
    for (const p of [...x.pollers]) {
      try {
        p.poll();
      } catch (err) {
        x.onFault.get(p)?.(err);
      }
    }
    await x.vif.look();
    t.same(x.store.states.slice(-2), ['5', '6'], where);
    t.equal(await x.store.read(`${BACK}/error`), `internal error: broken in ${where}`);
    t.ok(x.isReleased(), where);
    t.equal(x.warnings.filter((w) => 'err' in w && 'vif' in w).length, 1, 'told once');
    x.vif.tick(1);
    x.store.put(FRONT, { state: 6 });
    await x.vif.look();
    t.equal(x.store.states.at(-1), '6', 'not before the next generation');
    x.store.put(BACK, { generation: 2 });
    await x.vif.look();
    t.equal(x.store.states.at(-1), '2');
  }
});

t.test('a frontend that leaves Connected in any way is disconnected (H34)', async (t) => {
  for (const state of [0, 1, 2, 3, 5, 6]) {
    const x = make();
    await x.vif.look();
    x.frontConnects();
    await x.vif.look();
    x.store.put(FRONT, { state });
    await x.vif.look();
    t.ok(x.isReleased(), `state ${state}`);
    t.ok(x.store.states.includes('5'));
  }
});

t.test('H34: a frontend whose keys are there is not connected before it says so, and may give up before', async (t) => {
  for (const state of [0, 1, 2, 3, 6]) {
    const x = make();
    await x.vif.look();
    x.frontConnects({ state });
    await x.vif.look();
    t.same(x.store.states, ['6', '2'], `state ${state}`);
    t.equal(x.vif.connection, null);
  }
  const x = make();
  await x.vif.look();
  x.store.put(FRONT, { state: 5 });
  await x.vif.look();
  t.same(x.store.states, ['6', '2', '5', '6']);
  x.frontConnects();
  await x.vif.look();
  t.equal(x.store.states.at(-1), '6', 'an offer that was taken back is not taken up');
  x.store.put(FRONT, { state: 6 });
  await x.vif.look();
  t.equal(x.store.states.at(-1), '2');
});

t.test('a generation that comes while connecting wins', async (t) => {
  const x = make();
  await x.vif.look();
  x.frontConnects();
  const looking = x.vif.look();
  x.store.put(BACK, { generation: 7 });
  void x.vif.look();
  await looking;
  t.ok(x.isReleased());
  t.equal(x.store.states.at(-1), '6');
  x.store.put(FRONT, { state: 6 });
  await x.vif.look();
  x.frontConnects();
  await x.vif.look();
  t.equal(await x.store.read(`${BACK}/generation-ack`), '7');
});

t.test(
  'keys that answer an earlier offer are stale: not looked at, not refused, and the next answer counts',
  async (t) => {
    const x = make();
    await x.vif.look();
    const old = await x.store.read(`${BACK}/offer`);
    // The guest was about to connect with generation 1; netback goes on to the next meanwhile.
    x.store.put(BACK, { generation: 2, 'nic-queues': 'per-guest' });
    await x.vif.look();
    t.not(await x.store.read(`${BACK}/offer`), old);
    x.frontConnects({ 'offer-ack': old!, 'generation-ack': 2 });
    await x.vif.look();
    t.equal(x.store.states.at(-1), '2', 'it goes on waiting');
    t.equal(await x.store.read(`${BACK}/error`), null);
    t.ok(x.isReleased());
    x.store.put(BACK, { generation: 3, 'nic-queues': 'single' });
    x.store.put(FRONT, { state: 6 });
    await x.vif.look();
    x.frontConnects();
    await x.vif.look();
    t.equal(await x.store.read(`${BACK}/generation-ack`), '3');
  },
);

t.test('a generation that comes while bad keys are read is not blamed for them', async (t) => {
  const x = make();
  await x.vif.look();
  x.frontConnects({ 'rx-ring-ref': 77 });
  const { mapGrant } = x.host.window;
  x.host.window.mapGrant = (...args) => {
    x.store.put(BACK, { generation: 2 });
    return mapGrant(...args);
  };
  await x.vif.look();
  t.equal(await x.store.read(`${BACK}/error`), null);
  t.same(x.warnings, []);
  t.equal(x.store.states.at(-1), '6');
});

t.test('without a NIC the vif says so, and connects when there is one', async (t) => {
  const x = make();
  x.store.put(BACK, { 'nic-queues': 'per-guest' });
  await x.vif.look();
  x.frontConnects(TWO_QUEUES);
  let asked = 0;
  x.requests['nic.attach'] = () => {
    if (++asked > 1) return Promise.resolve({ queue: 1 });
    // Its Closed lets the guest start over.
    setImmediate(() => x.store.put(FRONT, { state: 6 }));
    return Promise.reject(new HypervisorError({ code: 'ENODEV', message: 'there is no nic' }, 'nic.attach'));
  };
  await x.vif.look();
  t.same(x.store.states.slice(2), ['5', '6', '2'], 'and offers again');
  t.match(await x.store.read(`${BACK}/error`), /no nic/);
  t.ok(x.isReleased());
  x.frontConnects();
  await x.vif.look();
  t.equal(await x.store.read(`${BACK}/generation-ack`), '1');
  t.equal(await x.store.read(`${BACK}/error`), null);
});

t.test('packets are taken uncut for a guest that takes such, where its grants stand', async (t) => {
  const asks = async (
    back: Record<string, string | number>,
    front: Record<string, string | number>,
  ): Promise<unknown> => {
    const x = make();
    let asked: unknown;
    x.pages.set(12, x.arena.pages());
    x.store.put(BACK, { 'nic-queues': 'per-guest', ...back });
    x.requests['nic.attach'] = (args) => {
      if ((args as { direction?: string }).direction === undefined)
        asked = (args as { packetBytes?: number }).packetBytes;
      return Promise.resolve({ queue: 1 });
    };
    x.requests['nic.detach'] = () => Promise.resolve({});
    await x.vif.look();
    x.frontConnects({ ...TWO_QUEUES, ...front });
    await x.vif.look();
    t.equal(x.store.states.at(-1), '4');
    await x.vif.end();
    return asked;
  };
  const ring = { 'ctrl-ring-ref': 12, 'event-channel-ctrl': 7 };
  const halves = { 'buffer-bytes': 2048 };
  t.equal(await asks({ grants: 'reuse' }, { ...ring, 'feature-gso-tcpv4': 1 }), 65_535);
  t.equal(
    await asks({ grants: 'reuse', ...halves }, { ...ring, 'feature-gso-tcpv4': 1, 'feature-rx-offset': 1 }),
    36_864,
  );
  t.equal(await asks({ grants: 'reuse' }, { ...ring, 'feature-gso-tcpv4': 0 }), undefined);
  t.equal(await asks({ grants: 'per-frame' }, { 'feature-gso-tcpv4': 1 }), undefined);
});

t.test('a queue that went with the NIC or the guest is no warning when the vif ends', async (t) => {
  const x = make();
  x.store.put(BACK, { 'nic-queues': 'per-guest' });
  x.requests['nic.attach'] = () => Promise.resolve({ queue: 7 });
  x.requests['nic.detach'] = () =>
    Promise.reject(new HypervisorError({ code: 'ENOENT', message: 'there is no queue 7' }, 'nic.detach'));
  await x.vif.look();
  x.frontConnects(TWO_QUEUES);
  await x.vif.look();
  t.equal(x.store.states.at(-1), '4');
  await x.vif.end();
  t.same(x.warnings, []);
  t.ok(x.isReleased());
});

t.test('group addresses are limited for the vif, by whichever of its queues it sends them (H16)', async (t) => {
  const x = make();
  const blocks = new Map<string, CounterBlock>();
  x.host.counters.block = (layout) => {
    const made = block(layout);
    blocks.set(layout.kind, made);
    return made;
  };
  const { mem } = x.arena;
  // Whatever is copied into a header, it is a broadcast of the guest's.
  x.host.pages.alloc = (count) => {
    const at = x.arena.pages(count);
    for (let i = at; i < at + count * PAGE_SIZE && count === HEADER_PAGES; i += 128) {
      mem.u8.fill(255, i, i + 6);
      mem.u8.set([2, 0, 0, 0, 0, 3], i + 6);
    }
    return (at / PAGE_SIZE) as Pfn;
  };
  x.store.put(BACK, { 'nic-queues': 'per-guest' });
  x.requests['nic.attach'] = () => Promise.resolve({ queue: 1 });
  x.requests['nic.detach'] = () => Promise.resolve({});
  const vif = new BackVif(x.host, x.native, GUEST, 1);
  await vif.look();
  x.frontConnects(TWO_QUEUES);
  await vif.look();
  t.equal(x.store.states.at(-1), '4');
  // A link without carrier takes all.
  vif.connection!.nicGone();
  for (const gref of [8, 10]) {
    const ring = new FrontRing(mem, x.pages.get(gref)!, TX_RING_SIZE, TX_SLOT_BYTES);
    for (let i = 0; i < 200; i++) {
      const at = ring.slot(ring.reqProdPvt) >> 2;
      mem.u32[at] = 50;
      mem.u32[at + 2] = i | (60 << 16);
      ring.reqProdPvt = idxAdd(ring.reqProdPvt, 1);
    }
    ring.push();
  }
  const v = blocks.get('netbackTx')!;
  for (let i = 0; i < 1000 && v.read()['packets'] < 400; i++) {
    for (const p of x.pollers) p.poll();
    await new Promise((r) => setImmediate(r));
  }
  for (let i = 0; i < 10; i++) {
    await new Promise((r) => setImmediate(r));
    for (const p of x.pollers) p.poll();
  }
  t.match(v.read(), { packets: 400, flooded: STORM_BURST, dropStorm: 400 - STORM_BURST });
  await vif.end();
});

t.test('a vif that waits for the uplink holds nothing of its guest, who may die meanwhile (H27)', async (t) => {
  const x = make();
  await x.vif.look();
  x.frontConnects();
  const port = await x.host.uplink.ready();
  let come = (): void => {};
  x.host.uplink.ready = () => new Promise((resolve) => (come = () => resolve(port)));
  const looking = x.vif.look();
  for (let i = 0; i < 20; i++) await new Promise((r) => setImmediate(r));
  t.ok(x.isReleased());
  come();
  await looking;
  t.equal(x.store.states.at(-1), '4');
  await x.vif.end();
  t.ok(x.isReleased());
});

t.test('a new rate is looked at by a vif that waits for credit', async (t) => {
  const x = make();
  await x.vif.begin();
  await x.vif.look();
  x.frontConnects();
  await x.vif.look();
  const [tx] = x.vif.connection!.tx;
  tx.scheduled = false;
  x.store.put(BACK, { rate: '1000,1000' });
  x.store.fire(`${BACK}/rate`);
  await new Promise((r) => setImmediate(r));
  t.ok(tx.scheduled);
  await x.vif.end();
});

t.test('when the NIC dies a vif with queues on it connects anew, without a new generation', async (t) => {
  for (const [factors, keys, attaches] of [
    [{ 'nic-queues': 'per-guest' }, TWO_QUEUES, 4],
    [{ path: 'direct' }, {}, 0],
  ] as const) {
    const x = make();
    let attached = 0;
    x.requests['nic.attach'] = () => Promise.resolve({ queue: attached++ });
    x.requests['nic.detach'] = () =>
      Promise.reject(new HypervisorError({ code: 'ENOENT', message: 'there is no such queue' }, 'nic.detach'));
    x.store.put(BACK, factors);
    await x.vif.look();
    x.frontConnects(keys);
    await x.vif.look();
    t.equal(x.store.states.at(-1), '4');
    const before = x.store.states.length;
    x.vif.nicGone();
    await x.vif.look();
    t.same(x.store.states.slice(before), ['5', '6'], 'it waits for the frontend to let go');
    t.ok(x.isReleased());
    x.store.put(FRONT, { state: 6 });
    await x.vif.look();
    x.frontConnects(keys);
    await x.vif.look();
    t.same(x.store.states.slice(before), ['5', '6', '2', '4']);
    t.equal(await x.store.read(`${BACK}/generation-ack`), '1');
    t.equal(attached, attaches);
    t.same(x.warnings, []);
  }
});

t.test('a vif that the bridge feeds outlives the NIC', async (t) => {
  const x = make();
  await x.vif.look();
  x.frontConnects();
  await x.vif.look();
  x.vif.nicGone();
  await x.vif.look();
  t.same(x.store.states, ['6', '2', '4']);
  t.ok(x.vif.connection);
});

t.test('a guest that dies in the middle of a step is no failure', async (t) => {
  const x = make();
  await x.vif.look();
  x.frontConnects();
  x.host.window.mapGrant = () => {
    x.store.nodes.clear();
    return Promise.reject(new Error('ESRCH'));
  };
  x.store.refuses = true;
  await x.vif.look();
  t.ok(x.vif.gone);
  t.same(x.warnings, []);
});

t.test('a vif whose guest comes back while it is let go of is served again', async (t) => {
  const x = make();
  const vifs = new Vifs(x.host, x.native);
  const seen = async (): Promise<void> => {
    x.store.fire(BACK);
    for (let i = 0; i < 5; i++) await new Promise((r) => setImmediate(r));
  };
  await vifs.begin();
  await seen();
  const [first] = vifs.all;
  t.ok(first);
  const going = vifs.domainGone(GUEST);
  x.store.fire(BACK);
  t.equal(vifs.all[0], first, 'its place is still taken');
  await going;
  for (let i = 0; i < 5; i++) await new Promise((r) => setImmediate(r));
  t.equal(vifs.all.length, 1);
  t.not(vifs.all[0], first);
  await vifs.end();
});

t.test('a guest that dies while connected leaves nothing (H27)', async (t) => {
  const x = make();
  await x.vif.look();
  x.frontConnects();
  await x.vif.look();
  await x.vif.end();
  t.ok(x.isReleased());
  const vifs = new Vifs(x.host, x.native);
  await vifs.begin();
  await vifs.domainGone(GUEST);
  await vifs.end();
  t.equal(vifs.all.length, 0);
});

/** All that runs does so until nothing has anything to do, and what was asked is answered. */
async function run(x: ReturnType<typeof make>): Promise<void> {
  for (let i = 0; i < 10; i++) {
    for (const p of x.pollers) p.poll();
    await new Promise((r) => setImmediate(r));
  }
}

t.test('H27: a guest that dies with frames, pins and mappings under way leaves nothing', async (t) => {
  // Of the calls that are made before, the one that is answered when all else is done; -1: none.
  for (const late of [-1, 0, 1, 2, 3]) {
    const x = make();
    x.store.put(BACK, { 'nic-queues': 'per-guest' });
    x.requests['nic.attach'] = () => Promise.resolve({ queue: 1 });
    x.requests['nic.detach'] = () => Promise.resolve({});
    await x.vif.look();
    x.frontConnects(TWO_QUEUES);
    const strays = new MockFront(x.arena.mem, x.pages.get(11)!);
    const tx = new FrontRing(x.arena.mem, x.pages.get(8)!, TX_RING_SIZE, TX_SLOT_BYTES);
    await x.vif.look();
    t.equal(x.store.states.at(-1), '4');
    x.front.post(20);
    strays.post(21);
    x.arena.mem.u32.set([22, 0, 1000 << 16], tx.slot(tx.reqProdPvt) >> 2);
    tx.reqProdPvt = idxAdd(tx.reqProdPvt, 1);
    tx.push();
    const id = x.host.buffers.take();
    x.host.buffers.filled(id);
    handTo(x.vif.connection!.bridgeRx!, id, 60);
    x.host.buffers.release(id);
    const { client } = x.host;
    const { hypercall } = client;
    let calls = 0;
    let answer = (): void => {};
    client.hypercall = (call) => {
      if (calls++ === late) answer = () => hypercall(call);
      else hypercall(call);
    };
    for (const p of x.pollers) p.poll();
    t.equal(calls, 4, 'a pin, a copy of a frame, a copy of a header, a mapping');
    client.hypercall = hypercall;
    await run(x);
    const left = [...x.pollers];
    const { nicRx, bridgeRx, tx: sides } = x.vif.connection!;
    let over = false;
    const closed = x.vif.connection!.close().then(() => void (over = true));
    t.ok(
      [nicRx!, bridgeRx!, ...sides].every((part) => part.stopped),
      'all stops at once',
    );
    if (late >= 0) {
      await new Promise((r) => setTimeout(r, 50));
      t.notOk(over, `call ${late} is waited for`);
      answer();
    }
    await closed;
    await x.vif.end();
    t.equal(x.handles.size, 0, 'pins and mappings');
    t.equal(x.host.buffers.held, 0, 'buffers');
    t.ok(x.isReleased());
    t.ok(left.every((p) => p.poll() === 0 && !p.arm()));
    t.same(x.warnings, []);
  }
});

t.test('H27: standing grants, and a request about them that is under way, end with the vif', async (t) => {
  const x = make();
  const { mem } = x.arena;
  x.store.put(BACK, { grants: 'reuse' });
  await x.vif.look();
  x.frontConnects({ 'ctrl-ring-ref': 10, 'event-channel-ctrl': 7 });
  const ctrl = new FrontRing(mem, x.pages.get(10)!, CTRL_RING_SIZE, CTRL_SLOT_BYTES);
  await x.vif.look();
  t.equal(x.store.states.at(-1), '4');
  const add = (...grefs: number[]): void => {
    mem.u32.set(
      grefs.flatMap((gref) => [gref, 0xffff0000]),
      x.pages.get(11)! >> 2,
    );
    mem.u32.set([CTRL_TYPE_ADD_GREF_MAPPING << 16, 0, 11, grefs.length], ctrl.slot(ctrl.reqProdPvt) >> 2);
    ctrl.reqProdPvt = idxAdd(ctrl.reqProdPvt, 1);
    ctrl.push();
  };
  add(20, 21);
  await run(x);
  t.equal(ctrl.unconsumed(), 1);
  t.equal(x.handles.size, 2);
  const { mapGrant } = x.host.window;
  let goOn = (): void => {};
  const late = new Promise<void>((resolve) => (goOn = resolve));
  x.host.window.mapGrant = (...args) => late.then(() => mapGrant(...args));
  add(22, 23);
  const [poller] = x.pollers.filter((p) => p.poll() > 0);
  poller.scheduled = false;
  const ended = x.vif.end();
  while (x.pollers.length > 0) await new Promise((r) => setImmediate(r));
  goOn();
  await ended;
  t.equal(x.handles.size, 0);
  t.ok(x.isReleased());
  t.equal(ctrl.unconsumed(), 1, 'nothing is written into a ring that is let go of');
  t.notOk(poller.scheduled, 'nor read');
  t.ok([...x.published.values()].every((s) => s === null));
});
