import t from 'tap';
import { CounterBlock } from '@grantline/machine';
import { NET_COUNTERS } from '@grantline/tcpip';
import { RX_CSUM_BLANK, RX_FRAMES_SHIFT, type TxDevice } from '@grantline/measure';
import { GuestNet } from '../../src/data/guest-net.js';
import { ETHERTYPE_ARP, writeEthernet } from '@grantline/frames';
import { IP_A, IP_B, MAC_A, MAC_B, Peer, knownSecret } from '@grantline/tcpip/testkit';
import { TestSpace } from '@grantline/machine/testkit';

const nothing = (): void => {};

/** A guest's stack on a device with so many buffers. */
function make() {
  const space = new TestSpace(80 << 20);
  const buffers = { free: 0, armed: 0 };
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
    arm: () => {
      buffers.armed++;
      return false;
    },
  };
  const meter = { now: 1e9, lap: nothing };
  const net = new GuestNet({
    space,
    secret: knownSecret(1),
    address: { mac: MAC_A, ip: IP_A, prefix: 24 },
    counters: new CounterBlock(space.mem, space.mapPrivate(8192), NET_COUNTERS),
    meter,
    components: { device: 0, stack: 1, application: 2 },
    settings: { memory: 1 << 20 },
    wake: nothing,
  });
  net.attach(device, false);
  return { net, buffers, mem: space.mem, at: space.mapPrivate(4096) };
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

t.test('what a batch of frames leaves unsent because the device is full makes the stack ask for room', (t) => {
  const { net, buffers, mem, at } = make();
  buffers.free = 1;
  net.stack.connect(IP_B, 80, new Peer());
  net.poll();
  net.scheduled = false;
  t.equal(buffers.free, 0, 'the address is asked for');
  writeEthernet(mem, at, MAC_A, MAC_B, ETHERTYPE_ARP);
  mem.dv.setInt32(at + 14, 0x00010800);
  mem.dv.setInt32(at + 18, 0x06040002);
  mem.dv.setUint16(at + 22, MAC_B.hi);
  mem.dv.setUint32(at + 24, MAC_B.lo);
  mem.dv.setUint32(at + 28, IP_B);
  mem.dv.setUint32(at + 38, IP_A);
  net.fragment(at, 60, false, 0);
  net.process();
  net.deliver(1e9, false);
  t.ok(net.describe()['full'], 'it comes, and the SYN finds no room');
  t.ok(net.scheduled);
  t.equal(net.poll(), 0);
  t.notOk(net.arm());
  t.equal(buffers.armed, 1, 'before the loop sleeps');
  t.end();
});

t.test('a packet that stands for frames is counted as these', (t) => {
  const { net, mem, at } = make();
  writeEthernet(mem, at, MAC_B, MAC_A, 0x1234);
  net.fragment(at, 60, false, 0);
  net.fragment(at, 60, true, RX_CSUM_BLANK | (23 << RX_FRAMES_SHIFT) | 1448);
  net.fragment(at, 60, false, 0);
  net.process();
  t.equal(net.stack.counts()['inPackets'], 24);
  t.end();
});
