import fc from 'fast-check';
import t from 'tap';
import { Drill, quiet, type Seg } from './drill.js';
import { DISCARD_PORT, ECHO_PORT } from '@grantline/base';
import { serveBulk } from '../src/apps/bulk.js';
import { RX_CHECKSUM_OK } from '../src/host.js';
import { IP_A, IP_B, MAC_B, Peer, pattern } from '../testkit/peer.js';
import { World, join } from './world.js';

const NOTHING = { connections: 0, timeWait: 0, bufferBytes: 0, datagrams: 0 };

/** SYNs from addresses all over the world. */
function flood(d: Drill, count: number, from = 0): void {
  for (let i = from; i < from + count; i++)
    d.receive(
      d.segment({ flags: 'S', seq: i, src: 0x14000000 + Math.imul(i, 7919), port: 1024 + (i % 60_000), mss: 1460 }),
    );
}

/** A drill with a listener that takes 64 half-open connections, and who has connected. */
function listening(settings = {}): { d: Drill; peers: Peer[] } {
  const d = new Drill(settings);
  const peers: Peer[] = [];
  d.arp(1, MAC_B, 0x0a0000fe, IP_A);
  d.stack.listen(
    80,
    (c) => {
      const p = quiet();
      p.connection = c;
      peers.push(p);
      return p;
    },
    64,
  );
  return { d, peers };
}

/** One whose listener takes no more. */
function flooded(settings = {}): { d: Drill; peers: Peer[] } {
  const bed = listening(settings);
  flood(bed.d, 64);
  bed.d.sent();
  return bed;
}

t.test(
  'RFC 4987: a flood of SYNs fills the backlog and no more; what is half open keeps its place, others get cookies',
  (t) => {
    const { d, peers } = listening();
    const [early] = (d.receive(d.segment({ flags: 'S', seq: 0, port: 900 })), d.sent());
    flood(d, 63);
    d.frames = [];
    const before = d.stack.held();
    flood(d, 5000, 63);
    t.same(d.stack.held(), before, 'nothing is kept of the rest: no connection, no timer, no memory');
    t.same([before.connections, before.bufferBytes, d.count('tcpCookiesSent')], [64, 0, 5000]);
    t.equal(d.sent().length, 5000, 'each is answered');
    d.give({ flags: 'A', seq: 1, ack: early.seq + 1, port: 900 });
    t.equal(peers.at(-1)?.connection?.remotePort, 900, 'half open before the flood');

    d.receive(d.segment({ flags: 'S', seq: 0, port: 901 }));
    flood(d, 1, 9000);
    d.frames = [];
    d.receive(d.segment({ flags: 'S', seq: 0, port: 902 }));
    const [late] = d.sent();
    flood(d, 500, 6000);
    d.give({ flags: 'A', seq: 1, ack: late.seq + 1, port: 902, data: 'GET' });
    t.same([peers.at(-1)?.connection?.remotePort, peers.at(-1)?.received], [902, 3], 'in the midst of it');
    t.equal(d.count('tcpCookiesAccepted'), 1);
    for (const p of peers) p.connection!.abort();
    d.advance(300_000);
    t.match(d.stack.held(), NOTHING);
    t.end();
  },
);

t.test('RFC 4987: a cookie carries what the SYN offered; the connection is like any other', (t) => {
  const cases: [
    string,
    Partial<Seg>,
    { mss: number; tsOk: boolean; sackOk: boolean; sndScale: number; rcvScale: number },
  ][] = [
    [
      'all',
      { mss: 1460, ts: [77, 0], scale: 7, sackOk: true },
      { mss: 1448, tsOk: true, sackOk: true, sndScale: 7, rcvScale: 1 },
    ],
    [
      'scale 0',
      { mss: 1460, ts: [77, 0], scale: 0 },
      { mss: 1448, tsOk: true, sackOk: false, sndScale: 0, rcvScale: 1 },
    ],
    [
      'no scale',
      { mss: 1300, ts: [-5, 0], sackOk: true },
      { mss: 1208, tsOk: true, sackOk: true, sndScale: 0, rcvScale: 0 },
    ],
    [
      'no timestamps',
      { mss: 1460, scale: 7, sackOk: true },
      { mss: 1460, tsOk: false, sackOk: false, sndScale: 0, rcvScale: 0 },
    ],
    ['nothing', {}, { mss: 536, tsOk: false, sackOk: false, sndScale: 0, rcvScale: 0 }],
    ['a small MSS', { mss: 500 }, { mss: 88, tsOk: false, sackOk: false, sndScale: 0, rcvScale: 0 }],
  ];
  for (const [name, offer, right] of cases) {
    const { d, peers } = flooded();
    d.advance(1234);
    d.sent();
    d.receive(d.segment({ flags: 'S', seq: 0, ...offer }));
    const [answer] = d.sent();
    const ts = offer.ts ? { ts: [offer.ts[0] + 1, answer.ts![0]] as [number, number] } : {};
    t.same([answer.flags, answer.ack, answer.ts?.[1]], ['SA', 1, offer.ts?.[0]], name);
    t.same(
      [answer.scale ?? 0, answer.sackOk ?? false],
      [right.rcvScale, right.sackOk],
      'what cannot be kept is not offered',
    );
    d.give({ flags: 'A', seq: 1, ack: answer.seq + 1, win: 100, ...ts });
    const tcb = d.stack.tcp.context.table.find(IP_A | 0, 80, IP_B | 0, d.peerPort)!;
    const { mss, tsOk, sackOk, sndScale, rcvScale } = tcb;
    t.same({ mss, tsOk, sackOk, sndScale, rcvScale }, right);
    t.same([tcb.sndWnd, tcb.srtt8], [100 << right.sndScale, 0], 'the window is scaled; the echoed time is no sample');
    d.advance(70);
    peers[0].connection!.write(Buffer.from('hello'));
    d.stack.flush();
    const [data] = d.sent();
    t.same([data.seq - answer.seq, Buffer.from(data.data).toString(), data.ack], [1, 'hello', 1]);
    if (ts.ts) t.ok(data.ts![0] - answer.ts![0] >= 0, 'timestamps do not go back');
    const more = ts.ts ? { ts: [ts.ts[0] + 1, data.ts![0]] as [number, number] } : {};
    d.give({ flags: 'A', seq: 1, ack: data.seq + 5, data: 40, ...more });
    t.same([peers[0].received, peers[0].connection!.unacknowledged], [40, 0]);
  }
  t.end();
});

t.test(
  'RFC 4987: the first data can bring the cookie back; a second copy of the SYN that found room does not spoil it',
  (t) => {
    const { d, peers } = flooded();
    d.receive(d.segment({ flags: 'S', seq: 0 }));
    const [answer] = d.sent();
    d.advance(70_000);
    d.sent();
    t.equal(d.stack.held().connections, 0, 'the flood is forgotten');
    d.receive(d.segment({ flags: 'S', seq: 0 }));
    const [kept] = d.sent();
    t.not(kept.seq, answer.seq);
    d.give({ flags: 'FA', seq: 1, ack: answer.seq + 1, data: 10 });
    t.same(
      [peers.length, peers[0]?.received, peers[0]?.connection?.state],
      [1, 10, 'CLOSE-WAIT'],
      'data and FIN count',
    );
    t.equal(d.stack.held().connections, 1);
    t.equal(d.count('tcpResetsOut'), 0);
    t.end();
  },
);

t.test(
  "RFC 4987: cookies that were not ours, are another's or too old are refused; without a flood none counts",
  (t) => {
    const { d, peers } = flooded();
    d.receive(d.segment({ flags: 'S', seq: 0, port: 950, ts: [1, 0] }));
    const [{ seq, ts }] = d.sent();
    const good: Seg = { flags: 'A', seq: 1, ack: seq + 1, port: 950, ts: [2, ts![0]] };
    const bad: [string, Partial<Seg>][] = [
      ['another port', { port: 951 }],
      ['another address', { src: 0x0a000009 }],
      ['another sequence number', { seq: 2 }],
      ['without the timestamps that were agreed', { options: [] }],
      ['a SYN with it', { flags: 'SA' }],
    ];
    for (let bit = 0; bit < 32; bit++) bad.push([`bit ${bit} turned`, { ack: ((seq ^ (1 << bit)) + 1) | 0 }]);
    for (const [name, change] of bad) {
      d.receive(d.segment({ ...good, ...change }));
      t.same([peers.length, d.stack.held().connections], [0, 64], name);
    }
    t.equal(d.count('tcpCookiesRefused'), bad.length - 1, 'counted; a SYN and ACK is none');
    fc.assert(
      fc.property(fc.integer(), fc.integer(), fc.integer({ min: 1, max: 65535 }), (ack, s, port) => {
        d.receive(d.segment({ flags: 'A', seq: s, ack, port }));
        return d.stack.held().connections === 64;
      }),
      { numRuns: 2000, seed: 5 },
    );
    d.sent();
    d.give(good);
    t.equal(peers.length, 1, 'the right one opens a connection');

    const old = flooded().d;
    old.receive(old.segment({ flags: 'S', seq: 0, port: 950 }));
    const [late] = old.sent();
    old.advance(60_000);
    flood(old, 200, 5000);
    old.advance(72_000);
    flood(old, 200, 6000);
    t.ok(old.count('tcpCookiesSent') > 200, 'others are out');
    old.sent();
    t.same(old.give({ flags: 'A', seq: 1, ack: late.seq + 1, port: 950 }), [`R ${late.seq + 1}+0 0`], 'too old');

    const calm = new Drill();
    calm.stack.listen(80, () => null);
    calm.give({ flags: 'A', seq: 1, ack: seq + 1, port: 950 });
    t.same([calm.count('tcpCookiesRefused'), calm.count('tcpNoConnection')], [0, 1], 'and is not even looked at');
    t.end();
  },
);

t.test(
  'a flood of SYNs from random sources: clients connect and move data, and who is connected does not feel it',
  (t) => {
    const world = new World({ delayUs: 100 }, {}, { gateway: true });
    const flooder = new Drill();
    let sources = 0;
    const syns = (count: number): void => {
      for (let i = 0; i < count; i++) {
        const frame = flooder.segment({
          flags: 'S',
          seq: sources,
          src: 0x14000000 + Math.imul(++sources, 104_729),
          mss: 1460,
        });
        frame.set([2, 0, 0, 0, 0, 0xb], 0);
        frame.set([0x0a, 0, 0, 2], 30);
        // The device says that the sums are right.
        frame.set([0, 0], 24);
        const dv = new DataView(frame.buffer, frame.byteOffset, frame.length);
        let sum = 0;
        for (let at = 14; at < 34; at += 2) sum += dv.getUint16(at);
        dv.setUint16(24, ~((sum & 0xffff) + (sum >>> 16)) & 0xffff);
        world.b.receive(frame, RX_CHECKSUM_OK, 0);
      }
    };
    const servers: Peer[] = [];
    world.b.stack.listen(80, (connection) => {
      const server = new Peer(pattern(300_000, servers.length));
      server.connection = connection;
      servers.push(server);
      return server;
    });
    const client = (): Peer => {
      const peer = new Peer(pattern(100_000, 9));
      peer.connection = world.a.stack.connect(IP_B, 80, peer);
      return peer;
    };
    const before = client();
    world.run(1, () => before.received > 0);
    syns(1100);
    const early = client();
    const late: Peer[] = [];
    for (let ms = 0; ms < 300; ms++) {
      syns(50);
      if (ms % 10 === 0 && late.length < 20) late.push(client());
      world.run(1);
    }
    for (const peer of [before, early, ...late])
      t.same([peer.error, peer.received, peer.events.at(-1)], [0, 300_000, 'close'], 'connected, served, closed');
    t.same(
      servers.map((s) => s.received),
      servers.map(() => 100_000),
    );
    const a = world.a.stack.counts();
    const b = world.b.stack.counts();
    t.same([a.tcpTimeouts, a.tcpRetransmits, b.tcpCookiesAccepted], [0, 0, 21], 'nobody waited');
    t.same([b.tcpConnLimit, b.tcpCookiesRefused, world.b.stack.tcp.context.table.halfOpen], [0, 0, 1024]);
    t.end();
  },
);

t.test(
  'connections beyond the limit are refused and counted, two thirds for one peer; those that are there go on',
  (t) => {
    const d = new Drill({ maxConnections: 12, timeWaitMs: 60_000 });
    const peers: Peer[] = [];
    d.stack.listen(80, (c) => {
      const p = quiet();
      p.connection = c;
      peers.push(p);
      return p;
    });
    const open = (src: number): number => {
      const before = peers.length;
      d.arp(1, MAC_B, src, IP_A);
      for (let port = 5001; port <= 5020; port++) {
        d.give({ flags: 'S', seq: 0, port, src });
        d.give({ flags: 'A', seq: 1, ack: 1, port, src });
      }
      return peers.length - before;
    };
    t.same([open(IP_B), d.count('tcpConnLimit')], [8, 12]);
    t.same([open(0x0a000007), open(0x0a000008), open(0x0a000009)], [3, 1, 0], 'others find their part of the rest');
    t.equal(d.stack.connect(IP_B, 9, quiet()), null);
    d.give({ flags: 'A', seq: 1, ack: 1, port: 5002, data: 9 });
    t.equal(peers[1].received, 9);
    // What only waits for its time does not count.
    for (const p of peers.slice(0, 8)) p.connection!.shutdown();
    d.stack.flush();
    for (let port = 5001; port <= 5008; port++) d.give({ flags: 'FA', seq: port === 5002 ? 10 : 1, ack: 2, port });
    t.equal(d.stack.held().timeWait, 8);
    for (let port = 6001; port <= 6020; port++) {
      d.give({ flags: 'S', seq: 0, port });
      d.give({ flags: 'A', seq: 1, ack: 1, port });
    }
    t.equal(peers.length - 12, 6, 'again two thirds of what others leave');
    for (const p of peers) p.connection!.abort();
    d.advance(70_000);
    t.match(d.stack.held(), NOTHING);
    t.end();
  },
);

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
  const wrote = peers.map((p) => p.connection!.write(new Uint8Array(1 << 17)));
  const held = d.stack.held().bufferBytes;
  t.ok(held <= 1 << 20, `${held} bytes held`);
  t.ok(
    wrote.every((bytes, i) => bytes >= 4096 && (i === 0 || bytes <= wrote[i - 1])),
    'each has a part, and no more than those before',
  );
  d.advance(100_000);
  t.equal(d.stack.held().bufferBytes, 0, 'and not for ever');
  t.equal(d.count('tcpPersistTimeout') + d.count('tcpStalled'), peers.filter((p) => p.error === 3).length);
  d.give({ flags: 'S', seq: 0, port: 6000 });
  d.give({ flags: 'A', seq: 1, ack: 1, port: 6000 });
  t.equal(peers[30].connection!.write(new Uint8Array(1 << 17)), 1 << 17, 'who comes then has all');
  t.end();
});

t.test('RFC 4987: connections by cookies live through loss, duplicates and reordering', (t) => {
  for (let seed = 1; seed <= 12; seed++) {
    const world = new World({ seed, delayUs: 300, loss: 40, duplicate: 60, reorder: 80, extraUs: 900 });
    const answer = pattern(120_000, seed);
    const clients: Peer[] = [];
    world.b.stack.listen(
      80,
      (connection) => {
        const server = new Peer(answer);
        server.connection = connection;
        return server;
      },
      0,
    );
    for (let i = 0; i < 5; i++) {
      const client = new Peer(pattern(300, i));
      client.connection = world.a.stack.connect(IP_B, 80, client);
      clients.push(client);
    }
    world.run(120_000, () => clients.every((c) => c.error >= 0));
    t.same(
      clients.map((c) => [c.error, c.data.length]),
      clients.map(() => [0, answer.length]),
      `seed ${seed}`,
    );
    for (const c of clients) t.equal(Buffer.compare(c.data, answer), 0);
    t.equal(world.b.stack.counts().tcpCookiesAccepted, 5);
    world.run(300_000);
    t.match([world.a.stack.held(), world.b.stack.held()], [NOTHING, NOTHING]);
  }
  t.end();
});

/** Connections of `a` to a server of `b` that gives each a body; some read 32 bytes every five seconds. */
class Readers {
  readonly world = new World(
    { delayUs: 50 },
    { spaceBytes: 24 << 20, settings: { memory: 8 << 20, receiveBuffer: 4096 } },
    { spaceBytes: 80 << 20, settings: { memory: 64 << 20 } },
  );
  readonly slow: Peer[] = [];
  private readonly body = pattern(1_000_000, 3);
  private readonly drop = new Uint8Array(32);

  constructor() {
    this.world.b.stack.listen(80, (connection) => {
      const server = new Peer(this.body);
      server.connection = connection;
      return server;
    });
  }

  connect(reading: boolean): Peer {
    const peer = quiet();
    peer.keep = false;
    peer.reading = reading;
    peer.connection = this.world.a.stack.connect(IP_B, 80, peer);
    if (!reading) this.slow.push(peer);
    return peer;
  }

  /** @returns simulated milliseconds until a client that reads has the body, -1: never */
  serve(): number {
    const peer = this.connect(true);
    const from = this.world.nowNs;
    this.world.run(10_000, () => peer.received === this.body.length);
    return peer.received === this.body.length ? Math.round((this.world.nowNs - from) / 1e6) : -1;
  }

  pass(seconds: number): void {
    for (let s = 0; s < seconds; s += 5) {
      for (const peer of this.slow) peer.connection!.read(this.drop);
      this.world.run(5000);
    }
  }

  get alive(): number {
    return this.slow.filter((p) => p.error < 0).length;
  }
}

t.test('500 readers of 32 bytes in five seconds: others are served at once, and the memory comes back', (t) => {
  const r = new Readers();
  const alone = r.serve();
  for (let i = 0; i < 500; i++) r.connect(false);
  r.world.run(500);
  const { memory } = r.world.b.stack.tcp.context;
  t.ok(memory.arena.isLow, `${memory.arena.used} bytes are taken`);
  const amid = r.serve();
  t.ok(amid >= 0 && amid <= 4 * alone, `${amid} ms amid them, ${alone} ms alone`);
  r.pass(30);
  const { tcpStalled } = r.world.b.stack.counts();
  t.ok(tcpStalled > 0 && tcpStalled === 500 - r.alive, `${tcpStalled} are reset, and counted`);
  t.notOk(memory.arena.isLow, `${memory.arena.used} bytes are left to those that hold little`);
  const after = r.serve();
  t.ok(after >= 0 && after <= 2 * alone, `${after} ms after them`);
  t.end();
});

t.test('readers that are as slow stay while memory is not short', (t) => {
  const r = new Readers();
  for (let i = 0; i < 20; i++) r.connect(false);
  r.pass(600);
  t.same([r.alive, r.world.b.stack.counts().tcpStalled], [20, 0]);
  t.end();
});

t.test('while memory is short a slow reader who takes what lies there stays, and so does one who was idle', (t) => {
  const r = new Readers();
  const modem = r.connect(false);
  r.slow.length = 0;
  const chatty = quiet();
  chatty.connection = null;
  r.world.b.stack.listen(81, (connection) => {
    chatty.connection = connection;
    return chatty;
  });
  const listener = quiet();
  listener.connection = r.world.a.stack.connect(IP_B, 81, listener);
  for (let i = 0; i < 500; i++) r.connect(false);
  r.world.run(200);
  for (let s = 0; s < 20; s++) {
    for (let i = 0; i < 4; i++) {
      modem.connection!.read(new Uint8Array(1024));
      r.world.run(250);
    }
    // A few bytes at a time, taken at once: below any floor, but nothing lies.
    chatty.connection!.write(new Uint8Array(5));
  }
  r.world.run(100);
  t.ok(r.world.b.stack.counts().tcpStalled > 0);
  t.same([modem.error, listener.error, listener.received], [-1, -1, 100]);
  t.end();
});

t.test('what lies beyond a gap for long is given up while memory is short, and comes again', (t) => {
  const d = new Drill({ memory: 1 << 20 });
  const peers: Peer[] = [];
  d.stack.listen(80, (c) => {
    const p = quiet();
    p.connection = c;
    peers.push(p);
    return p;
  });
  for (let port = 5001; port <= 5080; port++) {
    d.give({ flags: 'S', seq: 0, port });
    d.give({ flags: 'A', seq: 1, ack: 1, port });
    d.give({ flags: 'A', seq: 30_001, ack: 1, data: 1000, port });
    d.give({ flags: 'A', seq: 3001, ack: 1, data: 1000, port });
  }
  t.ok(d.stack.held().bufferBytes > (7 << 20) >> 3, `${d.stack.held().bufferBytes} bytes held`);
  d.advance(10_000);
  t.equal(d.stack.held().connections, 80, 'nobody is reset for it');
  t.ok(d.count('tcpPruned') > 0 && d.stack.held().bufferBytes < 1 << 18, `${d.stack.held().bufferBytes} bytes held`);
  for (let at = 1; at < 4001; at += 1000) d.give({ flags: 'A', seq: at, ack: 1, data: 1000, port: 5001 });
  t.equal(peers[0].received, 4000);
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
