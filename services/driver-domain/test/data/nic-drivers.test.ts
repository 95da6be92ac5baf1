import t from 'tap';
import { BRIDGE_COUNTERS, DRIVER_COUNTERS } from '@grantline/observe';
import { NICQ_COMP_ERROR, NICQ_COMP_LOOPBACK, NICQ_PAGES } from '@grantline/xen';
import { Bridge } from '../../src/data/bridge/bridge.js';
import { Buffers } from '../../src/data/bridge/buffers.js';
import { NicDriver } from '../../src/data/nic-drivers.js';
import { Arena, Bell, ManualMeter, MockNic, block, frameOf } from '../kit.js';

const COUNT = 16;

function make() {
  const arena = new Arena(COUNT + NICQ_PAGES + 2);
  const nic = new MockNic(arena.mem, arena.pages(NICQ_PAGES));
  const buffers = new Buffers(arena.pages(COUNT), 0, COUNT);
  const dpn = new Uint32Array(COUNT);
  for (let i = 0; i < COUNT; i++) {
    dpn[i] = 100 + i;
    nic.table.set(100 + i, buffers.offset(i));
  }
  const counters = block(DRIVER_COUNTERS);
  const bridge = new Bridge(arena.mem, buffers, block(BRIDGE_COUNTERS));
  const kept: { id: number; len: number }[] = [];
  for (const p of [1, 2])
    bridge.attach(p, {
      deliver(id, len) {
        buffers.retain(id);
        kept.push({ id, len });
      },
    });
  const bell = new Bell();
  const driver = new NicDriver({
    queue: nic.queue,
    buffers,
    dpn,
    bridge,
    nic: bell,
    counters,
    meter: new ManualMeter(),
  });
  driver.refill();
  return { arena, nic, buffers, bridge, counters, kept, driver, bell };
}

t.test('a flooded buffer is posted again when its last holder is done', (t) => {
  const { nic, buffers, kept, driver } = make();
  nic.receive(frameOf(1, 60));
  nic.publish();
  driver.poll();
  t.equal(kept.length, 2);
  t.equal(buffers.held, 1);
  buffers.release(kept[0].id);
  driver.refill();
  t.equal(buffers.held, 1);
  buffers.release(kept[1].id);
  driver.refill();
  t.equal(buffers.held, 0);
  t.equal(nic.device.available(), COUNT);
  t.end();
});

t.test("a guest's own frame that the NIC's switch gave to the driver is not flooded back to that guest", (t) => {
  const { nic, bridge, kept, driver } = make();
  bridge.setStatic('02:00:00:00:00:01', 1);
  const frame = frameOf(1, 60, [255, 255, 255, 255, 255, 255], [2, 0, 0, 0, 0, 1]);
  for (const [flags, copies] of [
    [NICQ_COMP_LOOPBACK, 1],
    [0, 2],
  ] as const) {
    kept.length = 0;
    nic.receive(frame, flags);
    nic.publish();
    driver.poll();
    t.equal(kept.length, copies);
  }
  t.end();
});

t.test('a frame longer than a page is one frame of several buffers, also when they come in two polls', (t) => {
  const { arena, nic, buffers, kept, driver } = make();
  const frame = frameOf(1, 9000);
  nic.receive(frame);
  nic.publish();
  driver.poll();
  t.equal(kept[0]?.len, 9000);
  const bytes: number[] = [];
  for (let b = kept[0].id; b >= 0; b = buffers.next[b]!)
    bytes.push(...arena.mem.u8.subarray(buffers.offset(b), buffers.offset(b) + 4096));
  t.same(Uint8Array.from(bytes.slice(0, 9000)), frame);
  t.equal(buffers.held, 3);
  for (const k of kept) buffers.release(k.id);
  t.equal(buffers.held, 0);
  t.end();
});

t.test('a refused buffer and a frame without a header are errors, and their buffers come back', (t) => {
  const { nic, buffers, counters, kept, driver } = make();
  nic.device.complete(0, NICQ_COMP_ERROR);
  nic.receive(frameOf(1, 14).subarray(0, 13));
  nic.publish();
  driver.poll();
  t.equal(kept.length, 0);
  t.equal(counters.read()['errors'], 2);
  t.equal(buffers.held, 0);
  t.equal(nic.device.available(), COUNT);
  t.end();
});

t.test('a queue that was taken off the NIC gives its posted buffers back', (t) => {
  const { nic, buffers, kept, driver } = make();
  nic.receive(frameOf(1, 60));
  nic.publish();
  driver.poll();
  driver.reclaim();
  t.same(buffers.describe(), { count: COUNT, free: COUNT - 1, held: 1, posted: 0 });
  for (const k of kept) buffers.release(k.id);
  t.equal(buffers.available, COUNT);
  driver.refill();
  t.equal(buffers.available, COUNT, 'nothing is posted any more');
  t.end();
});
