import t from 'tap';
import {
  NICQ_COMP_EOP,
  NICQ_COMP_ERROR,
  NICQ_COMP_INFO,
  NICQ_ENTRY_BYTES,
  NICQ_SIZE,
  DeviceQueue,
  DriverQueue,
} from '@grantline/xen';
import { DOMID_NIC } from '@grantline/base';
import { CounterBlock, memOver } from '@grantline/machine';
import { NETFRONT_COUNTERS, DRIVER_COUNTERS } from '@grantline/observe';
import { DIRECT_FAULTS, DirectRx } from '../../src/data/direct-rx.js';
import { RX_CSUM_BLANK, RX_FRAMES_SHIFT } from '@grantline/measure';
import { PagePool } from '../../src/data/page-pool.js';
import { RxBuffers } from '../../src/data/rx-buffers.js';

function makeDirect(bytes = 2048, batching = true) {
  const mem = memOver(new ArrayBuffer(1025 * 4096));
  const pages = new PagePool(mem, 0, 1024);
  const free = pages.free;
  const queuePfn = pages.alloc(3);
  if (queuePfn === -1) throw new Error('no pages');
  const base = pages.offset(queuePfn);
  const buffers = new RxBuffers(pages, null, DOMID_NIC, 512, bytes);
  const dpn = new Int32Array(512);
  for (let i = 0; i < 512; i++) {
    const id = buffers.create();
    dpn[id] = buffers.pfn[id] + 5000;
    buffers.admit(id);
  }
  const lengths: number[] = [];
  const infos: number[] = [];
  const marks: number[] = [];
  let length = 0;
  let first = -1;
  const faults: string[] = [];
  const counters = new CounterBlock(mem, 1024 * 4096, DRIVER_COUNTERS);
  const rx = new DirectRx({
    mem,
    queue: new DriverQueue(mem, base),
    buffers,
    dpn,
    sink: {
      fragment(off, len, more, info = 0) {
        if (first < 0) {
          first = off;
          infos.push(info);
        } else if (info !== 0) throw new Error('told with a piece that is not the first');
        length += len;
        if (more) return;
        lengths.push(length);
        marks.push(mem.u32[first >> 2]);
        length = 0;
        first = -1;
      },
      process: () => undefined,
      deliver: () => undefined,
    },
    laps: { now: 0, lap: () => undefined },
    components: { queue: 0, stack: 1, application: 2 },
    counters,
    netfront: new CounterBlock(mem, 1024 * 4096 + 1024, NETFRONT_COUNTERS),
    nic: { notify: () => undefined },
    batching,
    onFault: (reason) => faults.push(reason),
  });
  const device = new DeviceQueue(mem, base, base + 4096, base + 8192);
  const send = (mark: number, len: number): void => {
    let left = len;
    for (let i = 0; left > 0; i++) {
      const at = device.entry();
      const to = (mem.u32[at >> 2] - 5000) * 4096 + mem.u16[(at >> 1) + 2];
      const part = Math.min(left, mem.u16[(at >> 1) + 3]);
      mem.u32[to >> 2] = mark;
      left -= part;
      device.complete(part, left === 0 ? NICQ_COMP_EOP : 0);
    }
  };
  /** A packet that stands for so many frames, its headers as they come. */
  const sendPacket = (packet: Uint8Array, frames: number, mss: number): void => {
    let from = 0;
    for (let i = 0; from < packet.length; i++) {
      if (i === 1) {
        device.complete(mss, NICQ_COMP_INFO);
        continue;
      }
      const at = device.entry();
      const to = (mem.u32[at >> 2] - 5000) * 4096 + mem.u16[(at >> 1) + 2];
      const part = packet.subarray(from, from + mem.u16[(at >> 1) + 3]);
      mem.u8.set(part, to);
      from += part.length;
      if (i === 0) device.completePacket(part.length, 0, frames);
      else device.complete(part.length, from === packet.length ? NICQ_COMP_EOP : 0);
    }
  };
  const count = (name: keyof typeof DRIVER_COUNTERS.counters): number =>
    counters.v[DRIVER_COUNTERS.names.indexOf(name)];
  return {
    mem,
    pages,
    free,
    base,
    buffers,
    rx,
    device,
    send,
    sendPacket,
    lengths,
    infos,
    marks,
    faults,
    count,
    queuePfn,
  };
}

t.test('frames come in order, also those of several buffers and across batches', (t) => {
  for (const bytes of [4096, 2048]) {
    const d = makeDirect(bytes);
    d.rx.refill();
    const sent: number[] = [];
    for (let round = 0; round < 50; round++) {
      for (let i = 0; i < 50; i++) {
        const len = 60 + (((round * 50 + i) * 731) % 8955);
        if (d.device.available() < 6) break;
        d.send(sent.length, len);
        sent.push(len);
      }
      d.device.publish();
      while (d.rx.poll() > 0 || d.rx.arm());
    }
    t.same(d.lengths, sent);
    t.same(
      d.marks,
      sent.map((_, i) => i),
    );
    t.equal(d.count('frames'), sent.length);
    t.equal(
      d.count('bytes'),
      sent.reduce((a, b) => a + b),
    );
  }
  t.end();
});

/** TCP over IPv4, headers of 54 bytes. */
function tcpPacket(payload: number): Uint8Array {
  const packet = new Uint8Array(54 + payload).fill(7);
  packet.set([8, 0, 0x45], 12);
  new DataView(packet.buffer).setUint16(16, 40 + payload);
  packet.set([0, 0, 64, 6], 20);
  packet[46] = 0x50;
  return packet;
}

t.test('packets come whole, with what they are, and count as their frames', (t) => {
  const d = makeDirect();
  d.rx.refill();
  d.send(1, 1514);
  for (let i = 0; i < 20; i++) d.sendPacket(tcpPacket(24 * 1448), 24, 1448);
  d.send(2, 1514);
  d.device.publish();
  while (d.rx.poll() > 0 || d.rx.arm());
  t.same(d.lengths, [1514, ...new Array<number>(20).fill(54 + 24 * 1448), 1514]);
  t.same(d.infos, [0, ...new Array<number>(20).fill(RX_CSUM_BLANK | (24 << RX_FRAMES_SHIFT) | 1448), 0]);
  t.match([d.count('frames'), d.count('errors')], [482, 0]);
  t.equal(d.buffers.freeCount + d.device.available(), NICQ_SIZE, 'and all buffers come back');
  t.same(d.faults, []);
  t.end();
});

t.test('a packet whose headers do not allow it to be one is an error, and the frames after it are good', (t) => {
  const d = makeDirect();
  d.rx.refill();
  const udp = tcpPacket(9000);
  udp[23] = 17;
  d.sendPacket(udp, 7, 1448);
  d.sendPacket(tcpPacket(30_000), 129, 100);
  d.send(1, 100);
  d.device.publish();
  while (d.rx.poll() > 0 || d.rx.arm());
  t.same(d.lengths, [100]);
  t.match([d.count('frames'), d.count('errors')], [1, 2]);
  t.end();
});

t.test('info where no packet has begun, or again and again, is judged as any buffer is', (t) => {
  const d = makeDirect();
  d.rx.refill();
  d.device.complete(1448, NICQ_COMP_INFO | NICQ_COMP_EOP);
  d.send(1, 100);
  d.device.complete(9, 0);
  for (let i = 0; i < 20; i++) d.device.complete(1448, NICQ_COMP_INFO);
  d.device.publish();
  while (d.rx.poll() > 0 || d.rx.arm());
  t.same(d.faults, [DIRECT_FAULTS[3]]);
  t.end();
});

t.test('a refused buffer is an error, and the frames after it are good', (t) => {
  const d = makeDirect();
  d.rx.refill();
  d.device.complete(0, NICQ_COMP_ERROR);
  d.send(1, 100);
  d.device.publish();
  t.equal(d.rx.poll(), 2);
  t.same(d.lengths, [100]);
  t.equal(d.count('errors'), 1);
  t.end();
});

t.test('an impossible completion stops the queue', (t) => {
  const acts: [number, (d: ReturnType<typeof makeDirect>) => void][] = [
    [1, (d) => (d.mem.u32[(d.base + 128) >> 2] = 600)],
    [2, (d) => (d.device.complete(2049, NICQ_COMP_EOP), d.device.publish())],
    [3, (d) => (Array.from({ length: 30 }, () => d.device.complete(9, 0)), d.device.publish())],
  ];
  for (const [reason, act] of acts) {
    const d = makeDirect();
    d.rx.refill();
    act(d);
    t.equal(d.rx.poll(), 0);
    t.same(d.faults, [DIRECT_FAULTS[reason]]);
    t.equal(d.rx.poll(), 0);
    t.equal(d.rx.arm(), false);
  }
  t.end();
});

t.test('no more is posted than the queue holds, and all pages come back', (t) => {
  const d = makeDirect();
  d.rx.refill();
  t.equal(d.device.available(), NICQ_SIZE);
  t.equal(NICQ_SIZE * NICQ_ENTRY_BYTES, 4096);
  t.equal(d.buffers.destroyAll(), 0);
  for (let i = 0; i < 3; i++) d.pages.release((d.queuePfn + i) as never);
  t.equal(d.pages.free, d.free);
  t.end();
});
