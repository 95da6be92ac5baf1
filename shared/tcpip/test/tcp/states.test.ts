import t from 'tap';
import { IP_B } from '../../testkit/peer.js';
import { Drill, quiet } from '../drill.js';

t.test('RFC 9293, figure 5: active open, close, TIME-WAIT, CLOSED', (t) => {
  const d = new Drill();
  const p = quiet();
  p.connection = d.stack.connect(IP_B, 7000, p);
  t.equal(p.connection!.state, 'SYN-SENT');
  d.stack.flush();
  const [syn] = d.sent();
  t.match(syn, { flags: 'S', seq: 0, len: 0, mss: 1460, scale: 1, sackOk: true });
  d.port = syn.port;
  d.peerPort = 7000;
  t.same(d.give({ flags: 'SA', seq: 0, ack: 1, mss: 1460 }), ['A 1+0 1']);
  t.same([p.connection!.state, p.events], ['ESTABLISHED', ['open']]);
  p.connection!.shutdown();
  d.stack.flush();
  t.same([p.connection!.state, d.out()], ['FIN-WAIT-1', ['FA 1+0 1']]);
  t.same(d.give({ flags: 'A', seq: 1, ack: 2 }), []);
  t.equal(p.connection!.state, 'FIN-WAIT-2');
  t.same(d.give({ flags: 'A', seq: 1, ack: 2, data: 'late' }), [], 'half close: data still comes');
  t.same(d.give({ flags: 'FA', seq: 5, ack: 2 }), ['A 2+0 6']);
  t.same([p.connection!.state, p.received], ['TIME-WAIT', 4]);
  t.same(d.give({ flags: 'FA', seq: 5, ack: 2 }), ['A 2+0 6'], 'a repeated FIN is acknowledged again');
  t.same(d.give({ flags: 'R', seq: 6 }), [], 'RFC 1337: a reset does not end TIME-WAIT');
  t.equal(p.connection!.state, 'TIME-WAIT');
  d.advance(1999);
  t.equal(p.connection!.state, 'TIME-WAIT', 'the FIN began the time again');
  d.advance(10);
  t.same([p.connection!.state, p.events], ['CLOSED', ['open', 'end', 'close']]);
  p.connection!.close();
  t.match(d.stack.held(), { connections: 0, timeWait: 0, timers: 1, bufferBytes: 0, neighbours: 1 });
  t.end();
});

t.test('RFC 9293, 3.10.7.2: passive open, CLOSE-WAIT, LAST-ACK, CLOSED', (t) => {
  const d = new Drill();
  const p = quiet();
  d.stack.listen(80, (c) => {
    p.connection = c;
    return p;
  });
  t.same(d.give({ flags: 'S', seq: 0, mss: 1460 }), ['SA 0+0 1']);
  t.equal(p.connection, null, 'nobody hears of a half-open connection');
  t.same(d.give({ flags: 'S', seq: 0, mss: 1460 }), ['SA 0+0 1'], 'the SYN again: the answer again');
  t.same(d.give({ flags: 'A', seq: 1, ack: 1 }), []);
  t.equal(p.connection!.state, 'ESTABLISHED');
  t.same(d.give({ flags: 'FA', seq: 1, ack: 1 }), ['A 1+0 2']);
  t.same([p.connection!.state, p.events], ['CLOSE-WAIT', ['open', 'end']]);
  p.connection!.write(Buffer.from('bye'));
  p.connection!.shutdown();
  t.equal(p.connection!.state, 'LAST-ACK');
  d.stack.flush();
  t.same(d.out(), ['FA 1+3 2'], 'data and FIN in one');
  t.same(d.give({ flags: 'A', seq: 2, ack: 5 }), []);
  t.equal(p.connection!.state, 'CLOSED');
  t.match(d.stack.held(), { connections: 0, timers: 1, bufferBytes: 0 });
  t.end();
});

t.test('RFC 9293, figure 7 and 3.6.2: simultaneous open, simultaneous close (CLOSING)', (t) => {
  const d = new Drill();
  const p = quiet();
  p.connection = d.stack.connect(IP_B, 7000, p);
  d.stack.flush();
  d.port = d.sent()[0].port;
  d.peerPort = 7000;
  t.same(d.give({ flags: 'S', seq: 0, mss: 1460 }), ['SA 0+0 1']);
  t.equal(p.connection!.state, 'SYN-RECEIVED');
  t.same(d.give({ flags: 'SA', seq: 0, ack: 1 }), ['A 1+0 1']);
  t.same([p.connection!.state, p.events], ['ESTABLISHED', ['open']]);
  p.connection!.shutdown();
  d.stack.flush();
  t.same(d.out(), ['FA 1+0 1']);
  t.same(d.give({ flags: 'FA', seq: 1, ack: 1 }), ['A 2+0 2']);
  t.equal(p.connection!.state, 'CLOSING');
  d.give({ flags: 'A', seq: 2, ack: 2 });
  t.equal(p.connection!.state, 'TIME-WAIT');
  t.end();
});

t.test('RFC 9293, 3.10.7.1: without a connection a segment is answered by a reset, a reset by nothing', (t) => {
  const d = new Drill();
  t.same(d.give({ flags: 'S', seq: 0 }), ['RA 10+0 1'], 'a SYN: sequence number 0 in full');
  t.same(d.give({ flags: 'A', seq: 5, ack: 77 }), ['R 77+0 0'], 'its acknowledgement is our sequence number');
  t.same(d.give({ flags: 'FA', seq: 5, ack: 9, data: 3 }), ['R 9+0 0']);
  t.same(d.give({ flags: 'R', seq: 5 }), []);
  t.same(d.give({ flags: 'RA', seq: 5, ack: 1 }), []);
  t.equal(d.count('tcpNoConnection'), 5);
  d.stack.listen(80, () => null);
  t.same(d.give({ flags: 'A', seq: 5, ack: 3 }), ['R 3+0 0'], 'an acknowledgement in LISTEN');
  t.end();
});

t.test('RFC 9293, 3.10.7.3: SYN-SENT', (t) => {
  const open = (): [Drill, ReturnType<typeof quiet>] => {
    const d = new Drill();
    const p = quiet();
    p.connection = d.stack.connect(IP_B, 7000, p);
    d.stack.flush();
    d.port = d.sent()[0].port;
    d.peerPort = 7000;
    return [d, p];
  };
  let [d, p] = open();
  t.same(d.give({ flags: 'SA', seq: 0, ack: 5 }), ['R 5+0 0'], 'an acknowledgement of what was not sent');
  t.same(d.give({ flags: 'R', seq: 0 }), [], 'a reset that does not know our SYN is ignored');
  t.equal(p.connection!.state, 'SYN-SENT');
  d.give({ flags: 'RA', seq: 0, ack: 1 });
  t.same([p.connection!.state, p.error], ['CLOSED', 2], 'refused');
  [d, p] = open();
  t.same(d.give({ flags: 'SAF', seq: 0, ack: 1, data: 'hello' }), ['A 1+0 7'], 'data and FIN with the SYN');
  t.same([p.connection!.state, p.received], ['CLOSE-WAIT', 5]);
  [d, p] = open();
  p.connection!.close();
  t.match(d.stack.held(), { connections: 0, timers: 1 }, 'closed before it was open');
  t.end();
});

t.test('RFC 9293, 3.10.7.4: SYN-RECEIVED', (t) => {
  const d = new Drill();
  d.stack.listen(80, () => null);
  d.give({ flags: 'S', seq: 0 });
  t.same(d.give({ flags: 'A', seq: 1, ack: 7 }), ['R 7+0 0'], 'an acknowledgement of what was not sent');
  d.give({ flags: 'R', seq: 1 });
  t.equal(d.stack.held().connections, 0, 'a reset: back to LISTEN, nothing told');
  d.give({ flags: 'S', seq: 0 });
  t.same(d.give({ flags: 'A', seq: 1, ack: 1 }), ['RA 1+0 1'], 'nobody takes it: reset');
  t.equal(d.stack.held().connections, 0);
  t.end();
});

t.test(
  'RFC 9293, 3.10.7.4: in SYN-RECEIVED too, what lies outside the window is answered by an acknowledgement',
  (t) => {
    const d = new Drill();
    d.stack.listen(80, () => quiet());
    d.give({ flags: 'S', seq: 0 });
    // A client that has begun anew from the same port: so it hears of the old one, and resets it.
    t.same(d.give({ flags: 'S', seq: 200_000 }), ['A 1+0 1']);
    t.same(d.give({ flags: 'R', seq: 1 }), []);
    t.equal(d.stack.held().connections, 0);
    t.end();
  },
);

t.test('RFC 5961, 3 to 5: resets, SYNs and acknowledgements that may be forged', (t) => {
  const d = new Drill();
  const p = d.accept();
  t.same(d.give({ flags: 'R', seq: 1000 }), ['A 1+0 1'], 'a reset in the window, not at its edge: challenge');
  t.same(d.give({ flags: 'R', seq: 70_000 }), [], 'a reset outside the window: nothing');
  t.same(d.give({ flags: 'S', seq: 0 }), ['A 1+0 1'], 'a SYN: challenge');
  t.same(d.give({ flags: 'S', seq: 500 }), ['A 1+0 1']);
  t.same(d.give({ flags: 'A', seq: 1, ack: 900, data: 3 }), ['A 1+0 1'], 'acknowledges what was not sent');
  t.same(d.give({ flags: 'A', seq: 1, ack: -200_000, data: 3 }), ['A 1+0 1'], 'acknowledges the distant past');
  t.same(d.give({ flags: 'R', seq: 1000 }), [], 'five challenges in half a second are enough');
  t.same([d.count('tcpLimited'), p.connection!.state, p.received], [1, 'ESTABLISHED', 0]);
  d.advance(500);
  t.same(d.give({ flags: 'R', seq: 1000 }), ['A 1+0 1']);
  d.give({ flags: 'R', seq: 1 });
  t.same([p.connection!.state, p.error, d.stack.held().connections], ['CLOSED', 1, 0], 'exactly at the edge: reset');
  t.end();
});

t.test('RFC 9293, 3.10.4 and RFC 2525, 2.17: closing with unread data, or data after closing, resets', (t) => {
  let d = new Drill();
  let p = quiet();
  p.reading = false;
  d.accept(p);
  d.give({ flags: 'A', seq: 1, ack: 1, data: 10 });
  p.connection!.close();
  t.same(d.out(), ['RA 1+0 11']);
  t.match(d.stack.held(), { connections: 0, bufferBytes: 0 });
  d = new Drill();
  p = d.accept();
  p.connection!.close();
  d.stack.flush();
  t.same(d.out(), ['FA 1+0 1']);
  d.give({ flags: 'A', seq: 1, ack: 2 });
  t.same(d.give({ flags: 'A', seq: 1, ack: 2, data: 1 }), ['RA 2+0 1']);
  t.match(d.stack.held(), { connections: 0, timers: 1, bufferBytes: 0 });
  d = new Drill();
  d.accept().connection!.close();
  d.stack.flush();
  d.give({ flags: 'A', seq: 1, ack: 2 });
  d.advance(10_001);
  t.equal(d.stack.held().connections, 0, 'FIN-WAIT-2 of a closed connection does not last');
  t.end();
});

t.test('RFC 6191: TIME-WAIT gives way to a newer SYN, and to no other', (t) => {
  const d = new Drill({ timestamps: true });
  const p = d.accept(quiet(), { ts: [100, 0] });
  p.connection!.close();
  d.stack.flush();
  d.give({ flags: 'FA', seq: 1, ack: 2, ts: [101, 0] });
  t.equal(d.stack.held().timeWait, 1);
  t.same(d.give({ flags: 'S', seq: 50_000, ts: [90, 0] }), ['A 2+0 2'], 'an older one is told where we are');
  const [answer] = (d.receive(d.segment({ flags: 'S', seq: 50_000, ts: [200, 0] })), d.sent());
  t.match(answer, { flags: 'SA', ack: 50_001 });
  t.ok(answer.seq > 2, 'our numbers go on beyond the old ones');
  t.same([d.count('tcpTimeWaitReused'), d.stack.held().timeWait], [1, 0]);
  t.end();
});
