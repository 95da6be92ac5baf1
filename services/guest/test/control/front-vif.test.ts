import t from 'tap';
import { XENBUS, HypervisorError } from '@grantline/xen';
import { BACK, makeHost, type Factors } from './fake-host.js';

const NOTHING = { pages: 0, grants: 0, ports: 0, pollers: 0 };
const CONFIGURATIONS: Record<string, Factors> = {
  baseline: {},
  multiqueue: { 'nic-queues': 'per-guest' },
  'grant-reuse': { 'nic-queues': 'per-guest', grants: 'reuse' },
  optimised: { 'nic-queues': 'per-guest', grants: 'reuse', 'buffer-bytes': '2048', lro: '1', batching: '1' },
  direct: {
    path: 'direct',
    'nic-queues': 'per-guest',
    grants: 'reuse',
    'buffer-bytes': '2048',
    lro: '1',
    batching: '1',
  },
};

for (const [name, factors] of Object.entries(CONFIGURATIONS)) {
  t.test(`${name}: connects with its keys, and a disconnect gives everything back`, async (t) => {
    const h = await makeHost(factors);
    t.same(h.missing(), NOTHING, 'nothing is taken before netback waits');
    for (let round = 1; round <= 3; round++) {
      h.setFactors({ generation: String(round) });
      await h.backend('initWait');
      t.equal(h.key('state'), String(XENBUS.connected));
      t.equal(h.key('generation-ack'), String(round));
      const two = name !== 'baseline' && name !== 'direct';
      t.equal(h.key('multi-queue-num-queues'), two ? '2' : '1');
      t.equal(h.key('rx-ring-ref') === undefined, two);
      t.equal(h.key('queue-1/event-channel') !== undefined, two);
      t.equal(h.key('ctrl-ring-ref') !== undefined, factors.grants === 'reuse');
      t.equal(h.key('feature-rx-offset'), factors['buffer-bytes'] === '2048' ? '1' : '0');
      t.equal(h.lro.at(-1), factors.lro === '1');
      for (const ref of ['tx-ring-ref', 'rx-ring-ref'])
        t.ok(h.granted().includes(Number(h.key(two ? `queue-0/${ref}` : ref))));
      await h.backend('connected');
      await h.backend('closing');
      t.notOk(h.vif.ready);
      await h.backend('closed');
      t.equal(h.key('state'), String(XENBUS.closed));
      t.same(h.missing(), NOTHING);
      t.same(h.granted(), []);
      t.equal(h.count('quarantined'), 0);
      t.equal(h.count('grantsIssued'), h.count('grantsRevoked'));
    }
  });
}

t.test('keys of an earlier connection do not stay', async (t) => {
  const h = await makeHost(CONFIGURATIONS.optimised);
  await h.backend('initWait');
  await h.backend('closed');
  h.setFactors({ ...CONFIGURATIONS.optimised, 'nic-queues': 'single', grants: 'per-frame', generation: '2' });
  await h.backend('initWait');
  t.equal(h.key('queue-0/rx-ring-ref'), undefined);
  t.equal(h.key('ctrl-ring-ref'), undefined);
  t.ok(h.key('rx-ring-ref'));
});

t.test('buffers are posted once netback is connected, and the guest is ready then', async (t) => {
  const h = await makeHost();
  await h.backend('initWait');
  t.equal(h.count('requests'), 0);
  await h.backend('connected');
  t.equal(h.count('requests'), 256);
  t.equal(h.ready(), 1);
  await h.backend('connected');
  t.equal(h.ready(), 1);
});

t.test('a grant that netback keeps is quarantined and counted, all others come back', async (t) => {
  const h = await makeHost();
  await h.backend('initWait');
  await h.backend('connected');
  const [ring, buffer] = [
    Number(h.key('rx-ring-ref')),
    h.granted().find((g) => g !== Number(h.key('rx-ring-ref')) && g !== Number(h.key('tx-ring-ref')))!,
  ];
  h.pin(ring);
  h.pin(buffer);
  await h.backend('closed');
  t.equal(h.count('quarantined'), 2);
  t.same(h.missing(), { pages: 2, grants: 2, ports: 0, pollers: 0 });
  t.equal(h.pages.quarantined, 2);
  t.equal(h.key('state'), String(XENBUS.closed));
});

t.test('native: the vif stays Closed and takes nothing', async (t) => {
  const h = await makeHost({ path: 'native' });
  await h.backend('closed');
  t.equal(h.key('state'), String(XENBUS.closed));
  t.same(h.missing(), NOTHING);
});

t.test('a factor that is none closes the vif with an error, until the next generation', async (t) => {
  const h = await makeHost({ 'buffer-bytes': '9999' });
  await h.backend('initWait');
  t.match(h.key('error'), /buffer-bytes is '9999'/);
  t.equal(h.key('state'), String(XENBUS.closed));
  t.same(h.missing(), NOTHING);
  h.setFactors({ 'buffer-bytes': '4096', generation: '2' });
  await h.backend('initWait');
  t.equal(h.key('state'), String(XENBUS.connected));
  t.equal(h.key('error'), undefined);
});

t.test('H37: a netback that does the impossible is closed, and not talked to again in this generation', async (t) => {
  const h = await makeHost();
  await h.backend('initWait');
  await h.backend('connected');
  const queue = h.vif.connection!.queues[0];
  h.mem.u32[(queue.rx as unknown as { ring: { base: number } }).ring.base / 4 + 2] = 5000;
  queue.rx.poll();
  await h.settle();
  t.equal(h.key('state'), String(XENBUS.closing));
  t.match(h.key('error'), /rsp_prod/);
  t.equal(h.pollers.size, 0);
  await h.backend('closing');
  await h.backend('closed');
  t.equal(h.key('state'), String(XENBUS.closed));
  t.same(h.missing(), NOTHING);
  await h.backend('initWait');
  t.equal(h.key('state'), String(XENBUS.closed));
  h.setFactors({ generation: '2' });
  await h.backend('initWait');
  t.equal(h.key('state'), String(XENBUS.connected));
});

t.test('a new driver domain finds a frontend that starts afresh', async (t) => {
  const h = await makeHost();
  await h.backend('initWait');
  await h.backend('connected');
  const old = h.vif.connection;
  await h.backend('initWait');
  t.not(h.vif.connection, old);
  t.equal(h.key('state'), String(XENBUS.connected));
  h.store.nodes.delete(`${BACK}/state`);
  await h.settle();
  t.equal(h.key('state'), String(XENBUS.closed));
  t.same(h.missing(), NOTHING);
});

t.test('an offer of a generation that is over is not answered', async (t) => {
  const h = await makeHost();
  await h.backend('initWait');
  await h.backend('connected');
  // The toolstack is ahead of netback, which still offers what was.
  h.setFactors({ ...CONFIGURATIONS.optimised, generation: '2' });
  await h.backend('initWait', '1.99');
  t.equal(h.key('state'), String(XENBUS.closed));
  t.same(h.missing(), NOTHING);
  await h.backend('initWait', '2.100');
  t.equal(h.key('state'), String(XENBUS.connected));
  t.equal(h.key('offer-ack'), '2.100');
  t.equal(h.key('generation-ack'), '2');
});

t.test('a generation that comes while connecting makes netfront start over, without an error', async (t) => {
  for (const path of ['split', 'direct']) {
    const h = await makeHost({ ...CONFIGURATIONS.direct, path });
    // In the middle of it the toolstack goes on; a guest may attach a queue only while its path is direct.
    h.during = () => {
      h.setFactors({ ...CONFIGURATIONS.baseline, path: 'split', generation: '2' });
      h.during = () => undefined;
      if (path === 'direct') throw new HypervisorError({ code: 'EPERM', message: 'not direct' }, 'nic.attach');
    };
    await h.backend('initWait');
    t.not(h.key('state'), String(XENBUS.connected));
    t.equal(h.key('error'), undefined);
    t.same(h.missing(), NOTHING);
    await h.backend('closed');
    await h.backend('initWait');
    t.equal(h.key('generation-ack'), '2');
    t.equal(h.key('state'), String(XENBUS.connected));
  }
});

t.test('InitWait that is told twice is answered once; one with a new offer anew', async (t) => {
  const h = await makeHost();
  await h.backend('initWait', '1.5');
  const first = h.vif.connection;
  await h.backend('initWait', '1.5');
  t.equal(h.vif.connection, first);
  await h.backend('initWait', '1.6');
  t.not(h.vif.connection, first);
  t.equal(h.key('offer-ack'), '1.6');
});

t.test('direct: a queue that went with the NIC is no warning', async (t) => {
  const h = await makeHost(CONFIGURATIONS.direct);
  await h.backend('initWait');
  h.during = () => {
    throw new HypervisorError({ code: 'ENODEV', message: 'there is no nic' }, 'nic.detach');
  };
  await h.backend('closed');
  t.same(h.warnings, []);
  t.same(h.missing(), NOTHING);
});

t.test('the pool is set up once, however often netback says that it is connected', async (t) => {
  const h = await makeHost(CONFIGURATIONS['grant-reuse']);
  await h.backend('initWait');
  await h.backend('connected');
  await h.backend('connected');
  t.equal(h.ready(), 0, 'netback has not answered the control ring');
  t.notOk(h.vif.ready);
});

t.test('direct: the queues are detached before their pages leave the DMA table', async (t) => {
  const h = await makeHost(CONFIGURATIONS.direct);
  await h.backend('initWait');
  t.same(h.calls, ['map 259', 'nic.attach', 'map 3', 'map 256', 'nic.attach']);
  await h.backend('closed');
  t.same(
    h.calls.slice(5).filter((c) => !c.includes('to 1000')),
    ['nic.detach', 'close port to 1001', 'unmap 259', 'nic.detach', 'close port to 1001', 'unmap 259'],
  );
});

t.test('direct: a page that stays in the DMA table is quarantined', async (t) => {
  const h = await makeHost(CONFIGURATIONS.direct);
  await h.backend('initWait');
  h.refuseUnmap(-1);
  await h.backend('closed');
  t.equal(h.pages.quarantined, 2);
  t.equal(h.missing().pages, 2);
});

t.test('an exception in the work of the vif closes it, is counted, and gives all back', async (t) => {
  const h = await makeHost();
  await h.backend('initWait');
  await h.backend('connected');
  const rx = h.vif.connection!.queues[0].rx;
  h.onFault.get(rx)!(new Error('broken'));
  await h.settle();
  t.equal(h.key('state'), String(XENBUS.closing));
  t.equal(h.key('error'), 'internal error: broken');
  t.equal(h.count('exceptions'), 1);
  await h.backend('closing');
  await h.backend('closed');
  t.equal(h.key('state'), String(XENBUS.closed));
  t.same(h.missing(), NOTHING);
});
