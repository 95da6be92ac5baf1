import t from 'tap';
import { Rng } from '../src/clock/rng.js';
import { CounterBlock } from '../src/counters/block.js';
import { NET_COUNTERS } from '../src/net/net-counters.js';
import type { TxDevice } from '../src/nicq/tx-device.js';
import { GuestNet } from '../src/stack/guest-net.js';
import { IP_A, MAC_A } from './net-kit.js';
import { TestSpace } from './stack-kit.js';

const nothing = (): void => {};

/** A guest's stack on a device with so many buffers. */
function make() {
  const space = new TestSpace(80 << 20);
  const buffers = { free: 0 };
  const device: TxDevice = {
    maxBytes: 1514,
    room: () => buffers.free > 0,
    stage() {
      buffers.free--;
      return 1;
    },
    push: nothing,
    // Whoever else sends through the device has taken them back before.
    reclaim: () => 0,
    arm: () => false,
  };
  const meter = { now: 1e9, lap: nothing };
  const net = new GuestNet({
    space,
    measured: { fragment: nothing, process: nothing, deliver: nothing },
    rng: new Rng(1),
    address: { mac: MAC_A, ip: IP_A, prefix: 24 },
    counters: new CounterBlock(space.mem, space.mapPrivate(8192), 'net', {}, NET_COUNTERS),
    meter,
    components: { device: 0, stack: 1, application: 2 },
    settings: { memory: 1 << 20 },
    wake: nothing,
  });
  net.attach(device, false);
  return { net, buffers };
}

t.test('a full device is full until there is room again, also when another takes the buffers back', (t) => {
  const { net, buffers } = make();
  t.equal(net.reserve(100), -1);
  t.ok(net.describe()['full']);
  net.poll();
  t.ok(net.describe()['full'], 'nothing has come back yet');
  buffers.free = 8;
  net.poll();
  t.notOk(net.describe()['full'], 'what waits goes on without another frame or timer');
  t.ok(net.reserve(100) > 0);
  t.end();
});
