import t from 'tap';
import {
  GNTST,
  NETIF_RSP_ERROR,
  RING_REQ_PROD,
  RING_RSP_EVENT,
  RING_RSP_PROD,
  ringIdx,
  FrontRing,
  BackRing,
} from '@grantline/xen';
import { PoolList } from '../../../src/control/pool-control.js';
import { CtrlBack } from '../../../src/data/ctrl-back.js';
import { RxSlots } from '../../../src/data/rx/rx-slots.js';
import { CTRL_RING_SIZE, CTRL_SLOT_BYTES, FakeHypervisor, frameOf, readsOf } from '../../kit.js';
import { BridgeBase, FIRST_GREF, NicBase } from './netback-kit.js';

const both = [
  ['a queue fed by the bridge', (s: object = {}) => new BridgeBase(s)],
  ['a queue fed by the NIC', (s: object = {}) => new NicBase(s)],
] as const;

for (const [name, make] of both) {
  t.test(`${name}: req_prod more than the ring ahead disables the vif (H1)`, (t) => {
    const x = make();
    if (x instanceof BridgeBase) x.deliver(frameOf(1, 60));
    x.arena.mem.u32[(x.front.ring.base + RING_REQ_PROD) >> 2] = 257;
    x.rx.poll();
    t.equal(x.faults.length, 1);
    t.equal(x.v['ringFaults'], 1);
    t.ok(x.rx.stopped);
    t.equal(x.rx.poll(), 0);
    t.equal(x.rx.arm(), false);
    t.end();
  });

  t.test(`${name}: req_prod that goes backwards is taken for a jump (H2)`, (t) => {
    const x = make({ start: 2 });
    x.front.post(FIRST_GREF);
    if (x instanceof BridgeBase) x.deliver(frameOf(1, 60));
    x.rx.poll();
    if (x instanceof BridgeBase) x.deliver(frameOf(2, 60));
    x.arena.mem.u32[(x.front.ring.base + RING_REQ_PROD) >> 2] = ringIdx(1);
    x.rx.poll();
    t.equal(x.v['ringFaults'], 1);
    t.end();
  });

  t.test(`${name}: a ring that is impossible at connect is refused (H1)`, (t) => {
    const x = make();
    x.arena.mem.u32[(x.front.ring.base + RING_REQ_PROD) >> 2] = 300;
    t.throws(() => x.front.back(), RangeError);
    t.end();
  });

  t.test(`${name}: a buffer over the end of its page disables the vif (H11)`, (t) => {
    const x = make({ bufferBytes: 2048 });
    x.front.post(FIRST_GREF, 2049);
    if (x instanceof BridgeBase) x.deliver(frameOf(1, 60));
    x.rx.poll();
    t.match(x.faults[0], /end of its page/);
    t.equal(x.v['badRequests'], 1);
    t.end();
  });
}

for (const how of ['pooled', 'pinned', 'copied'] as const)
  t.test(`a request rewritten after it was taken changes nothing: ${how} (H3)`, (t) => {
    const x = how === 'copied' ? new BridgeBase({ bufferBytes: 2048 }) : new NicBase({ bufferBytes: 2048 });
    if (how === 'pooled') x.pooled(FIRST_GREF);
    x.front.post(FIRST_GREF, 2048);
    if (x instanceof BridgeBase) x.deliver(frameOf(1, 200));
    x.rx.poll();
    x.arena.mem.u32.set([999 | (1024 << 16), FIRST_GREF + 1], x.front.ring.slot(ringIdx(0)) >> 2);
    const inUse = x.pool.inUse();
    t.same([inUse[FIRST_GREF], inUse[FIRST_GREF + 1]], [1, 0], 'the grant that was named is in use');
    x.xen.replyAll();
    x.rx.poll();
    if (x instanceof NicBase) {
      t.ok(x.nic.receive(frameOf(1, 200)));
      x.nic.publish();
      x.rx.poll();
      x.xen.replyAll();
      x.rx.poll();
    }
    const [r] = x.front.take();
    t.match(r, { id: 0, offset: 2048 });
    t.same(x.bytesOf([r]), frameOf(1, 200));
    t.end();
  });

t.test('rsp_prod and rsp_event that the guest wrote do not move the private indices (H4, H7)', (t) => {
  const x = new BridgeBase();
  for (let i = 0; i < 3; i++) x.front.post(FIRST_GREF + i);
  x.arena.mem.u32[(x.front.ring.base + RING_RSP_PROD) >> 2] = 200;
  x.arena.mem.u32[(x.front.ring.base + RING_RSP_EVENT) >> 2] = 0xdeadbeef;
  x.deliver(frameOf(1, 60));
  x.rx.poll();
  x.xen.replyAll();
  x.rx.poll();
  t.equal(x.front.take().length, 1);
  t.equal(x.faults.length, 0);
  t.end();
});

t.test('one bad grant in a batch of copies spoils its own frame alone (H18)', (t) => {
  const x = new BridgeBase();
  x.xen.refuses.set(FIRST_GREF + 1, GNTST.generalError);
  for (const gref of [FIRST_GREF, FIRST_GREF + 1, 0, 0xffffffff, FIRST_GREF + 2]) x.front.post(gref);
  for (let i = 0; i < 5; i++) x.deliver(frameOf(i, 100));
  x.rx.poll();
  x.xen.replyAll();
  x.rx.poll();
  t.same(
    x.front.take().map((r) => r.status),
    [100, GNTST.generalError, GNTST.badGntref, GNTST.badGntref, 100],
  );
  t.equal(x.v['dropGrantError'], 3);
  t.equal(x.v['outFrames'], 2);
  t.equal(x.buffers.held, 0);
  t.end();
});

t.test('a page that cannot be pinned never reaches the NIC, and its status comes in order (H18, H40)', (t) => {
  const x = new NicBase();
  x.xen.refuses.set(FIRST_GREF + 1, GNTST.generalError);
  for (const gref of [FIRST_GREF, FIRST_GREF + 1, 5000, FIRST_GREF + 2]) x.front.post(gref);
  x.rx.poll();
  x.xen.replyAll();
  x.rx.poll();
  t.equal(x.nic.device.available(), 2);
  x.nic.receive(frameOf(1, 100));
  x.nic.receive(frameOf(2, 100));
  x.nic.publish();
  for (let i = 0; i < 4; i++) {
    x.rx.poll();
    x.xen.replyAll();
  }
  x.rx.poll();
  t.same(
    x.front.take().map((r) => r.status),
    [100, GNTST.generalError, GNTST.badGntref, 100],
  );
  t.equal(x.v['badRequests'], 2);
  t.equal(x.xen.pins.size, 0);
  t.end();
});

t.test('the same grant in two requests harms the guest alone, and each pin is undone (H19)', (t) => {
  const x = new NicBase();
  x.front.post(FIRST_GREF);
  x.front.post(FIRST_GREF);
  x.rx.poll();
  x.xen.replyAll();
  x.rx.poll();
  t.equal(x.xen.pins.size, 2);
  x.nic.receive(frameOf(1, 100));
  x.nic.receive(frameOf(2, 100));
  x.nic.publish();
  for (let i = 0; i < 4; i++) {
    x.rx.poll();
    x.xen.replyAll();
  }
  x.rx.poll();
  t.equal(x.front.take().length, 2);
  t.equal(x.xen.pins.size, 0);
  t.end();
});

t.test('no response before its page is unpinned (H21, H23)', (t) => {
  const x = new NicBase();
  x.front.post(FIRST_GREF);
  x.rx.poll();
  x.xen.reply();
  x.rx.poll();
  x.nic.receive(frameOf(1, 100));
  x.nic.publish();
  x.rx.poll();
  t.equal(x.front.take().length, 0);
  t.equal(x.xen.pins.size, 1);
  x.xen.reply();
  x.rx.poll();
  t.equal(x.front.take().length, 1);
  t.end();
});

t.test(
  'a guest that posts no buffers loses its frames after 10 s, one buffer short is no way around it (H5, H43)',
  (t) => {
    const x = new BridgeBase({ bufferBytes: 2048 });
    x.front.post(FIRST_GREF);
    x.deliver(frameOf(1, 4000));
    x.rx.poll();
    t.equal(x.rx.arm(), false, 'one buffer where two are needed is no reason to run');
    t.equal(x.rx.tick(0), true, 'a frame waits: it is looked at often');
    t.equal(x.rx.tick(9e9), true);
    t.equal(x.v['dropStalled'], 0);
    t.equal(x.rx.tick(10e9), false, 'none waits any more');
    t.equal(x.v['dropStalled'], 1);
    t.equal(x.buffers.held, 0);
    t.equal(x.refills, 1);
    t.end();
  },
);

t.test('while a guest takes frames its queue may hold all buffers: nothing is dropped for being late', (t) => {
  const x = new BridgeBase({ buffers: 64 });
  for (let i = 0; i < 64; i++) x.deliver(frameOf(i, 60));
  x.rx.tick(0.99e9);
  t.equal(x.buffers.held, 64);
  t.equal(x.v['dropQueueFull'], 0);
  t.end();
});

t.test('a guest that takes nothing for one second holds no more buffers than it leaves to the others (H43)', (t) => {
  const x = new BridgeBase({ buffers: 64 });
  for (let i = 0; i < 64; i++) x.deliver(frameOf(i, 60));
  x.rx.tick(1.01e9);
  t.equal(x.buffers.held, 32);
  t.equal(x.v['dropQueueFull'], 32);
  x.meter.now = 1.5e9;
  x.deliver(frameOf(99, 60));
  t.equal(x.buffers.held, 32, 'nor does it get more');
  t.equal(x.v['dropQueueFull'], 33);
  t.end();
});

t.test('a queue whose guest takes nothing holds no more bytes than NETBACK_QUEUE_BYTES (H5)', (t) => {
  const x = new BridgeBase({ buffers: 1024, guestPages: 8 });
  x.deliver(frameOf(0, 4096));
  x.meter.now = 1.01e9;
  for (let i = 1; i < 300; i++) x.deliver(frameOf(i, 4096));
  t.equal(x.rx.inFlight, 128);
  t.equal(x.v['dropQueueFull'], 172);
  t.end();
});

t.test('a guest that goes while copies are under way: frames are dropped and counted, buffers come back (H27)', (t) => {
  const x = new BridgeBase();
  for (let i = 0; i < 3; i++) x.front.post(FIRST_GREF + i);
  for (let i = 0; i < 6; i++) x.deliver(frameOf(i, 100));
  x.rx.poll();
  x.rx.stop();
  t.equal(x.buffers.held, 3, 'what the hypervisor reads must stay');
  x.xen.replyAll();
  t.equal(x.buffers.held, 0);
  t.equal(x.v['dropDisabled'], 6);
  t.equal(x.rx.copies.inFlight, 0);
  x.deliver(frameOf(9, 100));
  t.equal(x.v['dropDisabled'], 7);
  t.equal(x.buffers.held, 0);
  t.end();
});

t.test('a guest that goes while pins are under way: each is handed out once for unpinning (H27, H41)', (t) => {
  const x = new NicBase();
  for (let i = 0; i < 10; i++) x.front.post(FIRST_GREF + i);
  x.rx.poll();
  x.xen.reply();
  x.rx.poll();
  for (let i = 10; i < 20; i++) x.front.post(FIRST_GREF + i);
  x.rx.poll();
  x.nic.receive(frameOf(1, 100));
  x.nic.publish();
  x.rx.poll();
  x.rx.stop();
  x.nic.receive(frameOf(2, 100));
  x.nic.publish();
  x.rx.drain();
  x.xen.replyAll();
  t.equal(x.rx.slowLoop.inFlight, 0);
  x.rx.takePins((handle) => t.equal(x.xen.unpin(handle), 0));
  x.rx.takePins(() => t.fail('handed out twice'));
  t.equal(x.xen.pins.size, 0);
  const v = x.v;
  t.equal(v['nicFrames'], v['outFrames'] + v['dropDisabled']);
  t.equal(v['dropDisabled'], 2);
  t.end();
});

t.test('a buffer that the NIC refuses is answered with an error, and counted with no frame (H40, H44)', (t) => {
  const x = new NicBase();
  x.pooled(FIRST_GREF);
  x.pooled(FIRST_GREF + 1);
  x.nic.table.delete(FakeHypervisor.dpn(x.pages[0]));
  x.front.post(FIRST_GREF);
  x.front.post(FIRST_GREF + 1);
  x.rx.poll();
  t.ok(x.nic.receive(frameOf(1, 100)));
  x.nic.publish();
  x.rx.poll();
  t.same(
    x.front.take().map((r) => r.status),
    [NETIF_RSP_ERROR, 100],
  );
  t.equal(x.v['badRequests'], 1);
  t.equal(x.v['nicFrames'], 1);
  t.end();
});

t.test('a frame longer than a half page is chained, never overrun (H44)', (t) => {
  const x = new NicBase({ bufferBytes: 2048 });
  for (let i = 0; i < 4; i++) {
    x.pooled(FIRST_GREF + i);
    x.front.post(FIRST_GREF + i, 2048);
    x.arena.mem.u8.fill(0xee, x.pages[i], x.pages[i] + 2048);
  }
  x.rx.poll();
  x.nic.receive(frameOf(1, 5000));
  x.nic.publish();
  x.rx.poll();
  const r = x.front.take();
  t.same(
    r.map((p) => [p.status, p.flags & 4, p.offset]),
    [
      [2048, 4, 2048],
      [2048, 4, 2048],
      [904, 0, 2048],
    ],
  );
  t.same(x.bytesOf(r), frameOf(1, 5000));
  t.ok(
    x.pages.slice(0, 4).every((p) => x.arena.mem.u8.subarray(p, p + 2048).every((b) => b === 0xee)),
    'the other halves are untouched',
  );
  t.equal(x.v['hypercalls'], 0);
  t.end();
});

t.test('a NIC that completes more than was posted is not believed', (t) => {
  const x = new NicBase();
  x.nic.device.complete(100, 1);
  x.nic.publish();
  x.rx.poll();
  t.match(x.faults[0], /more than was posted/);
  t.end();
});

t.test('H3: no byte of a receive request, of a control request or of a list page is read twice', (t) => {
  const x = new BridgeBase({ bufferBytes: 2048 });
  x.front.post(FIRST_GREF, 2048);
  const { mem } = x.arena;
  const slot = readsOf(mem, x.front.ring.slot(ringIdx(0)), 8);
  const slots = new RxSlots(slot.mem, x.front.back(), 2048, true);
  t.equal(slots.take(), 0);
  t.equal(slot.most(), 1, 'rx slot');

  const page = x.arena.pages();
  const front = new FrontRing(mem, page, CTRL_RING_SIZE, CTRL_SLOT_BYTES);
  mem.u32.set([0x02000000, 0, 9, 3], front.slot(ringIdx(0)) >> 2);
  front.reqProdPvt = ringIdx(1);
  front.push();
  const request = readsOf(mem, front.slot(ringIdx(0)), CTRL_SLOT_BYTES);
  const asked: object[] = [];
  const ctrl = new CtrlBack({
    mem: request.mem,
    ring: new BackRing(mem, page, CTRL_RING_SIZE, CTRL_SLOT_BYTES),
    guest: { notify: () => {} },
    loop: { schedule: () => {} },
    counters: x.counters,
    handle: (r) => asked.push(r),
    onFault: () => t.fail(),
  });
  t.equal(ctrl.poll(), 1);
  t.equal(asked.length, 1);
  t.equal(request.most(), 1, 'control slot');
  mem.u32[front.slot(ringIdx(0)) >> 2] = 0xffffffff;
  ctrl.answer(0, 0);
  t.equal(mem.u32[front.slot(ringIdx(0)) >> 2], 0x02000000, 'the answer repeats what was taken');

  const list = x.arena.pages();
  mem.u32.set([20, 0xffff0000, 21, 0xffff0000], list >> 2);
  const entries = readsOf(mem, list, 16);
  t.same(new PoolList(entries.mem, list, 2).grefs, [20, 21]);
  t.equal(entries.most(), 1, 'list page');
  t.equal(entries.least(), 1);
  t.end();
});

/** Where a guest may put rsp_event, and how often 40 responses from index 0xfffffff0 on pass it. */
const EVENTS = [
  [0x7fffffff, 0],
  [0x80000000, 0],
  [0xdeadbeef, 0],
  [0xffffffff, 1],
  [0, 1],
  [1, 1],
] as const;

t.test('H7: wherever the guest puts rsp_event, nothing spins and nothing is left lying', (t) => {
  for (const [event, rings] of EVENTS) {
    const x = new BridgeBase({ start: 0xfffffff0 });
    for (let i = 0; i < 40; i++) {
      x.arena.mem.u32[(x.front.ring.base + RING_RSP_EVENT) >> 2] = event;
      x.front.post(FIRST_GREF);
      x.deliver(frameOf(i, 60));
      let polls = 0;
      while ((x.rx.poll() > 0 || x.xen.waiting > 0) && polls++ < 10) x.xen.replyAll();
      t.ok(polls < 10, 'it comes to rest');
      t.equal(x.rx.arm(), false);
      t.equal(x.front.take().length, 1);
    }
    t.equal(x.guest.rings, rings, `event ${event}`);
    t.equal(x.faults.length, 0);
  }
  t.end();
});

t.test('H19: one standing grant in two slots is not let go of while either is with the NIC', (t) => {
  const x = new NicBase();
  x.pooled(FIRST_GREF);
  x.front.post(FIRST_GREF);
  x.front.post(FIRST_GREF);
  x.rx.poll();
  t.equal(x.pool.inUse()[FIRST_GREF], 1);
  x.nic.receive(frameOf(1, 100));
  x.nic.publish();
  x.rx.poll();
  t.equal(x.front.take().length, 1);
  t.equal(x.pool.inUse()[FIRST_GREF], 1, 'the other one is still posted');
  x.nic.receive(frameOf(2, 100));
  x.nic.publish();
  x.rx.poll();
  t.equal(x.front.take().length, 1);
  t.equal(x.pool.inUse()[FIRST_GREF], 0);
  t.end();
});
