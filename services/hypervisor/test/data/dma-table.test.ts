import t from 'tap';
import {
  DMA_VALID,
  DMA_WRITE,
  GNTMAP_READONLY,
  GNTST,
  GTF_PERMIT_ACCESS,
  GTF_READING,
  GTF_WRITING,
} from '@grantline/xen';
import { DRIVER_DMA_ENTRIES, GUEST_DMA_ENTRIES } from '../../src/data/dma-table.js';
import {
  Bed,
  DEVICE,
  DRIVER,
  G1,
  G2,
  HOST,
  OK,
  PAGES,
  grant,
  map,
  mapSelf,
  unmap,
  unmapSelf,
  type BedOptions,
} from './grant-bed.js';

const RW = GTF_PERMIT_ACCESS | GTF_READING | GTF_WRITING;

function bed(options: BedOptions = {}) {
  const b = new Bed(options);
  return { b, driver: b.add(DRIVER), guest: b.add(G1), other: b.add(G2) };
}

t.test('the shares of all contexts fill the table exactly', (t) => {
  t.equal(DRIVER_DMA_ENTRIES + 32 * GUEST_DMA_ENTRIES + 1, 65536);
  t.end();
});

t.test('a device map makes an entry for the caller with the granter as owner', (t) => {
  const { b, driver, guest } = bed();
  const [w, r] = map(
    driver,
    [DEVICE, grant(guest, DRIVER, 5), G1],
    [DEVICE | GNTMAP_READONLY, grant(guest, DRIVER, 6, true), G1],
  );
  t.same(b.dmaEntry(w.dpn), [DMA_VALID | DMA_WRITE, DRIVER, G1, 5]);
  t.same(b.dmaEntry(r.dpn), [DMA_VALID, DRIVER, G1, 6], 'H40: a read-only page is never writable for the NIC');
  unmap(driver, { handle: w.handle, dpn: w.dpn }, { handle: r.handle, dpn: r.dpn });
  t.same(b.dmaEntry(w.dpn), [0, DRIVER, G1, 0xffffffff], 'no old page for whoever sees the next entry half made');
  t.ok(b.atRest(driver, guest));
  t.end();
});

t.test('H40: the entries of a number that is used again say for which of its domains they are', (t) => {
  const { b, driver, guest } = bed();
  const make = (): number[] => {
    const [{ dpn }] = map(driver, [DEVICE, grant(guest, DRIVER, 5), G1]);
    return b.dmaEntry(dpn);
  };
  t.same(make(), [DMA_VALID | DMA_WRITE, DRIVER, G1, 5]);
  b.dma.newOwner(G1);
  t.same(make(), [DMA_VALID | DMA_WRITE, DRIVER, G1 + 0x10000, 5]);
  for (let n = 1; n < 0xffff; n++) b.dma.newOwner(G1);
  t.same(make(), [DMA_VALID | DMA_WRITE, DRIVER, G1 + 0xffff0000, 5]);
  t.equal(b.dma.generationOf(G1), 0xffff);
  t.equal(b.dma.generationOf(G2), 0);
  t.end();
});

t.test('H40: no entry for a read-only page to write, a revoked page, or a page granted to another', (t) => {
  const { b, driver, guest } = bed();
  const readonly = grant(guest, DRIVER, 5, true);
  const revoked = grant(guest, DRIVER, 6);
  guest.grants.endAccess(revoked as never);
  const foreign = grant(guest, G2, 7);
  const res = map(driver, [DEVICE, readonly, G1], [DEVICE, revoked, G1], [DEVICE, foreign, G1]);
  t.same(
    res.map((r) => [r.status, r.dpn]),
    Array<number[]>(3).fill([GNTST.generalError, 0]),
  );
  t.equal(b.dma.used, 0);
  t.end();
});

t.test('a guest without the right gets no DMA entry, neither for itself nor for others; with it, for itself', (t) => {
  const { b, guest, other } = bed();
  const gref = grant(guest, G2, 5);
  t.equal(map(other, [DEVICE, gref, G1])[0].status, GNTST.permissionDenied);
  t.equal(mapSelf(other, [3, DMA_WRITE])[0].status, GNTST.permissionDenied);
  t.equal(map(other, [HOST, gref, G1])[0].status, OK, "an ordinary map is everybody's right");
  b.attachable.add(G2);
  const [own] = mapSelf(other, [3, DMA_WRITE]);
  t.same(b.dmaEntry(own.dpn), [DMA_VALID | DMA_WRITE, G2, G2, 3]);
  t.same(mapSelf(other, [PAGES, 0]), [{ status: GNTST.badPage, dpn: 0 }]);
  t.end();
});

t.test('an entry is taken out once, by the context that made it, and by unmap_self only if map_self made it', (t) => {
  const { b, driver, guest, other } = bed();
  b.attachable.add(G1).add(G2);
  const [own] = mapSelf(guest, [3, 0]);
  const [pin] = map(driver, [DEVICE, grant(guest, DRIVER, 5), G1]);
  const bad = GNTST.badDevAddr;
  t.same(unmapSelf(other, own.dpn), [bad]);
  t.same(unmapSelf(driver, pin.dpn, 0, 65535, 65536, 0xffffffff), [bad, bad, bad, bad, bad]);
  t.same(unmapSelf(guest, own.dpn, own.dpn), [OK, bad]);
  t.same(unmapSelf(guest, own.dpn), [bad]);
  t.equal(b.dma.used, 1);
  t.end();
});

t.test('a guest that fills its share of the table takes nothing from the driver domain', (t) => {
  const { b, driver, guest } = bed({ guestDma: 3, driverDma: 2 });
  b.attachable.add(G1);
  const all = mapSelf(guest, [1, 0], [1, 0], [1, 0], [1, 0]);
  t.same(
    all.map((m) => m.status),
    [OK, OK, OK, GNTST.noDeviceSpace],
  );
  const gref = grant(guest, DRIVER, 5);
  const pins = map(driver, [DEVICE, gref, G1], [DEVICE, gref, G1], [DEVICE, gref, G1], [HOST, gref, G1]);
  t.same(
    pins.map((m) => m.status),
    [OK, OK, GNTST.noDeviceSpace, OK],
  );
  t.equal(guest.memory.active.pins, 3);
  t.equal(driver.memory.maptrack.used, 3, 'the refused one gave its handle back');
  t.end();
});

t.test('H23, H41: status bits and the dpn stay until the burst that may have seen the entry is over', (t) => {
  const { b, driver, guest } = bed();
  const gref = grant(guest, DRIVER, 5);
  const [m] = map(driver, [DEVICE, gref, G1]);
  b.burstEdge();
  const statuses = unmap(driver, { handle: m.handle, dpn: m.dpn });
  t.same(statuses, [], 'no reply yet');
  t.equal(b.dmaEntry(m.dpn)[0], 0, 'closed for new transfers at once');
  t.equal(b.flags(guest, gref), RW);
  t.throws(() => b.ops.finishUnmap(b.waiting[0].pending), /inside a transfer/);
  const [again] = map(driver, [DEVICE, gref, G1]);
  t.not(again.dpn, m.dpn, 'its number is not given to another page meanwhile');
  unmap(driver, { handle: again.handle, dpn: again.dpn });
  b.poll();
  t.same(statuses, []);
  b.burstEdge();
  b.poll();
  t.same(statuses, [OK]);
  t.equal(b.flags(guest, gref), GTF_PERMIT_ACCESS);
  t.ok(b.atRest(driver, guest));
  t.end();
});

t.test('a burst that begins after the clear is not waited for, nor is one that has ended and begun again', (t) => {
  const { b, driver, guest } = bed();
  const el = [DEVICE, grant(guest, DRIVER, 5), G1] as [number, number, number];
  const [x, y] = map(driver, el, el);
  t.same(unmap(driver, { handle: x.handle, dpn: x.dpn }), [OK], 'the NIC is idle');
  b.burstEdge();
  const statuses = unmap(driver, { handle: y.handle, dpn: y.dpn });
  b.burstEdge();
  b.burstEdge();
  b.poll();
  t.same(statuses, [OK]);
  t.ok(b.atRest(driver, guest));
  t.end();
});

t.test('the count may pass 2^32 while an unmap waits', (t) => {
  const { b, driver, guest } = bed();
  b.mem.u32[0] = 0xffffffff;
  const [m] = map(driver, [DEVICE, grant(guest, DRIVER, 5), G1]);
  const statuses = unmap(driver, { handle: m.handle, dpn: m.dpn });
  b.poll();
  t.same(statuses, []);
  b.burstEdge();
  b.poll();
  t.same(statuses, [OK]);
  t.end();
});

t.test('a NIC that ended inside a burst is not waited for', (t) => {
  const { b, driver, guest } = bed();
  const [m] = map(driver, [DEVICE, grant(guest, DRIVER, 5), G1]);
  b.burstEdge();
  const statuses = unmap(driver, { handle: m.handle, dpn: m.dpn });
  b.quiesce.nicPresent = false;
  b.poll();
  t.same(statuses, [OK]);
  t.end();
});

t.test('host halves never wait for the NIC', (t) => {
  const { b, driver, guest } = bed();
  const [m] = map(driver, [HOST, grant(guest, DRIVER, 5), G1]);
  b.burstEdge();
  t.same(unmap(driver, { handle: m.handle, host: true }), [OK]);
  t.ok(b.atRest(driver, guest));
  t.end();
});

t.test('a long unmap keeps all its groups until the NIC lets go, and loses none', (t) => {
  const { b, driver, guest } = bed();
  const el = [DEVICE, grant(guest, DRIVER, 5), G1] as [number, number, number];
  const all = map(driver, ...Array.from({ length: 100 }, () => el));
  b.burstEdge();
  const statuses = unmap(driver, ...all.map((m) => ({ handle: m.handle, dpn: m.dpn })));
  t.equal(guest.memory.active.pins, 100);
  b.burstEdge();
  b.poll();
  t.equal(statuses.filter((s) => s === OK).length, 100);
  t.ok(b.atRest(driver, guest));
  t.equal(b.dma.used, 0);
  t.end();
});
