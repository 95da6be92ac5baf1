import t from 'tap';
import { Drill, quiet, type Out } from '../drill.js';
import { IP_A, IP_B } from '../../testkit/peer.js';

const full = 1460;
const lens = (out: Out[]): number[] => out.map((o) => o.len);

t.test('RFC 9293, 3.8.6.3: every second full segment is acknowledged, one alone after 40 ms', (t) => {
  const d = new Drill();
  const p = d.accept();
  t.same(d.give({ flags: 'A', seq: 1, ack: 1, data: full }), []);
  t.same(d.give({ flags: 'A', seq: 1 + full, ack: 1, data: full }), [`A 1+0 ${1 + 2 * full}`]);
  t.same(d.give({ flags: 'A', seq: 1 + 2 * full, ack: 1, data: 5 }), []);
  d.advance(39);
  t.same(d.out(), []);
  d.advance(2);
  t.same(d.out(), [`A 1+0 ${6 + 2 * full}`]);
  t.same([p.received, d.count('tcpDelayedAcks')], [2 * full + 5, 1]);
  d.give({ flags: 'A', seq: 6 + 2 * full, ack: 1, data: 5 });
  p.connection!.write(Buffer.from('ok'));
  d.stack.flush();
  t.same(d.out(), [`A 1+2 ${11 + 2 * full}`], 'an answer carries it');
  d.advance(100);
  t.same(d.out(), []);
  t.end();
});

t.test('RFC 5681, 4.2 and RFC 2018: data beyond a gap is kept and reported at once, the latest block first', (t) => {
  const d = new Drill();
  const p = d.accept(quiet(), { sackOk: true });
  const give = (seq: number, bytes: number): Out => {
    d.receive(d.segment({ flags: 'A', seq, ack: 1, data: bytes }));
    return d.sent()[0];
  };
  t.match(give(101, 100), { ack: 1, sack: [[101, 201]] });
  t.match(give(301, 100), {
    ack: 1,
    sack: [
      [301, 401],
      [101, 201],
    ],
  });
  t.match(give(501, 100), {
    ack: 1,
    sack: [
      [501, 601],
      [301, 401],
      [101, 201],
    ],
  });
  t.match(
    give(201, 100),
    {
      ack: 1,
      sack: [
        [101, 401],
        [501, 601],
      ],
    },
    'touching blocks become one',
  );
  t.match(give(101, 150), { ack: 1 }, 'received before');
  t.equal(p.received, 0);
  const filled = give(1, 120);
  t.match(filled, { ack: 401, sack: [[501, 601]] }, 'filling a gap is acknowledged at once');
  t.match(give(350, 200), { ack: 601 }, 'overlaps on both sides');
  t.same(p.data, Buffer.from(Array.from({ length: 600 }, (_, i) => (i + 1) & 255)), 'every byte once and in order');
  t.ok(d.count('tcpOverlap') >= 2);
  t.end();
});

t.test('RFC 9293, 3.10.7.4: what lies outside the window is cut off or acknowledged and dropped', (t) => {
  const d = new Drill({ receiveBuffer: 4096 });
  const p = quiet();
  p.reading = false;
  d.accept(p);
  t.same(d.give({ flags: 'A', seq: 6000, ack: 1, data: 10 }), ['A 1+0 1'], 'beyond');
  t.same(d.give({ flags: 'A', seq: -90, ack: 1, data: 50 }), ['A 1+0 1'], 'before');
  d.give({ flags: 'A', seq: -9, ack: 1, data: 30 });
  t.equal(p.connection!.readable, 20, 'the new part counts');
  for (const seq of [21, 1421, 2821]) d.give({ flags: seq === 2821 ? 'FA' : 'A', seq, ack: 1, data: 1400 });
  t.equal(p.connection!.readable, 4095, 'as much as fits');
  t.equal(p.connection!.ended, false, 'the FIN behind it is not there');
  t.same(d.give({ flags: 'A', seq: 4096, ack: 1, data: 1 }), ['A 1+0 4096'], 'a probe of the closed window');
  p.pull();
  d.stack.flush();
  t.match(d.sent(), [{ win: 4095, ack: 4096 }], 'reading opens it, and says so');
  d.give({ flags: 'FA', seq: 4096, ack: 1, data: 3 });
  t.same([p.connection!.readable, p.connection!.state], [0, 'CLOSE-WAIT']);
  t.equal(p.received, 4098);
  t.end();
});

t.test(
  'RFC 9293, 3.8.6: nothing is sent beyond the edge that the peer promised, whatever order its segments come in',
  (t) => {
    const d = new Drill();
    const p = d.accept(quiet(), { win: 20_000 });
    p.connection!.write(new Uint8Array(100_000));
    d.stack.flush();
    let edge = 0;
    const note = (out: Out[]): void => out.forEach((o) => (edge = Math.max(edge, o.seq + o.len)));
    note(d.sent());
    const give = (seq: number, data: number, acked: number): void => {
      d.receive(d.segment({ flags: 'A', seq, ack: 1 + acked * full, data, win: 20_000 - acked * full }));
      note(d.sent());
    };
    // Its data was lost; its acknowledgements stand behind that. Then the data comes again, with the latest acknowledgement.
    give(1 + full, 0, 4);
    give(1, full, 10);
    give(1 + full, full, 13);
    t.ok(edge <= 20_001, `sent up to ${edge}`);
    t.ok(edge >= 18_000, 'and all that fits');
    t.end();
  },
);

t.test(
  'RFC 9293, 3.8.6: to a peer that took its window back, acknowledgements stand where it still accepts them',
  (t) => {
    const d = new Drill();
    const p = d.accept(quiet(), { win: 20_000 });
    p.connection!.write(new Uint8Array(10 * full));
    d.stack.flush();
    d.sent();
    t.same(d.give({ flags: 'A', seq: 1, ack: 1 + full, win: 1000 }), []);
    t.same(d.give({ flags: 'A', seq: 1, ack: 1 + full, win: 1000, data: full }), []);
    t.same(
      d.give({ flags: 'A', seq: 1 + full, ack: 1 + full, win: 1000, data: full }),
      [`A ${1 + full + 1000}+0 ${1 + 2 * full}`],
      'at the right edge of its window, not behind what it will not look at',
    );
    t.same(d.give({ flags: 'A', seq: 1 + 5 * full, ack: 1 + full, win: 0, data: full }), [
      `A ${1 + full}+0 ${1 + 2 * full}`,
    ]);
    t.end();
  },
);

t.test('a FIN that comes before its data waits for it', (t) => {
  const d = new Drill();
  const p = d.accept();
  t.same(d.give({ flags: 'FA', seq: 11, ack: 1, data: 10 }), ['A 1+0 1', 'A 1+0 1']);
  t.same(p.events, ['open']);
  t.same(d.give({ flags: 'A', seq: 1, ack: 1, data: 10 }), ['A 1+0 22']);
  t.same([p.received, p.events], [20, ['open', 'end']]);
  t.end();
});

t.test('RFC 7323: timestamps are echoed, old duplicates dropped (PAWS), segments without them are used', (t) => {
  const d = new Drill();
  const p = d.accept(quiet(), { ts: [1000, 0] });
  d.receive(d.segment({ flags: 'A', seq: 1, ack: 1, ts: [1005, 0], data: 1448 }));
  d.receive(d.segment({ flags: 'A', seq: 1 + 1448, ack: 1, ts: [1006, 0], data: 1448 }));
  t.same(d.sent()[0].ts![1], 1005, 'of the segment that the acknowledgement is about');
  t.same(d.give({ flags: 'A', seq: 1 + 2 * 1448, ack: 1, ts: [900, 0], data: 10 }), [`A 1+0 ${1 + 2 * 1448}`]);
  const end = 1 + 2 * 1448 + 10;
  d.give({ flags: 'A', seq: end - 10, ack: 1, data: 10 });
  d.advance(50);
  t.same(
    d.sent().map((o) => [o.ack, o.ts![1]]),
    [[end, 1005]],
    'data is acknowledged',
  );
  t.same([d.count('tcpPaws'), d.count('tcpNoTimestamp'), p.received], [1, 1, 2 * 1448 + 10]);
  t.same(d.give({ flags: 'A', seq: end - 1, ack: 1 }), [`A 1+0 ${end}`], 'and a keep-alive probe');
  t.same(d.give({ flags: 'A', seq: end - 1, ack: 1, data: 1 }), [`A 1+0 ${end}`], 'with its byte, too');
  p.connection!.write(new Uint8Array(100));
  d.stack.flush();
  d.sent();
  d.advance(5);
  d.give({ flags: 'A', seq: end, ack: 101 });
  t.same(
    [p.connection!.unacknowledged, d.stack.tcp.context.table.find(IP_A | 0, 80, IP_B | 0, 4000)!.tsRecent],
    [0, 1005],
  );
  d.give({ flags: 'R', seq: end });
  t.equal(p.error, 1, 'a reset needs no timestamp');
  t.end();
});

t.test('RFC 7323, 2: windows are scaled both ways if both ends say so', (t) => {
  const d = new Drill({ receiveBuffer: 1 << 20, memory: 1 << 22 });
  const p = quiet();
  d.stack.listen(80, (c) => {
    p.connection = c;
    return p;
  });
  d.receive(d.segment({ flags: 'S', seq: 0, mss: 1460, scale: 7 }));
  t.match(d.sent()[0], { scale: 5, win: 65535 }, 'a SYN is not scaled');
  d.give({ flags: 'A', seq: 1, ack: 1, win: 10 });
  d.receive(
    d.segment({ flags: 'A', seq: 1, ack: 1, data: full }),
    d.segment({ flags: 'A', seq: 1 + full, ack: 1, data: full }),
  );
  t.equal(d.sent()[0].win << 5, (1 << 20) - 32, 'all of the buffer, but one unit');
  const e = new Drill({ receiveBuffer: 1 << 20, memory: 1 << 22 });
  e.stack.listen(80, () => quiet());
  e.receive(e.segment({ flags: 'S', seq: 0, mss: 1460 }));
  t.equal(e.sent()[0].scale, undefined, 'the peer has to begin');
  t.end();
});

t.test('RFC 9293, 3.7.4: Nagle holds a small segment while another is under way, and can be switched off', (t) => {
  const d = new Drill();
  const p = d.accept();
  const write = (bytes: number): number[] => {
    p.connection!.write(new Uint8Array(bytes));
    d.stack.flush();
    return lens(d.sent());
  };
  t.same(write(10), [10], 'nothing under way');
  t.same(write(10), []);
  t.same(write(1460), [1460], 'a full segment goes; the rest waits');
  d.give({ flags: 'A', seq: 1, ack: 11 });
  t.same(d.out(), []);
  t.same(lens((d.receive(d.segment({ flags: 'A', seq: 1, ack: 1471 })), d.sent())), [10]);
  p.connection!.setNoDelay(true);
  t.same([write(10), write(20)], [[10], [20]]);
  t.end();
});

t.test('RFC 9293, 3.8.6.2.1: no silly windows; 3.8.6.1: a closed window is probed, with growing pauses', (t) => {
  const d = new Drill();
  const p = d.accept(quiet(), { win: 3000 });
  p.connection!.write(new Uint8Array(10_000));
  d.stack.flush();
  t.same(lens(d.sent()), [1460, 1460], 'not the 80 bytes that are left');
  t.same(d.give({ flags: 'A', seq: 1, ack: 2921, win: 100 }), [], 'nor 100 when nothing is under way');
  d.advance(300);
  t.same(lens(d.sent()), [100], 'but after a while');
  t.same(d.give({ flags: 'A', seq: 1, ack: 3021, win: 0 }), []);
  const probes: number[] = [];
  for (let ms = 0; ms < 4000; ms += 10) {
    d.advance(10);
    for (const o of d.sent()) {
      t.same([o.seq, o.len], [3021, 1]);
      probes.push(ms);
      d.give({ flags: 'A', seq: 1, ack: 3021, win: 0 });
    }
  }
  t.ok(probes.length >= 4, `probes at ${probes.join()}`);
  t.same(
    lens((d.receive(d.segment({ flags: 'A', seq: 1, ack: 3021, win: 65535 })), d.sent())),
    [1460, 1460, 1460, 1460],
  );
  t.equal(d.count('tcpProbes'), probes.length);
  t.end();
});

t.test('a window that stays closed does not keep a connection for ever (RFC 6429), nor a peer that is gone', (t) => {
  const d = new Drill({ persistTimeoutMs: 60_000 });
  const p = d.accept(quiet(), { win: 10 });
  p.connection!.write(new Uint8Array(100));
  d.advance(300);
  d.give({ flags: 'A', seq: 1, ack: 11, win: 0 });
  for (let i = 0; i < 400 && p.error < 0; i++) {
    d.advance(200);
    if (d.sent().length > 0) d.give({ flags: 'A', seq: 1, ack: 11, win: 0 });
  }
  t.same([p.error, d.count('tcpPersistTimeout')], [3, 1]);
  t.match(d.stack.held(), { connections: 0, bufferBytes: 0 });
  const e = new Drill();
  const q = e.accept();
  q.connection!.write(new Uint8Array(100));
  e.advance(1_000_000);
  t.same([q.error, e.stack.held().connections], [3, 0], 'ETIMEDOUT');
  t.equal(e.count('tcpTimeouts'), 10);
  t.end();
});

t.test('RFC 9293, 3.8.4: keep-alive asks after silence and gives up without an answer; off unless switched on', (t) => {
  const d = new Drill({ keepIntervalMs: 1000, keepProbes: 3 });
  const p = d.accept();
  d.advance(10_000_000);
  t.same(d.out(), []);
  p.connection!.setKeepAlive(true, 5000);
  d.advance(5001);
  t.same(d.out(), ['A 0+0 1']);
  d.give({ flags: 'A', seq: 1, ack: 1 });
  d.advance(4000);
  t.same(d.out(), [], 'the answer begins the time again');
  d.advance(1001);
  t.equal(d.out().length, 1);
  d.advance(3000);
  t.same([p.error, d.count('tcpTimedOut')], [3, 1]);
  t.end();
});

t.test(
  'segmentation offload: up to 64 KiB in one packet, in multiples of the segment size, and MTU-sized without (Nagle holds the rest)',
  (t) => {
    const d = new Drill({ gso: 65535, memory: 1 << 22 });
    const p = d.accept(quiet(), { win: 65535 });
    p.connection!.write(new Uint8Array(100_000));
    d.stack.flush();
    t.same([d.gso, d.frames.map((f) => f.length - 54)], [[1460], [14600]], 'the initial window: RFC 6928');
    d.frames = [];
    d.gso = [];
    d.give({ flags: 'A', seq: 1, ack: 14601 });
    const e = new Drill({ gso: 0 });
    const q = e.accept();
    q.connection!.write(new Uint8Array(5000));
    e.stack.flush();
    t.same(
      [e.gso, lens(e.sent())],
      [
        [0, 0, 0],
        [1460, 1460, 1460],
      ],
    );
    t.end();
  },
);
