import t from 'tap';
import {
  NICTX_COMP_REFUSED,
  NICTX_COMP_SENT,
  NICTX_CSUM_TCP,
  NICTX_MAX_CHAIN,
  NICTX_TSO,
  NETIF_RSP_DROPPED,
  NETIF_RSP_NULL,
  NETTXF_CSUM_BLANK,
} from '@grantline/xen';
import { BURST_BYTES, TxCredit } from '../../../src/data/tx/tx-policy.js';
import { STORM_BURST, STORM_PER_SECOND } from '@grantline/frames';
import { Bell, frameOf } from '../../kit.js';
import { FIRST_GREF as G, GUEST_MAC, TxBase } from './tx-kit.js';

const grefs = (n: number, from = 0): number[] => Array.from({ length: n }, (_, i) => G + from + i);

t.test('per frame: one copy and one map hypercall for a whole poll; answered only when all is unmapped', (t) => {
  const x = new TxBase();
  const frames = [x.frame(1, 1514), x.frame(2, 60), x.frame(3, 1514)];
  frames.forEach((f, i) => x.send(f, [G + i], [4096], 64));
  x.tx.poll();
  t.same(
    x.xen.hypercalls,
    [
      { kind: 'copy', count: 3 },
      { kind: 'map', count: 2 },
    ],
    'the short frame is copied as a whole',
  );
  x.replyAll();
  x.tx.poll();
  t.equal(x.xen.mapped.size, 2, 'the rest is really mapped');
  x.transmit();
  x.port.poll();
  t.same(x.take(), [], 'sent, and still mapped: no answer');
  x.tx.poll();
  t.same(x.take(), [{ id: 1, status: 0 }], 'the short one had nothing mapped');
  t.equal(x.xen.mapped.size, 0);
  t.equal(x.xen.pins.size, 2, 'the hypervisor has not answered');
  x.replyAll();
  x.tx.poll();
  t.same(
    x.take().map((r) => r.id),
    [0, 2],
  );
  t.same(
    x.sent.map((s) => s.bytes),
    frames,
  );
  t.same(x.leaks(), []);
  t.match(x.v, { packets: 3, toUplink: 3, mapOps: 2, unmapOps: 2, copyOps: 3, localCopies: 0 });
  t.end();
});

t.test('standing grants: no hypercall at all, the header copied, the rest read where it lies', (t) => {
  const x = new TxBase({ ownPort: true });
  for (const g of grefs(40)) x.pooled(g);
  const big = x.frame(1, 65000);
  x.send(big, grefs(16), [4096]);
  x.send(x.frame(2, 1514), [G + 20], [2048], 2048);
  x.run();
  t.same(x.xen.hypercalls, []);
  t.same(x.sent[0].bytes, big);
  t.same(x.sent[1].bytes, x.frame(2, 1514));
  t.equal(x.take().length, 17);
  t.same(x.leaks(), []);
  t.match(x.v, { toNic: 2, localCopies: 2, localCopiedBytes: 256, hypercalls: 0 });
  t.end();
});

t.test('a segmentation offload and its extra info: slots, NULL response, what the NIC is told', (t) => {
  const x = new TxBase();
  const packet = x.frame(1, 6000);
  packet.set([0x08, 0, 0x45], 12);
  packet[23] = 6;
  packet[46] = 0x80;
  x.send(packet, grefs(2), [4096], 0, NETTXF_CSUM_BLANK, 1448);
  x.run();
  t.match(x.sent[0], { flags: NICTX_TSO | NICTX_CSUM_TCP, mss: 1448, csumStart: 34, header: 66 });
  t.same(
    x.take().map((r) => r.status),
    [0, NETIF_RSP_NULL, 0],
  );
  t.match(x.v, { packets: 1, slots: 2, extras: 1 });
  // A packet that wants what its headers do not allow is dropped, and costs nobody else anything.
  for (const bend of [(b: Buffer) => (b[12] = 0x86), (b: Buffer) => (b[23] = 1), (b: Buffer) => (b[46] = 0x10)]) {
    const bad = Buffer.from(packet);
    bend(bad);
    x.send(bad, grefs(2, 4), [4096], 0, NETTXF_CSUM_BLANK, 1448);
    x.run();
  }
  t.equal(x.v['dropBadHeader'], 3);
  t.ok(x.take().every((r) => r.status === NETIF_RSP_DROPPED || r.status === NETIF_RSP_NULL));
  t.same(x.leaks(), []);
  t.end();
});

t.test('a NIC queue without room holds the ring, and nothing is lost', (t) => {
  const x = new TxBase();
  for (const g of grefs(60)) x.pooled(g);
  for (let i = 0; i < 250; i++) x.send(x.frame(i, 1514), [G + (i % 60)], [4096]);
  for (let i = 0; i < 10; i++) x.tx.poll();
  t.ok(x.v['packets'] < 130, 'two descriptors each: the queue is full');
  t.equal(x.tx.arm(), false, 'it waits for the NIC, not for the guest');
  x.transmit();
  x.tx.scheduled = false;
  x.port.poll();
  t.ok(x.tx.scheduled, 'completions put it back to work');
  x.run();
  t.equal(x.sent.length, 250);
  t.equal(x.take().length, 250);
  t.same(x.leaks(), []);
  t.end();
});

t.test('what the NIC refuses is answered as dropped', (t) => {
  const x = new TxBase();
  x.send(x.frame(1, 200), [G], [4096]);
  x.tx.poll();
  x.replyAll();
  x.tx.poll();
  x.transmit(NICTX_COMP_REFUSED);
  x.run();
  t.same(x.take(), [{ id: 0, status: NETIF_RSP_DROPPED }]);
  t.match(x.v, { toUplink: 1, nicErrors: 1 });
  t.same(x.leaks(), []);
  t.end();
});

t.test(
  'spoofed sources are dropped, group addresses limited in rate, frames to oneself not turned round (H16)',
  (t) => {
    const x = new TxBase();
    const spoofed = x.frame(1, 60);
    spoofed[11] = 9;
    const hairpin = x.frame(2, 60);
    hairpin.set([2, 0, 0, 0, 0, 1], 0);
    const group = x.frame(3, 60);
    group.fill(255, 0, 6);
    x.send(spoofed, [G], [4096]);
    x.send(hairpin, [G + 1], [4096]);
    x.run();
    t.match(x.v, { dropSpoofed: 1, dropHairpin: 1 });
    const flood = (n: number): void => {
      for (let i = 0; i < n; i++) {
        x.send(group, [G + 2], [4096]);
        x.run();
        x.take();
      }
    };
    flood(STORM_BURST + 50);
    t.equal(x.v['dropStorm'], 50);
    x.meter.now += 1e9 / (STORM_PER_SECOND / 10);
    flood(20);
    t.equal(x.v['dropStorm'], 60, 'ten more after as many thousandths of a second');
    t.same(x.leaks(), []);
    t.end();
  },
);

t.test('H16 ARP and IPv4 of an address that the toolstack gave to nobody here, or to another, do not pass', (t) => {
  const x = new TxBase({ ip: '10.77.0.1' });
  x.bridge.given.add('02:00:00:00:00:02', '10.77.0.2');
  const frame = (type: number[], sender: number, address: number[]): Buffer => {
    const f = x.frame(1, 60);
    f.set(type, 12);
    f.set(address, sender);
    return f;
  };
  const arp = [8, 6, 0, 1, 8, 0, 6, 4, 0, 2, 2, 0, 0, 0, 0, 1];
  const tagged = [0x81, 0, 0, 5, 8, 0, 0x45];
  const all = [
    frame([8, 0, 0x45], 26, [10, 77, 0, 2]),
    frame(arp, 28, [10, 77, 0, 2]),
    frame(arp, 28, [10, 77, 255, 254]),
    frame(tagged, 30, [10, 77, 0, 2]),
  ];
  for (const f of all) {
    x.send(f, [G], [4096]);
    x.run();
    x.take();
  }
  t.match(x.v, { packets: all.length, dropSpoofed: all.length, toUplink: 0 });
  for (const f of [frame([8, 0, 0x45], 26, [10, 77, 0, 1]), frame(arp, 28, [10, 77, 0, 1])]) {
    x.send(f, [G], [4096]);
    x.run();
    x.take();
  }
  t.match(x.v, { dropSpoofed: all.length, toUplink: 2 });
  t.same(x.leaks(), []);
  t.end();
});

t.test(
  'H16 behind a nested vif there are several stations, which the bridge learns; none of them is another guest',
  (t) => {
    const x = new TxBase({ ip: '10.77.0.1', nested: true });
    x.bridge.given.add('02:00:00:00:00:02', '10.77.0.2');
    const frame = (source: number[]): Buffer => {
      const f = x.frame(1, 60);
      f.set(source, 6);
      return f;
    };
    for (const source of [
      [2, 0, 0, 0, 9, 9],
      [2, 0, 0, 0, 0, 2],
    ]) {
      x.send(frame(source), [G], [4096]);
      x.run();
      x.take();
    }
    t.match(x.v, { dropSpoofed: 1, toUplink: 1 });
    const learned = x.bridge.entries(0).find((e) => e.mac === '02:00:00:00:09:09');
    t.match(learned, { port: 1, isStatic: false });
    t.end();
  },
);

t.test('a bulk packet to a group address counts as the frames that it becomes (H16)', (t) => {
  const taken: number[] = [];
  const x = new TxBase({ local: { take: (_, packet) => taken.push(packet) * 0, leave: () => {} } });
  const bulk = x.frame(1, 54 + 200);
  bulk.fill(255, 0, 6);
  bulk.set([8, 0, 0x45, 0], 12);
  bulk[23] = 6;
  bulk[46] = 0x50;
  for (let i = 0; i < 3; i++) {
    x.send(bulk, [G], [4096], 0, NETTXF_CSUM_BLANK, 2);
    x.run();
    x.take();
  }
  t.match(x.v, { flooded: 2, dropStorm: 1 }, 'a hundred frames each, of 256');
  t.equal(taken.length, 2);
  t.end();
});

t.test(
  'credit: so many bytes in a window, the rest waits for the next one; a rate that is none limits nothing',
  (t) => {
    const x = new TxBase();
    x.credit.set('3000,1000');
    for (let i = 0; i < 4; i++) x.send(x.frame(i, 1500), [G + i], [4096]);
    x.run();
    t.equal(x.sent.length, 2);
    t.equal(x.timers.length, 1);
    t.equal(x.tx.arm(), false);
    x.meter.now += 1e6;
    x.timers.pop()!.then();
    t.ok(x.tx.scheduled);
    x.run();
    t.equal(x.sent.length, 4);

    const c = new TxCredit();
    t.ok(c.set('1000,1000'));
    t.notOk(c.allows(60000, 0), 'a packet larger than a window waits');
    for (let i = 1; i < 60; i++) c.allows(60000, i * 1e6);
    t.ok(c.allows(60000, 60e6), 'and goes when it has saved enough');
    c.charge(60000);
    t.notOk(c.allows(1000, 60.1e6));
    t.ok(BURST_BYTES > 65535);
    for (const text of ['', 'x', '1', '5,', '-1,5', '1e3,5']) t.notOk(c.set(text), text);
    t.ok(c.allows(1e9, 0), 'no rate: no limit');
    t.ok(c.set(null));
    t.end();
  },
);

t.test(
  'a vif that waits for room on the uplink is woken when what was kept for packets of another is not needed',
  (t) => {
    const x = new TxBase({ local: { take: () => 1, leave: () => {} } });
    for (let i = 0; i < 128; i++) x.send(frameOf(i, 1514, [2, 0, 0, 0, 0, 2], GUEST_MAC), [G + (i % 64)], [4096]);
    while (x.tx.poll() > 0);
    t.ok(x.port.room() < NICTX_MAX_CHAIN, 'headers are under way for so many that there is no room');
    const other = { scheduled: false, held: 0, poll: () => 0, arm: () => false, sent: () => {} };
    x.port.waitFor(other);
    t.ok(x.replyAll() > 0);
    x.tx.poll();
    t.equal(x.sent.length, 0, 'all of them went to another guest');
    t.ok(other.scheduled);
    t.end();
  },
);

t.test('vifs that want more than the uplink takes get the same of it, whichever is asked first (H43)', (t) => {
  const first = new TxBase();
  const all = [first, new TxBase({ port: first.port }), new TxBase({ port: first.port })];
  const { device, port } = first;
  for (const x of all) for (let i = 0; i < 64; i++) x.pooled(G + i);
  for (let round = 0; round < 300; round++) {
    for (const x of all) {
      x.take();
      // The ring stays full; each packet has two descriptors.
      while (x.ring.free() > 0) x.send(x.frame(round, 1514), [G + (round % 64)], [4096]);
    }
    port.poll();
    for (const x of all) x.tx.poll();
    device.complete(Math.min(64, device.available()), NICTX_COMP_SENT);
    device.publish();
  }
  const sent = all.map((x) => x.v['toUplink']);
  const total = sent.reduce((a, b) => a + b);
  t.ok(total > 9000, `the uplink is kept busy: ${total} packets`);
  t.ok(Math.min(...sent) > 0.3 * total, `${sent.join(', ')} packets`);
  t.end();
});

t.test('credit: a rate that is raised counts at once, whatever the old window was', (t) => {
  const x = new TxBase();
  x.credit.set('1000,4000000000');
  for (let i = 0; i < 5; i++) x.send(x.frame(i, 1500), [G + i], [4096]);
  x.run();
  t.equal(x.sent.length, 1);
  t.same(
    x.timers.map((w) => w.ns),
    [4e12],
  );
  x.credit.set('3000,1000');
  x.run();
  t.equal(x.sent.length, 3);
  t.equal(x.timers[1]?.ns, 1e6, 'the rest waits for the new window');
  x.meter.now += 1e6;
  x.timers[1]?.then();
  x.run();
  t.equal(x.sent.length, 5);
  t.end();
});

t.test('stop: what is under way comes back, mappings are given up once, nothing is answered', (t) => {
  const x = new TxBase();
  for (let i = 0; i < 6; i++) x.send(x.frame(i, 1514), [G + i], [4096]);
  x.tx.poll();
  x.replyAll();
  x.tx.poll();
  for (let i = 6; i < 9; i++) x.send(x.frame(i, 1514), [G + i], [4096]);
  x.tx.poll();
  x.tx.stop();
  x.replyAll();
  x.transmit();
  x.port.poll();
  t.equal(x.tx.poll(), 0);
  const handles: number[] = [];
  x.tx.takeMappings((handle) => handles.push(handle));
  for (const h of handles) t.equal(x.xen.unpin(h), 0);
  x.tx.takeMappings(() => t.fail('twice'));
  t.equal(x.xen.pins.size, 0);
  t.equal(x.xen.mapped.size, 0);
  t.match(x.v, { packets: 9, toUplink: 6, dropDisabled: 3 });
  t.equal(x.port.room(), 256);
  t.end();
});

for (const standing of [false, true])
  t.test(
    `a NIC that dies: what it had is answered and let go of, what follows is lost and nothing waits, the next one sends (${standing ? 'standing grants' : 'per frame'})`,
    (t) => {
      const x = new TxBase();
      if (standing) for (const g of grefs(40)) x.pooled(g);
      for (let i = 0; i < 4; i++) x.send(x.frame(i, 1514), [G + i], [4096]);
      x.tx.poll();
      x.replyAll();
      x.tx.poll();
      t.ok(x.port.outstanding(x.tx) > 0, 'the NIC has them');
      // One whose mapping is still under way when the NIC goes.
      x.send(x.frame(4, 1514), [G + 4], [4096]);
      x.tx.poll();
      x.port.down();
      t.equal(x.port.outstanding(x.tx), 0, 'nothing is with the NIC any more');
      for (let i = 5; i < 40; i++) x.send(x.frame(i, 1514), [G + i], [4096]);
      const settle = (): void => {
        for (let i = 0; i < 20; i++) {
          x.tx.poll();
          x.replyAll();
          x.port.poll();
        }
      };
      settle();
      t.same(
        x.take().map((r) => r.status),
        new Array(40).fill(NETIF_RSP_DROPPED),
      );
      t.match(x.v, { packets: 40, toUplink: 40, nicErrors: 40 }, 'every one is counted');
      t.same(x.leaks(), []);
      const next = x.newNic();
      x.port.connect(next, new Bell());
      for (let i = 0; i < 3; i++) x.send(x.frame(50 + i, 1514), [G + i], [4096]);
      x.run();
      t.same(
        x.take().map((r) => r.status),
        [0, 0, 0],
      );
      t.same(
        x.sent.map((f) => f.bytes),
        [50, 51, 52].map((n) => x.frame(n, 1514)),
      );
      t.same(x.leaks(), []);
      t.end();
    },
  );

t.test('packets taken before there is a NIC are lost, and those on their way when it comes go out', (t) => {
  const x = new TxBase();
  x.port.down();
  x.send(x.frame(1, 1514), [G], [4096]);
  x.tx.poll();
  x.replyAll();
  x.tx.poll();
  x.send(x.frame(2, 1514), [G + 1], [4096]);
  x.tx.poll();
  x.port.connect(x.newNic(), new Bell());
  x.run();
  t.same(
    x.take().map((r) => [r.id, r.status]),
    [
      [0, NETIF_RSP_DROPPED],
      [1, 0],
    ],
  );
  t.same(
    x.sent.map((f) => f.bytes),
    [x.frame(2, 1514)],
  );
  t.same(x.leaks(), []);
  t.end();
});
