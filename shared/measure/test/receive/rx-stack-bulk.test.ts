import t from 'tap';
import { CounterBlock, type Layout, memOver, LATENCY } from '@grantline/machine';
import { APP_COUNTERS, STACK_COUNTERS } from '@grantline/observe';
import { BULK_HEADER, BulkTemplate, PROTO_TCP, parseIp, parseMac, GENERATOR_PORT } from '@grantline/frames';
import { MAX_BULK_FRAMES, RX_FRAMES_SHIFT, bulkFrames } from '../../src/receive/rx-batch.js';
import { RxStack } from '../../src/receive/rx-stack.js';
import { VerifyApp } from '../../src/receive/verify-app.js';

const FLOW = {
  ...{ flowId: 3, guestIndex: 0, dstMac: '02:00:00:00:00:01', srcMac: '02:00:00:00:00:02' },
  ...{ dstIp: '10.0.0.1', srcIp: '10.0.0.2', srcPort: 4000, dstPort: GENERATOR_PORT },
};

function make(frameBytes = 1514, most = 65535) {
  const mem = memOver(new ArrayBuffer(8 << 20));
  let next = 1 << 20;
  const space = { mem, mapPrivate: (bytes: number) => (next += (bytes + 4095) & ~4095) - ((bytes + 4095) & ~4095) };
  const block = (layout: Layout): CounterBlock => new CounterBlock(memOver(new ArrayBuffer(8192)), 0, layout);
  const verified = block(APP_COUNTERS);
  const app = new VerifyApp(space, verified, block(LATENCY));
  app.reset({ seed: 5 });
  const counters = block(STACK_COUNTERS);
  const stack = new RxStack({
    ...{ mem, counters, lro: true, app },
    ...{ macs: [parseMac(FLOW.dstMac)], ips: [parseIp(FLOW.dstIp) | 0] },
  });
  stack.listen(PROTO_TCP, GENERATOR_PORT, 0);
  const bulk = new BulkTemplate(mem, 4096, 5, frameBytes, [FLOW], most);
  /** Puts the next packet into pages, as netback does, and gives them to the stack. */
  const receive = (bend: (packet: Uint8Array) => void = () => {}): void => {
    const packet = mem.u8.slice(bulk.next(0, 1e9), 4096 + bulk.bytes);
    bend(packet);
    const base = 2 << 20;
    mem.u8.set(packet, base);
    const frames = bulkFrames(mem, base, Math.min(4096, packet.length), packet.length, bulk.mss);
    const info = frames === 0 ? 0 : (frames << RX_FRAMES_SHIFT) | bulk.mss;
    for (let at = 0; at < packet.length; at += 4096)
      stack.fragment(base + at, Math.min(4096, packet.length - at), at + 4096 < packet.length, at === 0 ? info : 0);
    stack.process();
    stack.deliver(1e9 + 5000);
  };
  return { mem, bulk, receive, read: () => ({ ...verified.read(), ...counters.read() }) };
}

t.test('a bulk packet is one segment to the socket, and verified and counted by the frames that it stands for', (t) => {
  for (const size of [1514, 590, 9014]) {
    const x = make(size);
    const { segments } = x.bulk;
    x.receive();
    x.receive();
    const want = { inFrames: 2 * segments, toSocket: 2 * segments, segments: 2, coalesced: 2 * segments - 2 };
    t.match(x.read(), {
      ...want,
      frames: 2 * segments,
      bytes: 2 * segments * size,
      corrupt: 0,
      foreign: 0,
      missing: 0,
    });
  }
  t.end();
});

t.test('a wrong bit spoils the frame that it lies in, and no other', (t) => {
  const x = make();
  x.receive((p) => {
    p[BULK_HEADER + 3 * x.bulk.mss + 700] ^= 4;
  });
  t.match(x.read(), { frames: x.bulk.segments, corrupt: 1, foreign: 0 });
  t.end();
});

t.test('what is no TCP over IPv4, or stands for too many frames, is no bulk packet', (t) => {
  const { mem, bulk } = make();
  const at = bulk.next(0, 1);
  const count = (mss = bulk.mss, linear = 128): number => bulkFrames(mem, at, linear, bulk.bytes, mss);
  t.equal(count(), bulk.segments);
  t.equal(count(0), 0);
  t.equal(count(bulk.mss, 40), 0, 'headers beyond the first piece');
  const payload = bulk.bytes - BULK_HEADER;
  t.equal(count(Math.ceil(payload / MAX_BULK_FRAMES)), Math.ceil(payload / Math.ceil(payload / MAX_BULK_FRAMES)));
  t.equal(count(Math.floor(payload / (MAX_BULK_FRAMES + 1))), 0, 'too many');
  mem.u8[at + 23] = 17;
  t.equal(count(), 0, 'UDP');
  t.end();
});
