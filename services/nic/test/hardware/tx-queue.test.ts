import t from 'tap';
import {
  NICQ_AVAIL_PROD,
  NICTX_COMP_BAD,
  NICTX_COMP_REFUSED,
  NICTX_COMP_SENT,
  NICTX_CSUM_TCP,
  NICTX_CSUM_UDP,
  NICTX_EOP,
} from '@grantline/xen';
import { FIRST_TX_QUEUE } from '../../src/hardware/data/nic-tx.js';
import { readsOf } from '../kit.js';
import { checksumsRight, plainSum, READ_WRITE, tcpPacket, TSO, TxKit } from '../tx-kit.js';

const bytesOf = (n: number): Uint8Array => Uint8Array.from({ length: n }, (_, i) => (i * 7 + (i >> 8)) & 255);

t.test('a packet is gathered from the pages where it lies, and completed once it has been read', (t) => {
  const k = new TxKit();
  const q = k.queue(1, 1, 0xffffffff);
  const packet = bytesOf(1514);
  const pieces = k.place(1, 1, packet, [100, 1000, 4096], 48);
  q.post(pieces);
  t.equal(q.driver.completed(), 0);
  k.run();
  t.same(k.frames, [Buffer.from(packet)]);
  t.same(q.take(), [NICTX_COMP_SENT, NICTX_COMP_SENT, NICTX_COMP_SENT]);
  // From the completion on the driver may write the page again: the frame on the wire does not change.
  k.kit.mem.u8.fill(0, k.kit.page(1, 100), k.kit.page(1, 104));
  t.same(k.frames[0], Buffer.from(packet));
  q.post(k.place(1, 1, bytesOf(20), [4096]));
  k.run();
  t.same(k.frames[1], Buffer.concat([bytesOf(20), Buffer.alloc(40)]), 'a short frame is padded with zeros');
  t.match(q.v, { packets: 2, sentPackets: 2, frames: 2, bytes: 1574, descriptors: 4 });
  t.end();
});

t.test('checksums of TCP and UDP are filled in from csum_start on', (t) => {
  const k = new TxKit();
  const q = k.queue(1);
  const tcp = tcpPacket({ payload: bytesOf(301), sequence: 5, id: 1, flags: 0x10, options: 12 });
  q.post(k.place(1, 1, tcp, [67, 4096]), NICTX_CSUM_TCP, 0, 34);
  const udp = Buffer.from(tcp);
  udp[23] = 17;
  udp.writeUInt16BE(~plainSum(udp.subarray(14, 24)) & 0, 24);
  udp.writeUInt16BE(0, 24);
  udp.writeUInt16BE(~plainSum(udp.subarray(14, 34)) & 0xffff, 24);
  udp.writeUInt16BE(udp.length - 34, 38);
  udp.writeUInt16BE(plainSum(udp.subarray(26, 34), 17 + udp.length - 34), 40);
  q.post(k.place(1, 1, udp, [4096]), NICTX_CSUM_UDP, 0, 34);
  k.run();
  t.ok(checksumsRight(k.frames[0]), 'TCP');
  t.ok(checksumsRight(k.frames[1]), 'UDP');
  t.equal(q.v['checksums'], 2);
  t.end();
});

t.test('pages that the table does not give are not read: the packet comes back refused, others go on', (t) => {
  const k = new TxKit();
  const q = k.queue(1);
  const foreign = k.place(2, 2, bytesOf(60), [4096]);
  const others = k.place(1, 2, bytesOf(60), [4096]);
  const revoked = k.place(1, 1, bytesOf(60), [4096]);
  k.kit.unmap(revoked[0].dpn);
  const good = k.place(1, 1, bytesOf(80), [40]);
  for (const pieces of [foreign, others, revoked, [good[0], { dpn: 0, offset: 0, len: 9 }], good]) q.post(pieces);
  k.run();
  const R = NICTX_COMP_REFUSED;
  t.same(q.take(), [R, R, R, R, R, NICTX_COMP_SENT, NICTX_COMP_SENT]);
  t.equal(k.frames.length, 1);
  t.match(q.v, { packets: 5, dropDmaRefused: 4, sentPackets: 1 });
  t.end();
});

t.test("a driver domain's queue for a guest sends its own pages and that guest's, and no other guest's", (t) => {
  const k = new TxKit();
  const q = k.queue(1000, 1);
  const uplink = k.queue(1000, 1000, 0, 8);
  const mixed = [...k.place(1000, 1000, bytesOf(40), [40]), ...k.place(1000, 1, bytesOf(50), [50])];
  const wrong = k.place(1000, 2, bytesOf(60), [60]);
  q.post(mixed);
  q.post(wrong);
  uplink.post(wrong);
  k.run();
  t.same(q.take(), [NICTX_COMP_SENT, NICTX_COMP_SENT, NICTX_COMP_REFUSED]);
  t.same(uplink.take(), [NICTX_COMP_SENT], 'the uplink sends for all whose pages the hypervisor gave it');
  t.end();
});

t.test('impossible descriptors are refused and cost their own packet', (t) => {
  const k = new TxKit();
  const q = k.queue(1);
  const [page] = k.place(1, 1, bytesOf(100), [4096]) as [{ dpn: number; offset: number; len: number }];
  q.post([{ ...page, len: 0 }]);
  q.post([{ ...page, offset: 4095, len: 2 }]);
  q.post([{ ...page, offset: 65535, len: 65535 }]);
  q.post([{ ...page, len: 13 }]);
  q.post(Array.from({ length: 17 }, () => ({ ...page, offset: 0, len: 4096 })));
  q.post(Array.from({ length: 3 }, () => ({ ...page, offset: 0, len: 4096 })));
  q.post([page], NICTX_CSUM_TCP, 0, 35);
  q.post([page], NICTX_CSUM_TCP, 0, 90);
  q.post([page]);
  k.run();
  t.same([...new Set(q.take().slice(0, -1))], [NICTX_COMP_BAD]);
  t.equal(k.frames.length, 1);
  t.match(q.v, { packets: 9, sentPackets: 1, dropOversize: 1, dropBadDescriptor: 7 });
  t.end();
});

t.test('segmentation is refused where headers are not as claimed, or segments too many', (t) => {
  const k = new TxKit();
  const q = k.queue(1);
  const good = tcpPacket({ payload: bytesOf(6000), sequence: 1, id: 1, flags: 0x18, options: 12 });
  const bend = (change: (b: Buffer) => void): Buffer => {
    const copy = Buffer.from(good);
    change(copy);
    return copy;
  };
  const tries: [Buffer, number, number, number][] = [
    [bend((b) => b.writeUInt16BE(0x86dd, 12)), 1448, 34, 66],
    [bend((b) => (b[14] = 0x46)), 1448, 34, 66],
    [bend((b) => (b[23] = 17)), 1448, 34, 66],
    [bend((b) => (b[46] = 0xf0)), 1448, 34, 66],
    [good, 1448, 38, 66],
    [good, 1448, 34, 54],
    [good, 1448, 34, 200],
    [good, 0, 34, 66],
    [good, 40, 34, 66],
  ];
  for (const [packet, mss, start, header] of tries) q.post(k.place(1, 1, packet, [4096]), TSO, mss, start, header);
  q.post(k.place(1, 1, good, [4096]), TSO, 1448, 34, 66);
  k.run();
  t.equal(k.frames.length, 5, 'only the good one was sent');
  t.match(q.v, { packets: tries.length + 1, sentPackets: 1, segmented: 1, dropBadDescriptor: tries.length });
  t.end();
});

t.test('a driver that publishes the impossible loses its queue, and only that one', (t) => {
  for (const how of ['index', 'half a packet', 'endless', 'revoked'] as const) {
    const k = new TxKit();
    const q = k.queue(1);
    const other = k.queue(2, 2, 0, 0);
    const [page] = k.place(1, 1, bytesOf(100), [4096]) as [{ dpn: number; offset: number; len: number }];
    if (how === 'index') k.kit.mem.u32[(k.kit.page(1, 0) + NICQ_AVAIL_PROD) >> 2] = 257;
    else if (how === 'half a packet') {
      q.driver.post(page.dpn, 0, 60, 0);
      q.driver.publish();
    } else if (how === 'endless') {
      for (let i = 0; i < 30; i++) q.driver.post(page.dpn, 0, 60, i === 29 ? NICTX_EOP : 0);
      q.driver.publish();
    } else {
      k.kit.unmap(q.dpns[1]);
      q.post([page]);
    }
    other.post(k.place(2, 2, bytesOf(64), [4096], 0, READ_WRITE));
    k.run();
    t.equal(q.queue.fault, how === 'revoked' ? 'revoked' : 'index', how);
    t.equal(q.v['faults'], 1);
    t.same(other.take(), [NICTX_COMP_SENT], `${how}: the other queue goes on`);
    t.equal(k.nicTx.arm(), false);
  }
  t.end();
});

t.test('a transmit queue that throws stops alone, and no burst is left open', (t) => {
  const k = new TxKit();
  const [a, b] = [k.queue(1), k.queue(2, 2, 0, 10)];
  for (const step of ['transmit', 'endBurst', 'arm', 'moderate'] as const) {
    (a.queue as unknown as Record<string, unknown>)[step] = () => {
      delete (a.queue as unknown as Record<string, unknown>)[step];
      throw new Error(step);
    };
    b.post(k.place(2, 2, bytesOf(60), [4096]));
    k.run();
    k.nicTx.arm();
    t.equal(k.frames.length, 1, step);
    k.frames.length = 0;
    t.notOk(k.kit.guard.underWay());
  }
  t.match(a.v, { exceptions: 4, faults: 1 });
  t.end();
});

t.test('queues take turns, packet by packet', (t) => {
  const k = new TxKit();
  const a = k.queue(1);
  const b = k.queue(2);
  for (let i = 0; i < 8; i++) a.post(k.place(1, 1, Buffer.alloc(60, 1), [4096]));
  for (let i = 0; i < 4; i++) b.post(k.place(2, 2, Buffer.alloc(60, 2), [4096]));
  k.run();
  const order = k.frames.map((f) => f[30]);
  t.equal(order.slice(0, 8).filter((n) => n === 2).length, 4, 'the second queue is served while the first one is full');
  t.end();
});

t.test('H43: a domain with many transmit queues has as many turns on the wire as one with a single one', (t) => {
  for (const paced of [false, true]) {
    const k = new TxKit();
    if (paced) k.out.setSpeed(1000);
    const many = Array.from({ length: 6 }, (_, i) => k.queue(1, 1, 0, 3 * i));
    const one = k.queue(2);
    for (const q of many) for (let i = 0; i < 8; i++) q.post(k.place(1, 1, Buffer.alloc(60, 1), [4096]));
    for (let i = 0; i < 16; i++) one.post(k.place(2, 2, Buffer.alloc(60, 2), [4096]));
    for (let i = 0; k.frames.length < 64 && i < 1000; i++) {
      k.nicTx.poll();
      k.meter.now += 1000;
    }
    const order = k.frames.map((f) => f[30]);
    t.equal(order.slice(0, 32).filter((n) => n === 2).length, 16, paced ? 'on a paced wire, too' : 'turn by turn');
    t.ok(
      many.every((q) => q.take().length === 8),
      'and among its own queues each has its turn',
    );
  }
  t.end();
});

t.test('a paced wire takes frames at its rate, preamble, gap and FCS counted, and is waited for by the clock', (t) => {
  const k = new TxKit();
  k.out.setSpeed(10);
  const q = k.queue(1);
  const step = 10_000;
  for (let i = 0; i < 200; i++) {
    while (q.driver.free() > 4) q.post(k.place(1, 1, bytesOf(1514).fill(3), [4096]).slice(0, 1));
    k.nicTx.poll();
    q.take();
    k.meter.now += step;
    if (i > 20) break;
  }
  const before = k.frames.length;
  const start = k.meter.now;
  for (let i = 0; i < 30; i++) {
    if (q.driver.free() > 60)
      for (let n = 0; n < 40; n++) q.post([{ dpn: k.kit.map(1, 1, 101), offset: 0, len: 1514 }]);
    k.nicTx.poll();
    q.take();
    k.meter.now += step;
  }
  const expected = ((k.meter.now - start) * 10) / 8 / 1538;
  t.ok(Math.abs(k.frames.length - before - expected) <= 8, `${k.frames.length - before} of ${expected}`);
  t.ok(k.nicTx.dueAtNs < Infinity);
  t.equal(k.nicTx.patient, false);
  t.end();
});

t.test('a driver that posts refused packets as fast as they are read does not hold the other queues', (t) => {
  const k = new TxKit();
  const bad = k.queue(1);
  const good = k.queue(2, 2, 0, 8);
  const refused = { dpn: 0, offset: 0, len: 60 };
  let reads = 0;
  const { dma } = k.kit;
  const lookupRead = dma.lookupRead.bind(dma);
  dma.lookupRead = (dpn, context, target) => {
    // It ends at last, so that a NIC that waits for the end is found out and does not hang.
    if (dpn === 0 && ++reads < 5000) bad.post([refused]);
    return lookupRead(dpn, context, target);
  };
  bad.post([refused]);
  good.post(k.place(2, 2, bytesOf(60), [60]));
  k.nicTx.poll();
  t.equal(k.frames.length, 1);
  t.ok(reads <= 64, `${reads} packets of the other in one burst`);
  t.match(good.take(), [NICTX_COMP_SENT]);
  t.end();
});

t.test('H3: no byte of a transmit descriptor is read twice', (t) => {
  const k = new TxKit();
  const q = k.queue(1);
  const reads = readsOf(k.kit.mem, k.kit.page(1, 1), 3 * 16);
  const gather = (q.queue as unknown as { packet: { mem: unknown } }).packet;
  gather.mem = { ...reads.mem, bulk: k.kit.mem.bulk };
  (q.queue as unknown as { mem: unknown }).mem = reads.mem;
  q.post(
    k.place(1, 1, tcpPacket({ payload: bytesOf(3000), sequence: 5, id: 1, flags: 0x10, options: 0 }), [1200]),
    TSO,
    1448,
    34,
    54,
  );
  k.run();
  t.equal(k.frames.length, 3);
  t.equal(reads.most(), 1);
  t.end();
});

t.test('H41: after detach nothing of a transmit queue is read', (t) => {
  const k = new TxKit();
  const q = k.queue(1);
  const other = k.queue(2);
  q.post(k.place(1, 1, bytesOf(60), [60]));
  other.post(k.place(2, 2, bytesOf(60), [60]));
  k.nicTx.detach(FIRST_TX_QUEUE);
  k.run();
  t.equal(k.frames.length, 1);
  t.equal(q.take().length, 0);
  t.match(other.take(), [NICTX_COMP_SENT]);
  t.end();
});
