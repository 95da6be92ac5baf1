import t from 'tap';
import { DMA_VALID } from '@grantline/xen';
import type { DomId } from '@grantline/base';
import { Kit } from '../kit.js';

t.test('H40: an entry for a domain that had the number before, or will have it next, leads nowhere', (t) => {
  const kit = new Kit();
  const { dma } = kit;
  const base = kit.page(1, 0);
  const [old, now] = [kit.map(1000, 1, 3, undefined, 6), kit.map(1000, 1, 3, undefined, 7)];
  const [oldOwn, nowOwn] = [kit.map(1, 1, 3, DMA_VALID, 6), kit.map(1, 1, 3, DMA_VALID, 7)];
  const seen = (): number[] => [
    ...[old, now].flatMap((dpn) => [dma.lookup(dpn, 1000, 1), dma.lookupRead(dpn, 1000, 1)]),
    dma.lookupRead(now, 1000, 1000),
    ...[oldOwn, nowOwn].map((dpn) => dma.lookupRead(dpn, 1, 1)),
  ];
  const there = kit.page(1, 3);
  dma.addDomain(1 as DomId, 6, base, 4);
  t.same(seen(), [there, there, -1, -1, -1, there, -1], 'the table is ahead of the news');
  dma.addDomain(1 as DomId, 7, base, 4);
  t.same(seen(), [-1, -1, there, there, there, -1, there], 'entries that are still to be cleared');
  dma.removeDomain(1 as DomId);
  t.same(seen(), [-1, -1, -1, -1, -1, -1, -1]);
  t.end();
});

t.test('generations of a number may be as many as they like', (t) => {
  const kit = new Kit();
  const { dma } = kit;
  for (const generation of [0, 1, 0x7fff, 0x8000, 0xffff]) {
    dma.addDomain(1 as DomId, generation, kit.page(1, 0), 4);
    const dpn = kit.map(1000, 1, 3, undefined, generation);
    t.equal(dma.lookup(dpn, 1000, 1), kit.page(1, 3), String(generation));
    t.equal(dma.lookupRead(dpn, 1000, 1), kit.page(1, 3), String(generation));
  }
  t.end();
});
