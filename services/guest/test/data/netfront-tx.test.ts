import fc from 'fast-check';
import t from 'tap';
import {
  NETIF_RSP_DROPPED,
  NETIF_RSP_ERROR,
  NETIF_RSP_NULL,
  NETIF_RSP_OKAY,
  NETTXF_CSUM_BLANK,
  NETTXF_DATA_VALIDATED,
  NETTXF_EXTRA_INFO,
  NETTXF_MORE_DATA,
  TX_SLOT_BYTES,
  RING_RSP_PROD,
  TX_RING_SIZE,
  GrantTable,
  BackRing,
  FrontRing,
  idxAdd,
  ringIdx,
} from '@grantline/xen';
import type { DomId, Pfn } from '@grantline/base';
import { CounterBlock, memOver } from '@grantline/machine';
import { NETFRONT_TX_COUNTERS } from '@grantline/observe';
import { SendBuffers } from '@grantline/measure';
import { NetfrontTx, TxGrants } from '../../src/data/netfront-tx.js';

const PAGES = 256;
const PAGE = 4096;
const SRC = (PAGES + 8) * PAGE;

interface Taken {
  id: number;
  gref: number;
  flags: number;
  bytes: Buffer;
}

/** A queue whose back end is the test. */
function make(s: { start?: number; halves?: boolean; perFrame?: boolean } = {}) {
  const mem = memOver(new ArrayBuffer(SRC + 70000));
  const grants = new GrantTable(mem, 0);
  const pfns = Array.from({ length: PAGES }, (_, i) => (i + 6) as Pfn);
  const buffers = new SendBuffers(
    Int32Array.from(pfns, (p) => p * PAGE),
    s.halves ?? false,
  );
  const txGrants = new TxGrants(grants, 1000 as DomId, buffers, pfns);
  const perFrameGrants = s.perFrame ?? true;
  if (!perFrameGrants) for (let id = 0; id < buffers.count; id++) txGrants.issue(id);
  const ring = new FrontRing(mem, 5 * PAGE, TX_RING_SIZE, TX_SLOT_BYTES, ringIdx(s.start ?? 0));
  const back = new BackRing(mem, 5 * PAGE, TX_RING_SIZE, TX_SLOT_BYTES);
  const counters = new CounterBlock(memOver(new ArrayBuffer(1024)), 0, NETFRONT_TX_COUNTERS);
  const faults: string[] = [];
  const peer = { rings: 0, notify: () => void peer.rings++ };
  const onFault = (reason: string): void => void faults.push(reason);
  const tx = new NetfrontTx({ mem, ring, buffers, grants: txGrants, perFrameGrants, counters, peer, onFault });
  /** Entry flags of a gref: what the hypervisor would judge. */
  const grantOf = (gref: number): number => mem.u16[gref * 4];
  const take = (): Taken[] => {
    const out: Taken[] = [];
    let head: Taken | null = null;
    let rest = 0;
    for (let n = back.unconsumed(); n > 0; n--) {
      const at = back.slot(back.reqCons) >> 2;
      const [gref, place, name] = [mem.u32[at], mem.u32[at + 1], mem.u32[at + 2]];
      back.reqCons = idxAdd(back.reqCons, 1);
      const [offset, flags, id, size] = [place & 0xffff, place >>> 16, name & 0xffff, name >>> 16];
      const page = mem.u32[gref * 2 + 1] * PAGE;
      const slot: Taken = { id, gref, flags, bytes: Buffer.alloc(0) };
      out.push(slot);
      if (head === null) {
        head = slot;
        rest = size;
        slot.bytes = Buffer.alloc(size);
        if ((flags & NETTXF_EXTRA_INFO) !== 0) {
          out.push({ id: -1, gref: mem.u32[back.slot(back.reqCons) >> 2], flags: 0, bytes: Buffer.alloc(0) });
          back.reqCons = idxAdd(back.reqCons, 1);
          n--;
        }
      }
      // The first slot's size is the total: its own bytes are what the others leave.
      const own = slot === head ? firstBytes(back, mem.u32, flags, size) : size;
      head.bytes.set(mem.u8.subarray(page + offset, page + offset + own), head.bytes.length - rest);
      rest -= own;
      if ((flags & NETTXF_MORE_DATA) === 0) head = null;
    }
    return out;
  };
  const answer = (list: readonly { id: number; status?: number }[]): void => {
    for (const { id, status = id < 0 ? NETIF_RSP_NULL : NETIF_RSP_OKAY } of list) {
      mem.u32[back.slot(back.rspProdPvt) >> 2] = (id & 0xffff) | (status << 16);
      back.rspProdPvt = idxAdd(back.rspProdPvt, 1);
    }
    back.push();
  };
  const send = (bytes: number, fill: number, mss = 0): boolean => {
    if (!tx.room(bytes)) return false;
    for (let i = 0; i < bytes; i++) mem.u8[SRC + i] = (fill + i * 3) & 255;
    tx.stage(SRC, bytes, mss);
    tx.push();
    return true;
  };
  const v = (): Record<string, number> => {
    counters.commit();
    return counters.read();
  };
  return { mem, grants, buffers, txGrants, ring, back, tx, faults, peer, grantOf, take, answer, send, v };
}

/** Bytes of a packet's first slot: total less the sizes of those that follow, which are in the ring already. */
function firstBytes(back: BackRing, u32: Uint32Array, flags: number, total: number): number {
  let rest = total;
  let i = back.reqCons;
  for (let more = (flags & NETTXF_MORE_DATA) !== 0; more; i = idxAdd(i, 1)) {
    const at = back.slot(i) >> 2;
    rest -= u32[at + 2] >>> 16;
    more = ((u32[at + 1] >>> 16) & NETTXF_MORE_DATA) !== 0;
  }
  return rest;
}

const content = (bytes: number, fill: number): Buffer =>
  Buffer.from(Array.from({ length: bytes }, (_, i) => (fill + i * 3) & 255));

t.test('a packet takes a slot for each buffer, its first with the total and what follows it', (t) => {
  const x = make({ halves: true });
  x.send(65226, 1, 1448);
  x.send(1514, 2);
  const got = x.take();
  t.equal(got.length, 16 + 1 + 1);
  t.same(got[0].bytes, content(65226, 1));
  t.equal(got[0].flags, NETTXF_CSUM_BLANK | NETTXF_DATA_VALIDATED | NETTXF_EXTRA_INFO | NETTXF_MORE_DATA);
  t.equal(got[1].gref, 1 | (1448 << 16), 'extra info behind the first slot: GSO and its size');
  t.same(got[17].bytes, content(1514, 2));
  t.equal(got[17].flags, NETTXF_DATA_VALIDATED);
  t.ok(x.buffers.size[got[17].id] === 2048, 'a small frame lies in half a page');
  t.equal(x.grantOf(got[0].gref), 1 | 4, 'granted for reading only');
  x.answer([got[17], ...got.slice(0, 17).reverse()]);
  t.equal(x.tx.reclaim(), 2);
  t.equal(x.buffers.free, x.buffers.count);
  t.equal(x.grantOf(got[0].gref), 0, 'and ended by the response');
  t.match(x.v(), { packets: 2, slots: 18, sent: 2, grantsIssued: 17, grantsRevoked: 17 });
  t.end();
});

t.test('any packets, answered in any order: bytes arrive as staged, every buffer comes back once', (t) => {
  fc.assert(
    fc.property(
      fc.constantFrom(0, 0xffffff00, 0xffffffff),
      fc.boolean(),
      fc.boolean(),
      fc.array(
        fc.record({
          bytes: fc.integer({ min: 14, max: 20000 }),
          seed: fc.nat(250),
          answers: fc.nat(20),
          gso: fc.boolean(),
        }),
        { maxLength: 40 },
      ),
      (start, halves, perFrame, list) => {
        const x = make({ start, halves, perFrame });
        const open: Taken[] = [];
        let sent = 0;
        let bad = 0;
        const settle = (n: number, seed: number): void => {
          const some: { id: number; status: number }[] = [];
          for (let i = 0; i < n && open.length > 0; i++) {
            const [one] = open.splice((seed * 7 + i * 13) % open.length, 1) as [Taken];
            some.push({ id: one.id, status: one.id < 0 ? NETIF_RSP_NULL : NETIF_RSP_OKAY });
          }
          x.answer(some);
          x.tx.reclaim();
        };
        for (const { bytes, seed, answers, gso } of list) {
          if (x.send(bytes, seed, gso ? 1448 : 0)) {
            const got = x.take();
            open.push(...got);
            sent++;
            if (!got[0].bytes.equals(content(bytes, seed))) bad++;
          }
          if (x.ring.free() < 0) bad++;
          settle(answers, seed);
        }
        settle(300, 1);
        const v = x.v();
        return bad === 0 && x.faults.length === 0 && v['sent'] === sent && x.buffers.free === x.buffers.count;
      },
    ),
    { numRuns: 40 },
  );
  t.end();
});

t.test("fewer than a packet's worth of slots free: it sends no more until responses come", (t) => {
  const x = make({ halves: true });
  let n = 0;
  while (x.send(100, n)) n++;
  t.equal(n, 238, 'so many are out at the stop level of 237');
  t.notOk(x.tx.arm());
  const got = x.take();
  x.answer(got.slice(0, 119));
  t.ok(x.tx.arm(), 'half of what was out has come back');
  t.equal(x.tx.reclaim(), 119);
  t.ok(x.tx.room(65000));
  t.end();
});

t.test('errors and drops are counted; a failed packet gives its buffers back', (t) => {
  const x = make();
  x.send(9000, 1);
  x.send(100, 2);
  x.send(100, 3);
  const got = x.take();
  x.answer([
    got[0],
    { id: got[1].id, status: NETIF_RSP_ERROR },
    got[2],
    { id: got[3].id, status: NETIF_RSP_DROPPED },
    got[4],
  ]);
  t.equal(x.tx.reclaim(), 3);
  t.match(x.v(), { sent: 1, dropError: 2 });
  t.equal(x.buffers.free, x.buffers.count);
  t.end();
});

t.test('a netback that answers the impossible breaks the queue, once (H37)', (t) => {
  type X = ReturnType<typeof make>;
  const cases: [RegExp, (x: X, got: Taken[]) => void][] = [
    [/ahead of the requests/, (x) => void (x.mem.u32[(x.ring.base + RING_RSP_PROD) >> 2] = 3)],
    [/names no buffer/, (x) => x.answer([{ id: 300 }])],
    [/names no buffer/, (x) => x.answer([{ id: 65535 }])],
    [/names no buffer/, (x, [a]) => x.answer([a, a])],
    [/status is none/, (x, [a]) => x.answer([{ id: a.id, status: 2 }])],
    [/status is none/, (x, [a]) => x.answer([{ id: a.id, status: -3 }])],
    [
      /still in use/,
      (x, [a]) => {
        x.mem.u16[a.gref * 4] |= 8;
        x.answer([a]);
      },
    ],
  ];
  for (const [reason, make_] of cases) {
    const x = make();
    x.send(100, 1);
    x.send(100, 2);
    make_(x, x.take());
    x.tx.reclaim();
    x.tx.reclaim();
    t.equal(x.faults.length, 1, String(reason));
    t.match(x.faults[0], reason);
    t.notOk(x.tx.room(60));
    t.notOk(x.tx.arm());
  }
  t.end();
});

t.test('standing grants are issued once and ended at the end; a page that netback keeps is named', (t) => {
  const x = make({ perFrame: false });
  for (let i = 0; i < 300; i++) {
    x.send(100, i);
    x.answer(x.take());
    x.tx.reclaim();
  }
  t.match(x.v(), { sent: 300, grantsIssued: 0, grantsRevoked: 0 });
  t.equal(x.grants.issued, x.buffers.count);
  x.mem.u16[x.txGrants.gref[5] * 4] |= 8;
  t.same([...x.txGrants.endAll()], [11]);
  t.equal(x.grants.revoked, x.buffers.count - 1);
  t.end();
});
