import t from 'tap';
import { FlowTemplates, type FlowSpec, IMIX_BYTES } from '@grantline/frames';
import { Generator, HOLD_BYTES, imixOrder } from '../../src/far-end/data/generator.js';
import { PACKET_MEMORY_BYTES, type LinkSettings } from '../../src/far-end/data/cable.js';
import { STARVED_NS } from '../../src/hardware/data/rx-queue.js';
import { Kit, type TestQueue } from '../kit.js';

const macOf = (g: number): string => `02:00:00:00:00:0${g + 1}`;
const unlimited: LinkSettings = { gbps: null, pause: true, packetMemoryBytes: PACKET_MEMORY_BYTES };

interface Bench {
  kit: Kit;
  queues: TestQueue[];
  generator: Generator;
}

interface Options {
  guests: number;
  seed?: number;
  imix?: boolean;
  maxFrames?: number;
  link?: LinkSettings;
  flowsPerGuest?: number;
  buffers?: number[];
}

function bench(o: Options): Bench {
  const kit = new Kit();
  const flowsPerGuest = o.flowsPerGuest ?? 2;
  const queues = Array.from({ length: o.guests }, (_, g) => {
    const q = kit.queue(g + 1, g + 1);
    kit.nic.attach(q.queue, 0x02_00_00_00_00_01 + g, null);
    const n = o.buffers?.[g] ?? 512;
    if (n > 0) q.postPages(n);
    return q;
  });
  const flows: FlowSpec[] = queues.flatMap((_, g) =>
    Array.from({ length: flowsPerGuest }, (_, k) => ({
      flowId: g * flowsPerGuest + k,
      guestIndex: g,
      dstMac: macOf(g),
      srcMac: '02:00:00:ca:b1:e0',
      dstIp: `10.0.0.${g + 1}`,
      srcIp: '10.0.1.1',
      srcPort: 10000 + k,
      dstPort: 9,
    })),
  );
  const seed = o.seed ?? 1;
  const sizes = o.imix ? IMIX_BYTES : [1514];
  const space = { mem: kit.mem, mapPrivate: () => kit.frames };
  const templates = new FlowTemplates(space, { seed, flows, sizes, protocol: 'auto' });
  kit.cable.start(o.link ?? unlimited);
  const generator = new Generator(kit.mem.u8, kit.cable, templates, {
    guests: o.guests,
    flowsPerGuest,
    order: o.imix ? imixOrder(seed) : new Uint8Array(1),
    maxFrames: o.maxFrames ?? Infinity,
    holdAt: kit.frames + (6 << 20),
  });
  return { kit, queues, generator };
}

const lengths = (q: TestQueue): number[] => q.take().frames.map((f) => f.bytes.length);
const cable = (kit: Kit): Record<string, number> => {
  kit.cable.counters.commit();
  return kit.cable.counters.read();
};

t.test('IMIX is 7:4:1 in each round, in an order that the seed decides', (t) => {
  const order = imixOrder(5);
  t.same(
    [0, 1, 2].map((size) => order.filter((s) => s === size).length),
    [700, 400, 100],
  );
  t.same(imixOrder(5), order);
  t.notSame(imixOrder(6), order);
  t.end();
});

t.test('the same seed gives the same frames, another one others', (t) => {
  const frames = (seed: number): string => {
    const { queues, generator } = bench({ guests: 2, seed, imix: true, maxFrames: 600 });
    while (!generator.done) generator.poll();
    return JSON.stringify(queues.map((q) => q.take().frames));
  };
  t.ok(frames(3) === frames(3));
  t.ok(frames(3) !== frames(4));
  t.end();
});

t.test('guests get trains of 32 frames in turn, the same number each', (t) => {
  const { kit, queues, generator } = bench({ guests: 3, maxFrames: 96 * 4 });
  t.equal(generator.poll(), 64);
  t.same(
    queues.map((q) => lengths(q).length),
    [32, 32, 0],
  );
  while (!generator.done) generator.poll();
  t.same(
    queues.map((q) => q.counters.frames),
    [128, 128, 128],
  );
  t.match(cable(kit), { sentFrames: 384, sentBytes: 384 * 1514 });
  t.equal(generator.poll(), 0, 'it ends by itself');
  t.equal(generator.arm(), false);
  t.equal(generator.dueAtNs, Infinity);
  t.end();
});

t.test(
  'a full queue holds its sender and loses nothing; with buffers back it goes on with the very next frame',
  (t) => {
    const { kit, queues, generator } = bench({ guests: 1, flowsPerGuest: 1, buffers: [100] });
    const [q] = queues as [TestQueue];
    const seen: Buffer[] = [];
    const keep = (): void => void q.take().frames.forEach((f) => seen.push(Buffer.from(f.bytes)));
    t.equal(generator.poll(), 64);
    t.equal(generator.poll(), 36);
    t.equal(generator.poll(), 0);
    t.equal(generator.arm(), false);
    t.equal(generator.dueAtNs, kit.laps.now + 2e6);
    t.match(generator.progress(), { sentFrames: 100, heldFrames: 1 });
    keep();
    kit.laps.now += 50_000;
    q.postPages(20, 200);
    t.equal(generator.poll(), 20);
    keep();
    // The stamp's sequence stands at the end of the frame: none is missing, none twice.
    t.same(
      seen.map((f) => f.readUInt32BE(f.length - 16)),
      Array.from({ length: 120 }, (_, i) => i),
    );
    t.equal(cable(kit).pausedNs, 50_000);
    t.end();
  },
);

t.test(
  'a guest that waits for buffers costs the others no more than a look: its frame is offered when there are some',
  (t) => {
    const { kit, queues, generator } = bench({ guests: 2, flowsPerGuest: 1, buffers: [10, 500] });
    const [waits, goesOn] = queues as [TestQueue, TestQueue];
    let offered = 0;
    const deliver = waits.queue.deliver.bind(waits.queue);
    waits.queue.deliver = (...args) => {
      offered++;
      return deliver(...args);
    };
    generator.poll();
    generator.poll();
    offered = 0;
    const before = goesOn.counters.frames;
    for (let i = 0; i < 5; i++) {
      t.equal(generator.poll(), 64);
      t.equal(generator.arm(), false);
    }
    t.equal(offered, 0);
    t.equal(goesOn.counters.frames, before + 5 * 64);
    waits.take();
    waits.postPages(3, 100);
    generator.poll();
    t.equal(waits.counters.frames, 13);
    const sequences = waits.take().frames.map((f) => Buffer.from(f.bytes).readUInt32BE(f.bytes.length - 16));
    t.same(sequences, [10, 11, 12], 'none is missing, none twice');
    kit.laps.now += STARVED_NS;
    generator.poll();
    kit.laps.now += STARVED_NS;
    for (let i = 0; i < 4; i++) generator.poll();
    t.ok(waits.counters.dropNoBuffer > 0, 'one that gets none for too long is not waited for');
    t.end();
  },
);

t.test('H43: a dead guest does not block the others, and after one second its frames drop', (t) => {
  for (const link of [unlimited, { gbps: 10, pause: true, packetMemoryBytes: PACKET_MEMORY_BYTES }]) {
    const { kit, queues, generator } = bench({ guests: 2, buffers: [0, 512], link });
    const [dead, alive] = queues as [TestQueue, TestQueue];
    const run = (ms: number): void => {
      for (let i = 0; i < ms; i++) {
        kit.laps.now += 1e6;
        for (let n = 0; n < 100 && generator.poll() > 0; n++) alive.recycle();
        generator.arm();
      }
    };
    run(20);
    t.equal(dead.counters.dropNoBuffer, 0);
    t.ok(alive.counters.frames > 1000, `${alive.counters.frames} frames`);
    const before = alive.counters.frames;
    kit.laps.now += STARVED_NS;
    run(2);
    t.ok(dead.counters.dropNoBuffer > 0);
    t.ok(alive.counters.frames > before);
    t.equal(cable(kit).sentFrames, alive.counters.frames + dead.counters.dropNoBuffer, 'sent = delivered + dropped');
  }
  t.end();
});

t.test('the link starts with the first burst, not when the load was asked for', (t) => {
  const { kit, generator } = bench({
    guests: 1,
    link: { gbps: 10, pause: true, packetMemoryBytes: PACKET_MEMORY_BYTES },
  });
  kit.laps.now += 5e9;
  t.equal(generator.poll(), 0);
  t.equal(cable(kit).pausedNs, 0);
  t.end();
});

t.test('a paced link sends what is due and sleeps until a burst is', (t) => {
  const { kit, queues, generator } = bench({
    guests: 1,
    link: { gbps: 10, pause: true, packetMemoryBytes: PACKET_MEMORY_BYTES },
  });
  const [q] = queues as [TestQueue];
  let frames = 0;
  const start = kit.laps.now;
  let polledAt = start;
  for (let i = 0; i < 100; i++) {
    polledAt = kit.laps.now;
    while (generator.poll() > 0);
    t.equal(generator.arm(), false);
    t.ok(generator.dueAtNs > kit.laps.now);
    kit.laps.now = generator.dueAtNs;
    frames += q.recycle();
  }
  t.ok(Math.abs(frames - (polledAt - start) / 1230.4) <= 1, `${frames}`);
  t.end();
});

t.test('without flow control an overrun takes sequence numbers with it, and is counted', (t) => {
  const link = { gbps: 10, pause: false, packetMemoryBytes: 16384 };
  const { kit, queues, generator } = bench({ guests: 1, flowsPerGuest: 1, link });
  const [q] = queues as [TestQueue];
  generator.poll(); // the link starts with the first poll
  kit.laps.now += 123.04e3;
  while (generator.poll() > 0);
  const { sentFrames, dropOverrun } = cable(kit) as { sentFrames: number; dropOverrun: number };
  t.equal(sentFrames, 100);
  t.equal(q.counters.frames, 10);
  t.equal(dropOverrun, 90);
  const first = Buffer.from(q.take().frames[0].bytes);
  t.equal(first.readUInt32BE(first.length - 16), 90, 'the receiver sees what is missing');
  t.end();
});

t.test('held frames of many guests do not overwrite each other', (t) => {
  t.ok(HOLD_BYTES >= 9014 && HOLD_BYTES % 64 === 0);
  const { queues, generator } = bench({ guests: 3, buffers: [0, 0, 0], imix: true });
  generator.poll();
  generator.poll();
  t.match(generator.progress(), { sentFrames: 0, heldFrames: 3 });
  for (const q of queues) q.postPages(1);
  t.equal(generator.poll(), 3);
  for (const [g, q] of queues.entries()) t.equal(q.take().frames[0]?.bytes[5], g + 1);
  t.end();
});
