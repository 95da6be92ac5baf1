/** Hypercall rings of real domains in a real hypervisor: over shared memory, with doorbells. */
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { DOMID_DRIVER, nowNs, type DomId } from '@grantline/base';
import { AddressSpace, Ringer, fetchDescriptor } from '@grantline/machine';
import {
  DmaMapBatch,
  DmaUnmapBatch,
  GNTST,
  HCRING_GUEST_SLOTS,
  HCRING_SLOTS,
  HypercallRing,
  RING_REQ_PROD,
  SHARED_SOCKET,
  hypercallRingBytes,
  type Call,
  type SharedKind,
} from '@grantline/xen';
import { bed, type Bed, type Peer } from './bed.js';

/** The domain's end, polled by a timer. */
async function ringOf(t: Test, b: Bed, peer: Peer, slots = HCRING_GUEST_SLOTS) {
  const space = new AddressSpace(1 << 20);
  space.reserve(4096);
  const get = async (of: SharedKind): Promise<number> =>
    fetchDescriptor(join(b.dir, SHARED_SOCKET), (await peer.ask('shared.ticket', { of, domid: peer.domid })).ticket);
  const at = space.mapWhole(await get('hypercalls'), hypercallRingBytes(slots), true);
  const ringer = new Ringer(await get('hypervisor'));
  const ring = new HypercallRing(space.mem, at, slots, { ring: () => ringer.ring(), kick: () => {}, leave: () => {} });
  const timer = setInterval(() => ring.poll(), 1);
  t.teardown(() => {
    clearInterval(timer);
    ringer.close();
  });
  const send = async (batch: DmaMapBatch | DmaUnmapBatch): Promise<number[]> => {
    await batch.sendAsync();
    return Array.from({ length: batch.count }, (_, i) => batch.status(i));
  };
  return {
    ring,
    at,
    u32: space.mem.u32,
    knock: () => ringer.ring(),
    /** @returns statuses and dpns */
    async mapSelf(pfns: number[]) {
      const batch = new DmaMapBatch(ring, pfns.length);
      for (const pfn of pfns) batch.put(pfn, 0);
      const statuses = await send(batch);
      return { statuses, dpns: statuses.map((_, i) => batch.dpn(i)) };
    },
    unmapSelf(dpns: number[]) {
      const batch = new DmaUnmapBatch(ring, dpns.length);
      for (const dpn of dpns) batch.put(dpn);
      return send(batch);
    },
  };
}

const zeros = (n: number): number[] => new Array<number>(n).fill(0);

t.test('calls through a ring are executed and charged; the socket does the same at the same time', async (t) => {
  const b = await bed(t);
  const dd = await b.open('driver-domain');
  const r = await ringOf(t, b, dd, HCRING_SLOTS);
  const pages = Array.from({ length: 300 }, (_, i) => i + 10);
  const { statuses, dpns } = await r.mapSelf(pages);
  t.same(statuses, zeros(300));
  const [bySocket] = await dd.mapSelf([400]);
  t.ok(bySocket > 0 && !dpns.some((dpn) => dpn === bySocket));
  t.same(await r.unmapSelf([bySocket]), [0], 'the one sees what the other did');
  t.same(await dd.unmapSelf(dpns.slice(0, 200)), zeros(200));
  t.same(await r.unmapSelf(dpns.slice(200)), zeros(100));
  t.equal(b.hv.dma.used, 0);
  const { blocks } = (await b.api('GET', '/counters')).body;
  const calls = blocks.find((x) => x.kind === 'hypercalls')!.values;
  t.ok(calls['cpuNs'] > 0 && calls['transportNs'] > 0);
  t.equal(calls['calls'], 5 + 1 + 1 + 1 + 2, 'each slot is one');
});

t.test("a ring is its own domain's and nobody else's", async (t) => {
  const b = await bed(t);
  const [dd, guest] = [await b.open('driver-domain'), await b.open('guest')];
  t.equal(await dd.ask('shared.ticket', { of: 'hypercalls', domid: guest.domid }), 'EPERM');
  t.equal(await guest.ask('shared.ticket', { of: 'hypercalls', domid: dd.domid }), 'EPERM');
});

t.test('a domain whose ring jumps is ended and counted; the others go on', async (t) => {
  const b = await bed(t);
  const [dd, guest] = [await b.open('driver-domain'), await b.open('guest')];
  const [r, hostile] = [await ringOf(t, b, dd, HCRING_SLOTS), await ringOf(t, b, guest)];
  const garbage = b.hv.counter('garbage');
  Atomics.store(hostile.u32, (hostile.at + RING_REQ_PROD) >> 2, 0x80000000);
  hostile.knock();
  await guest.until(() => guest.closeCode !== null);
  t.equal(guest.closeCode, 1008);
  t.equal(b.hv.counter('garbage'), garbage + 1);
  t.same((await r.mapSelf([10])).statuses, [0]);
  await dd.event('domain.gone');
});

t.test('a domain that ends with calls under way leaves nothing, and its successor has a ring of its own', async (t) => {
  const b = await bed(t);
  const first = await b.open('driver-domain');
  const r = await ringOf(t, b, first, HCRING_SLOTS);
  await r.mapSelf([10, 11, 12]);
  // More than the ring takes: some is executed, some is in slots, some waits.
  const calls: Call[] = [];
  for (let i = 0; i < 100; i++) {
    const batch = new DmaMapBatch(r.ring, 64);
    for (let k = 0; k < 64; k++) batch.put(20 + k, 0);
    batch.send();
    calls.push(batch);
  }
  first.ws.terminate();
  while (b.hv.domains.isLive(DOMID_DRIVER) || b.hv.memory.get(DOMID_DRIVER) !== null)
    await new Promise((resolve) => setTimeout(resolve, 5));
  t.equal(b.hv.dma.used, 0);
  t.equal(b.hv.rings.describe()[DOMID_DRIVER], undefined);
  const second = await b.open('driver-domain');
  const again = await ringOf(t, b, second, HCRING_SLOTS);
  t.same((await again.mapSelf([10])).statuses, [0]);
});

t.test('H35: a guest that floods its ring is paused, and others are answered meanwhile', async (t) => {
  const b = await bed(t);
  const [dd, guest] = [await b.open('driver-domain'), await b.open('guest')];
  const [r, flood] = [await ringOf(t, b, dd, HCRING_SLOTS), await ringOf(t, b, guest)];
  const parked = (): boolean => (b.hv.rings.describe()[guest.domid] as { parked: boolean }).parked;
  t.same(await flood.unmapSelf([1]), [GNTST.badDevAddr], 'it has time');
  // As if it had flooded for so long.
  const now = nowNs();
  b.hv.accounting.of(guest.domid as DomId)!.share!.charge(now - 60e9, now);
  const batch = new DmaUnmapBatch(flood.ring, 512);
  for (let i = 0; i < 512; i++) batch.put(i);
  batch.send();
  while (!parked()) await new Promise((resolve) => setImmediate(resolve));
  t.same((await r.mapSelf([10])).statuses, [0]);
  t.equal(batch.answered, false, 'the first slot was executed, the others wait for its time');
});

t.test('a doorbell that is rung without end costs nobody his answers', async (t) => {
  const b = await bed(t);
  const [dd, guest] = [await b.open('driver-domain'), await b.open('guest')];
  const [r, hostile] = [await ringOf(t, b, dd, HCRING_SLOTS), await ringOf(t, b, guest)];
  const timer = setInterval(() => {
    for (let i = 0; i < 1000; i++) hostile.knock();
  }, 0);
  t.teardown(() => clearInterval(timer));
  for (let i = 0; i < 20; i++) t.same((await r.mapSelf([10 + i])).statuses, [0]);
});
