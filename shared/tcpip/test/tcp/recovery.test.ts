import t from 'tap';
import { Drill, quiet, type Seg } from '../drill.js';
import { Peer, pattern } from '../../testkit/peer.js';
import { World, join } from '../world.js';

const M = 1460;

/** A connection with ten segments under way. */
function busy(
  syn: Partial<Seg> = {},
  bytes = 100 * M,
): { d: Drill; ack: (n: number, more?: Partial<Seg>) => string[] } {
  const d = new Drill({ rtoMinMs: 200, gso: 0 });
  const p = d.accept(quiet(), syn);
  p.connection!.write(new Uint8Array(bytes));
  d.stack.flush();
  d.out();
  return { d, ack: (n, more = {}) => d.give({ flags: 'A', seq: 1, ack: 1 + n * M, ...more }) };
}
const at = (n: number): string => `A ${1 + n * M}+${M} 1`;

t.test('RFC 6928 and 5681, 3.1: ten segments first; slow start sends two for each that arrived', (t) => {
  const d = new Drill();
  const p = d.accept();
  p.connection!.write(new Uint8Array(100 * M));
  d.stack.flush();
  t.equal(d.out().length, 10);
  t.equal(d.give({ flags: 'A', seq: 1, ack: 1 + 2 * M }).length, 4);
  t.equal(p.connection!.congestionWindow, 12 * M);
  t.end();
});

t.test('RFC 5681, 3.2 and 6582: three duplicates retransmit one segment; a partial acknowledgement the next', (t) => {
  const { d, ack } = busy();
  t.same(ack(0), [at(10)], 'RFC 3042: the first duplicate lets one new segment out');
  t.same(ack(0), [at(11)]);
  t.same(ack(0), [at(0)], 'the third: what is missing, before a time-out');
  t.equal(d.count('tcpFastRecoveries'), 1);
  ack(0);
  ack(0);
  t.same(ack(2)[0], at(2), 'a partial one: the next is lost too');
  t.same(ack(3)[0], at(3));
  ack(12);
  t.equal(d.count('tcpFastRecoveries'), 1, 'all one recovery');
  t.equal(d.count('tcpRetransmits'), 3);
  t.end();
});

t.test('a loss after gigabytes without one is recovered from as fast as the first', (t) => {
  const { d, ack } = busy({}, 150 * M);
  for (let i = 0; i < 3; i++) ack(0);
  ack(12);
  t.equal(d.count('tcpFastRecoveries'), 1);
  // 2^30 bytes pass, three times: the numbers of what is under way are moved on, and one acknowledgement comes.
  let n = 12;
  let moved = 0;
  for (let i = 0; i < 3; i++) {
    d.stack.tcp.context.table.forEach((tcb) => {
      for (const key of ['sndUna', 'sndNxt', 'sndMax', 'sndWl2', 'rttSeq'] as const)
        tcb[key] = (tcb[key] + (1 << 30)) | 0;
    });
    moved = (moved + (1 << 30)) | 0;
    d.give({ flags: 'A', seq: 1, ack: (1 + ++n * M + moved) | 0 });
  }
  for (let i = 0; i < 3; i++) d.give({ flags: 'A', seq: 1, ack: (1 + n * M + moved) | 0 });
  t.equal(d.count('tcpFastRecoveries'), 2);
  t.end();
});

t.test('RFC 5681, 3.1: the window is halved by a fast retransmit and grows by one segment a round trip then', (t) => {
  const { d, ack } = busy();
  const look = (): { cwnd: number; ssthresh: number } => {
    let seen = { cwnd: 0, ssthresh: 0 };
    d.stack.tcp.context.table.forEach(({ cwnd, ssthresh }) => (seen = { cwnd, ssthresh }));
    return seen;
  };
  t.equal(look().cwnd, 10 * M);
  for (let i = 0; i < 3; i++) ack(0);
  t.equal(look().ssthresh, 6 * M, 'half of the twelve under way');
  ack(12);
  t.equal(look().cwnd, 2 * M, 'RFC 6582: nothing is under way, so no burst');
  let n = 12;
  while (look().cwnd < 6 * M) ack(++n);
  t.equal(n, 16, 'slow start up to there');
  for (let i = 0; i < 6; i++) ack(++n);
  t.equal(look().cwnd, 7 * M);
  t.end();
});

t.test('RFC 2018 and 6675: what SACK says has arrived is not sent again', (t) => {
  const { d, ack } = busy({ sackOk: true });
  const b = (from: number, to: number): [number, number] => [1 + from * M, 1 + to * M];
  ack(0, { sack: [b(1, 2)] });
  ack(0, { sack: [b(1, 2), b(4, 5)] });
  d.out();
  const out = ack(0, { sack: [b(1, 2), b(4, 5), b(6, 9)] });
  t.same(out.slice(0, 3), [at(0), at(2), at(3)], 'the holes below what is surely lost, and nothing else');
  t.notOk(out.includes(at(1)) || out.includes(at(4)) || out.includes(at(7)));
  ack(9);
  t.equal(d.count('tcpFastRecoveries'), 1);
  t.end();
});

t.test('RFC 6298: first 1 s, then by the round trip; doubled by each time-out, which sends one segment', (t) => {
  const { d, ack } = busy();
  d.advance(199);
  t.same(d.out(), [], 'the handshake took no time: 200 ms is the least');
  d.advance(2);
  t.same(d.out(), [at(0)]);
  d.advance(398);
  t.same(d.out(), []);
  d.advance(2);
  t.same(d.out(), [at(0)], 'doubled');
  d.advance(801);
  t.same(d.out(), [at(0)]);
  t.same(ack(1), [at(1), at(2)], 'RFC 5681, 3.1: slow start from one segment');
  t.same(ack(10).slice(0, 1), [at(10)], 'all of it had arrived');
  t.equal(d.count('tcpTimeouts'), 3);
  t.end();
});

t.test(
  'Karn: a retransmitted segment gives no sample, the backed-off timer stays; with timestamps it gives one',
  (t) => {
    for (const ts of [false, true]) {
      const d = new Drill();
      const p = d.accept(quiet(), ts ? { ts: [1, 0] } : {});
      p.connection!.write(new Uint8Array(100));
      d.stack.flush();
      d.sent();
      d.advance(210);
      const [again] = d.sent();
      d.advance(10);
      d.give({ flags: 'A', seq: 1, ack: 101, ...(ts ? { ts: [2, again.ts![0]] } : {}) });
      p.connection!.write(new Uint8Array(100));
      d.stack.flush();
      d.sent();
      d.advance(300);
      t.equal(d.sent().length, ts ? 1 : 0, ts ? 'back to 200 ms' : 'still 400 ms');
    }
    t.end();
  },
);

t.test('RFC 6298, 5.7 and 5681: after a SYN that was lost, 3 s and one segment', (t) => {
  const d = new Drill();
  const p = quiet();
  d.stack.listen(80, (c) => {
    p.connection = c;
    return p;
  });
  d.give({ flags: 'S', seq: 0, mss: M });
  d.advance(1001);
  t.same(d.out(), ['SA 0+0 1'], 'after a second');
  d.give({ flags: 'A', seq: 1, ack: 1 });
  p.connection!.write(new Uint8Array(5 * M));
  d.stack.flush();
  t.equal(d.out().length, 1);
  d.advance(2990);
  t.same(d.out(), []);
  d.advance(20);
  t.equal(d.out().length, 1);
  const e = new Drill({ synRetries: 2 });
  e.stack.listen(80, () => null);
  e.give({ flags: 'S', seq: 0 });
  e.advance(20_000);
  t.same([e.out().length, e.stack.held().connections], [2, 0], 'given up after so many');
  t.end();
});

t.test('RFC 5681, 4.1: after a pause longer than the timer the initial window counts again', (t) => {
  const d = new Drill();
  const p = d.accept();
  p.connection!.write(new Uint8Array(40 * M));
  d.stack.flush();
  for (let n = 2; n <= 40; n += 2) d.give({ flags: 'A', seq: 1, ack: 1 + n * M });
  t.ok(p.connection!.congestionWindow >= 20 * M);
  d.advance(100);
  p.connection!.write(new Uint8Array(20 * M));
  d.stack.flush();
  t.equal(d.out().length, 20, 'a short pause changes nothing');
  d.give({ flags: 'A', seq: 1, ack: 1 + 60 * M });
  d.advance(1000);
  p.connection!.write(new Uint8Array(20 * M));
  d.stack.flush();
  t.equal(d.out().length, 10);
  t.end();
});

t.test('a bulk transfer with one lost segment in a hundred keeps going by fast recovery, not by time-outs', (t) => {
  const world = new World({ loss: 10, delayUs: 200, seed: 77 });
  const client = new Peer(pattern(2_000_000, 1));
  const server = new Peer();
  join(world, client, server);
  t.ok(world.run(60_000, () => server.received === 2_000_000));
  const v = world.a.stack.counts();
  t.ok(v.tcpFastRecoveries > 3 && v.tcpTimeouts <= 4, `${v.tcpFastRecoveries} recoveries, ${v.tcpTimeouts} time-outs`);
  t.ok(v.tcpRetransmits < 60, `${v.tcpRetransmits} of 1370 segments sent twice`);
  t.end();
});
