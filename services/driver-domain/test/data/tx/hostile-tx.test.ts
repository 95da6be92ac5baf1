import t from 'tap';
import {
  GNTST,
  NETIF_RSP_ERROR,
  NETIF_RSP_OKAY,
  NETTXF_CSUM_BLANK,
  NETTXF_EXTRA_INFO,
  NETTXF_MORE_DATA,
  TX_SLOT_BYTES,
  XEN_NETIF_EXTRA_FLAG_MORE,
  RING_REQ_PROD,
  RING_RSP_EVENT,
  RING_RSP_PROD,
  TX_RING_SIZE,
  BackRing,
  ringIdx,
} from '@grantline/xen';
import { NETBACK_TX_COUNTERS } from '@grantline/observe';
import { TxPackets, TxRequests } from '../../../src/data/tx/tx-requests.js';
import { block, readsOf } from '../../kit.js';
import { FAR_MAC, FIRST_GREF as G, GUEST_MAC, TxBase, type Slot } from './tx-kit.js';

const MORE = NETTXF_MORE_DATA;
const EXTRA = NETTXF_EXTRA_INFO;

/** A chain of so many slots of 10 bytes. */
const chain = (n: number, total = n * 10): Slot[] =>
  Array.from({ length: n }, (_, i) => ({
    gref: G + (i % 30),
    size: i === 0 ? total : 10,
    flags: i < n - 1 ? MORE : 0,
  }));

/** Ring contents after which the vif must be disabled, and why. */
const FATAL: [string, RegExp, (x: TxBase) => void][] = [
  ['req_prod more than the ring ahead (H1)', /further ahead/, (x) => set(x, 257)],
  ['req_prod that goes backwards (H2)', /further ahead/, (x) => set(x, 0xffffffff)],
  [
    'a packet that goes on beyond what was published (H8)',
    /beyond what was published/,
    (x) => x.slots({ gref: G, size: 60, flags: MORE }),
  ],
  ['21 slots after the first (H9)', /more slots/, (x) => x.slots(...chain(22))],
  [
    'a slot over the end of its page (H11)',
    /end of its page/,
    (x) => x.slots({ gref: G, size: 100, flags: MORE }, { gref: G, offset: 4090, size: 10 }),
  ],
  [
    'a first slot over the end of its page (H11)',
    /end of its page/,
    (x) => x.slots({ gref: G, offset: 4000, size: 97 }),
  ],
  ['a first slot at offset 65535 (H11)', /end of its page/, (x) => x.slots({ gref: G, offset: 65535, size: 14 })],
  ['extra info that is not there (H13)', /extra info is missing/, (x) => x.slots({ gref: G, size: 60, flags: EXTRA })],
  ['extra info of type 0 (H13)', /type that there is not/, (x) => withExtra(x, 0)],
  ['extra info of an unknown type (H13)', /type that there is not/, (x) => withExtra(x, 6)],
  ['segments of 0 bytes (H13)', /0 bytes/, (x) => withExtra(x, 1, 0, 0, 1)],
  ['segmentation of an unknown type (H13)', /unknown type/, (x) => withExtra(x, 1, 0, 1448, 2)],
  ['an endless chain of extra info (H13)', /extra info is missing/, (x) => endless(x)],
];

function set(x: TxBase, prod: number): void {
  x.arena.mem.u32[(x.ring.base + RING_REQ_PROD) >> 2] = prod;
}

function withExtra(x: TxBase, type: number, flags = 0, mss = 0, gso = 0): void {
  x.raw(G, EXTRA << 16, 60 << 16);
  x.extra(type, flags, mss, gso);
  x.ring.push();
}

function endless(x: TxBase): void {
  x.raw(G, EXTRA << 16, 60 << 16);
  for (let i = 0; i < 255; i++) x.extra(2, XEN_NETIF_EXTRA_FLAG_MORE);
  x.ring.push();
}

for (const [name, reason, make] of FATAL)
  t.test(`tx: ${name} disables the vif`, (t) => {
    const x = new TxBase();
    make(x);
    x.run();
    t.equal(x.faults.length, 1);
    t.match(x.faults[0], reason);
    t.equal(x.v['ringFaults'], 1);
    t.ok(x.tx.stopped);
    t.equal(x.tx.poll(), 0);
    t.equal(x.tx.arm(), false);
    t.equal(x.sent.length, 0);
    t.end();
  });

t.test('tx: 19 and 20 slots after the first are dropped, 18 are sent (H9)', (t) => {
  for (const [slots, sent] of [
    [19, 1],
    [20, 0],
    [21, 0],
  ] as const) {
    const x = new TxBase();
    const bytes = x.frame(1, slots * 10);
    const list = chain(slots);
    list.forEach((s, i) => x.arena.mem.u8.set(bytes.subarray(i * 10, i * 10 + 10), x.pageOf(s.gref)));
    x.slots(...list);
    x.run();
    t.equal(x.sent.length, sent, `${slots} slots`);
    if (sent === 1) t.same(x.sent[0].bytes, bytes, 'headers split over many tiny slots are put together (H14)');
    t.equal(x.v['dropTooManySlots'], 1 - sent);
    t.same([...new Set(x.take().map((r) => r.status))], [sent === 1 ? NETIF_RSP_OKAY : NETIF_RSP_ERROR]);
    t.same(x.leaks(), []);
    t.equal(x.faults.length, 0);
  }
  t.end();
});

t.test(
  'tx: sizes that do not add up, and frames without an Ethernet header, are answered with errors (H10, H12)',
  (t) => {
    const x = new TxBase();
    x.slots({ gref: G, size: 50, flags: MORE }, { gref: G + 1, size: 51 });
    x.slots({ gref: G, size: 100, flags: MORE }, { gref: G + 1, size: 60, flags: MORE }, { gref: G + 2, size: 41 });
    x.slots({ gref: G, size: 13 });
    x.slots({ gref: G, size: 0 });
    x.send(x.frame(1, 60), [G + 5], [4096]);
    x.run();
    const answers = x.take();
    t.equal(answers.length, 8);
    t.equal(answers.filter((r) => r.status === NETIF_RSP_ERROR).length, 7);
    t.equal(x.v['dropBadRequest'], 4);
    t.equal(x.sent.length, 1);
    t.equal(x.faults.length, 0);
    t.end();
  },
);

t.test('tx: slots of no bytes are answered and nothing is mapped for them (H12)', (t) => {
  const x = new TxBase();
  const bytes = x.frame(1, 300);
  x.arena.mem.u8.set(bytes.subarray(0, 200), x.pageOf(G + 1));
  x.arena.mem.u8.set(bytes.subarray(200), x.pageOf(G + 3));
  x.slots(
    { gref: 4000, size: 300, flags: MORE },
    { gref: G + 1, size: 200, flags: MORE },
    { gref: 4001, size: 0, flags: MORE },
    { gref: G + 3, size: 100 },
  );
  x.run();
  t.same(x.sent[0]?.bytes, bytes);
  t.equal(x.take().length, 4);
  t.same(x.leaks(), []);
  t.end();
});

t.test('tx: a request, header or payload slot rewritten after it was taken changes nothing (H3)', (t) => {
  const x = new TxBase();
  for (let i = 0; i < 4; i++) x.pooled(G + i);
  const frame = x.frame(1, 1514);
  x.send(frame, [G], [4096]);
  x.tx.poll();
  const at = x.ring.slot(ringIdx(0)) >> 2;
  x.arena.mem.u32.fill(0xffffffff, at, at + 3);
  // The source address was judged: rewriting it in the page does not let a spoofed one out.
  x.arena.mem.u8.fill(0xee, x.pageOf(G), x.pageOf(G) + 128);
  x.run();
  t.same(x.sent[0].bytes, frame);
  t.same(x.take(), [{ id: 0, status: 0 }]);
  t.end();
});

t.test('tx: rsp_prod and rsp_event that the guest wrote move nothing (H4, H7)', (t) => {
  const x = new TxBase();
  x.arena.mem.u32[(x.ring.base + RING_RSP_PROD) >> 2] = 77;
  x.arena.mem.u32[(x.ring.base + RING_RSP_EVENT) >> 2] = 0x80000000;
  x.send(x.frame(1, 60), [G], [4096]);
  x.run();
  t.equal(x.take().length, 1);
  t.equal(x.faults.length, 0);
  t.end();
});

t.test('tx: ids are only echoed, also those that are used twice or out of range (H15)', (t) => {
  const x = new TxBase();
  x.slots(...[7, 7, 65535, 300].map((id) => ({ gref: G + 1, size: 60, id })));
  x.arena.mem.u8.set(x.frame(1, 60), x.pageOf(G + 1));
  x.run();
  t.same(
    x.take().map((r) => r.id),
    [7, 7, 65535, 300],
  );
  t.end();
});

t.test(
  'tx: a grant that is bad costs its own packet: ERROR in its slot, OKAY in the others, all unmapped (H18)',
  (t) => {
    const x = new TxBase();
    x.xen.refuses.set(G + 1, GNTST.generalError);
    x.send(x.frame(1, 6000), [G, G + 1], [3000]);
    x.slots({ gref: 0xffffffff, size: 60 }, { gref: 3, size: 2000 }, { gref: 0x7fffffff, size: 500 });
    x.send(x.frame(2, 1514), [G + 2], [4096]);
    x.run();
    t.same(
      x
        .take()
        .map((r) => r.status)
        .sort(),
      [NETIF_RSP_ERROR, NETIF_RSP_ERROR, NETIF_RSP_ERROR, NETIF_RSP_ERROR, NETIF_RSP_OKAY, NETIF_RSP_OKAY].sort(),
    );
    t.equal(x.v['dropGrantError'], 4);
    t.equal(x.sent.length, 1);
    t.same(x.leaks(), []);
    t.equal(x.faults.length, 0);
    t.end();
  },
);

t.test('tx: one grant in many slots of a batch is mapped and unmapped as often (H19, H26)', (t) => {
  const x = new TxBase();
  x.arena.mem.u8.set(x.frame(1, 1000), x.pageOf(G));
  for (let i = 0; i < 200; i++) x.slots({ gref: G, size: 1000 });
  x.run();
  t.equal(x.sent.length, 200);
  t.equal(x.take().length, 200);
  t.same(x.leaks(), []);
  // No place left in the window: packets fail one by one, and the vif stays.
  x.windowFree = 0;
  x.slots({ gref: G, size: 1000 });
  x.run();
  t.same(
    x.take().map((r) => r.status),
    [NETIF_RSP_ERROR],
  );
  t.equal(x.faults.length, 0);
  t.end();
});

t.test('H3: no byte of a transmit slot or of extra info is read twice when a packet is taken', (t) => {
  const x = new TxBase();
  x.send(x.frame(1, 3000), [G, G + 1], [2000], 0, 0, 1448);
  const { mem } = x.arena;
  const reads = readsOf(mem, x.ring.slot(ringIdx(0)), 3 * TX_SLOT_BYTES);
  const packets = new TxPackets();
  const ring = new BackRing(mem, x.ring.base, TX_RING_SIZE, TX_SLOT_BYTES);
  const requests = new TxRequests(reads.mem, ring, packets, block(NETBACK_TX_COUNTERS));
  const packet = requests.take(3);
  t.ok(packet >= 0);
  t.equal(packets.total[packet], 3000);
  t.equal(reads.most(), 1);
  t.end();
});

t.test('H7: tx: wherever the guest puts rsp_event, nothing spins and nothing is left lying', (t) => {
  // How often 40 responses from there on pass it.
  for (const [event, rings] of [
    [0x7fffffff, 0],
    [0x80000000, 0],
    [0xffffffff, 1],
    [1, 1],
  ] as const) {
    const x = new TxBase({ start: 0xfffffff0 });
    for (let i = 0; i < 40; i++) {
      x.arena.mem.u32[(x.ring.base + RING_RSP_EVENT) >> 2] = event;
      x.send(x.frame(i, 60), [G], [4096]);
      x.run();
      t.equal(x.tx.poll(), 0);
      t.equal(x.tx.arm(), false);
      t.equal(x.take().length, 1);
    }
    t.equal(x.guest.rings, rings, `event ${event}`);
    t.same(x.leaks(), []);
  }
  t.end();
});

t.test(
  'H14: a packet whose slots all lie within the first 128 bytes, its headers over many of them, is sent whole',
  (t) => {
    for (const [bytes, mss] of [
      [6, 0],
      [7, 20],
    ] as const) {
      const x = new TxBase();
      const frame = mss === 0 ? x.frame(1, 18 * bytes) : tcpFrame(18 * bytes);
      const grefs = Array.from({ length: 18 }, (_, i) => G + i);
      x.send(frame, grefs, [bytes], 4090 - 7, mss === 0 ? 0 : NETTXF_CSUM_BLANK, mss);
      x.run();
      t.equal(x.faults.length, 0);
      t.same(x.sent[0]?.bytes, frame, `slots of ${bytes} bytes`);
      t.same(x.leaks(), []);
    }
    t.end();
  },
);

/** A TCP segment of the guest, 12 bytes of options included. */
function tcpFrame(len: number): Buffer {
  const frame = Buffer.alloc(len);
  frame.set(FAR_MAC, 0);
  frame.set(GUEST_MAC, 6);
  frame.writeUInt16BE(0x0800, 12);
  frame[14] = 0x45;
  frame.writeUInt16BE(len - 14, 16);
  frame[22] = 64;
  frame[23] = 6;
  frame.set([10, 77, 0, 1], 26);
  frame.set([10, 77, 255, 254], 30);
  frame[46] = 8 << 4;
  frame[47] = 0x10;
  return frame;
}

/** Properties and elements of all that can be reached from it. */
function sizeOf(root: object): number {
  const reached = new Set<object>([root]);
  let size = 0;
  for (const at of reached) {
    if (ArrayBuffer.isView(at)) continue;
    const inner: unknown[] = at instanceof Map || at instanceof Set ? [...at].flat() : Object.values(at);
    size += inner.length;
    for (const one of inner) if (typeof one === 'object' && one !== null) reached.add(one);
  }
  return size;
}

t.test('H17: extra info about groups and hashes is taken, answered and makes nothing grow', (t) => {
  for (const type of [2, 3, 4]) {
    const x = new TxBase();
    const frame = x.frame(1, 60);
    x.arena.mem.u8.set(frame, x.pageOf(G));
    const { requests } = x.tx as unknown as { requests: TxRequests };
    let size = 0;
    for (let round = 0; round < 20; round++) {
      if (round === 2) size = sizeOf(requests);
      x.raw(G, EXTRA << 16, 60 << 16);
      for (let i = 0; i < 17; i++) x.extra(type, i < 16 ? XEN_NETIF_EXTRA_FLAG_MORE : 0, 0xffff, 0xffffffff);
      x.ring.push();
      x.run();
      t.equal(x.take().length, 18);
    }
    t.equal(x.faults.length, 0);
    t.equal(sizeOf(requests), size);
    t.equal(x.sent.length, 20);
    t.same(x.sent[19].bytes, frame);
    t.match(x.v, { extras: 340, packets: 20 });
    t.same(x.leaks(), []);
  }
  t.end();
});

for (const [name, , make] of FATAL)
  t.test(`H39: tx: after ${name} everything that was taken comes back`, (t) => {
    const x = new TxBase();
    x.pooled(G + 40);
    x.send(x.frame(1, 3000), [G + 41, G + 42], [2000]);
    x.send(x.frame(2, 60), [G + 40], [4096]);
    x.tx.poll();
    make(x);
    x.run();
    t.equal(x.faults.length, 1);
    x.run();
    x.port.forget(x.tx);
    x.tx.takeMappings((handle) => t.equal(x.xen.unpin(handle), 0));
    t.equal(x.xen.mapped.size, 0);
    t.equal(x.xen.pins.size, 0);
    t.equal(x.windowFree, 256);
    t.equal(x.port.room(), 256, 'descriptors');
    t.end();
  });
