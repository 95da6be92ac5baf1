import t from 'tap';
import { DMA_VALID, NICQ_AVAIL_PROD, NICQ_COMP_MULTICAST, NICQ_SIZE } from '@grantline/xen';
import { DELIVERED, DROPPED, NO_BUFFER, UNFIT } from '../../src/hardware/data/nic-queue.js';
import { MAX_REFUSALS, PACKET_STARVED_NS, STARVED_NS } from '../../src/hardware/data/rx-queue.js';
import { Kit, readsOf } from '../kit.js';

const MAC_A = 0x02_00_00_00_00_01;
const MAC_B = 0x02_00_00_00_00_02;
const BROADCAST = 0xff_ff_ff_ff_ff_ff;

t.test(
  'H40: a page that is read-only, gone, of another domain or for another driver is refused before a byte moves',
  (t) => {
    const kit = new Kit();
    const bad: [string, number][] = [
      ['read-only', kit.map(1000, 1, 20, DMA_VALID)],
      ['released', kit.map(1000, 1, 21, 0)],
      ['page of another domain', kit.map(1000, 2, 22)],
      ['entry of another driver', kit.map(2, 1, 23)],
      ['outside the memory', kit.map(1000, 1, 1 << 30)],
      ['dpn 0', 0],
      ['dpn beyond the table', 0xffffffff],
    ];
    for (const [why, dpn] of bad) {
      const q = kit.queue(1000, 1);
      kit.nic.attach(q.queue, MAC_A, null);
      const before = kit.mem.u8.slice(kit.page(1, 0), kit.page(1, 64));
      q.post(dpn, 0, 4096, kit.page(1, 20));
      t.equal(kit.receive(kit.frame(MAC_A, 60), 60), NO_BUFFER, why);
      t.same(q.take(), { frames: [], errors: 1 }, `${why}: the buffer comes back as an error`);
      t.equal(q.counters.dmaRefused, 1, why);
      t.ok(
        Buffer.compare(before, kit.mem.u8.slice(kit.page(1, 0), kit.page(1, 64))) === 0,
        `${why}: nothing was written`,
      );
      kit.nic.detach(0);
    }
    t.end();
  },
);

t.test('impossible descriptors come back as errors, and the next buffer gets the frame', (t) => {
  const kit = new Kit();
  const q = kit.queue(1000, 1);
  kit.nic.attach(q.queue, MAC_A, null);
  const dpn = kit.map(1000, 1, 20);
  for (const [offset, len] of [
    [0, 0],
    [4096, 1],
    [1, 4096],
    [65535, 65535],
    [2048, 2049],
  ] as const)
    q.post(dpn, offset, len, 0);
  q.postPages(1);
  t.equal(kit.receive(kit.frame(MAC_A, 100), 100), DELIVERED);
  const { frames, errors } = q.take();
  t.equal(errors, 5);
  t.equal(frames[0]?.bytes.length, 100);
  t.match(q.counters, { badDescriptors: 5, frames: 1, dropBadDescriptor: 0 });
  t.end();
});

t.test('a frame gives up after too many bad buffers, counted by reason', (t) => {
  const kit = new Kit();
  const q = kit.queue(1000, 1);
  kit.nic.attach(q.queue, MAC_A, null);
  for (let i = 0; i < MAX_REFUSALS + 1; i++) q.post(0, 0, 4096, 0);
  t.equal(kit.receive(kit.frame(MAC_A, 60), 60), DROPPED);
  t.match(q.counters, { dropDmaRefused: 1, dmaRefused: MAX_REFUSALS });
  t.equal(q.take().errors, MAX_REFUSALS);
  t.end();
});

t.test('a bad buffer in the middle takes those before it back, so that no error stands inside a frame', (t) => {
  const kit = new Kit();
  const q = kit.queue(1000, 1);
  kit.nic.attach(q.queue, MAC_A, null);
  q.postPages(1);
  q.post(0, 0, 4096, 0);
  q.postPages(2, 30);
  t.equal(kit.receive(kit.frame(MAC_A, 5000), 5000), DELIVERED);
  const { frames, errors } = q.take();
  t.equal(errors, 2);
  t.equal(frames.length, 1);
  t.equal(frames[0]?.bytes.length, 5000);
  t.end();
});

t.test('H2: an avail index out of reach stops the queue, also one that went backwards, and no other queue', (t) => {
  for (const index of [NICQ_SIZE + 1, 0xffffffff, 0x80000000]) {
    const kit = new Kit();
    const a = kit.queue(1, 1);
    const b = kit.queue(2, 2);
    kit.nic.attach(a.queue, MAC_A, null);
    kit.nic.attach(b.queue, MAC_B, null);
    b.postPages(1);
    Atomics.store(kit.mem.u32, (a.header + NICQ_AVAIL_PROD) >> 2, index);
    t.equal(kit.receive(kit.frame(MAC_A, 60), 60), DROPPED);
    t.equal(a.queue.fault, 'index');
    t.equal(a.counters.dropBadDescriptor, 1);
    t.equal(kit.receive(kit.frame(MAC_B, 60), 60), DELIVERED);
  }
  t.end();
});

t.test('a queue that throws stops alone: its frames are counted as dropped, other queues go on', (t) => {
  const kit = new Kit();
  const [a, b] = [kit.queue(1000, 1), kit.queue(1000, 2)];
  kit.nic.attach(a.queue, MAC_A, null);
  kit.nic.attach(b.queue, MAC_B, null);
  const stopped: unknown[] = [];
  Object.assign(a.queue.settings, { onStop: (fault: string, err: Error) => stopped.push(fault, err.message) });
  for (const step of ['deliver', 'endBurst', 'moderate'] as const) {
    (a.queue as unknown as Record<string, unknown>)[step] = () => {
      // As the real one from now on.
      delete (a.queue as unknown as Record<string, unknown>)[step];
      throw new Error(step);
    };
    b.post(kit.map(1000, 2, 30), 0, 4096, kit.page(2, 30));
    kit.receive(kit.frame(MAC_A, 60), 60);
    t.equal(kit.receive(kit.frame(MAC_B, 60), 60), DELIVERED, step);
    kit.nic.moderate(false);
    t.equal(b.take().frames.length, 1);
  }
  t.same(stopped, ['failed', 'deliver'], 'told once');
  t.equal(kit.receive(kit.frame(MAC_A, 60), 60), DROPPED);
  t.equal(a.counters.exceptions, 3);
  t.ok(a.counters.dropFailed > 0);
  t.notOk(kit.guard.underWay());
  t.end();
});

t.test('a queue page that the table does not give any more stops the queue', (t) => {
  for (let page = 0; page < 3; page++) {
    const kit = new Kit();
    const q = kit.queue(1, 1);
    kit.nic.attach(q.queue, MAC_A, null);
    q.postPages(4);
    t.equal(kit.receive(kit.frame(MAC_A, 60), 60), DELIVERED);
    kit.unmap(q.dpns[page]);
    t.equal(kit.receive(kit.frame(MAC_A, 60), 60), DROPPED);
    t.match(q.queue, { fault: 'revoked' });
    t.equal(q.counters.dropDmaRefused, 1);
    t.equal(q.take().frames.length, 1, 'what was there before is whole');
  }
  t.end();
});

t.test('a queue whose own page is not the driver’s cannot be made', (t) => {
  const kit = new Kit();
  const other = kit.map(2, 2, 0);
  const own = kit.map(1, 1, 0);
  t.throws(() => kit.queue(9, 9), RangeError);
  t.not(own, other);
  t.end();
});

t.test('H42: a frame for A never lands in B’s buffers; unknown and group addresses go to the default queue', (t) => {
  const kit = new Kit();
  const a = kit.queue(1, 1);
  const b = kit.queue(2, 2);
  const rest = kit.queue(1000, 1000);
  t.equal(kit.nic.attach(a.queue, MAC_A, null), 0);
  t.equal(kit.nic.attach(b.queue, MAC_B, null), 1);
  t.equal(kit.nic.attach(rest.queue, null, null), 2);
  t.equal(kit.nic.attach(kit.queue(3, 3).queue, MAC_A, null), -1, 'an address is taken once');
  t.equal(kit.nic.attach(kit.queue(3, 3, 8).queue, null, null), -1, 'so is the default queue');
  for (const q of [a, b, rest]) q.postPages(4);
  for (const mac of [MAC_A, MAC_B, 0x02_00_00_00_00_09, BROADCAST])
    t.equal(kit.receive(kit.frame(mac, 60), 60), DELIVERED);
  t.equal(a.take().frames.length, 1);
  t.equal(b.take().frames.length, 1);
  const { frames } = rest.take();
  t.equal(frames.length, 2);
  t.equal(frames[0].flags & NICQ_COMP_MULTICAST, 0);
  t.equal(frames[1].flags & NICQ_COMP_MULTICAST, NICQ_COMP_MULTICAST);
  t.end();
});

t.test(
  'H43: a queue without buffers is waited for one second, then drops; with flow control off it drops at once',
  (t) => {
    const kit = new Kit();
    const a = kit.queue(1, 1);
    kit.nic.attach(a.queue, MAC_A, null);
    const off = kit.frame(MAC_A, 60);
    t.equal(kit.receive(off, 60), NO_BUFFER);
    kit.laps.now += STARVED_NS - 1;
    t.equal(kit.receive(off, 60), NO_BUFFER);
    t.equal(kit.nic.counters.v[0], 0, 'a held frame is not counted');
    kit.laps.now += 1;
    t.equal(kit.receive(off, 60), DROPPED);
    t.equal(a.counters.dropNoBuffer, 1);
    a.postPages(1);
    t.equal(kit.receive(off, 60), DELIVERED);
    t.equal(kit.receive(off, 60), NO_BUFFER, 'who has had buffers again is waited for again');
    kit.nic.flowControl = false;
    t.equal(kit.receive(off, 60), DROPPED);
    t.end();
  },
);

t.test('H43: counters that are reset meanwhile are no frame: the second goes on', (t) => {
  const kit = new Kit();
  const a = kit.queue(1, 1);
  kit.nic.attach(a.queue, MAC_A, null);
  const off = kit.frame(MAC_A, 60);
  a.postPages(1);
  t.equal(kit.receive(off, 60), DELIVERED);
  t.equal(kit.receive(off, 60), NO_BUFFER);
  a.queue.counters.reset();
  kit.laps.now += STARVED_NS - 1;
  t.equal(kit.receive(off, 60), NO_BUFFER);
  kit.laps.now += 1;
  t.equal(kit.receive(off, 60), DROPPED);
  t.end();
});

t.test('runts, giants and frames for nobody drop with their own counters', (t) => {
  const kit = new Kit();
  const off = kit.frame(MAC_A, 9015);
  for (const len of [59, 9015, 60]) t.equal(kit.receive(off, len), DROPPED);
  kit.nic.counters.commit();
  t.match(kit.nic.counters.read(), {
    inFrames: 3,
    inBytes: 59 + 9015 + 60,
    dropRunt: 1,
    dropOversize: 1,
    dropNoQueue: 1,
  });
  t.end();
});

t.test('H41: after detach no transfer touches the queue', (t) => {
  for (const mac of [MAC_A, null]) {
    const kit = new Kit();
    const a = kit.queue(1, 1);
    const id = kit.nic.attach(a.queue, mac, null);
    a.postPages(2);
    const off = kit.frame(MAC_A, 60);
    t.equal(kit.receive(off, 60), DELIVERED);
    kit.nic.detach(id);
    t.equal(kit.receive(off, 60), DROPPED);
    t.equal(a.take().frames.length, 1);
    t.equal(kit.guard.underWay(), false);
    t.equal(kit.nic.detach(id), null);
    t.equal(kit.nic.attach(a.queue, mac, null), id, 'its place is free');
  }
  t.end();
});

t.test(
  'the driver is notified once per passed event index, after enough frames, enough time, or before a sleep',
  (t) => {
    const kit = new Kit();
    const q = kit.queue(1, 1, 0, 4, 50);
    kit.nic.attach(q.queue, MAC_A, null);
    q.postPages(20);
    const off = kit.frame(MAC_A, 60);
    for (let i = 0; i < 3; i++) kit.receive(off, 60);
    t.equal(q.rings.count, 0, 'held back');
    kit.receive(off, 60);
    t.equal(q.rings.count, 1, 'four frames');
    kit.receive(off, 60);
    t.equal(q.rings.count, 1, 'the driver has not asked again');
    q.take();
    t.equal(q.driver.arm(), false);
    kit.receive(off, 60);
    kit.laps.now += 50_000;
    kit.receive(off, 60);
    t.equal(q.rings.count, 2, '50 us');
    q.take();
    q.driver.arm();
    kit.receive(off, 60);
    kit.nic.moderate(true);
    t.equal(q.rings.count, 3, 'before a sleep nothing is held back');
    kit.nic.moderate(true);
    t.equal(q.rings.count, 3);
    t.match(q.counters, { notifications: 3, suppressed: 1 });
    t.end();
  },
);

t.test('a notification that is held back comes by its time, also while all bursts are for other queues', (t) => {
  const kit = new Kit();
  const [held, other] = [kit.queue(1, 1, 0, 4, 50), kit.queue(1000, 2)];
  kit.nic.attach(held.queue, MAC_A, null);
  kit.nic.attach(other.queue, MAC_B, null);
  held.postPages(4);
  other.postPages(20);
  kit.receive(kit.frame(MAC_A, 60), 60);
  kit.receive(kit.frame(MAC_B, 60), 60);
  t.equal(held.rings.count, 0);
  kit.laps.now += 50_000;
  kit.receive(kit.frame(MAC_B, 60), 60);
  t.equal(held.rings.count, 1);
  kit.receive(kit.frame(MAC_B, 60), 60);
  t.equal(held.rings.count, 1);
  t.end();
});

t.test(
  'H44: a buffer over the end of its page gets nothing, also when it comes first; a frame longer than one is chained',
  (t) => {
    for (const [offset, len] of [
      [1, 4096],
      [2048, 2049],
      [65_535, 4096],
    ] as const) {
      const kit = new Kit();
      const q = kit.queue(1000, 1);
      kit.nic.attach(q.queue, MAC_A, null);
      q.post(kit.map(1000, 1, 20), offset, len, 0);
      q.postPages(1, 40);
      t.equal(kit.receive(kit.frame(MAC_A, 100), 100), DELIVERED);
      t.match(q.take(), { errors: 1, frames: { length: 1 } }, `${len} bytes at ${offset}`);
    }
    const kit = new Kit();
    const q = kit.queue(1000, 1);
    kit.nic.attach(q.queue, MAC_A, null);
    q.post(kit.map(1000, 1, 20), 0, 60, kit.page(1, 20));
    q.postPages(1, 40);
    const behind = kit.mem.u8.slice(kit.page(1, 20) + 60, kit.page(1, 21));
    t.equal(kit.receive(kit.frame(MAC_A, 100), 100), DELIVERED);
    t.ok(
      Buffer.compare(behind, kit.mem.u8.slice(kit.page(1, 20) + 60, kit.page(1, 21))) === 0,
      'nothing is written over its end',
    );
    t.equal(q.take().frames[0]?.bytes.length, 100);
    t.end();
  },
);

t.test('arming asks for a wake-up that can come, and sees buffers that came before it', (t) => {
  const kit = new Kit();
  const q = kit.queue(1, 1);
  kit.nic.attach(q.queue, MAC_A, null);
  const off = kit.frame(MAC_A, 5000);
  q.postPages(1);
  t.equal(kit.receive(off, 5000), NO_BUFFER, 'one page is not enough');
  kit.guard.begin(kit.laps.now);
  t.equal(q.queue.arm(), false, 'one buffer does not wake a frame that needs two');
  q.postPages(1, 40);
  t.equal(q.queue.arm(), true);
  kit.guard.end();
  t.equal(kit.receive(off, 5000), DELIVERED);
  t.end();
});

t.test('H3: no byte of a buffer entry is read twice on its way to a frame', (t) => {
  const kit = new Kit();
  const q = kit.queue(1000, 1);
  kit.nic.attach(q.queue, MAC_A, null);
  q.post(kit.map(1000, 1, 20), 0, 4096, kit.page(1, 20));
  const reads = readsOf(kit.mem, kit.page(1000, 1), 8);
  (q.queue as unknown as { u32: unknown }).u32 = reads.mem.u32;
  t.equal(kit.receive(kit.frame(MAC_A, 60), 60), DELIVERED);
  t.equal(reads.most(), 1);
  t.equal(q.take().frames.length, 1);
  t.end();
});

t.test('H3: nor of a further one, when a frame is scattered', (t) => {
  const kit = new Kit();
  const q = kit.queue(1000, 1);
  kit.nic.attach(q.queue, MAC_A, null);
  q.postPages(2);
  // The first is looked at for the plain case, and judged anew by the other.
  const reads = readsOf(kit.mem, kit.page(1000, 1) + 8, 8);
  (q.queue as unknown as { u32: unknown }).u32 = reads.mem.u32;
  t.equal(kit.receive(kit.frame(MAC_A, 5000), 5000), DELIVERED);
  t.equal(reads.most(), 1);
  t.equal(reads.least(), 1);
  t.equal(q.take().frames[0]?.bytes.length, 5000);
  t.end();
});

t.test('posted buffers are those that the NIC has not taken; a hostile index or a page that is gone shows 0', (t) => {
  const kit = new Kit();
  const q = kit.queue(1000, 1);
  kit.nic.attach(q.queue, MAC_A, null);
  const posted = (): number => q.queue.posted();
  t.equal(posted(), 0);
  q.postPages(5);
  t.equal(posted(), 5);
  kit.receive(kit.frame(MAC_A, 60), 60);
  t.equal(posted(), 4);
  const at = (q.header + NICQ_AVAIL_PROD) >> 2;
  const right = kit.mem.u32[at];
  kit.mem.u32[at] = right + NICQ_SIZE;
  t.equal(posted(), 0);
  kit.mem.u32[at] = right;
  kit.unmap(q.dpns[0]);
  t.equal(posted(), 0);
  t.end();
});

/** A packet of so many frames of 1448 bytes of payload behind 66 of headers. */
const bulk = (kit: Kit, frames: number): number =>
  kit.receivePacket(kit.frame(MAC_A, 66 + 1448 * frames), 66 + 1448 * frames, 66, 1448, frames);
const inPackets = (kit: Kit): Record<string, number> => {
  kit.nic.counters.commit();
  return kit.nic.counters.read();
};

t.test('a packet counts as its frames, whatever becomes of it', (t) => {
  const kit = new Kit();
  const q = kit.queue(1000, 1, 0, 1, 0, 36_864);
  kit.nic.attach(q.queue, MAC_A, null);
  q.postPages(20);
  t.equal(bulk(kit, 20), DELIVERED);
  t.match(inPackets(kit), { inFrames: 20, inBytes: 20 * 1514 });
  t.match(q.counters, { frames: 20, bytes: 66 + 1448 * 20, buffers: 9 });
  t.same(q.take().frames[0]?.packet, { frames: 20, mss: 1448 });

  t.equal(bulk(kit, 24), DELIVERED);
  t.equal(bulk(kit, 24), NO_BUFFER, 'it waits, and nothing was counted');
  t.match(inPackets(kit), { inFrames: 44 });
  kit.nic.flowControl = false;
  t.equal(bulk(kit, 24), UNFIT, 'for some of its frames there may be room');
  t.match(inPackets(kit), { inFrames: 44 });
  t.match(q.counters, { frames: 44, dropNoBuffer: 0 });

  Atomics.store(kit.mem.u32, (q.header + NICQ_AVAIL_PROD) >> 2, 0x80000000);
  t.equal(bulk(kit, 24), DROPPED);
  t.match(q.counters, { frames: 44, dropNoBuffer: 0, dropBadDescriptor: 24 });
  t.end();
});

t.test(
  'a driver that keeps fewer buffers than a packet needs holds it once, for a moment; more buffers, and packets come again',
  (t) => {
    const kit = new Kit();
    const q = kit.queue(1000, 1, 0, 1, 0, 36_864);
    kit.nic.attach(q.queue, MAC_A, null);
    q.postPages(64);
    while (bulk(kit, 24) === DELIVERED);
    q.take();
    t.equal(bulk(kit, 24), NO_BUFFER);
    kit.laps.now += PACKET_STARVED_NS;
    t.equal(bulk(kit, 24), UNFIT);
    q.postPages(3);
    for (let i = 0; i < 3; i++) t.equal(bulk(kit, 24), UNFIT, 'at once from now on');
    q.postPages(20);
    t.equal(bulk(kit, 24), DELIVERED);
    t.end();
  },
);

t.test(
  'a packet is for a driver that asked for such, and whose buffers have place for it: else its frames are',
  (t) => {
    const at = (post: (q: ReturnType<Kit['queue']>, kit: Kit) => void, packetBytes = 36_864): number => {
      const kit = new Kit();
      const q = kit.queue(1000, 1, 0, 1, 0, packetBytes);
      kit.nic.attach(q.queue, MAC_A, null);
      post(q, kit);
      const status = bulk(kit, 24);
      t.match(inPackets(kit), { inFrames: status === DELIVERED ? 24 : 0 });
      t.match(q.counters, { frames: status === DELIVERED ? 24 : 0, dropTooLong: 0 });
      return status;
    };
    const small = (bytes: number) => (q: ReturnType<Kit['queue']>, kit: Kit) => {
      const dpn = kit.map(1000, 1, 20);
      for (let i = 0; i < 100; i++) q.post(dpn, 0, bytes, kit.page(1, 20));
    };
    t.equal(
      at((q) => q.postPages(30)),
      DELIVERED,
    );
    t.equal(
      at((q) => q.postPages(30), 0),
      UNFIT,
      'frames only',
    );
    t.equal(
      at((q) => q.postPages(30), 30_000),
      UNFIT,
      'longer than it takes',
    );
    t.equal(
      at((q) => q.postPages(9)),
      UNFIT,
      'more buffers than it has ever had: one of 9 and one that tells',
    );
    t.equal(
      at((q) => q.postPages(10)),
      DELIVERED,
    );
    t.equal(at(small(1900)), UNFIT, 'more buffers than a packet may have');
    t.equal(at(small(2048)), DELIVERED);
    t.equal(at(small(1)), UNFIT);
    t.end();
  },
);

t.test('a bad buffer among those of a packet takes those before it back', (t) => {
  for (const before of [0, 1, 2, 3]) {
    const kit = new Kit();
    const q = kit.queue(1000, 1, 0, 1, 0, 36_864);
    kit.nic.attach(q.queue, MAC_A, null);
    q.postPages(before);
    q.post(0, 0, 4096, 0);
    q.postPages(20, 40);
    t.equal(bulk(kit, 24), DELIVERED);
    const { frames, errors } = q.take();
    // The second one takes no data, so what it is does not matter.
    t.equal(errors, before === 1 ? 0 : before + 1);
    t.equal(frames[0]?.bytes.length, 66 + 24 * 1448);
  }
  t.end();
});

t.test('who captures or injects faults sees frames', (t) => {
  const kit = new Kit();
  const q = kit.queue(1000, 1, 0, 1, 0, 36_864);
  kit.nic.attach(q.queue, MAC_A, null);
  q.postPages(40);
  const at = kit.frame(MAC_A, 1514);
  t.equal(kit.nic.packetBytes(at), 36_864);
  t.equal(kit.nic.packetBytes(kit.frame(MAC_B, 1514)), 0, 'nobody has the address');
  kit.nic.faults = { receive: () => DELIVERED, endBurst() {} };
  t.equal(kit.nic.packetBytes(kit.frame(MAC_A, 1514)), 0);
  t.equal(bulk(kit, 20), UNFIT, 'also one that was made before');
  kit.nic.faults = null;
  kit.nic.probe = { on: true } as typeof kit.nic.probe;
  t.equal(bulk(kit, 20), UNFIT);
  t.match(inPackets(kit), { inFrames: 0 });
  t.end();
});
