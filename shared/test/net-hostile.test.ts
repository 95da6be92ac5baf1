import fc from 'fast-check';
import t from 'tap';
import { Drill, quiet, type Seg } from './net-drill.js';
import { DISCARD_PORT, ECHO_PORT } from '../src/config/network.js';
import { serveBulk } from '../src/net-apps/bulk.js';
import { IP_B, Peer, pattern } from './net-kit.js';
import { World, join } from './net-world.js';

const NOTHING = { connections: 0, timeWait: 0, bufferBytes: 0, datagrams: 0 };

t.test('a flood of SYNs fills the backlog and no more; an honest client still gets in', (t) => {
  const d = new Drill();
  const p = quiet();
  d.stack.listen(
    80,
    (c) => {
      p.connection = c;
      return p;
    },
    64,
  );
  for (let i = 0; i < 5000; i++) d.receive(d.segment({ flags: 'S', seq: i, port: 1024 + (i % 60_000) }));
  t.same([d.stack.held().connections, d.count('tcpBacklogEvicted')], [64, 5000 - 64]);
  t.equal(d.stack.held().bufferBytes, 0, 'half-open connections have no buffers');
  d.give({ flags: 'S', seq: 0, port: 900 });
  for (let i = 0; i < 30; i++) d.receive(d.segment({ flags: 'S', seq: i, port: 30_000 + i }));
  d.give({ flags: 'A', seq: 1, ack: 1, port: 900 });
  t.equal(p.connection?.remotePort, 900);
  p.connection!.abort();
  d.advance(300_000);
  t.match(d.stack.held(), NOTHING);
  t.end();
});

t.test('connections beyond the limit are refused and counted; those that are there go on', (t) => {
  const d = new Drill({ maxConnections: 3 });
  const peers: Peer[] = [];
  d.stack.listen(80, (c) => {
    const p = quiet();
    p.connection = c;
    peers.push(p);
    return p;
  });
  for (let port = 5001; port <= 5005; port++) {
    d.give({ flags: 'S', seq: 0, port });
    d.give({ flags: 'A', seq: 1, ack: 1, port });
  }
  t.same([peers.length, d.count('tcpConnLimit')], [3, 2]);
  t.equal(d.stack.connect(IP_B, 9, quiet()), null);
  d.give({ flags: 'A', seq: 1, ack: 1, port: 5002, data: 9 });
  t.equal(peers[1].received, 9);
  for (const p of peers) p.connection!.abort();
  t.match(d.stack.held(), NOTHING);
  t.end();
});

t.test('bad TCP headers are counted and answered by nothing', (t) => {
  const d = new Drill();
  d.accept();
  const base: Seg = { flags: 'A', seq: 1, ack: 1, data: 4 };
  const bend = (change: (f: Uint8Array) => void): Uint8Array => {
    const f = d.segment(base);
    change(f);
    return f;
  };
  const cases: [string, string, Uint8Array][] = [
    ['wrong checksum', 'tcpBadChecksum', d.segment({ ...base, broken: true })],
    ['data offset below 5', 'tcpBadHeader', bend((f) => (f[46] = 0x40))],
    ['data offset beyond the segment', 'tcpBadHeader', bend((f) => (f[46] = 0xf0))],
    ['port 0', 'tcpBadHeader', d.segment({ ...base, port: 0 })],
    ['option of length 0', 'tcpBadOptions', d.segment({ ...base, options: [8, 0, 1, 1] })],
    ['option beyond the header', 'tcpBadOptions', d.segment({ ...base, options: [8, 10, 1, 1] })],
    ['no ACK', 'tcpBadHeader', d.segment({ flags: '', seq: 1, data: 4 })],
  ];
  for (const [name, counter, frame] of cases) {
    const before = d.count(counter);
    d.receive(frame);
    t.same([d.count(counter), d.out()], [before + 1, []], `${name}: ${counter}`);
  }
  d.give({ flags: 'AU', seq: 1, ack: 1, data: 4 });
  t.same([d.count('tcpUrgent'), d.count('tcpInBytes') >= 4], [1, true], 'urgent data is data');
  t.end();
});

t.test('a peer that sends every second byte gets no more than a fixed number of gaps', (t) => {
  const d = new Drill();
  const p = d.accept();
  for (let i = 0; i < 100; i++) d.receive(d.segment({ flags: 'A', seq: 11 + 4 * i, ack: 1, data: 2 }));
  t.equal(d.count('tcpTooManyGaps'), 68);
  d.out();
  for (let at = 1; at < 500; at += 100) d.give({ flags: 'A', seq: at, ack: 1, data: 100 });
  t.same(p.data, Buffer.from(Array.from({ length: 500 }, (_, i) => (i + 1) & 255)), 'all comes again and fits');
  t.end();
});

t.test('duplicate acknowledgements that were not earned do not blow the window up (RFC 5681, 5)', (t) => {
  const d = new Drill();
  const p = d.accept();
  p.connection!.write(new Uint8Array(200_000));
  d.stack.flush();
  for (let i = 0; i < 500; i++) d.receive(d.segment({ flags: 'A', seq: 1, ack: 1 }));
  t.ok(p.connection!.inFlight < 40 * 1460, `${p.connection!.inFlight} bytes under way`);
  const e = new Drill();
  const q = e.accept(quiet(), { sackOk: true });
  q.connection!.write(new Uint8Array(200_000));
  e.stack.flush();
  e.give({
    flags: 'A',
    seq: 1,
    ack: 1,
    sack: [
      [90_000, 95_000],
      [50, 40],
      [-5, 900],
    ],
  });
  t.equal(e.count('tcpFastRecoveries'), 0, 'blocks that were never sent, turned round, or old');
  t.end();
});

t.test('peers that never read hold no more than the arena, and others go on', (t) => {
  const d = new Drill({ memory: 1 << 20, sendBuffer: 1 << 17, persistTimeoutMs: 5000 });
  const peers: Peer[] = [];
  d.stack.listen(80, (c) => {
    const p = quiet();
    p.connection = c;
    peers.push(p);
    return p;
  });
  for (let port = 5001; port <= 5030; port++) {
    d.give({ flags: 'S', seq: 0, port });
    d.give({ flags: 'A', seq: 1, ack: 1, win: 0, port });
  }
  for (const p of peers) p.connection!.write(new Uint8Array(1 << 17));
  const held = d.stack.held().bufferBytes;
  t.ok(held <= 1 << 20 && held > 900_000, `${held} bytes held`);
  d.advance(100_000);
  t.equal(d.stack.held().bufferBytes, 0, 'and not for ever');
  t.equal(d.count('tcpPersistTimeout'), peers.filter((p) => p.error === 3).length);
  const late = peers.find((p) => p.error < 0)!;
  t.equal(late.connection!.write(new Uint8Array(1000)), 1000, 'those that could not write now can');
  t.end();
});

t.test('any bytes at all: no crash, no leak, every packet counted', (t) => {
  const d = new Drill();
  const p = d.accept();
  const valid = [
    d.segment({ flags: 'A', seq: 1, ack: 1, data: 40 }),
    d.segment({ flags: 'S', seq: 0, mss: 1460, ts: [1, 1], sackOk: true, scale: 3 }),
    d.segment({ flags: 'FA', seq: 1, ack: 1, sack: [[5, 9]] }),
  ];
  fc.assert(
    fc.property(
      fc.nat(2),
      fc.array(fc.tuple(fc.nat(90), fc.nat(255)), { maxLength: 6 }),
      fc.nat(100),
      fc.uint8Array({ maxLength: 120 }),
      fc.boolean(),
      (which, changes, cut, noise, random) => {
        const frame = random
          ? noise
          : valid[which].slice(0, Math.max(0, valid[which].length - (cut > 60 ? cut - 60 : 0)));
        for (const [at, value] of changes) if (at < frame.length) frame[at] = value;
        // A device that says "checksum verified" must not be a way in either.
        d.mem.u8.set(frame, 1 << 16);
        d.stack.input(1 << 16, frame.length, 1, 0);
        d.stack.flush();
      },
    ),
    { numRuns: 3000, seed: 9 },
  );
  t.equal(d.count('inPackets'), 3000 + 3);
  p.connection!.abort();
  d.advance(300_000);
  t.match(d.stack.held(), NOTHING);
  t.end();
});

t.test('ten thousand connections opened and closed leave tables, buffers and timers as they were', (t) => {
  const world = new World({ delayUs: 20 }, { settings: { timeWaitMs: 50 } }, { settings: { timeWaitMs: 50 } });
  const request = pattern(100, 1);
  let open = 0;
  let answered = 0;
  world.b.stack.listen(80, (connection) => {
    const server = new Peer(pattern(300, 2));
    server.connection = connection;
    server.onEnd = (): void => {
      server.pull();
      connection.close();
    };
    return server;
  });
  for (let i = 0; i < 10_000; i++) {
    const client = new Peer(request);
    client.onEnd = (): void => {
      client.pull();
      if (client.received === 300) answered++;
      client.connection!.close();
      open--;
    };
    client.connection = world.a.stack.connect(IP_B, 80, client);
    open++;
    if (open >= 200) world.run(1000, () => open < 100);
  }
  world.run(1000, () => open === 0);
  world.run(2000);
  t.equal(answered, 10_000);
  for (const side of [world.a, world.b]) {
    const { neighbours, timers, ...held } = side.stack.held();
    t.same({ ...held, timers: timers - neighbours }, { ...NOTHING, timers: 0 });
  }
  t.equal(world.a.stack.counts().tcpTimeouts, 0);
  t.end();
});

t.test('every connection that is given up is reset, however many; answers to strangers are limited', (t) => {
  const d = new Drill({ errorsPerSecond: 10 });
  const peers: Peer[] = [];
  d.stack.listen(80, (c) => {
    const p = quiet();
    p.connection = c;
    peers.push(p);
    return p;
  });
  for (let port = 5001; port <= 5050; port++) {
    d.give({ flags: 'S', seq: 0, port });
    d.give({ flags: 'A', seq: 1, ack: 1, port });
  }
  for (const p of peers) p.connection!.abort();
  t.equal(d.out().filter((o) => o.startsWith('RA')).length, 50);
  for (let port = 7001; port <= 7050; port++) d.receive(d.segment({ flags: 'A', seq: 5, ack: 9, port }));
  t.same([d.out().length, d.count('tcpLimited')], [10, 40]);
  t.end();
});

t.test('a peer that vanishes without a word does not hold its connections for ever', (t) => {
  const world = new World({}, {}, { settings: { keepIntervalMs: 1000, keepProbes: 3 } });
  serveBulk(world.b.stack, { v: new Float64Array(4), commit: () => {} });
  for (const port of [ECHO_PORT, DISCARD_PORT]) {
    const client = new Peer(pattern(10, 1));
    client.shutdownAfter = false;
    client.connection = world.a.stack.connect(IP_B, port, client);
  }
  world.run(1000);
  t.equal(world.b.stack.held().connections, 2);
  world.filter = () => false;
  world.run(120_000);
  t.match(world.b.stack.held(), NOTHING);
  t.end();
});

t.test('a side that dies: the other hears of a reset as soon as it sends', (t) => {
  const world = new World();
  const client = quiet();
  const server = quiet();
  join(world, client, server);
  world.run(100, () => server.connection !== null);
  server.connection!.abort();
  world.run(100);
  t.same([client.error, client.connection!.state], [1, 'CLOSED'], 'ECONNRESET');
  t.end();
});
