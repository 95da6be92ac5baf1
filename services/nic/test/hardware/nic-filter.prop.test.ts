import fc from 'fast-check';
import t from 'tap';
import { memOver } from '@grantline/machine';
import { MacFilter, NO_QUEUE } from '../../src/hardware/data/nic.js';

const mem = memOver(new ArrayBuffer(4096));

function write(mac: number, vlan: number | null): number {
  for (let i = 0; i < 6; i++) mem.u8[i] = Math.floor(mac / 2 ** (40 - 8 * i)) % 256;
  mem.u8.fill(0, 6, 60);
  if (vlan === null) mem.dv.setUint16(12, 0x0800);
  else {
    mem.dv.setUint16(12, 0x8100);
    mem.dv.setUint16(14, vlan | 0xe000);
  }
  return 0;
}

// Few addresses, close together, so that they meet often; unicast.
const mac = fc.oneof(
  fc.integer({ min: 0, max: 12 }),
  fc.constant(0xfe_ff_ff_ff_ff_ff),
  fc.integer({ min: 0x02_00_00_00_00_00, max: 0x02_00_00_00_00_08 }),
);
const vlan = fc.oneof(fc.constant(null), fc.integer({ min: 0, max: 2 }), fc.constant(4095));
const op = fc.oneof(
  fc.record({ op: fc.constant('add' as const), mac, vlan }),
  fc.record({ op: fc.constant('remove' as const), queue: fc.integer({ min: 0, max: 40 }) }),
  fc.record({ op: fc.constant('find' as const), mac, vlan }),
);

t.test('the filter finds the same queue as a map would', (t) => {
  fc.assert(
    fc.property(fc.array(op, { maxLength: 60, size: 'max' }), fc.boolean(), (ops, withDefault) => {
      const filter = new MacFilter(mem);
      const model = new Map<string, number>();
      if (withDefault) filter.add(null, null, 99);
      let queue = 0;
      for (const o of ops) {
        if (o.op === 'add') {
          const key = `${o.mac}/${o.vlan}`;
          const added = filter.add(o.mac, o.vlan, queue);
          if (added === model.has(key)) return false;
          if (added) model.set(key, queue++);
        } else if (o.op === 'remove') {
          filter.remove(o.queue);
          for (const [k, q] of model) if (q === o.queue) model.delete(k);
        } else {
          const expected =
            (o.vlan === null ? undefined : model.get(`${o.mac}/${o.vlan}`)) ??
            model.get(`${o.mac}/null`) ??
            (withDefault ? 99 : NO_QUEUE);
          if (filter.find(write(o.mac, o.vlan)) !== expected) return false;
        }
      }
      return true;
    }),
  );
  t.end();
});

t.test('a group address goes to the default queue, whatever was added', (t) => {
  const filter = new MacFilter(mem);
  filter.add(0x02_00_00_00_00_01, null, 3);
  t.equal(filter.find(write(0xff_ff_ff_ff_ff_ff, null)), NO_QUEUE);
  filter.add(null, null, 5);
  t.equal(filter.find(write(0xff_ff_ff_ff_ff_ff, null)), 5);
  t.equal(filter.find(write(0x01_00_5e_00_00_01, 7)), 5);
  t.equal(filter.add(null, null, 6), false, 'there is one default queue');
  t.end();
});
