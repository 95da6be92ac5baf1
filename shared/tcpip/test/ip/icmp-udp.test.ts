import t from 'tap';
import { memOver } from '@grantline/machine';
import { fastSum } from '@grantline/frames';
import { Drill, quiet } from '../drill.js';
import { echo, frames, ip, udp } from '../frames.js';
import { IP_A, IP_B, Peer } from '../../testkit/peer.js';

t.test(
  'RFC 1122, 3.2.2.6: echo is answered with the same data, fragmented where it is long; broadcasts are not',
  (t) => {
    const d = new Drill({ echoPerSecond: 3 });
    d.receive(ip({ payload: echo(56) }));
    const [reply] = frames(d, 0x800);
    t.same([reply.getUint8(34), reply.getUint32(38), reply.getUint32(30), reply.byteLength], [0, 0x12340001, IP_B, 98]);
    t.equal(
      fastSum(
        memOver(new Uint8Array([...new Uint8Array(reply.buffer), 0, 0, 0, 0, 0, 0]).slice(0, 104).buffer),
        34,
        64,
      ),
      0xffff,
    );
    const long = echo(4000);
    d.receive(
      ip({ id: 7, flags: 0x2000 | (1480 >> 3), payload: long.slice(1480, 2960) }),
      ip({ id: 7, flags: 2960 >> 3, payload: long.slice(2960) }),
      ip({ id: 7, flags: 0x2000, payload: long.slice(0, 1480) }),
    );
    const parts = frames(d, 0x800);
    t.same(
      parts.map((v) => v.getUint16(20)),
      [0x2000, 0x2000 | 185, 370],
    );
    const whole = Buffer.concat(parts.map((v) => Buffer.from(v.buffer, 34, v.byteLength - 34)));
    t.equal(Buffer.compare(whole.subarray(8), long.subarray(8)), 0);
    t.same([d.count('ipReassembled'), d.count('ipFragmentsOut'), d.stack.held().datagrams], [1, 3, 0]);
    d.receive(ip({ dst: 0x0a0000ff, payload: echo(8) }), ip({ payload: echo(8, 13) }));
    t.same([d.frames.length, d.count('icmpIgnored')], [0, 2]);
    const broken = echo(8);
    broken[9] ^= 1;
    d.receive(ip({ payload: broken }), ip({ payload: echo(8) }), ip({ payload: echo(8) }));
    t.same([d.count('icmpBad'), d.count('icmpLimited'), d.frames.length], [1, 1, 1], 'three a second');
    t.end();
  },
);

t.test('RFC 791 and 5722: fragments that overlap, contradict or never end do not stay', (t) => {
  const d = new Drill();
  const part = (id: number, flags: number, bytes: number): Uint8Array =>
    ip({ id, flags, protocol: 17, payload: new Uint8Array(bytes).fill(id) });
  d.receive(part(1, 0x2000, 800), part(1, 0x2000 | (400 >> 3), 800));
  t.same([d.count('ipReassemblyOverlap'), d.stack.held().datagrams], [1, 0], 'an overlap ends it');
  d.receive(part(2, 0x2000, 800), part(2, 0x2000, 800));
  t.equal(d.stack.held().datagrams, 1, 'the same once more is no overlap');
  d.receive(part(2, 100 >> 3, 96));
  t.equal(d.count('ipReassemblyOverlap'), 2, 'an end in the middle');
  d.receive(part(3, 0x2000, 801), part(3, 0x1fff, 800));
  t.equal(d.count('ipReassemblyBad'), 2, 'length no multiple of 8; beyond 64 KiB');
  for (let id = 10; id < 30; id++) d.receive(part(id, 0x2000, 800));
  t.same([d.stack.held().datagrams, d.count('ipReassemblyEvicted')], [8, 12]);
  d.advance(15_001);
  t.same([d.stack.held().datagrams, d.count('ipReassemblyTimeout')], [0, 8]);
  t.match(d.stack.held(), { timers: 1 });
  t.end();
});

t.test('a peer that uses up its answers, or the room for fragments, takes nothing from another', (t) => {
  const d = new Drill({ echoPerSecond: 3, errorsPerSecond: 2 });
  const other = 0x0a000005;
  d.arp(1, { hi: 0x0200, lo: 0xc }, other, IP_A);
  d.frames = [];
  for (let i = 0; i < 50; i++) d.receive(ip({ payload: echo(8) }));
  t.equal(frames(d, 0x800).length, 3);
  d.receive(ip({ src: other, payload: echo(8) }));
  t.equal(frames(d, 0x800).length, 1, 'echo');

  for (let i = 0; i < 50; i++) d.receive(ip({ protocol: 17, payload: udp(7, new Uint8Array(4), { sum: 0 }) }));
  t.equal(frames(d, 0x800).length, 2);
  d.receive(ip({ src: other, protocol: 17, payload: udp(7, new Uint8Array(4), { sum: 0 }) }));
  t.equal(frames(d, 0x800).length, 1, 'port unreachable');

  for (let port = 100; port < 150; port++) d.receive(d.segment({ flags: 'S', seq: 0, port }));
  t.equal(frames(d, 0x800).length, 2);
  d.receive(d.segment({ flags: 'S', seq: 0, src: other }));
  t.equal(frames(d, 0x800).length, 1, 'reset');

  d.advance(1000);
  const long = echo(1992);
  const part = (src: number, id: number, from: number, end: number): Uint8Array =>
    ip({ src, id, flags: (end < 2000 ? 0x2000 : 0) | (from >> 3), payload: long.slice(from, end) });
  d.receive(part(other, 1, 0, 1480));
  for (let id = 0; id < 50; id++) d.receive(part(IP_B, id, 0, 800));
  t.same([d.stack.held().datagrams, d.count('ipReassemblyEvicted')], [8, 43]);
  d.receive(part(other, 1, 1480, 2000));
  t.same([d.count('ipReassembled'), d.count('icmpEchoes')], [1, 5], 'fragments');
  t.end();
});

t.test('RFC 7739: fragments to one address count up; to another they begin elsewhere', (t) => {
  const d = new Drill();
  const other = 0x0a000005;
  d.arp(1, { hi: 0x0200, lo: 0xc }, other, IP_A);
  d.frames = [];
  const socket = d.stack.bindUdp(53, () => {});
  const idTo = (to: number): number => {
    socket.send(to, 9, new Uint8Array(2000));
    const ids = frames(d, 0x800).map((v) => v.getUint16(18));
    t.same([ids.length, ids[0]], [2, ids[1]]);
    return ids[0];
  };
  const first = idTo(IP_B);
  const strange = idTo(other);
  for (let i = 1; i <= 5; i++) t.equal((idTo(IP_B) - first) & 0xffff, i);
  t.ok(Math.abs(first - strange) > 10, `${first} and ${strange}`);
  t.equal((idTo(other) - strange) & 0xffff, 1, 'and learns nothing of what others got');
  t.end();
});

t.test('RFC 768 and 1122, 4.1: UDP in and out, closed ports, wrong lengths and checksums', (t) => {
  const d = new Drill({ errorsPerSecond: 2, txChecksum: false });
  const got: string[] = [];
  const socket = d.stack.bindUdp(53, (at, bytes, from, port) => {
    got.push(`${Buffer.from(d.mem.u8.slice(at, at + bytes)).toString()} ${from === IP_B} ${port}`);
    socket.send(from, port, Buffer.from('answer'));
  });
  t.throws(() => d.stack.bindUdp(53, () => {}), /UDP port 53 of 10.0.0.1 is in use/);
  const hello = Buffer.from('hello');
  d.receive(ip({ protocol: 17, payload: udp(53, hello) }));
  t.same(got, ['hello true 999']);
  const [answer] = frames(d, 0x800);
  t.same([answer.getUint16(34), answer.getUint16(36), answer.getUint16(38)], [53, 999, 14]);
  d.receive(ip({ protocol: 17, payload: udp(53, hello, { sum: 0 }) }));
  t.equal(got.length, 2, 'no checksum');
  d.receive(ip({ protocol: 17, payload: udp(53, hello, { sum: 77 }) }));
  d.receive(ip({ protocol: 17, payload: udp(53, hello, { length: 7 }) }));
  d.receive(ip({ protocol: 17, payload: udp(53, hello, { length: 14 }) }));
  t.same([got.length, d.count('udpBadChecksum'), d.count('udpBadHeader')], [2, 1, 2]);
  d.frames = [];
  for (let i = 0; i < 3; i++) d.receive(ip({ protocol: 17, payload: udp(54, hello) }));
  d.receive(ip({ protocol: 17, dst: 0x0a0000ff, payload: udp(54, hello, { sum: 0 }) }));
  const errors = frames(d, 0x800);
  t.same(
    errors.map((v) => v.getUint16(34)),
    [0x0303, 0x0303],
    'port unreachable, two a second, none for a broadcast',
  );
  t.equal(errors[0].getUint16(42 + 20 + 2), 54, 'it quotes the datagram');
  t.same([d.count('udpNoPort'), d.count('icmpLimited')], [4, 1]);
  t.ok(socket.send(IP_B, 9, new Uint8Array(5000)));
  t.equal(frames(d, 0x800).length, 4, 'long ones leave in fragments');
  socket.close();
  t.doesNotThrow(() => d.stack.bindUdp(53, () => {}));
  t.end();
});

t.test('RFC 5927: an ICMP error counts for a segment that is under way, and ends only what is not open yet', (t) => {
  const d = new Drill();
  const p = quiet();
  p.connection = d.stack.connect(IP_B, 7000, p);
  d.stack.flush();
  const syn = d.frames[0];
  d.frames = [];
  const quote = (frame: Uint8Array, code: number, mtu = 0, shift = 0): Uint8Array => {
    const f = memOver(new ArrayBuffer(40));
    f.dv.setUint16(0, (3 << 8) | code);
    f.dv.setUint16(6, mtu);
    f.u8.set(frame.subarray(14, 14 + 28), 8);
    f.dv.setInt32(8 + 24, f.dv.getInt32(8 + 24) + shift);
    f.dv.setUint16(2, ~fastSum(f, 0, 36) & 0xffff);
    return ip({ payload: f.u8.slice(0, 36) });
  };
  d.receive(quote(syn, 3, 0, 5000));
  t.equal(p.connection!.state, 'SYN-SENT', 'a sequence number that was not sent');
  d.receive(quote(syn, 3));
  t.equal(p.error, 2, 'refused');
  const q = new Peer();
  q.shutdownAfter = false;
  const e = new Drill();
  e.accept(q);
  q.connection!.write(new Uint8Array(5000));
  e.stack.flush();
  const [first] = e.frames;
  e.frames = [];
  e.receive(quote(first, 3));
  t.equal(q.connection!.state, 'ESTABLISHED');
  e.receive(quote(first, 4, 1000));
  t.same(e.out(), ['A 1+960 1'], 'RFC 1191: sent again, shorter');
  e.receive(quote(first, 4, 68));
  t.match(
    e.sent().map((o) => o.len),
    [512],
    'no shorter than 552',
  );
  t.end();
});
