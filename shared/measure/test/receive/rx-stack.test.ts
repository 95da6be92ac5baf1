import t from 'tap';
import { GENERATOR_PORT, RESPOND_PORT, parseIp, parseMac } from '@grantline/frames';
import { MAX_PIECES } from '../../src/receive/frame-app.js';
import { frame, type Parts } from '@grantline/frames/testkit';
import { Receiver, SpyApp } from './kit.js';
import { TestSpace } from '@grantline/machine/testkit';

const setup = (options: { lro?: boolean; promiscuous?: boolean } = {}): { app: SpyApp; rx: Receiver } => {
  const space = new TestSpace(5 << 20);
  const app = new SpyApp(space.mem);
  return { app, rx: new Receiver(space, app, options) };
};

const payload = [5, 6, 7];

t.test('UDP and TCP payload reaches the socket that listens on its protocol and port', (t) => {
  const { app, rx } = setup();
  rx.stack.listen(6, 80, 7);
  rx.add(frame({ protocol: 17, payload }))
    .add(frame({ payload: [8] }))
    .add(frame({ dstPort: 80, payload: [9] }))
    .deliver();
  t.same(
    app.segments.map((s) => [s.socket, s.payload]),
    [
      [0, payload],
      [1, [8]],
      [7, [9]],
    ],
  );
  t.same(rx.counts(), { inFrames: 3, toSocket: 3, segments: 3 });
  t.end();
});

const accepted: Record<string, Parts> = {
  'a VLAN tag': { tag: 0x2005 },
  'IP options': { ipOptions: [1, 1, 1, 1] },
  'TCP options': { options: [1, 1, 1, 1, 1, 1, 1, 1] },
  'padding behind a short packet': { protocol: 17, padTo: 60 },
  'the broadcast address': { dstMac: 'ff:ff:ff:ff:ff:ff', dstIp: '255.255.255.255' },
  'a segment with FIN': { flags: 0x11 },
};
for (const [name, parts] of Object.entries(accepted))
  t.test(`${name} does not keep payload from the socket, and is no part of it`, (t) => {
    const { app, rx } = setup();
    const bytes = frame({ ...parts, payload });
    rx.add(bytes).deliver();
    t.same(app.segments[0]?.payload, payload);
    t.equal(app.segments[0]?.bytes, bytes.length);
    t.end();
  });

const edit = (bytes: Uint8Array, change: (b: Uint8Array) => void): Uint8Array => {
  change(bytes);
  return bytes;
};
/** Changes IP header bytes and puts the checksum right. */
const editIp = (parts: Parts, change: (b: Uint8Array) => void): Uint8Array =>
  edit(frame(parts), (b) => {
    change(b);
    let sum = 0;
    for (let i = 14; i < 34; i += 2) if (i !== 24) sum += (b[i] << 8) | b[i + 1];
    sum = (sum >>> 16) + (sum & 0xffff);
    b[24] = (~sum >> 8) & 255;
    b[25] = ~sum & 255;
  });
const dropped: [string, string, () => Uint8Array][] = [
  ['dropNotMine', 'another MAC address', () => frame({ dstMac: '00:16:3e:00:00:02' })],
  ['dropNotMine', 'another IP address', () => frame({ dstIp: '10.0.0.2' })],
  ['dropNotMine', 'multicast to another IP address', () => frame({ dstMac: '01:00:5e:00:00:01', dstIp: '224.0.0.1' })],
  ['dropNoSocket', 'a port without a socket', () => frame({ dstPort: 10 })],
  ['dropNoSocket', 'a UDP port without a socket', () => frame({ dstPort: 10, protocol: 17 })],
  ['dropNoSocket', 'a protocol other than UDP and TCP', () => editIp({}, (b) => (b[23] = 1))],
  ['dropNoSocket', 'an Ethernet type other than IPv4', () => frame({ type: 0x0806 })],
  ['dropBadHeader', 'a frame shorter than its Ethernet header', () => frame().slice(0, 13)],
  ['dropBadHeader', 'a tag that is cut off', () => frame({ tag: 1 }).slice(0, 17)],
  ['dropBadHeader', 'an IP header that is cut off', () => frame().slice(0, 33)],
  ['dropBadHeader', 'IP version 6 in an IPv4 frame', () => editIp({}, (b) => (b[14] = 0x65))],
  ['dropBadHeader', 'an IP header length below 20', () => editIp({}, (b) => (b[14] = 0x44))],
  ['dropBadHeader', 'an IP length beyond the frame', () => editIp({}, (b) => (b[17] = b[17] + 1))],
  ['dropBadHeader', 'an IP length below its header', () => editIp({}, (b) => (b[17] = 19))],
  ['dropBadHeader', 'a first fragment', () => frame({ df: false, fragment: 0x2000 })],
  ['dropBadHeader', 'a later fragment', () => frame({ df: false, fragment: 5 })],
  ['dropBadHeader', 'a TCP header length below 20', () => edit(frame(), (b) => (b[46] = 0x40))],
  ['dropBadHeader', 'a TCP header length beyond the packet', () => edit(frame(), (b) => (b[46] = 0xf0))],
  ['dropBadHeader', 'an IP packet too short for TCP', () => editIp({}, (b) => (b[17] = 39))],
  ['dropBadHeader', 'a UDP length below 8', () => edit(frame({ protocol: 17 }), (b) => (b[39] = 7))],
  ['dropBadHeader', 'a UDP length beyond the packet', () => edit(frame({ protocol: 17 }), (b) => (b[39] = 13))],
  ['dropBadChecksum', 'a wrong IP header checksum', () => edit(frame(), (b) => (b[22] = 63))],
];
for (const [reason, name, make] of dropped)
  t.test(`${name} is dropped and counted as ${reason}, with and without coalescing`, (t) => {
    for (const lro of [false, true]) {
      const { app, rx } = setup({ lro });
      rx.add(make()).deliver();
      t.same(rx.counts(), { inFrames: 1, [reason]: 1 });
      t.equal(app.segments.length, 0);
    }
    t.end();
  });

t.test('a frame cut at any length is dropped or whole, never more than what arrived', (t) => {
  for (const whole of [
    frame({ payload }),
    frame({ protocol: 17, payload }),
    frame({ tag: 3, ipOptions: [1, 1, 1, 1], payload }),
  ])
    for (let n = 1; n <= whole.length; n++) {
      const { app, rx } = setup();
      rx.add(whole.slice(0, n)).deliver();
      const counts = rx.counts();
      if (n < whole.length) t.equal(counts['toSocket'], undefined);
      else t.same(app.segments[0]?.payload, payload);
    }
  t.end();
});

t.test('a frame over several buffers is one frame, wherever behind its headers it is cut', (t) => {
  const long = Array.from({ length: 500 }, (_, i) => i & 255);
  const bytes = frame({ payload: long });
  for (const part of [54, 55, 100, 553, 554]) {
    const { app, rx } = setup({ lro: true });
    rx.add(bytes, part).deliver();
    t.same(app.segments, [{ socket: 1, payload: long, frames: 1, bytes: bytes.length }]);
  }
  t.end();
});

t.test('headers that are spread over buffers are malformed', (t) => {
  const { rx } = setup();
  rx.add(frame({ payload }), 40).deliver();
  t.same(rx.counts(), { inFrames: 1, dropBadHeader: 1 });
  t.end();
});

t.test('a frame whose last buffer is missing is malformed, and the next batch is not touched by it', (t) => {
  const { app, rx } = setup();
  rx.add(frame({ payload }));
  rx.stack.fragment(4096, 60, true);
  rx.deliver().add(frame({ payload })).deliver();
  t.same(rx.counts(), { inFrames: 3, dropBadHeader: 1, toSocket: 2, segments: 2 });
  t.equal(app.segments.length, 2);
  t.end();
});

t.test('promiscuous takes frames for anybody', (t) => {
  const { rx } = setup({ promiscuous: true });
  rx.add(frame({ dstMac: '00:16:3e:00:00:99', dstIp: '10.9.9.9' })).deliver();
  t.same(rx.counts(), { inFrames: 1, toSocket: 1, segments: 1 });
  t.end();
});

t.test('several own addresses, exchanged while running', (t) => {
  const { rx } = setup();
  const macs = Array.from({ length: 100 }, (_, i) => parseMac(`00:16:3e:00:00:${(i + 16).toString(16)}`));
  const ips = macs.map((_, i) => parseIp(`10.0.1.${i}`));
  rx.stack.setAddresses(macs, ips);
  rx.add(frame({ dstMac: '00:16:3e:00:00:10', dstIp: '10.0.1.99' }));
  rx.add(frame());
  rx.deliver();
  t.same(rx.counts(), { inFrames: 2, toSocket: 1, segments: 1, dropNotMine: 1 });
  t.end();
});

t.test('an application that wants whole frames gets those for its address, as they came, bad ones too', (t) => {
  const { app, rx } = setup({ lro: true });
  app.wantsRaw = true;
  const frames = [frame({ payload }), frame({ type: 0x0806 }), edit(frame(), (b) => (b[22] = 63))];
  for (const bytes of frames) rx.add(bytes, 30);
  rx.add(frame({ dstMac: '00:16:3e:00:00:02' })).deliver();
  t.same(
    app.rawFrames,
    frames.map((bytes) => [...bytes]),
  );
  t.same(rx.counts(), { inFrames: 4, toSocket: 3, segments: 3, dropNotMine: 1 });
  t.end();
});

t.test('a batch takes 256 fragments, tells its room, and refuses more', (t) => {
  const { app, rx } = setup();
  const bytes = frame({ protocol: 17, payload });
  for (let i = 0; i < MAX_PIECES; i++) {
    t.equal(rx.stack.room, MAX_PIECES - i);
    rx.add(bytes);
  }
  t.throws(() => rx.stack.fragment(4096, 60, false), RangeError);
  rx.deliver();
  t.equal(app.segments.length, MAX_PIECES);
  t.equal(rx.stack.room, MAX_PIECES);
  t.end();
});

/** Keeps what a stack passes on, call by call. */
class Others {
  readonly calls: (string | number | boolean)[][] = [];
  fragment(_off: number, len: number, more: boolean, info: number): void {
    this.calls.push(['fragment', len, more, info]);
  }
  process(): void {
    this.calls.push(['process']);
  }
  deliver(nowNs: number, isSecond: boolean): void {
    this.calls.push(['deliver', nowNs, isSecond]);
  }
  take(): (string | number | boolean)[][] {
    return this.calls.splice(0);
  }
}

t.test('frames of measured runs are delivered, all others are passed on, and each is asked about once', (t) => {
  const { app, rx } = setup();
  const others = new Others();
  rx.stack.others = others;
  rx.stack.listen(17, RESPOND_PORT, 1);
  const own = [
    frame({ dstPort: GENERATOR_PORT, payload }),
    frame({ protocol: 17, dstPort: GENERATOR_PORT, payload }),
    frame({ protocol: 17, dstPort: RESPOND_PORT, payload }),
  ];
  const foreign = [
    frame({ dstPort: 80, payload }),
    frame({ dstPort: RESPOND_PORT, payload }),
    frame({ type: 0x0806, dstPort: GENERATOR_PORT, payload }),
    frame({ tag: 5, dstPort: GENERATOR_PORT, payload }),
    frame({ protocol: 1, dstPort: GENERATOR_PORT, payload }),
  ];
  let begun = 0;
  app.begin = () => void begun++;

  for (const bytes of foreign) rx.add(bytes);
  // Only the first piece is asked: the second one looks like a generator's frame.
  rx.add(Uint8Array.from([...foreign[0], ...own[0]]), foreign[0].length).deliver(5e9);
  const pieces = foreign.map((f) => ['fragment', f.length, false, 0]);
  const chain = [
    ['fragment', foreign[0].length, true, 0],
    ['fragment', own[0].length, false, 0],
  ];
  t.same(others.take(), [...pieces, ...chain, ['process'], ['deliver', 5e9, false]]);
  t.equal(begun, 0, 'an application is not told of batches in which nothing is for it');

  rx.add(foreign[0]);
  for (const bytes of own) rx.add(bytes);
  rx.deliver(6e9);
  t.same(others.take(), [pieces[0], ['process'], ['deliver', 6e9, true]]);
  t.equal(app.segments.length, own.length);
  t.equal(begun, 1);

  for (const bytes of own) rx.add(bytes);
  rx.deliver();
  t.same(others.take(), [], 'others are not told of batches in which nothing is for them');

  rx.stack.takesAll = true;
  for (const bytes of foreign) rx.add(bytes);
  rx.deliver();
  t.same(others.take(), [], "a capture is replayed: all are a measured run's");
  t.equal(rx.counts()['inFrames'], 2 * own.length + foreign.length);
  t.end();
});
