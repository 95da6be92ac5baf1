import t from 'tap';
import { HypervisorClient } from '../../src/hypervisor/hypervisor-client.js';
import { XenstoreClient, parseNumber } from '@grantline/xen';
import { FakeHypervisor, quiet } from '../fake-hypervisor.js';
import { refuse, until } from '@grantline/machine/testkit';
import type { Test } from 'tap';

/** A store of flat keys that fires every watch whose path starts the changed one. */
async function bed(t: Test): Promise<{ xs: XenstoreClient; fake: FakeHypervisor; store: Map<string, string> }> {
  const fake = new FakeHypervisor();
  const store = new Map<string, string>();
  const watches = new Map<string, string>();
  const changed = (path: string): void => {
    for (const [token, at] of watches) if (path.startsWith(at)) fake.event('xs.watch', { path, token });
  };
  const write = (path: string, value: string): void => {
    store.set(path, value);
    changed(path);
  };
  fake.answer = (op, args) => {
    const path = args.path as string;
    if (op === 'xs.write') write(path, args.value as string);
    if (op === 'xs.transaction') for (const o of args.ops as { path: string; value: string }[]) write(o.path, o.value);
    if (op === 'xs.watch') {
      watches.set(args.token as string, path);
      fake.event('xs.watch', { path, token: args.token });
    }
    if (op === 'xs.unwatch') watches.delete(args.token as string);
    if ((op === 'xs.read' || op === 'xs.rm') && !store.has(path)) throw refuse('ENOENT');
    if (op === 'xs.directory') throw refuse(path === '/denied' ? 'EACCES' : 'ENOENT');
    return op === 'xs.read' ? { value: store.get(path) } : {};
  };
  await fake.listen();
  const client = await HypervisorClient.connect(fake.env(), quiet);
  t.teardown(async () => {
    await client.close();
    fake.close();
  });
  return { xs: new XenstoreClient(client), fake, store };
}

t.test('what was written is read; what is not there is null, nothing, and no error to remove', async (t) => {
  const { xs } = await bed(t);
  await xs.write('/a', 5);
  t.equal(await xs.read('/a'), '5');
  t.equal(await xs.readNumber('/a'), 5);
  t.equal(await xs.read('/b'), null);
  t.same(await xs.directory('/b'), []);
  await xs.rm('/b');
  await t.rejects(xs.directory('/denied'), { code: 'EACCES' });
});

t.test('a watch fires at once and at each change, and not after it was ended', async (t) => {
  const { xs, fake } = await bed(t);
  const seen: string[] = [];
  const unwatch = await xs.watch('/a', (path) => seen.push(path));
  t.same(seen, ['/a']);
  await xs.transaction([
    { op: 'write', path: '/a/x', value: '1' },
    { op: 'write', path: '/c', value: '1' },
  ]);
  t.same(seen, ['/a', '/a/x']);
  const ended = unwatch();
  fake.event('xs.watch', { path: '/a', token: 'w1' });
  await ended;
  await unwatch();
  await xs.write('/a/x', '2');
  t.equal(seen.length, 2);
});

t.test('waitFor sees a value that is there and one that comes, and leaves no watch', async (t) => {
  const { xs, fake } = await bed(t);
  await xs.write('/a', '1');
  t.equal(await xs.waitFor('/a', (v) => v === '1', 5000), '1');
  const waiting = xs.waitFor('/a', (v) => v === '3', 5000);
  await xs.write('/a', '2');
  await xs.write('/a', '3');
  t.equal(await waiting, '3');
  await t.rejects(
    xs.waitFor('/a', () => false, 20),
    /\/a did not get there in 20 ms: 3/,
  );
  const ops = fake.asked.map((a) => a.op);
  await until(() => fake.asked.filter((a) => a.op === 'xs.unwatch').length === 3);
  t.equal(ops.filter((op) => op === 'xs.watch').length, 3);
});

t.test('what a peer wrote is a number only when it is digits', (t) => {
  for (const bad of [null, '', '-1', '1.5', '1e3', ' 1', '0x10', '1234567890', 'NaN']) t.equal(parseNumber(bad), null);
  t.equal(parseNumber('999999999'), 999999999);
  t.end();
});
