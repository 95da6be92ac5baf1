import t from 'tap';
import {
  GNTMAP_READONLY,
  GNTST,
  GTF_PERMIT_ACCESS,
  COPY_BYTES,
  COPY_DST_DOMID,
  COPY_FLAGS,
  COPY_SRC_DOMID,
  GNTTABOP_COPY,
  HYPERCALL_REPLY_MAX_BYTES,
} from '@grantline/xen';
import { Bed, DRIVER, G1, G2, HOST, OK, PAGES, copy, grant, map, message, unmap } from './grant-bed.js';

function bed() {
  const b = new Bed();
  const driver = b.add(DRIVER);
  const guest = b.add(G1);
  const other = b.add(G2);
  b.page(driver, 8).forEach((_, i, page) => (page[i] = i & 0xff));
  return { b, driver, guest, other };
}

t.test('a copy moves exactly len bytes and leaves no pin behind', (t) => {
  const { b, driver, guest } = bed();
  const gref = grant(guest, DRIVER, 5);
  b.page(guest, 5).fill(0xaa);
  t.same(copy(driver, { src: 8, srcOffset: 3, dst: gref, dstOffset: 100, len: 1500 }), [OK]);
  const page = b.page(guest, 5);
  t.same([...page.subarray(98, 103)], [0xaa, 0xaa, 3, 4, 5]);
  t.same([...page.subarray(1598, 1602)], [1501 & 0xff, 1502 & 0xff, 0xaa, 0xaa]);
  t.equal(b.flags(guest, gref), GTF_PERMIT_ACCESS);
  t.ok(b.atRest(driver, guest));
  t.equal(driver.memory.counters.v[driver.memory.counters.names.indexOf('copiedBytes')], 1500);
  t.end();
});

t.test('H30: what leaves a page on either side is refused, also when 16 bits would wrap', (t) => {
  const { b, driver, guest } = bed();
  const gref = grant(guest, DRIVER, 5);
  t.same(
    copy(
      driver,
      { src: 8, srcOffset: 4095, dst: gref, len: 2 },
      { src: 8, dst: gref, dstOffset: 4095, len: 2 },
      { src: 8, srcOffset: 65535, dst: gref, len: 1 },
      { src: 8, dst: gref, dstOffset: 65535, len: 1 },
      { src: 8, dst: gref, len: 65535 },
      { src: 8, srcOffset: 65535, dst: gref, dstOffset: 65535, len: 65535 },
      { src: 8, srcOffset: 4096, dst: gref, len: 1 },
      { src: 8, srcOffset: 4096, dst: gref, len: 0 },
      { src: 8, srcOffset: 4095, dst: gref, dstOffset: 4095, len: 1 },
      { src: 8, dst: gref, len: 4096 },
      { src: 8, dst: gref, len: 0 },
    ),
    [...Array<number>(7).fill(GNTST.badCopyArg), OK, OK, OK, OK],
  );
  t.ok(b.atRest(driver, guest));
  t.end();
});

t.test('a bad reference reports itself before a bad length does', (t) => {
  const { driver } = bed();
  t.same(copy(driver, { src: 8, dst: 9, len: 65535 }), [GNTST.generalError]);
  t.same(copy(driver, { src: PAGES, dst: 9, len: 65535 }), [GNTST.badPage]);
  t.end();
});

t.test('H31: a raw page of another domain is refused, on both sides and without looking it up', (t) => {
  const { b, driver, guest } = bed();
  const gref = grant(guest, DRIVER, 5);
  t.same(copy(driver, { src: 8, srcDomid: G1, dst: gref, len: 10 }, { src: 8, srcDomid: 77, dst: gref, len: 10 }), [
    GNTST.permissionDenied,
    GNTST.permissionDenied,
  ]);
  const raw = Buffer.alloc(COPY_BYTES);
  raw.writeUInt16LE(DRIVER, COPY_SRC_DOMID);
  raw.writeUInt16LE(G1, COPY_DST_DOMID);
  raw.writeUInt16LE(0, COPY_FLAGS);
  const reply = Buffer.alloc(HYPERCALL_REPLY_MAX_BYTES);
  b.ops.executeMessage(DRIVER, message(GNTTABOP_COPY, 1, raw), reply);
  t.equal(reply.readInt16LE(8), GNTST.permissionDenied);
  t.ok(b.atRest(driver, guest));
  t.end();
});

t.test('a raw side may be named by DOMID_SELF, and its page number must fit and exist', (t) => {
  const { driver, guest } = bed();
  const gref = grant(guest, DRIVER, 5);
  t.same(copy(driver, { src: 8, srcDomid: 0x7ff0, dst: gref, len: 10 }, { src: PAGES, dst: gref, len: 10 }), [
    OK,
    GNTST.badPage,
  ]);
  t.end();
});

t.test('a page number with a high half is no page, also after the same low half was good', (t) => {
  const { b, guest } = bed();
  const gref = grant(guest, DRIVER, 5);
  const one = (high: number): Buffer => {
    const el = Buffer.alloc(COPY_BYTES);
    el.writeUInt32LE(8, 0);
    el.writeUInt32LE(high, 4);
    el.writeUInt16LE(DRIVER, COPY_SRC_DOMID);
    el.writeUInt32LE(gref, 16);
    el.writeUInt16LE(G1, COPY_DST_DOMID);
    el.writeUInt16LE(2, COPY_FLAGS);
    return el;
  };
  const reply = Buffer.alloc(HYPERCALL_REPLY_MAX_BYTES);
  b.ops.executeMessage(DRIVER, message(GNTTABOP_COPY, 2, Buffer.concat([one(0), one(1)])), reply);
  t.same([reply.readInt16LE(8), reply.readInt16LE(10)], [OK, GNTST.badPage]);
  t.end();
});

t.test('H18: wrong references of a copy, on both sides, and the good element between them is done', (t) => {
  const { b, driver, guest, other } = bed();
  const good = grant(guest, DRIVER, 5);
  const readonly = grant(guest, DRIVER, 6, true);
  const foreign = grant(guest, G2, 7);
  const theirs = grant(other, DRIVER, 4, true);
  b.page(other, 4).fill(0x42);
  t.same(
    copy(
      driver,
      { src: 8, dst: readonly, len: 1 },
      { src: 8, dst: foreign, len: 1 },
      { src: 8, dst: 2048, len: 1 },
      { src: 8, dst: good, dstDomid: 77, len: 1 },
      { src: theirs, srcDomid: G2, srcGref: true, dst: good, len: 64 },
      { src: theirs, srcDomid: 55, srcGref: true, dst: good, len: 64 },
      { src: 1000, srcDomid: G2, srcGref: true, dst: good, len: 64 },
    ),
    [GNTST.generalError, GNTST.generalError, GNTST.badGntref, GNTST.badDomain, OK, GNTST.badDomain, GNTST.generalError],
  );
  t.ok(
    b
      .page(guest, 5)
      .subarray(0, 64)
      .every((x) => x === 0x42),
  );
  t.ok(b.atRest(driver, guest, other));
  t.end();
});

t.test('consecutive elements on one page take one pin between them', (t) => {
  const { b, driver, guest } = bed();
  const gref = grant(guest, DRIVER, 5);
  let acquired = 0;
  const { active } = guest.memory;
  const acquire = active.acquire.bind(active);
  active.acquire = (gref, grantee, increment) => {
    acquired++;
    return acquire(gref, grantee, increment);
  };
  const el = (dstOffset: number) => ({ src: 8, dst: gref, dstOffset, len: 100 });
  t.same(copy(driver, el(0), el(100), el(200)), [OK, OK, OK]);
  t.equal(acquired, 1);
  t.same(copy(driver, el(0), el(4090), el(200)), [OK, GNTST.badCopyArg, OK]);
  t.equal(acquired, 3, 'a failure lets go of both sides');
  t.ok(b.atRest(driver, guest));
  t.end();
});

t.test('a copy works on a page that the caller has mapped, and not on one that another domain has', (t) => {
  const { b, driver, guest, other } = bed();
  const gref = grant(guest, DRIVER, 5);
  const [m] = map(driver, [HOST | GNTMAP_READONLY, gref, G1]);
  b.scribble(guest, gref, b.flags(guest, gref), DRIVER, 6);
  t.same(copy(driver, { src: 8, dst: gref, len: 10 }), [OK]);
  t.equal(b.page(guest, 5)[9], 9, 'into the page that was captured');
  t.equal(b.page(guest, 6)[9], 0);
  b.scribble(guest, gref, GTF_PERMIT_ACCESS, G2, 6);
  t.same(copy(other, { src: 8, dst: gref, len: 10 }), [GNTST.generalError]);
  unmap(driver, { handle: m.handle, host: true });
  t.ok(b.atRest(driver, guest));
  t.end();
});

t.test('both sides may be the same grant, and overlap', (t) => {
  const { b, driver, guest } = bed();
  const gref = grant(guest, DRIVER, 5);
  b.page(guest, 5).forEach((_, i, page) => (page[i] = i & 0xff));
  t.same(copy(driver, { src: gref, srcDomid: G1, srcGref: true, dst: gref, dstOffset: 10, len: 100 }), [OK]);
  t.equal(b.page(guest, 5)[109], 99);
  t.ok(b.atRest(driver, guest));
  t.end();
});
