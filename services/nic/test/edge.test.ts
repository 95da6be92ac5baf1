import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import t, { type Test } from 'tap';
import type { Connection } from '@grantline/shared/net/connection.js';
import type { NetStack } from '@grantline/shared/net/stack.js';
import { ERR_NONE } from '@grantline/shared/net/tcp-state.js';
import { EdgeRelay } from '../src/control/edge-relay.js';
import { Edge } from '../src/control/edge.js';

/** The inner side of a relay, played by hand. */
class Inner {
  /** What the guest has sent and nobody has read. */
  waiting = Buffer.alloc(0);
  ended = false;
  /** What the guest still takes. */
  room = Infinity;
  taken = 0;
  readonly calls: string[] = [];

  get readable(): number {
    return this.waiting.length;
  }
  read(target: Uint8Array): number {
    const n = this.waiting.copy(target);
    this.waiting = this.waiting.subarray(n);
    return n;
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

/** A client, and the relay that the edge makes for it. */
async function relayed(
  t: Test,
  patienceMs?: number,
): Promise<{ client: Socket; relay: EdgeRelay; inner: Inner; over: Promise<void> }> {
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const client = connect({ port: (server.address() as AddressInfo).port, host: '127.0.0.1', allowHalfOpen: true });
  client.on('error', () => {});
  const [socket] = (await once(server, 'connection')) as [Socket];
  const inner = new Inner();
  let end = (): void => {};
  const over = new Promise<void>((done) => (end = done));
  const relay = new EdgeRelay(socket, () => {}, end, patienceMs);
  relay.begin(inner as unknown as Connection);
  relay.onOpen();
  t.teardown(() => {
    client.destroy();
    socket.destroy();
    server.close();
  });
  return { client, relay, inner, over };
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
  const { client, relay, inner, over } = await relayed(t, 20);
  client.pause();
  inner.waiting = Buffer.alloc(32 << 20);
  inner.ended = true;
  relay.onReadable();
  relay.onClose(ERR_NONE);
  await over;
  t.same(inner.calls, ['abort']);
});

t.test('a client that goes without an end, or with something unread, is a reset for the guest', async (t) => {
  const { client, relay, inner, over } = await relayed(t);
  client.pause();
  inner.waiting = Buffer.alloc(32 << 20);
  relay.onReadable();
  client.resetAndDestroy();
  await over;
  t.same(inner.calls, ['abort']);
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
function edgeOver(t: Test, open: () => Inner | null, most?: number): Edge {
  const stack = { poll: () => {}, connect: open } as unknown as NetStack;
  const edge = new Edge(stack, LISTEN, { warn: () => {} }, most);
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
  const full = edgeOver(t, () => new Inner(), 1);
  await full.add(3, '10.77.0.3');
  const place = placeOf(full.list()[0].address);
  const first = connect(place);
  await once(first, 'connect');
  while (full.connections === 0) await new Promise(setImmediate);
  t.equal(await fate(connect(place)), 'ECONNRESET');
  first.destroy();
});
