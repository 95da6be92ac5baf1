import t from 'tap';
import fc from 'fast-check';
import type { DomId, Port } from '@grantline/base';
import { EventSide } from '../../src/evtchn/event-side.js';
import { memOver } from '@grantline/machine';

const guest = 1 as DomId;
const driver = 1000 as DomId;
const port = (n: number): Port => n as Port;
const sides = (): { g: EventSide; d: EventSide } => {
  const mem = memOver(new ArrayBuffer(4096));
  return { g: new EventSide(mem, 0, guest, driver), d: new EventSide(mem, 0, driver, guest) };
};
const take = (side: EventSide): number[] => {
  const got: number[] = [];
  side.dispatch((p) => got.push(p));
  return got.sort((a, b) => a - b);
};

t.test('edges coalesce: only the first of several sends rings', (t) => {
  const { g } = sides();
  t.same([g.raise(port(5)), g.raise(port(5)), g.raise(port(5))], [true, false, false]);
  t.same(take(g), [5]);
  t.equal(g.raise(port(5)), true, 'it rings again once taken');
  t.end();
});

t.test('a masked port does not ring, and unmasking tells of what came meanwhile', (t) => {
  const { g } = sides();
  g.setMask(port(40));
  t.equal(g.raise(port(40)), false);
  t.same(take(g), []);
  t.equal(g.clearMask(port(40)), true);
  t.same(take(g), [40]);
  g.setMask(port(40));
  t.equal(g.clearMask(port(40)), false);
  t.end();
});

t.test('the two sides of a page do not touch each other', (t) => {
  const { g, d } = sides();
  g.raise(port(1023));
  t.same(take(d), []);
  d.raise(port(1));
  t.same(take(g), [1023]);
  t.same(take(d), [1]);
  t.end();
});

t.test('an event raised while its handler runs is not lost', (t) => {
  const { g } = sides();
  g.raise(port(3));
  let runs = 0;
  g.dispatch((p) => {
    if (runs++ === 0) g.raise(p);
  });
  t.same(take(g), [3]);
  t.end();
});

t.test('dispatch hands out exactly the ports raised and not masked, for any set of ports', (t) => {
  const ports = fc.uniqueArray(fc.integer({ min: 1, max: 1023 }), { maxLength: 60 });
  fc.assert(
    fc.property(ports, ports, (raised, masked) => {
      const { g } = sides();
      for (const p of masked) g.setMask(port(p));
      for (const p of raised) g.raise(port(p));
      const expected = raised.filter((p) => !masked.includes(p)).sort((a, b) => a - b);
      return JSON.stringify(take(g)) === JSON.stringify(expected);
    }),
  );
  t.end();
});
