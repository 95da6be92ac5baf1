import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import t, { type Test } from 'tap';
import { type Connection, type NetStack, ERR_NONE } from '@grantline/tcpip';
import { EdgeRelay } from '../../src/far-end/control/edge-relay.js';
import { slots } from '@grantline/machine';
import { EDGE_COUNTERS } from '@grantline/observe';
import {
  addressOf,
  descriptorLimit,
  EdgeBudget,
  edgeLimits,
  type EdgeLimits,
} from '../../src/far-end/control/edge-budget.js';
import { Edge } from '../../src/far-end/control/edge.js';

/** The inner side of a relay, played by hand. */
class Inner {
  /** What the guest has sent and nobody has read. */
  waiting = Buffer.alloc(0);
  loan: Uint8Array | null = null;
  ended = false;
  /** What the guest still takes. */
  room = Infinity;
  taken = 0;
  readonly calls: string[] = [];

  get readable(): number {
    return this.waiting.length;
  }
  lend(most: number): Uint8Array | null {
    if (this.loan !== null || this.waiting.length === 0) return null;
    return (this.loan = this.waiting.subarray(0, most));
  }
  endLoan(): void {
    this.waiting = this.waiting.subarray(this.loan!.length);
    this.loan = null;
  }
  write(source: Uint8Array, at = 0): number {
    const n = Math.min(source.length - at, this.room);
    this.room -= n;
    this.taken += n;
    return n;
  }
  setNoDelay(): void {}
  setKeepAlive(): void {}
  shutdown(): void {
    this.calls.push('shutdown');
  }
  close(): void {
    this.calls.push('close');
  }
  abort(): void {
    this.calls.push('abort');
  }
}

const C = slots(EDGE_COUNTERS);
const counted = (): { v: Float64Array; commit(): void } => ({
  v: new Float64Array(EDGE_COUNTERS.names.length),
  commit: () => {},
});

/** A client, and the relay that the edge makes for it. */
async function relayed(
  t: Test,
  limits: Partial<EdgeLimits> = {},
): Promise<{ client: Socket; relay: EdgeRelay; inner: Inner; over: Promise<void>; budget: EdgeBudget; why: string[] }> {
  const budget = new EdgeBudget({ ...edgeLimits(), ...limits }, counted());
  const why: string[] = [];
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const client = connect({ port: (server.address() as AddressInfo).port, host: '127.0.0.1', allowHalfOpen: true });
  client.on('error', () => {});
  const [socket] = (await once(server, 'connection')) as [Socket];
  const inner = new Inner();
  let end = (): void => {};
  const over = new Promise<void>((done) => (end = done));
  const relay = new EdgeRelay(socket, 'client', {
    ...{ tick: () => {}, budget, onOver: () => end(), onDrop: (reason) => why.push(reason) },
  });
  relay.begin(inner as unknown as Connection);
  relay.onOpen();
  t.teardown(() => {
    client.destroy();
    socket.destroy();
    server.close();
  });
  return { client, relay, inner, over, budget, why };
}

t.test(
  'what the guest sent before its end reaches a client that reads slowly, and the end comes behind it',
  async (t) => {
    const { client, relay, inner, over } = await relayed(t);
    client.pause();
    client.end('question');
    const sent = Buffer.alloc(32 << 20, 'answer ');
    inner.waiting = sent;
    while (inner.taken < 8) await new Promise(setImmediate);
    inner.ended = true;
    relay.onReadable();
    t.ok(inner.readable > 0, 'the client holds the guest back');
    // The stack is done with it: both have closed.
    relay.onEnd();
    relay.onClose(ERR_NONE);
    const chunks: Buffer[] = [];
    client.on('data', (chunk: Buffer) => chunks.push(chunk));
    client.resume();
    await once(client, 'end');
    t.ok(Buffer.concat(chunks).equals(sent), 'every byte');
    await over;
    t.same(inner.calls, ['shutdown', 'close'], 'in order');
  },
);

t.test('a client that never reads the end of its answer does not hold it for ever', async (t) => {
  const { client, relay, inner, over, budget, why } = await relayed(t, { stallMs: 20 });
  client.pause();
  inner.waiting = Buffer.alloc(32 << 20);
  inner.ended = true;
  relay.onReadable();
  relay.onClose(ERR_NONE);
  await over;
  t.same([inner.calls, why], [['abort'], ['stalled']]);
  t.same([budget.connections, budget.bytes], [0, 0], 'and nothing of it is left in the books');
  await until(() => inner.loan === null);
});

t.test('a client that goes without an end, or with something unread, is a reset for the guest', async (t) => {
  const { client, relay, inner, over } = await relayed(t);
  client.pause();
  inner.waiting = Buffer.alloc(32 << 20);
  relay.onReadable();
  client.resetAndDestroy();
  await over;
  t.same(inner.calls, ['abort']);
  await until(() => inner.loan === null);
});

t.test(
  'a guest that goes in the middle of a write: what the kernel may still read is given back only then',
  async (t) => {
    const { client, relay, inner, over } = await relayed(t);
    client.pause();
    inner.waiting = Buffer.alloc(32 << 20);
    relay.onReadable();
    for (let i = 0; i < 50; i++) await new Promise(setImmediate);
    t.ok(inner.loan, 'a write is under way');
    relay.abort();
    await over;
    t.ok(inner.loan, 'still');
    await until(() => inner.loan === null);
    t.same(inner.calls, ['abort']);
  },
);

t.test('what a client sent reaches the guest also when both have ended before it took it', async (t) => {
  const { client, relay, inner, over, budget } = await relayed(t);
  inner.room = 1000;
  const bytes = 50_000;
  client.resume();
  client.end(Buffer.alloc(bytes));
  while (inner.taken === 0) await new Promise(setImmediate);
  inner.ended = true;
  relay.onEnd();
  await once(client, 'close');
  for (let i = 0; i < 20; i++) await new Promise(setImmediate);
  t.same(inner.calls, [], 'the connection stays');
  t.equal(budget.bytes, bytes);
  inner.room = 2000;
  relay.onWritable();
  t.same(inner.calls, []);
  inner.room = Infinity;
  relay.onWritable();
  t.equal(inner.taken, bytes);
  t.same(inner.calls, ['shutdown', 'close']);
  await over;
  t.same([budget.bytes, budget.connections], [0, 0]);
});

for (const how of ['the guest resets', 'the guest takes nothing', 'the edge closes'] as const)
  t.test(`a client that has gone in order is forgotten when ${how}`, async (t) => {
    const { client, relay, inner, over, budget, why } = await relayed(t, { idleMs: 200 });
    inner.room = 1000;
    client.resume();
    client.end(Buffer.alloc(50_000));
    while (inner.taken === 0) await new Promise(setImmediate);
    inner.ended = true;
    relay.onEnd();
    await once(client, 'close');
    if (how === 'the guest resets') relay.onClose(ERR_NONE + 1);
    else if (how === 'the edge closes') relay.abort();
    await over;
    t.same([budget.bytes, budget.connections], [0, 0]);
    t.same(inner.calls, [how === 'the guest resets' ? 'close' : 'abort']);
    t.same(why, how === 'the guest takes nothing' ? ['idle'] : []);
  });

t.test('a guest that does not read holds the client; its half-close comes behind all that it wrote', async (t) => {
  const { client, relay, inner } = await relayed(t);
  inner.room = 1000;
  const bytes = 16 << 20;
  client.end(Buffer.alloc(bytes));
  await once(client, 'connect').catch(() => {});
  for (let i = 0; i < 50; i++) await new Promise(setImmediate);
  t.equal(inner.taken, 1000, 'no more than it takes');
  t.same(inner.calls, []);
  inner.room = Infinity;
  relay.onWritable();
  while (inner.calls.length === 0) await new Promise(setImmediate);
  t.same([inner.taken, inner.calls], [bytes, ['shutdown']]);
});

const LISTEN = { host: '127.0.0.1', port: 0 };

/** An edge whose stack opens no connection, or all of them. */
function edgeOver(
  t: Test,
  open: (ip: number, port: number, events: EdgeRelay) => Inner | null,
  limits: Partial<EdgeLimits> = {},
  counters = counted(),
  warn: (o: object, msg: string) => void = () => {},
): Edge {
  const stack = { poll: () => {}, connect: open } as unknown as NetStack;
  const edge = new Edge({ stack, listen: LISTEN, log: { warn }, counters, limits: { ...edgeLimits(), ...limits } });
  t.teardown(() => edge.close());
  return edge;
}
const placeOf = (address: string | null): { host: string; port: number } => {
  const [host = '', port = ''] = (address ?? '').split(':');
  return { host, port: Number(port) };
};
/** How a connection ends. */
const fate = (socket: Socket): Promise<string> =>
  new Promise((done) => {
    socket.on('error', (err: NodeJS.ErrnoException) => done(err.code ?? err.message));
    socket.on('end', () => done('end'));
    socket.resume();
  });

t.test('a door asked for twice at once is one door, and is gone with its guest', async (t) => {
  const edge = edgeOver(t, () => new Inner());
  await edge.add(1, '10.77.0.1');
  const both = await Promise.all([edge.open(1, 7), edge.open(1, 7)]);
  t.ok(both[0]?.address);
  t.same(both[0], both[1], 'the same');
  const ports = edge.list().map((d) => placeOf(d.address));
  t.equal(ports.length, 2);
  const late = edge.open(1, 8);
  await edge.remove(1);
  t.equal(await late, null, 'one that was being opened too');
  t.same(edge.list(), []);
  for (const at of [...ports, placeOf(both[1]?.address ?? null)]) t.equal(await fate(connect(at)), 'ECONNREFUSED');
});

t.test('clients of a guest that goes are reset, and so is one more than a door holds', async (t) => {
  const edge = edgeOver(t, () => new Inner());
  await edge.add(1, '10.77.0.1');
  const at = placeOf(edge.list()[0].address);
  const one = connect(at);
  await once(one, 'connect');
  while (edge.connections === 0) await new Promise(setImmediate);
  const how = fate(one);
  await edge.remove(1);
  t.equal(await how, 'ECONNRESET');
  t.equal(edge.connections, 0);
  const none = edgeOver(t, () => null);
  await none.add(2, '10.77.0.2');
  t.equal(await fate(connect(placeOf(none.list()[0].address))), 'ECONNRESET', 'the stack has no room for it');
  const full = edgeOver(t, () => new Inner(), { perDoor: 1 });
  await full.add(3, '10.77.0.3');
  const place = placeOf(full.list()[0].address);
  const first = connect(place);
  await once(first, 'connect');
  while (full.connections === 0) await new Promise(setImmediate);
  t.equal(await fate(connect(place)), 'ECONNRESET');
  first.destroy();
});

/** Waits until it is so; the test's own limit ends it. */
const until = async (so: () => boolean): Promise<void> => {
  while (!so()) await new Promise(setImmediate);
};

t.test(
  'F14: readers that never read hold no more than is there for all, and one that comes gets its answer',
  async (t) => {
    const bytes = 1 << 20;
    const counters = counted();
    const body = Buffer.alloc(8 << 20);
    const edge = edgeOver(
      t,
      (_ip, _port, relay) => {
        const inner = new Inner();
        inner.waiting = body;
        setImmediate(() => {
          relay.onOpen();
          relay.onReadable();
        });
        return inner;
      },
      { bytes },
      counters,
    );
    await edge.add(1, '10.77.0.1');
    const at = placeOf(edge.list()[0].address);
    const sockets = Array.from({ length: 100 }, () => connect(at).pause());
    t.teardown(() => sockets.forEach((s) => s.destroy()));
    await until(() => edge.connections === 100);
    for (let i = 0; i < 50; i++) await new Promise(setImmediate);
    t.ok(edge.heldBytes <= bytes + 100 * 1024, `${edge.heldBytes} bytes`);
    const one = connect(at);
    let got = 0;
    one.on('data', (chunk: Buffer) => (got += chunk.length));
    await until(() => got === body.length);
    one.resetAndDestroy();
    sockets.forEach((s) => s.resetAndDestroy());
    await until(() => edge.connections === 0);
    t.equal(edge.heldBytes, 0);
    t.equal(counters.v[C.opened], 101);
  },
);

t.test('F14: clients whose guest does not take what they send hold no more than is there for all', async (t) => {
  const bytes = 1 << 20;
  const counters = counted();
  const edge = edgeOver(
    t,
    (_ip, _port, relay) => {
      const inner = new Inner();
      inner.room = 0;
      setImmediate(() => relay.onOpen());
      return inner;
    },
    { bytes },
    counters,
  );
  await edge.add(1, '10.77.0.1');
  const at = placeOf(edge.list()[0].address);
  const sockets = Array.from({ length: 100 }, () => {
    const s = connect(at);
    s.on('error', () => {});
    s.write(Buffer.alloc(1 << 20));
    return s;
  });
  t.teardown(() => sockets.forEach((s) => s.destroy()));
  await until(() => counters.v[C.opened] === 100 && counters.v[C.reclaimed] > 0);
  for (let i = 0; i < 50; i++) await new Promise(setImmediate);
  t.ok(edge.heldBytes <= bytes + 100 * 1024, `${edge.heldBytes} bytes`);
});

t.test(
  'F14: a client that takes nothing of what waits for it is let go of, and one that is quiet, much later',
  async (t) => {
    const stalled = await relayed(t, { stallMs: 30, idleMs: 1e9 });
    stalled.client.pause();
    stalled.inner.waiting = Buffer.alloc(32 << 20);
    stalled.relay.onReadable();
    await stalled.over;
    t.same([stalled.why, stalled.inner.calls], [['stalled'], ['abort']]);
    const idle = await relayed(t, { stallMs: 20, idleMs: 100 });
    await idle.over;
    t.same([idle.why, idle.inner.calls], [['idle'], ['abort']]);
  },
);

t.test('F14: what is over a limit is refused at once, counted by its reason and logged', async (t) => {
  for (const [limits, what] of [
    [{ connections: 2 }, 'refusedAll'],
    [{ perDoor: 2 }, 'refusedDoor'],
    [{ perAddress: 2 }, 'refusedAddress'],
  ] as const) {
    const counters = counted();
    const lines: string[] = [];
    const open = (_ip: number, _port: number, relay: EdgeRelay): Inner => {
      setImmediate(() => relay.onOpen());
      return new Inner();
    };
    const edge = edgeOver(t, open, limits, counters, (_o, msg) => lines.push(msg));
    await edge.add(1, '10.77.0.1');
    const at = placeOf(edge.list()[0].address);
    const kept = [connect(at), connect(at)];
    await until(() => edge.connections === 2);
    t.equal(await fate(connect(at)), 'ECONNRESET', what);
    t.same([counters.v[C[what]], counters.v[C.opened]], [1, 2]);
    t.match(lines.join(), /refuses/);
    kept.forEach((s) => s.resetAndDestroy());
    await until(() => edge.connections === 0);
    const again = connect(at);
    await until(() => edge.connections === 1);
    again.destroy();
  }
});

t.test('F14: where it is full, who has been quiet for longest makes room, and who moves stays', (t) => {
  let now = 0;
  const counters = counted();
  const limits: EdgeLimits = { ...edgeLimits(), connections: 32, perDoor: 32, perAddress: 32 };
  const budget = new EdgeBudget(limits, counters, () => now);
  const door = new Set<ReturnType<typeof spender>>();
  const spender = (movedMs: number, heldBytes = 0) => {
    const one = {
      ...{ address: 'a', movedMs, heldBytes },
      drop: () => {
        door.delete(one);
        budget.remove(one);
        budget.hold(-one.heldBytes);
      },
    };
    door.add(one);
    budget.add(one);
    budget.hold(heldBytes);
    return one;
  };
  const all = Array.from({ length: 32 }, (_, i) => spender(i));
  now = 5000;
  t.equal(budget.refuses('a', door), null, 'one has been quiet for five seconds');
  t.notOk(door.has(all[0]));
  t.ok(door.has(all[1]));
  spender(now);
  t.equal(budget.refuses('a', door), 'refusedAll', 'the others have not, and nobody looks again at once');
  now = 6000;
  t.equal(budget.refuses('a', door), null);
  t.same(
    [door.size, door.has(all[1]), door.has(all[2]), door.has(all[3])],
    [30, false, false, true],
    'the quietest first',
  );
  t.same([counters.v[C.reclaimed], counters.v[C.refusedAll]], [3, 1]);
  t.end();
});

t.test('F14: a part of the descriptors stays with the service, and one address or port does not take all', (t) => {
  for (const descriptors of [16, 1024, 4096, 20_000, 1 << 20, Infinity]) {
    const { connections, perDoor, perAddress } = edgeLimits(descriptors);
    t.ok(connections >= 1 && connections <= 0.75 * descriptors, `${connections} of ${descriptors}`);
    t.ok(perDoor < connections && perAddress < connections, `${perDoor} ${perAddress}`);
  }
  t.ok(edgeLimits(4096).perAddress >= 1000, 'as many as grantline http opens');
  t.equal(descriptorLimit('Max open files            1024                 524288               files     \n'), 1024);
  t.equal(
    descriptorLimit('Max open files            unlimited            unlimited            files     \n'),
    Infinity,
  );
  t.ok(descriptorLimit() > 0);
  t.end();
});

t.test('F14: an address is one client by whichever family it comes, and an IPv6 network of 64 bits is one', (t) => {
  t.equal(addressOf('127.0.0.1'), '127.0.0.1');
  t.equal(addressOf('::ffff:10.0.0.7'), '10.0.0.7');
  t.equal(addressOf('2001:db8:1:2:3:4:5:6'), addressOf('2001:db8:1:2::9'));
  t.not(addressOf('2001:db8:1:2::9'), addressOf('2001:db8:1:3::9'));
  t.equal(addressOf('2001:db8::9'), addressOf('2001:db8::a'));
  t.equal(addressOf('fe80::1%eth0'), addressOf('fe80::2%eth0'));
  t.not(addressOf('::1'), addressOf('2001:db8::9'));
  t.end();
});
