import t from 'tap';
import { GNTST, GTF_PERMIT_ACCESS, GTF_READING, GTF_WRITING } from '@grantline/xen';
import { Bed, DEVICE, DRIVER, G1, G2, HOST, OK, copy, grant, map, mapSelf, unmap } from './grant-bed.js';

function bed() {
  const b = new Bed();
  b.attachable.add(G1);
  return { b, driver: b.add(DRIVER), guest: b.add(G1), other: b.add(G2) };
}

t.test('H27: when the mapper dies, guests get their pages back', (t) => {
  const { b, driver, guest, other } = bed();
  const grefs = [grant(guest, DRIVER, 5), grant(guest, DRIVER, 6), grant(other, DRIVER, 5)];
  map(driver, [HOST, grefs[0], G1], [HOST | DEVICE, grefs[1], G1], [DEVICE, grefs[2], G2]);
  mapSelf(driver, [9, 2]);
  t.equal(b.ops.beginDeath(DRIVER), null, 'the NIC is idle: all is done at once');
  t.equal(guest.grants.endAccess(grefs[0] as never), true);
  t.equal(b.ops.pinned(DRIVER), 0);
  t.ok(b.atRest(driver, guest, other));
  t.equal(b.dma.used, 0);
  b.domains.remove(DRIVER);
  t.equal(b.domains.get(DRIVER), null);
  t.end();
});

t.test('H27: when the mapper dies inside a burst, pins stay until it is over', (t) => {
  const { b, driver, guest } = bed();
  const gref = grant(guest, DRIVER, 5);
  map(driver, [DEVICE, gref, G1]);
  b.burstEdge();
  const pending = b.ops.beginDeath(DRIVER)!;
  t.equal(b.ops.settled(pending), false);
  t.equal(guest.grants.endAccess(gref as never), false);
  b.domains.remove(DRIVER);
  b.burstEdge();
  t.equal(b.ops.settled(pending), true);
  b.ops.finishUnmap(pending);
  t.equal(guest.grants.endAccess(gref as never), true);
  t.equal(b.dma.used, 0);
  t.end();
});

t.test('H27: a mapper that dies with an unmap under way is unmapped exactly once', (t) => {
  const { b, driver, guest } = bed();
  const el = [DEVICE, grant(guest, DRIVER, 5), G1] as [number, number, number];
  const [x] = map(driver, el, el);
  b.burstEdge();
  unmap(driver, { handle: x.handle, dpn: x.dpn });
  const pending = b.ops.beginDeath(DRIVER)!;
  b.burstEdge();
  b.ops.finishUnmap(pending);
  t.equal(guest.memory.active.pins, 1);
  b.poll();
  t.ok(b.atRest(driver, guest));
  t.end();
});

t.test('H22, H27: a dead granter is bad domain, loses the NIC at once, and stays until it is unmapped', (t) => {
  const { b, driver, guest } = bed();
  const gref = grant(guest, DRIVER, 5);
  const [m] = map(driver, [HOST | DEVICE, gref, G1]);
  const [own] = mapSelf(guest, [7, 2]);
  t.equal(b.ops.beginDeath(G1), null);
  t.equal(b.dmaEntry(m.dpn)[0], 0);
  t.equal(b.dmaEntry(own.dpn)[0], 0);
  t.equal(map(driver, [HOST, gref, G1])[0].status, GNTST.badDomain);
  t.same(copy(driver, { src: 8, dst: gref, len: 10 }), [GNTST.badDomain]);
  t.equal(b.flags(guest, gref), GTF_PERMIT_ACCESS | GTF_READING | GTF_WRITING);
  t.equal(b.ops.pinned(G1), 3, 'two pins and one entry of the DMA table');
  t.throws(() => b.domains.remove(G1), /2 pins/);
  t.same(unmap(driver, { handle: m.handle, host: true, dpn: m.dpn }), [OK]);
  t.equal(b.ops.pinned(G1), 0);
  b.domains.remove(G1);
  t.equal(b.domains.get(G1), null);
  t.ok(b.atRest(driver, guest));
  t.end();
});

t.test('H27: a dead granter whose pages the NIC may be writing is waited for', (t) => {
  const { b, driver, guest } = bed();
  map(driver, [DEVICE, grant(guest, DRIVER, 5), G1]);
  b.burstEdge();
  const pending = b.ops.beginDeath(G1)!;
  t.equal(b.ops.settled(pending), false);
  b.burstEdge();
  b.ops.finishUnmap(pending);
  t.equal(guest.memory.active.pins, 1, "the mapper's pin is its own to drop");
  t.equal(b.ops.beginDeath(G1), null, 'dying twice does no harm');
  t.end();
});

t.test('a domain with mappings of its own is not forgotten', (t) => {
  const { b, driver, guest } = bed();
  map(driver, [HOST, grant(guest, DRIVER, 5), G1]);
  t.throws(() => b.domains.remove(DRIVER), /1 mappings/);
  const place = { base: 0, pages: 1, counters: driver.memory.counters };
  t.throws(() => b.domains.add({ ...place, domid: DRIVER }), /exists/);
  t.throws(() => b.domains.add({ ...place, domid: 0x7ff0 }), /not a domain number/);
  t.end();
});
