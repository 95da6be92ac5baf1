import t from 'tap';
import { RX_SLOT_BYTES, RING_REQ_PROD, RX_RING_SIZE, BackRing, idxAdd } from '@grantline/xen';
import type { Mem } from '@grantline/machine';
import { VifRings, ringReadings } from '../../src/control/back-connection.js';

t.test('size and waiting requests of each ring; 0 for rings that are not there, and for what cannot be', (t) => {
  const u32 = new Uint32Array(1024);
  const ring = new BackRing({ u32 } as Mem, 0, RX_RING_SIZE, RX_SLOT_BYTES);
  const rings = new VifRings();
  const value = (family: string, queue: string, direction: string): number | undefined =>
    ringReadings('vif1.0', rings).find(
      (r) => r.family === family && r.labels?.queue === queue && r.labels.direction === direction,
    )?.value;
  t.equal(ringReadings('vif1.0', null).length, 8);
  t.ok(ringReadings('vif1.0', null).every((r) => r.value === 0 && r.labels?.vif === 'vif1.0'));
  rings.add('nic', 'rx', ring);
  t.equal(value('grantline_ring_slots', 'nic', 'rx'), RX_RING_SIZE);
  t.equal(value('grantline_ring_slots', 'bridge', 'rx'), 0);
  u32[RING_REQ_PROD >> 2] = 100;
  t.equal(value('grantline_ring_slots_used', 'nic', 'rx'), 100);
  ring.reqCons = idxAdd(ring.reqCons, 60);
  t.equal(value('grantline_ring_slots_used', 'nic', 'rx'), 100, 'taken, but not answered');
  ring.rspProdPvt = idxAdd(ring.rspProdPvt, 60);
  t.equal(value('grantline_ring_slots_used', 'nic', 'rx'), 40);
  u32[RING_REQ_PROD >> 2] = 5000;
  t.equal(value('grantline_ring_slots_used', 'nic', 'rx'), 0, 'a hostile index is not shown');
  rings.clear();
  t.equal(value('grantline_ring_slots', 'nic', 'rx'), 0);
  t.end();
});
