import type { DomId } from '@grantline/base';
import t from 'tap';
import { StoreWatches } from '../../src/control/store-watches.js';

const G1 = 1 as DomId;
const G2 = 2 as DomId;
const all = (): boolean => true;
const told = (w: StoreWatches, most = Infinity): string[] =>
  w.take(all, most).map((e) => `${e.domid} ${e.token} ${e.path}`);

t.test('H35: what waits for a domain that does not read is bounded, whatever others and itself do', (t) => {
  const w = new StoreWatches(10);
  for (let i = 0; i < 128; i++) w.add(G1, '/', '/', String(i), 128);
  for (let i = 0; i < 1000; i++) w.changed(`/a/${i}`, all);
  const events = told(w);
  t.equal(events.length, 128, 'one for each watch: anything may have changed');
  t.ok(events.every((e) => e.endsWith(' /')));
  t.equal(w.hasEvents, false);
  w.changed('/a/1', all);
  t.equal(told(w).length, 128, 'and from then on each path again');

  // Watches that come and go leave nothing behind, though nobody takes what they fired.
  for (let i = 0; i < 10_000; i++) {
    w.add(G2, '/x', '/x', 'again', 128);
    w.remove(G2, '/x', 'again');
  }
  t.equal(w.hasEvents, false);
  w.add(G2, '/x', '/x', 'stays', 128);
  for (let i = 0; i < 10_000; i++) {
    w.add(G2, '/x', '/x', 'again', 128);
    w.remove(G2, '/x', 'again');
  }
  const rows = (w as unknown as { events: Map<DomId, { items: unknown[] }> }).events;
  t.ok(rows.get(G2)!.items.length <= 128, 'and the row is not longer than what is in it');
  t.same(told(w), ['2 stays /x']);
  t.end();
});

t.test('events come in the order in which they fired; of a watch that was overrun or taken back, none', (t) => {
  const w = new StoreWatches(3);
  w.add(G1, '/a', '/a', 'a', 9);
  w.add(G1, '/b', '/b', 'b', 9);
  told(w);
  for (const path of ['/a/1', '/b/1', '/a/2', '/b/2', '/a/3', '/a/4', '/b/3']) w.changed(path, all);
  t.same(told(w, 2), ['1 b /b/1', '1 b /b/2']);
  t.same(told(w), ['1 a /a', '1 b /b/3']);
  w.changed('/a/1', all);
  w.changed('/b/1', all);
  w.remove(G1, '/a', 'a');
  t.same(told(w), ['1 b /b/1']);
  w.changed('/b/1', all);
  w.removeAll(G1);
  t.same(told(w), []);
  t.equal(w.count(G1), 0);
  t.end();
});

t.test('watches above a change fire, the nearest first, and those below a removed node with their own path', (t) => {
  const w = new StoreWatches(10);
  for (const path of ['/', '/a', '/a/b', '/a/b/c', '/ab']) w.add(G1, path, path, path, 9);
  told(w);
  w.changed('/a/b', all);
  t.same(told(w), ['1 /a/b /a/b', '1 /a /a/b', '1 / /a/b']);
  w.removedAbove('/a', all);
  t.same(told(w), ['1 /a/b /a/b', '1 /a/b/c /a/b/c']);
  w.removedAbove('/a/x', all);
  t.same(told(w), [], 'nobody watches below a node that is not watched');
  w.removedAbove('/', (_, path) => path !== '/ab');
  t.same(told(w), ['1 /a /a', '1 /a/b /a/b', '1 /a/b/c /a/b/c']);
  t.end();
});

t.test('H35: a change far below what is watched costs as many steps as are watched, not as it is long', (t) => {
  const w = new StoreWatches(10);
  w.add(G1, '/a', '/a', 'a', 9);
  told(w);
  const long = `/a${'/x'.repeat(1000)}`;
  const seen: unknown[] = (w as unknown as { way(path: string): unknown[] }).way(long);
  t.equal(seen.length, 2);
  w.changed(long, all);
  t.same(told(w), [`1 a ${long}`]);
  t.end();
});
