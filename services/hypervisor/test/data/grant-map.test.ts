import t from 'tap';
import {
  GNTMAP_READONLY,
  GNTPIN_MAX,
  GNTST,
  GRANT_ENTRIES,
  GTF_PERMIT_ACCESS,
  GTF_READING,
  GTF_READONLY,
  GTF_WRITING,
} from '@grantline/xen';
import type { Gref } from '@grantline/base';
import { memOver, type Mem } from '@grantline/machine';
import { ActiveEntries, PIN_HOST_WRITE, STATUS_ATTEMPTS } from '../../src/data/active-entries.js';
import { grantRows, mappingRows } from '../../src/control/inspect.js';
import { Bed, DEVICE, DRIVER, G1, G2, HOST, OK, PAGES, grant, map, unmap, type BedOptions } from './grant-bed.js';

const RW = GTF_PERMIT_ACCESS | GTF_READING | GTF_WRITING;
const RO = GNTMAP_READONLY;

function bed(options: BedOptions = {}) {
  const b = new Bed(options);
  return { b, driver: b.add(DRIVER), guest: b.add(G1), other: b.add(G2) };
}

t.test('a map pins the page, sets the status bits, and an unmap undoes both', (t) => {
  const { b, driver, guest } = bed();
  const gref = grant(guest, DRIVER, 5);
  const [m] = map(driver, [HOST, gref, G1]);
  t.match(m, { status: OK, pfn: 5, dpn: 0 });
  t.equal(b.flags(guest, gref), RW);
  t.equal(guest.grants.endAccess(gref as Gref), false, 'in use cannot be revoked');
  t.same(unmap(driver, { handle: m.handle, host: true }), [OK]);
  t.equal(guest.grants.endAccess(gref as Gref), true);
  t.ok(b.atRest(driver, guest));
  t.end();
});

t.test('a read-only map sets only GTF_READING, and a writer beside it adds and takes GTF_WRITING', (t) => {
  const { b, driver, guest } = bed();
  const gref = grant(guest, DRIVER, 5);
  const [r] = map(driver, [HOST | RO, gref, G1]);
  t.equal(b.flags(guest, gref), GTF_PERMIT_ACCESS | GTF_READING);
  const [w] = map(driver, [HOST, gref, G1]);
  t.equal(b.flags(guest, gref), RW);
  t.not(r.handle, w.handle, 'each map has its own handle');
  unmap(driver, { handle: w.handle, host: true });
  t.equal(b.flags(guest, gref), GTF_PERMIT_ACCESS | GTF_READING);
  unmap(driver, { handle: r.handle, host: true });
  t.equal(b.flags(guest, gref), GTF_PERMIT_ACCESS);
  t.end();
});

t.test('H18: each wrong reference gets its own status, and the good ones beside it are mapped', (t) => {
  const { b, driver, guest } = bed();
  const good = grant(guest, DRIVER, 4);
  const readonly = grant(guest, DRIVER, 5, true);
  const foreign = grant(guest, G2, 6);
  const noPage = grant(guest, DRIVER, PAGES);
  const res = map(
    driver,
    [HOST, GRANT_ENTRIES, G1],
    [HOST, 0xffffffff, G1],
    [HOST, 3, G1],
    [HOST, 2000, G1],
    [HOST, foreign, G1],
    [HOST, readonly, G1],
    [HOST, good, G1],
    [HOST, noPage, G1],
    [HOST, good, 77],
    [HOST, good, 0x7ff0],
    [HOST, good, 0xffff],
    [RO, good, G1],
    [HOST | RO, readonly, G1],
  );
  t.same(
    res.map((r) => r.status),
    [
      GNTST.badGntref,
      GNTST.badGntref,
      GNTST.badGntref,
      GNTST.generalError,
      GNTST.generalError,
      GNTST.generalError,
      OK,
      GNTST.badPage,
      GNTST.badDomain,
      GNTST.badDomain,
      GNTST.badDomain,
      GNTST.badGntref,
      OK,
    ],
  );
  t.equal(res[0].handle, 0xffffffff, 'a failed element names no handle');
  t.equal(driver.memory.maptrack.used, 2);
  t.equal(b.flags(guest, noPage), GTF_PERMIT_ACCESS, 'a bad page leaves no status bit');
  t.equal(b.flags(guest, readonly), GTF_PERMIT_ACCESS | GTF_READONLY | GTF_READING);
  const v = driver.memory.counters;
  const count = (name: string) => v.v[v.names.indexOf(name)];
  t.same([count('calls'), count('mapOps'), count('okay'), count('generalError')], [1, 13, 2, 3]);
  t.same([count('badGntref'), count('badDomain'), count('badPage')], [4, 3, 1]);
  t.end();
});

t.test('H19: one gref mapped twice in a batch has two handles, and each is unmapped once', (t) => {
  const { b, driver, guest } = bed();
  const gref = grant(guest, DRIVER, 5);
  const [x, y] = map(driver, [HOST, gref, G1], [HOST, gref, G1]);
  t.same(unmap(driver, { handle: x.handle, host: true }, { handle: x.handle, host: true }), [OK, GNTST.badHandle]);
  t.equal(b.flags(guest, gref), RW, 'the other mapping is still there');
  t.same(unmap(driver, { handle: y.handle, host: true }), [OK]);
  t.ok(b.atRest(driver, guest));
  t.end();
});

/** Calls `flip` before each compare-exchange in `mem`: between the hypervisor's look and its exchange. */
function beforeExchange(mem: Mem, flip: (attempt: number) => void): void {
  const cas32 = mem.bulk.cas32.bind(mem.bulk);
  let attempts = 0;
  mem.bulk.cas32 = (at, expected, value) => {
    flip(attempts++);
    return cas32(at, expected, value);
  };
}

t.test('H20: a guest that flips its entry under the check gets a bounded number of tries', (t) => {
  const mem = memOver(new ArrayBuffer(PAGES * 4096));
  const active = new ActiveEntries(mem, 0, PAGES);
  const gref = 20;
  mem.u16[gref * 4] = GTF_PERMIT_ACCESS;
  mem.u16[gref * 4 + 1] = DRIVER;
  mem.u32[gref * 2 + 1] = 7;
  let calm = Infinity;
  let flips = 0;
  beforeExchange(mem, (attempt) => {
    // A harmless bit (GTF_PWT), so that only the exchange can notice.
    if (attempt < calm) {
      mem.u16[gref * 4] ^= 1 << 5;
      flips++;
    }
  });
  t.equal(active.acquire(gref, DRIVER, PIN_HOST_WRITE), GNTST.generalError);
  t.equal(flips, STATUS_ATTEMPTS);
  t.equal(active.pins, 0);
  calm = STATUS_ATTEMPTS * 2 - 1;
  t.equal(active.acquire(gref, DRIVER, PIN_HOST_WRITE), OK, 'calm at the last try is calm enough');
  t.end();
});

t.test('H20: a guest that swaps the domid after the check is not believed', (t) => {
  const mem = memOver(new ArrayBuffer(PAGES * 4096));
  const active = new ActiveEntries(mem, 0, PAGES);
  const gref = 20;
  mem.u16[gref * 4] = GTF_PERMIT_ACCESS;
  mem.u16[gref * 4 + 1] = DRIVER;
  beforeExchange(mem, () => {
    mem.u16[gref * 4 + 1] = G2;
  });
  t.equal(active.acquire(gref, DRIVER, PIN_HOST_WRITE), GNTST.generalError);
  t.equal(mem.u16[gref * 4], GTF_PERMIT_ACCESS, 'no status bit was left in it');
  t.end();
});

t.test('H20: the page captured at the first pin counts, whatever the guest writes afterwards', (t) => {
  const { b, driver, guest } = bed();
  const gref = grant(guest, DRIVER, 5);
  map(driver, [HOST, gref, G1]);
  b.scribble(guest, gref, RW, DRIVER, 9);
  const [second] = map(driver, [HOST, gref, G1]);
  t.match(second, { status: OK, pfn: 5 });
  t.end();
});

t.test('H21: a guest that zeroes its entry while it is mapped changes nothing, and the unmap balances', (t) => {
  const { b, driver, guest } = bed();
  const gref = grant(guest, DRIVER, 5);
  const [r] = map(driver, [HOST | RO, gref, G1]);
  b.scribble(guest, gref, 0, 0, 0);
  t.equal(map(driver, [HOST, gref, G1])[0].status, GNTST.generalError, 'a first writer is checked anew');
  const [again] = map(driver, [HOST | RO, gref, G1]);
  t.match(again, { status: OK, pfn: 5 }, 'a further reader rests on the active entry');
  const [row] = grantRows(b.mem, guest.memory);
  t.match(row, { gref, flags: 0, heldBy: DRIVER, heldPfn: 5, pins: { hostRead: 2, hostWrite: 0 } });
  t.same(unmap(driver, { handle: r.handle, host: true }, { handle: again.handle, host: true }), [OK, OK]);
  t.same(b.entry(guest, gref), [0, 0, 0]);
  t.ok(b.atRest(driver, guest));
  t.end();
});

t.test('H22: an entry given to another domain while mapped does not let that domain in', (t) => {
  const { b, driver, guest, other } = bed();
  const gref = grant(guest, DRIVER, 5);
  const [m] = map(driver, [HOST, gref, G1]);
  b.scribble(guest, gref, GTF_PERMIT_ACCESS, G2, 6);
  t.equal(map(other, [HOST, gref, G1])[0].status, GNTST.generalError);
  unmap(driver, { handle: m.handle, host: true });
  t.match(map(other, [HOST, gref, G1])[0], { status: OK, pfn: 6 }, 'after the unmap the entry counts again');
  t.end();
});

t.test('H24: the halves of a mapping are unmapped separately, and the handle lives until the second', (t) => {
  const { b, driver, guest } = bed();
  const gref = grant(guest, DRIVER, 5);
  const [m] = map(driver, [HOST | DEVICE, gref, G1]);
  t.ok(m.dpn > 0);
  t.same(unmap(driver, { handle: m.handle, host: true }), [OK]);
  t.equal(b.flags(guest, gref), RW, 'the device half holds it');
  t.equal(b.dmaEntry(m.dpn)[0], 3);
  t.same(unmap(driver, { handle: m.handle, host: true }), [GNTST.badVirtAddr], 'that half is gone');
  t.same(unmap(driver, { handle: m.handle, dpn: m.dpn + 1 }), [GNTST.generalError], 'not its page');
  t.same(mappingRows(driver.memory), [
    { handle: m.handle, granter: G1, gref, host: false, device: true, readonly: false, dpn: m.dpn },
  ]);
  t.same(unmap(driver, { handle: m.handle, dpn: m.dpn }), [OK]);
  t.equal(b.dmaEntry(m.dpn)[0], 0);
  t.same(unmap(driver, { handle: m.handle, dpn: m.dpn }), [GNTST.badHandle]);
  t.ok(b.atRest(driver, guest));
  t.end();
});

t.test('H24: an unmap that names no half leaves both', (t) => {
  const { driver, guest } = bed();
  const [m] = map(driver, [HOST | DEVICE, grant(guest, DRIVER, 5), G1]);
  t.same(unmap(driver, { handle: m.handle }), [OK]);
  t.equal(guest.memory.active.pins, 2);
  t.end();
});

t.test('a host mapping has no device half to unmap', (t) => {
  const { driver, guest } = bed();
  const [m] = map(driver, [HOST, grant(guest, DRIVER, 5), G1]);
  t.same(unmap(driver, { handle: m.handle, host: true, dpn: 4 }), [GNTST.badDevAddr]);
  t.equal(guest.memory.active.pins, 1, 'nothing was done');
  t.end();
});

t.test('a handle means nothing to another domain', (t) => {
  const { driver, guest, other } = bed();
  const [m] = map(driver, [HOST, grant(guest, DRIVER, 5), G1]);
  t.same(unmap(other, { handle: m.handle, host: true }), [GNTST.badHandle]);
  t.same(unmap(driver, { handle: 0xffffffff, host: true }), [GNTST.badHandle]);
  t.end();
});

t.test('H25: the 129th pin of one kind is refused, and other kinds with it', (t) => {
  const { b, driver, guest } = bed();
  const gref = grant(guest, DRIVER, 5);
  const all = map(driver, ...Array.from({ length: GNTPIN_MAX }, () => [HOST, gref, G1] as [number, number, number]));
  t.ok(all.every((m) => m.status === OK));
  t.equal(map(driver, [HOST, gref, G1])[0].status, GNTST.generalError);
  t.equal(map(driver, [HOST | RO, gref, G1])[0].status, GNTST.generalError);
  t.equal(guest.memory.active.pin[gref], GNTPIN_MAX);
  t.ok(unmap(driver, ...all.map((m) => ({ handle: m.handle, host: true }))).every((s) => s === OK));
  t.ok(b.atRest(driver, guest));
  t.end();
});

t.test('H25: a full counter of the top byte does not look negative to anybody', (t) => {
  const { b, driver, guest } = bed();
  const gref = grant(guest, DRIVER, 5);
  const el = [DEVICE | RO, gref, G1] as [number, number, number];
  const all = map(driver, ...Array.from({ length: GNTPIN_MAX }, () => el));
  t.ok(all.every((m) => m.status === OK));
  t.equal(map(driver, el)[0].status, GNTST.generalError);
  t.match(grantRows(b.mem, guest.memory)[0], { pins: { deviceRead: GNTPIN_MAX } });
  unmap(driver, ...all.map((m) => ({ handle: m.handle, dpn: m.dpn })));
  t.ok(b.atRest(driver, guest));
  t.end();
});

t.test('H26: no more mappings than handles, and the refused one leaves no pin', (t) => {
  const { b, driver, guest } = bed({ handles: 4 });
  const gref = grant(guest, DRIVER, 5);
  const el = [HOST, gref, G1] as [number, number, number];
  const all = map(driver, el, el, el, el, el);
  t.same(
    all.map((m) => m.status),
    [OK, OK, OK, OK, GNTST.noDeviceSpace],
  );
  t.equal(guest.memory.active.pins, 4);
  unmap(driver, { handle: all[2].handle, host: true });
  t.equal(map(driver, el)[0].status, OK);
  t.equal(b.flags(guest, gref), RW);
  t.end();
});

t.test(
  'H28: an entry of another type, transitive, sub-page or free, is no grant: nothing is pinned or written',
  (t) => {
    const { b, driver, guest } = bed();
    for (const type of [0, 2, 3]) {
      const gref = grant(guest, DRIVER, 5);
      b.scribble(guest, gref, type, DRIVER, 5);
      const [m] = map(driver, [HOST, gref, G1]);
      t.equal(m.status, GNTST.generalError, `type ${type}`);
      t.same(b.entry(guest, gref), [type, DRIVER, 5]);
    }
    t.ok(b.atRest(driver, guest));
    t.end();
  },
);
