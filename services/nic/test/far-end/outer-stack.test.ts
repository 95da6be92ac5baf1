/** The edge's relay on the outer stack, joined to a guest's stack by a cable that is a function call. */
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import t, { type Test } from 'tap';
import { nowNs, Rng } from '@grantline/base';
import { block, TestSpace } from '@grantline/machine/testkit';
import { EDGE_COUNTERS } from '@grantline/observe';
import { NET_COUNTERS, NetStack, RX_CHECKSUM_BLANK, type Connection } from '@grantline/tcpip';
import { complete, IP_A, IP_B, knownSecret, MAC_A, MAC_B, Peer, segment, TestLink } from '@grantline/tcpip/testkit';
import type { Cable } from '../../src/far-end/data/cable.js';
import { OuterStack } from '../../src/far-end/data/outer-stack.js';
import { EdgeBudget, edgeLimits } from '../../src/far-end/control/edge-budget.js';
import { EdgeRelay } from '../../src/far-end/control/edge-relay.js';

const PORT = 80;

/** @param whole packets go whole both ways, else as the frames that they are cut into */
function joined(whole: boolean): {
  outer: OuterStack;
  guest: NetStack;
  turn: () => void;
  space: TestSpace;
  /** Pieces of several frames that the guest was given, and frames. */
  given: { pieces: number; frames: number };
} {
  const given = { pieces: 0, frames: 0 };
  const space = new TestSpace(160 << 20);
  const room = space.mapPrivate(1 << 17);
  const put = (bytes: Uint8Array): number => {
    space.mem.u8.set(bytes, room);
    return room;
  };
  const link = new TestLink(space, (sent) => {
    const { csumStart, gsoSize, frame } = sent;
    if (whole && gsoSize > 0) {
      const header = csumStart + ((frame[csumStart + 12] >> 4) << 2);
      outer.wholePacket(put(frame), frame.length, csumStart, header, gsoSize);
      outer.settle(nowNs());
      return;
    }
    for (const one of gsoSize > 0 ? segment(sent) : [complete(sent)]) {
      outer.frame(put(one), one.length, 0, 0);
      outer.settle(nowNs());
    }
  });
  const address = { mac: MAC_A, ip: IP_A, prefix: 24 };
  const guest = new NetStack({ link, space, secret: knownSecret(1), address, coalesce: false });
  const cable = {
    ...{ now: 0, counters: { v: new Float64Array(64) } },
    ...{ open() {}, take() {}, closeStation() {}, wireFree: () => true, awaitBuffers: () => false },
    nic: {
      ...{ lastQueue: 0, moderate() {}, packetBytes: () => (whole ? 18 * 2048 : 0) },
      receivePacket: (at: number, bytes: number, header: number, mss: number, frames: number) => {
        if (header !== 66 || frames !== Math.ceil((bytes - header) / mss)) throw new Error('not what the packet is');
        given.pieces++;
        guest.input(at, bytes, RX_CHECKSUM_BLANK, mss);
        return 0;
      },
      receive: (at: number, bytes: number) => {
        given.frames++;
        guest.input(at, bytes);
        return 0;
      },
    },
  };
  const meter = { now: nowNs(), lap() {}, lapShared() {} };
  const outer: OuterStack = new OuterStack({
    ...{ space, cable: cable as unknown as Cable, meter, secret: knownSecret(2), wake: () => {} },
    ...{ address: { mac: MAC_B, ip: IP_B, prefix: 24 }, counters: block(space, NET_COUNTERS) },
  });
  const turn = (): void => {
    cable.now = meter.now = nowNs();
    guest.poll(meter.now);
    outer.poll();
    guest.flush();
  };
  return { outer, guest, turn, space, given };
}

/** Both ways at once, in order and as they were, by a client that stops reading now and then. */
async function bothWays(t: Test, whole: boolean): Promise<void> {
  const bytes = 12 << 20;
  const { outer, guest, turn, given } = joined(whole);
  const rng = new Rng(7);
  const words = (): Buffer => Buffer.from(Uint32Array.from({ length: bytes >> 2 }, () => rng.u32()).buffer);
  const down = words();
  const up = words();
  const peer = new Peer(down);
  guest.listen(PORT, (connection: Connection) => {
    peer.connection = connection;
    return peer;
  });
  const budget = new EdgeBudget(edgeLimits(), { v: new Float64Array(EDGE_COUNTERS.names.length), commit() {} });
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const client = connect({ port: (server.address() as AddressInfo).port, host: '127.0.0.1', allowHalfOpen: true });
  const [socket] = (await once(server, 'connection')) as [Socket];
  let over = false;
  const relay = new EdgeRelay(socket, 'client', {
    ...{ tick: () => outer.stack.poll(nowNs()), budget, onOver: () => (over = true), onDrop: () => t.fail('dropped') },
  });
  relay.begin(outer.stack.connect(IP_A, PORT, relay));
  let stopped = false;
  const step = (): void => {
    turn();
    if (!stopped) setImmediate(step);
  };
  step();
  t.teardown(() => {
    stopped = true;
    client.destroy();
    server.close();
  });
  client.end(up);
  const got: Buffer[] = [];
  client.on('data', (chunk: Buffer) => {
    got.push(chunk);
    if (rng.u32() % 64 !== 0) return;
    client.pause();
    setTimeout(() => client.resume(), 2);
  });
  await once(client, 'end');
  while (!over || peer.received < bytes) await new Promise(setImmediate);
  t.ok(Buffer.concat(got).equals(down), 'down');
  t.ok(Buffer.concat(peer.chunks).equals(up), 'up');
  t.same([budget.connections, budget.bytes, outer.stack.held().bufferBytes], [0, 0, 0], 'and nothing is left');
  if (whole) t.ok(given.pieces > given.frames / 4, 'bodies go in long pieces');
  else t.equal(given.pieces, 0);
  const counts = outer.stack.counts();
  t.same([counts['tcpBadChecksum'], counts['dropOversize'], counts['tcpOutOfOrder']], [0, 0, 0]);
}

t.test('bodies pass the edge both ways as they were, packets whole', (t) => bothWays(t, true));
t.test('bodies pass the edge both ways as they were, cut into frames', (t) => bothWays(t, false));

t.test('a packet for segments that are longer than our frames is dropped and counted', (t) => {
  const { outer, space } = joined(true);
  const { mem } = space;
  const at = space.mapPrivate(1 << 16);
  mem.u8.set([0x02, 0, 0, 0, 0, 0xb, 0x02, 0, 0, 0, 0, 0xa, 8, 0], at);
  outer.wholePacket(at, 30_000, 34, 66, 8000);
  outer.settle(nowNs());
  t.equal(outer.stack.counts()['dropOversize'], 1);
  t.end();
});
