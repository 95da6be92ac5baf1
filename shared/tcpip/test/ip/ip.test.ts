import t from 'tap';
import { Drill, quiet } from '../drill.js';
import { echo, frames, ip } from '../frames.js';
import { IP_A, IP_B, MAC_A, MAC_B } from '../../testkit/peer.js';

const MAC_C = { hi: 0x0200, lo: 0xc };

t.test('RFC 826: requests for us are answered, others not; nonsense is counted', (t) => {
  const d = new Drill({}, false, false);
  d.arp(1, MAC_B, IP_B, IP_A);
  const [reply] = frames(d, 0x806);
  t.same(
    [reply.getUint16(20), reply.getUint32(28), reply.getUint32(38), reply.getUint32(2)],
    [2, IP_A, IP_B, MAC_B.lo],
  );
  d.arp(1, MAC_B, IP_B, 0x0a000077);
  d.arp(1, { hi: 0x0100, lo: 1 }, IP_B, IP_A);
  d.arp(7, MAC_B, IP_B, IP_A);
  d.arp(1, MAC_B, 0xe0000001, IP_A);
  d.receive(ip({ payload: new Uint8Array(4), type: 0x806 }));
  t.same([frames(d, 0x806).length, d.count('arpBad'), d.stack.held().neighbours], [0, 4, 1]);
  d.arp(1, MAC_C, 0, IP_A);
  t.equal(frames(d, 0x806).length, 1, 'RFC 5227: a probe for our address is answered');
  t.end();
});

t.test('RFC 1122, 2.3.2: packets wait for the address, a bounded number; who does not answer is unreachable', (t) => {
  const d = new Drill({ arpQueue: 2 }, false, false);
  const socket = d.stack.bindUdp(53, () => {});
  for (let i = 0; i < 4; i++) socket.send(IP_B, 9, Buffer.from(`number ${i}`));
  t.same([frames(d, 0x806).length, d.count('arpQueueDrop')], [1, 2], 'asked once, two wait, two are lost');
  d.arp(2, MAC_B, IP_B, IP_A, MAC_A);
  const sent = frames(d, 0x800);
  t.same(
    sent.map((v) => v.getUint8(14 + 20 + 8 + 7)),
    [48, 49],
    'the first two, in order',
  );
  t.same(sent[0].getUint32(2), MAC_B.lo);
  const p = quiet();
  p.connection = d.stack.connect(0x0a000055, 80, p);
  const gone = d.stack.connect(0x0a000055, 81, quiet());
  d.stack.flush();
  d.advance(2500);
  t.same([frames(d, 0x806).length, p.error], [3, -1], 'three requests, a second apart');
  d.advance(600);
  t.same([p.error, gone!.state, d.count('arpFailed')], [4, 'CLOSED', 1], 'EHOSTUNREACH');
  const off = quiet();
  d.stack.connect(0xc0a80909, 80, off);
  d.stack.flush();
  const [asked] = frames(d, 0x806);
  t.equal(asked.getUint32(38), 0x0a0000fe, 'what is not on the network goes to the gateway');
  t.end();
});

t.test('addresses that nobody answers for do not push out those that somebody did', (t) => {
  const d = new Drill({ arpEntries: 8 });
  const socket = d.stack.bindUdp(53, () => {});
  d.frames = [];
  for (let i = 0; i < 1000; i++) socket.send(0x0a000010 + (i % 200), 9, new Uint8Array(4));
  t.ok(d.count('arpEvicted') > 900, `${d.count('arpEvicted')} given up`);
  d.frames = [];
  socket.send(IP_B, 9, new Uint8Array(4));
  t.same([frames(d, 0x800).length, frames(d, 0x806).length], [1, 0], 'the peer is known still');
  t.end();
});

t.test('H16 an address that was given to somebody is at no other MAC address, by ARP or by IPv4', (t) => {
  const d = new Drill({ arpStaleMs: 60_000 });
  const socket = d.stack.bindUdp(53, () => {});
  d.stack.arp.give(IP_B, MAC_B);
  d.advance(61_000);
  d.arp(1, MAC_C, IP_B, IP_B);
  d.arp(1, MAC_C, IP_B, IP_A);
  d.arp(2, MAC_C, IP_B, IP_A, MAC_A);
  t.equal(d.count('dropSpoofed'), 3);
  socket.send(IP_B, 9, Buffer.from('x'));
  t.equal(frames(d, 0x800)[0].getUint32(2), MAC_B.lo);
  d.arp(2, MAC_C, IP_B, IP_A, MAC_A);
  t.equal(d.count('dropSpoofed'), 4, 'not even when asked');
  d.arp(2, MAC_B, IP_B, IP_A, MAC_A);
  const forged = ip({ payload: new Uint8Array(8) });
  forged.set([2, 0, 0, 0, 0, 0x77], 6);
  d.receive(forged);
  t.same([d.count('dropSpoofed'), d.count('icmpBad')], [5, 0], 'IPv4');
  d.stack.arp.give(IP_B, null);
  d.advance(61_000);
  d.arp(2, MAC_C, IP_B, IP_A, MAC_A);
  t.equal(d.count('dropSpoofed'), 5, 'its owner is gone');
  t.end();
});

t.test(
  'ARP: old entries are asked for again while in use, and forgotten otherwise; sudden changes are not believed',
  (t) => {
    const d = new Drill({ arpStaleMs: 60_000 });
    const socket = d.stack.bindUdp(53, () => {});
    d.arp(2, MAC_C, IP_B, IP_B);
    t.equal(d.count('arpIgnored'), 1, 'within a second of the last news');
    d.advance(61_000);
    socket.send(IP_B, 9, Buffer.from('x'));
    const [ask] = frames(d, 0x806);
    t.equal(ask.getUint32(2), MAC_B.lo, 'asked by unicast, used meanwhile');
    d.arp(2, MAC_C, IP_B, IP_A, MAC_A);
    socket.send(IP_B, 9, Buffer.from('x'));
    t.equal(frames(d, 0x800)[0].getUint32(2), MAC_C.lo, 'an answer that was asked for counts');
    d.arp(1, MAC_C, IP_A, IP_A);
    d.arp(1, MAC_C, IP_A, IP_A);
    t.same(
      [d.count('arpConflict'), frames(d, 0x806).length],
      [2, 1],
      'RFC 5227: our address is defended, once a second',
    );
    d.advance(200_000);
    t.match(d.stack.held(), { neighbours: 0, timers: 0 });
    t.end();
  },
);

t.test('RFC 1122, 3.2.1: IPv4 headers are checked strictly, every drop has its counter', (t) => {
  const d = new Drill();
  const cases: [string, string, Uint8Array][] = [
    ['version 6', 'ipBadHeader', ip({ version: 6, payload: echo(8) })],
    ['header checksum', 'ipBadChecksum', ip({ badSum: true, payload: echo(8) })],
    ['longer than the frame', 'ipBadHeader', ip({ length: 200, payload: echo(8) })],
    ['shorter than its header', 'ipBadHeader', ip({ length: 19, payload: echo(8) })],
    ['for somebody else', 'ipNotMine', ip({ dst: IP_B, payload: echo(8) })],
    ['from a multicast address', 'ipBadSource', ip({ src: 0xe0000005, payload: echo(8) })],
    ['from everybody', 'ipBadSource', ip({ src: 0x0a0000ff, payload: echo(8) })],
    ['from loopback', 'ipBadSource', ip({ src: 0x7f000001, payload: echo(8) })],
    ['from us', 'ipBadSource', ip({ src: IP_A, payload: echo(8) })],
    ['source route', 'ipSourceRoute', ip({ options: [131, 7, 4, 1, 2, 3, 4, 0], payload: echo(8) })],
    ['option without end', 'ipBadHeader', ip({ options: [7, 9, 4, 0], payload: echo(8) })],
    ['unknown protocol', 'ipNoProtocol', ip({ protocol: 99, payload: echo(8) })],
    ['unknown EtherType', 'dropEtherType', ip({ type: 0x86dd, payload: echo(8) })],
    ['truncated in the Ethernet header', 'dropShort', new Uint8Array(13)],
    ['truncated in the IP header', 'ipBadHeader', ip({ payload: echo(8) }).slice(0, 30)],
    ['longer than the MTU allows', 'dropOversize', ip({ payload: echo(1500) })],
  ];
  for (const [name, counter, frame] of cases) {
    const before = d.count(counter);
    d.receive(frame);
    t.equal(d.count(counter), before + 1, `${name}: ${counter}`);
  }
  const other = ip({ payload: echo(8) });
  other[5] = 99;
  d.receive(other);
  t.equal(d.count('dropNotMine'), 1, 'another MAC address');
  t.same(d.frames, [], 'nothing is answered');
  d.receive(ip({ options: [7, 3, 4, 0], payload: echo(8) }));
  t.equal(frames(d, 0x800).length, 1, 'other options are skipped');
  t.end();
});
