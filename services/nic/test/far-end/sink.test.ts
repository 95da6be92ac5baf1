import t from 'tap';
import { NICTX_CSUM_TCP } from '@grantline/xen';
import { APP_COUNTERS, STACK_COUNTERS } from '@grantline/observe';
import { BULK_CSUM_START, BULK_HEADER, BulkTemplate, FlowTemplates } from '@grantline/frames';
import { LATENCY, memOver, CounterBlock, type Layout } from '@grantline/machine';
import { Sink } from '../../src/far-end/data/sink.js';
import { TSO, TxKit } from '../tx-kit.js';

const FLOW = {
  ...{ flowId: 3, guestIndex: 0, dstMac: '02:00:00:ca:b1:e0', srcMac: '02:00:00:00:00:01' },
  ...{ dstIp: '10.255.255.254', srcIp: '10.0.0.1', srcPort: 10000, dstPort: 9 },
};

/** A guest, its NIC queue, and a sink; `bend` may change each frame on the cable. */
function make(bend: (frame: Uint8Array, n: number) => void = () => {}) {
  const k = new TxKit();
  const block = (layout: Layout): CounterBlock => new CounterBlock(memOver(new ArrayBuffer(8192)), 0, layout);
  const counters = {
    stack: block(STACK_COUNTERS),
    app: block(APP_COUNTERS),
    latency: block(LATENCY),
  };
  const sink = new Sink(k.space, counters);
  sink.reset({ seed: 5 });
  let n = 0;
  k.out.farEnd = {
    get room() {
      return sink.room;
    },
    frame: (h, hn, b, bn) => {
      const { u8 } = k.kit.mem;
      // One piece or two: bend it as a whole, then put it back.
      const whole = Uint8Array.from([...u8.subarray(h, h + hn), ...u8.subarray(b, b + bn)]);
      bend(whole, n++);
      u8.set(whole.subarray(0, hn), h);
      u8.set(whole.subarray(hn), b);
      sink.frame(h, hn, b, bn);
    },
    settle: (now) => sink.settle(now),
  };
  const q = k.queue(1);
  const at = k.kit.frames + (6 << 20);
  const copy = (from: number, bytes: number): Uint8Array => k.kit.mem.u8.slice(from, from + bytes);
  const sendBulk = (packets: number): void => {
    const bulk = new BulkTemplate(k.kit.mem, at, 5, 1514, [FLOW], 30000);
    for (let i = 0; i < packets; i++) {
      const packet = copy(bulk.next(0, k.meter.now - 5000), bulk.bytes);
      q.post(k.place(1, 1, packet, [4096]), TSO, bulk.mss, BULK_CSUM_START, BULK_HEADER);
      k.run();
      q.take();
    }
  };
  const sendFrames = (sizes: number[], each: number): void => {
    const space = { mem: k.kit.mem, mapPrivate: () => at };
    const templates = new FlowTemplates(space, { seed: 5, flows: [FLOW], sizes, protocol: 'auto' }, at);
    for (let i = 0; i < each * sizes.length; i++) {
      const s = i % sizes.length;
      const frame = copy(templates.next(0, s, k.meter.now), templates.lengths[s]);
      q.post(k.place(1, 1, frame, [200, 4096]), 0);
      k.run();
      q.take();
    }
  };
  const v = (): Record<string, number> => ({ ...counters.stack.read(), ...counters.app.read() });
  return { k, q, sendBulk, sendFrames, v, latency: () => counters.latency.read(), copy, at };
}

t.test('the far end finds segments of bulk packets and frames of each size right, to the last checksum', (t) => {
  const x = make();
  x.sendBulk(6);
  t.match(x.v(), { inFrames: 120, toSocket: 120, frames: 120, corrupt: 0, foreign: 0, missing: 0, reordered: 0 });
  t.equal(x.latency()['count'], 120);
  const y = make();
  y.sendFrames([60, 61, 83, 84, 85, 590, 591, 1514, 9013, 9014], 8);
  t.match(y.v(), { frames: 80, corrupt: 0, foreign: 0, dropBadChecksum: 0, missing: 0, duplicate: 0 });
  t.end();
});

t.test('one wrong bit anywhere in a frame is found', (t) => {
  const size = 300;
  for (let bit = 0; bit < size * 8; bit += 61) {
    const byte = bit >> 3;
    // Addresses and type of the Ethernet header are covered by the FCS only.
    if (byte < 14) continue;
    const x = make((frame, n) => {
      if (n === 2) frame[byte] ^= 1 << (bit & 7);
    });
    x.sendFrames([size], 5);
    const v = x.v();
    const found = v['corrupt'] + v['dropBadChecksum'] + v['dropBadHeader'] + v['dropNoSocket'];
    t.equal(found, 1, `byte ${byte}`);
  }
  t.end();
});

t.test('a checksum that was not filled in is corrupt; lost, repeated and late frames are told apart', (t) => {
  const x = make();
  const space = { mem: x.k.kit.mem, mapPrivate: () => x.at };
  const templates = new FlowTemplates(space, { seed: 5, flows: [FLOW], sizes: [1514], protocol: 'tcp' }, x.at);
  const frames = Array.from({ length: 6 }, () => x.copy(templates.next(0, 0, 1e9), 1514));
  const unsummed = Uint8Array.from(frames[0]);
  unsummed[50] ^= 0xff;
  for (const f of [unsummed, frames[2], frames[1], frames[2], frames[5]]) {
    x.q.post(x.k.place(1, 1, f, [4096]));
    x.k.run();
    x.q.take();
  }
  t.match(x.v(), { frames: 5, corrupt: 1, reordered: 1, duplicate: 1, missing: 2 });
  x.q.post(x.k.place(1, 1, frames[3], [4096]), NICTX_CSUM_TCP, 0, 34);
  x.k.run();
  t.match(x.v(), { corrupt: 2 }, 'a field that held no pseudo sum gives a wrong checksum');
  t.end();
});
