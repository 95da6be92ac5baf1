import t, { type Test } from 'tap';
import type { LoopHooks, Poller } from '@grantline/machine';
import { Lifeline } from '../src/lifeline.js';
import { Parts, type Part } from '../src/app.js';
import { quiet } from './fake-hypervisor.js';

function setUp(t: Test) {
  const pollers: Poller[] = [];
  const hooks: LoopHooks[] = [];
  const without = <T>(list: T[], x: T): void => void (list.includes(x) && list.splice(list.indexOf(x), 1));
  const lifeline = new Lifeline({ log: quiet, exit: () => {} });
  t.teardown(() => lifeline.release());
  const parts = new Parts(
    {
      add: (p) => void pollers.push(p),
      remove: (p) => without(pollers, p),
      addHooks: (h) => void hooks.push(h),
      removeHooks: (h) => without(hooks, h),
    },
    lifeline,
  );
  const ended: string[] = [];
  /** A part that has everything. */
  const part = (name: string): Required<Pick<Part, 'poller'>> & Part => ({
    poller: { scheduled: false, poll: () => 0, arm: () => false },
    dueUs: () => Infinity,
    dump: { [name]: () => `state of ${name}` },
    gauges: () => [{ family: 'grantline_pool_grants', labels: { vif: name }, value: 1 }],
    ready: () => true,
    stop: async () => {
      await Promise.resolve();
      ended.push(name);
    },
  });
  return { parts, part, pollers, hooks, ended, lifeline };
}

t.test('parts run and are shown in the order in which they were added, and end in reverse', async (t) => {
  const { parts, part, pollers, hooks, ended, lifeline } = setUp(t);
  const [a, b, c] = ['a', 'b', 'c'].map(part);
  for (const p of [a, b, c, {}]) parts.add(p);
  t.same(pollers, [a.poller, b.poller, c.poller]);
  t.same(hooks.slice(0, 3), [a, b, c]);
  t.strictSame(JSON.stringify(parts.dump()), '{"a":"state of a","b":"state of b","c":"state of c"}');
  t.same(
    [...parts.readings()].map((r) => r.labels),
    [{ vif: 'a' }, { vif: 'b' }, { vif: 'c' }],
  );
  await lifeline.stop('the end');
  t.same(ended, ['c', 'b', 'a']);
});

t.test('a part that is taken out is polled, asked, shown and ended no more', async (t) => {
  const { parts, part, pollers, hooks, ended, lifeline } = setUp(t);
  const [a, b, c] = ['a', 'b', 'c'].map(part);
  for (const p of [a, b, c]) parts.add(p);
  await parts.remove(b);
  await parts.remove(b);
  t.same(ended, ['b'], 'once');
  t.same(pollers, [a.poller, c.poller]);
  t.same(hooks, [a, c]);
  t.same(Object.keys(parts.dump()), ['a', 'c']);
  t.equal([...parts.readings()].length, 2);
  parts.add(b);
  t.same(Object.keys(parts.dump()), ['a', 'c', 'b'], 'it may come back, behind the others');
  const end = lifeline.stop('the end');
  await parts.remove(a);
  await end;
  t.same(ended, ['b', 'b', 'c', 'a'], 'in the end of the service the order is its own');
});

t.test('the service is ready when all parts are; the first that is not says why', (t) => {
  const { parts } = setUp(t);
  t.equal(parts.ready(), true);
  const states: (boolean | string)[] = [true, false, 'gone'];
  for (const i of states.keys()) parts.add({ ready: () => states[i] });
  t.equal(parts.ready(), false);
  states[1] = true;
  t.equal(parts.ready(), 'gone');
  states[2] = true;
  t.equal(parts.ready(), true);
  t.end();
});
