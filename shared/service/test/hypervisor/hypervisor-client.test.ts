import { writeFileSync } from 'node:fs';
import t, { type Test } from 'tap';
import { HypervisorClient } from '../../src/hypervisor/hypervisor-client.js';
import { DMAOP_UNMAP_SELF, HypervisorError, type Call } from '@grantline/xen';
import { UsageError } from '@grantline/base';
import { FakeHypervisor, quiet } from '../fake-hypervisor.js';
import { refuse, until } from '@grantline/machine/testkit';

async function connected(
  t: Test,
  kind: 'guest' | 'nic' = 'guest',
): Promise<{ fake: FakeHypervisor; client: HypervisorClient }> {
  const fake = new FakeHypervisor();
  fake.welcome.kind = kind;
  t.teardown(() => fake.close());
  await fake.listen();
  const client = await HypervisorClient.connect(fake.env({ kind }), quiet);
  t.teardown(() => client.close());
  return { fake, client };
}

/** Elements of any content, and what is to happen when they are answered. */
function callOf(words: readonly number[], answered: (rc: number) => void): Call {
  const { length: count } = words;
  return {
    cmd: DMAOP_UNMAP_SELF,
    count,
    words: Uint32Array.of(0, 0, ...words),
    results: new Uint32Array(count),
    isAwaited: false,
    answer: answered,
  };
}

t.test('the welcome says who the domain is', async (t) => {
  const { fake, client } = await connected(t);
  t.equal(client.domid, 3);
  t.equal(client.kind, 'guest');
  t.equal(client.memoryPages, 16);
  t.equal(client.dir, fake.dir);
});

t.test('a request gets its own reply, a refusal its code', async (t) => {
  const { fake, client } = await connected(t);
  fake.answer = (op, args) => {
    if (op === 'no') throw refuse('EINVAL');
    return { twice: (args.n as number) * 2 };
  };
  const all = await Promise.all([1, 2, 3].map((n) => client.request<{ twice: number }>('double', { n })));
  t.same(all, [{ twice: 2 }, { twice: 4 }, { twice: 6 }]);
  await t.rejects(client.request('no', {}), { code: 'EINVAL' });
});

t.test(
  'hypercall replies come in the order of the calls, also when more are in flight than there was room for',
  async (t) => {
    const { fake, client } = await connected(t);
    const order: number[] = [];
    const calls = 200;
    for (let i = 0; i < calls; i++) {
      client.hypercall(callOf(new Array<number>(i % 7).fill(i), () => order.push(i)));
    }
    t.equal(client.inFlight, calls);
    await until(() => client.inFlight === 0);
    t.same(
      order,
      Array.from({ length: calls }, (_, i) => i),
    );
    t.equal(client.batches, calls);
    t.equal(fake.connections, 1);
  },
);

t.test('the bytes of a batch arrive as they were, and may be used anew in its reply', async (t) => {
  const { fake, client } = await connected(t);
  const got: Buffer[] = [];
  const echo = fake.onBatch;
  fake.onBatch = (batch, ws) => {
    got.push(Buffer.from(batch));
    echo(batch, ws);
  };
  await new Promise<void>((resolve) => {
    const second = callOf(new Array<number>(512).fill(0xa5a5a5a5), () => resolve());
    const first: Call = {
      ...second,
      answer: () => {
        second.words.fill(0x5a5a5a5a);
        client.hypercall(second);
      },
    };
    client.hypercall(first);
  });
  t.same([got[0].length, got[1].length], [2056, 2056]);
  t.ok(got[0].subarray(8).every((b) => b === 0xa5));
  t.ok(got[1].subarray(8).every((b) => b === 0x5a));
});

t.test('events wait for whoever asks for them first, in order', async (t) => {
  const { fake, client } = await connected(t);
  for (let i = 0; i < 3; i++) fake.event('domain.new', { domid: i });
  await client.request('flush', {});
  const seen: unknown[] = [];
  client.onEvent('domain.new', (args) => seen.push(args.domid));
  t.same(seen, [0, 1, 2]);
  fake.event('domain.new', { domid: 9 });
  await client.request('flush', {});
  t.same(seen, [0, 1, 2, 9]);
});

t.test('an event handler that throws does not stop the messages behind it', async (t) => {
  const { fake, client } = await connected(t);
  client.onEvent('boom', () => {
    throw new Error('boom');
  });
  fake.event('boom', {});
  t.same(await client.request('still', {}), {});
});

t.test('the nic answers events by their rid', async (t) => {
  const { fake, client } = await connected(t, 'nic');
  client.onEvent<{ rid: number }>('nic.attach', (e) => {
    void client.reply(e.rid, { queue: 2 });
    void client.reply(e.rid + 1, null, { code: 'ENOSPC', message: 'no queue' });
  });
  fake.event('nic.attach', { rid: 7 });
  await until(() => fake.asked.length === 2);
  t.same(fake.asked, [
    { op: 'reply', args: { rid: 7, result: { queue: 2 } } },
    { op: 'reply', args: { rid: 8, error: { code: 'ENOSPC', message: 'no queue' } } },
  ]);
});

t.test('after a close there is no new connection, and what was due fails', async (t) => {
  const { fake, client } = await connected(t);
  const reasons: string[] = [];
  client.onClose((reason) => reasons.push(reason));
  fake.onBatch = () => fake.ws!.terminate();
  client.hypercall(callOf([1], () => t.fail('a reply after the close')));
  await t.rejects(
    client.request('never', { answered: true }).then(() => client.request('x', {})),
    HypervisorError,
  );
  await until(() => client.closed);
  await t.rejects(client.request('late', {}), { code: 'ECLOSED' });
  client.hypercall(callOf([1], () => t.fail('a reply after the close')));
  await new Promise((resolve) => setTimeout(resolve, 50));
  t.equal(fake.connections, 1);
  t.equal(reasons.length, 1);
  client.onClose((reason) => reasons.push(reason));
  t.equal(reasons.length, 2, 'told at once when closed already');
});

t.test('garbage from the server closes the connection and nothing else', async (t) => {
  const garbage: (string | Buffer)[] = [
    'no json',
    '[]',
    '{"neither":1}',
    '{"id":99,"result":{}}',
    Buffer.alloc(0),
    Buffer.alloc(7),
    Buffer.from('0100000000000000', 'hex'),
  ];
  for (const bytes of garbage) {
    const { fake, client } = await connected(t);
    fake.ws!.send(bytes);
    await until(() => client.closed);
    t.ok(client.closed, bytes.toString('hex'));
  }
  const { fake, client } = await connected(t);
  fake.onBatch = (_batch, ws) => ws.send(Buffer.from('ffffffff00000000', 'hex'));
  client.hypercall(callOf([1], () => t.fail('a reply with a wrong seq was taken')));
  await until(() => client.closed);
});

t.test('a wrong secret and a second connection are usage errors', async (t) => {
  const { fake } = await connected(t);
  await t.rejects(
    HypervisorClient.connect(fake.env({ secret: 'x' }), quiet),
    new UsageError('the hypervisor refused domain 3: check GRANTLINE_DOMID and GRANTLINE_SECRET'),
  );
  await t.rejects(HypervisorClient.connect(fake.env(), quiet), /connected already/);
});

t.test('a domain of another kind is a usage error', async (t) => {
  const fake = new FakeHypervisor();
  t.teardown(() => fake.close());
  await fake.listen();
  await t.rejects(HypervisorClient.connect(fake.env({ kind: 'nic' }), quiet), /is a guest, not a nic/);
});

t.test('no hypervisor is a usage error after the limit, one that comes up late is found', async (t) => {
  const fake = new FakeHypervisor();
  t.teardown(() => fake.close());
  await t.rejects(HypervisorClient.connect(fake.env(), quiet, 0), /no hypervisor answers/);
  const connecting = HypervisorClient.connect(fake.env(), quiet);
  await fake.listen();
  const client = await connecting;
  await client.close();
  t.ok(client.closed);
});

t.test('with a join token a service becomes a domain by connecting, on either kind of address', async (t) => {
  for (const tcp of [false, true]) {
    const fake = new FakeHypervisor();
    t.teardown(() => fake.close());
    const hypervisor = tcp ? `ws://127.0.0.1:${await fake.listenTcp()}` : fake.env().hypervisor;
    if (!tcp) await fake.listen();
    Object.assign(fake.welcome, { uid: 64003, gid: 64003, groups: [64000], core: 1 });
    const join = `${fake.dir}/token`;
    const env = fake.env({ domid: null, secret: null, hypervisor, join });
    await t.rejects(HypervisorClient.connect(env, quiet, 0), /no hypervisor answers.*ENOENT/, 'no token yet');
    writeFileSync(join, 'that of a hypervisor that is gone\n');
    await t.rejects(HypervisorClient.connect(env, quiet, 0), /refused the join token: check GRANTLINE_JOIN/);
    const connecting = HypervisorClient.connect(env, quiet);
    writeFileSync(join, `${fake.joinToken}\n`);
    const client = await connecting;
    t.same(fake.joined, ['guest']);
    t.match(client.identity, { uid: 64003, gid: 64003, groups: [64000] });
    t.same([client.core, client.nativeCore], [1, null]);
    await client.close();
  }
});
