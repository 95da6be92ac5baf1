import t from 'tap';
import { NICQ_COMP_LOOPBACK, NICTX_COMP_SENT } from '@grantline/xen';
import { checksumsRight, tcpPacket, TSO, TxKit } from '../tx-kit.js';

const MAC = [0x020000000001, 0x020000000002, 0x020000000003];
const bytesOf = (n: number): Uint8Array => Uint8Array.from({ length: n }, (_, i) => (i * 7 + (i >> 8)) & 255);
const mac = (n: number): number[] => [2, 0, 0, 0, 0, n];

/** Guests 1 and 2 with queues of their own, guest 1's transmit queue, and a default queue of the driver domain. */
function make() {
  const k = new TxKit();
  const receivers = [1, 2].map((domid) => {
    const q = k.kit.queue(domid, domid, 30);
    k.kit.nic.attach(q.queue, MAC[domid - 1], null);
    return q;
  });
  const stray = k.kit.queue(1000, 1000, 30);
  k.kit.nic.attach(stray.queue, null, null);
  const send = k.queue(1, 1, 0, 0, MAC[0]);
  const frame = (dst: number[], src = mac(1), bytes = 200): Uint8Array => {
    const f = bytesOf(bytes);
    f.set([...dst, ...src], 0);
    return f;
  };
  const post = (f: Uint8Array): void => send.post(k.place(1, 1, f, [100, 4096]));
  return { k, send, receivers, stray, frame, post };
}

t.test(
  'a frame for another queue goes there and not onto the cable; for an unknown address, onto the cable alone',
  (t) => {
    const x = make();
    const [one, two] = x.receivers;
    for (const q of [one, two, x.stray]) q.postPages(8, 40);
    x.post(x.frame(mac(2)));
    x.post(x.frame(mac(9)));
    x.k.run();
    t.same(
      two.take().frames.map((f) => Buffer.from(f.bytes)),
      [Buffer.from(x.frame(mac(2)))],
    );
    t.same(x.k.frames, [Buffer.from(x.frame(mac(9)))]);
    t.same(x.send.take(), [NICTX_COMP_SENT, NICTX_COMP_SENT, NICTX_COMP_SENT, NICTX_COMP_SENT]);
    t.match(x.send.v, { packets: 2, frames: 2, toQueues: 1 });
    t.same([...one.take().frames, ...x.stray.take().frames], []);
    t.end();
  },
);

t.test('a bulk packet arrives as frames with right checksums, each payload whole', (t) => {
  const x = make();
  const two = x.receivers[1];
  two.postPages(40, 40);
  const payload = bytesOf(20_000);
  const packet = tcpPacket({ payload, sequence: 5, id: 1, flags: 0x18, options: 12 });
  packet.set([...mac(2), ...mac(1)], 0);
  x.send.post(x.k.place(1, 1, packet, [4096]), TSO, 1448, 34, 66);
  x.k.run();
  const frames = two.take().frames.map((f) => Buffer.from(f.bytes));
  t.equal(frames.length, 14);
  t.ok(frames.every(checksumsRight));
  t.same(Buffer.concat(frames.map((f) => f.subarray(66))), Buffer.from(payload));
  t.match(x.send.v, { toQueues: 14, frames: 14 });
  t.same(x.k.frames, []);
  t.end();
});

t.test(
  'payload that is shorter than the headers changes none of them on the way to a queue: addresses stay those that were judged',
  (t) => {
    for (const mss of [1, 7, 10, 12, 33, 65, 66, 67]) {
      const x = make();
      const two = x.receivers[1];
      two.postPages(200, 40);
      const payload = bytesOf(Math.min(100, 60 * mss)).map((n) => n | 1);
      const packet = tcpPacket({ payload, sequence: 5, id: 1, flags: 0x18, options: 12 });
      packet.set([...mac(2), ...mac(1)], 0);
      x.send.post(x.k.place(1, 1, packet, [4096]), TSO, mss, 34, 66);
      x.k.run();
      const frames = two.take().frames.map((f) => Buffer.from(f.bytes));
      t.equal(frames.length, Math.ceil(payload.length / mss), `mss ${mss}`);
      t.ok(frames.every((f) => f.subarray(0, 12).equals(Buffer.from([...mac(2), ...mac(1)]))));
      t.ok(frames.every((f) => checksumsRight(f.subarray(0, 14 + f.readUInt16BE(16)))));
      t.same(Buffer.concat(frames.map((f) => f.subarray(66, 14 + f.readUInt16BE(16)))), Buffer.from(payload));
    }
    t.end();
  },
);

t.test('a packet waits for its receiver; nothing is lost, and it goes once there are buffers', (t) => {
  const x = make();
  const two = x.receivers[1];
  x.post(x.frame(mac(2)));
  x.k.run();
  t.ok(x.k.nicTx.held);
  t.same(x.send.take(), [], 'not completed');
  two.postPages(8, 40);
  x.k.run();
  t.notOk(x.k.nicTx.held);
  t.equal(two.take().frames.length, 1);
  x.k.meter.now += 3e9;
  for (let i = 0; i < 12; i++) x.post(x.frame(mac(2)));
  x.k.run();
  x.k.meter.now += 3e9;
  x.k.run();
  t.notOk(x.k.nicTx.held, 'a receiver that takes nothing for seconds is not waited for');
  t.end();
});

t.test('other sources, own addresses, and group addresses beyond the limit are dropped and counted', (t) => {
  const x = make();
  x.stray.postPages(300, 40);
  x.post(x.frame(mac(2), mac(3)));
  x.post(x.frame(mac(1)));
  x.k.run();
  t.match(x.send.v, { packets: 2, dropSpoofed: 1, dropHairpin: 1, frames: 0 });
  const all = [255, 255, 255, 255, 255, 255];
  for (let i = 0; i < 260; i++) {
    x.send.post(x.k.place(1, 1, x.frame(all, mac(1), 60), [4096]).slice(0, 1));
    x.k.run();
    x.send.take();
  }
  t.match(x.send.v, { floodFrames: 256, dropStorm: 4, toQueues: 0 });
  const flooded = x.stray.take().frames;
  t.equal(flooded.length, 256);
  t.ok(
    flooded.every((f) => (f.flags & NICQ_COMP_LOOPBACK) !== 0),
    'whose driver can tell them from frames of the cable',
  );
  t.equal(x.k.frames.length, 256, 'to the cable');
  t.end();
});

t.test(
  'H16 a bulk packet to a group counts as the frames that it becomes, whichever queue of the function sends it',
  (t) => {
    const x = make();
    x.stray.postPages(300, 40);
    const payload = bytesOf(64 * 400);
    const packet = tcpPacket({ payload, sequence: 5, id: 1, flags: 0x18, options: 0 });
    packet.set([255, 255, 255, 255, 255, 255, ...mac(1)], 0);
    const post = (q: typeof x.send): void => q.post(x.k.place(1, 1, packet, [4096]), TSO, 400, 34, 54);
    for (let i = 0; i < 3; i++) post(x.send);
    const again = x.k.queue(1, 1, 0, 50, MAC[0]);
    for (let i = 0; i < 3; i++) post(again);
    x.k.run();
    t.equal(x.send.v.frames + again.v.frames, 256);
    t.equal(x.send.v.dropStorm + again.v.dropStorm, 2);
    t.equal(x.k.frames.length, 256, 'on the cable');
    t.end();
  },
);

t.test("H16 a function sends no ARP and no IPv4 but of its own address; nested, of any that is nobody else's", (t) => {
  const k = new TxKit();
  const { given } = k.nicTx.line.local;
  const one = given.add('02:00:00:00:00:01', '10.77.0.1');
  given.add('02:00:00:00:00:02', '10.77.0.2');
  const send = k.queue(1, 1, 0, 0, MAC[0]);
  const arp = (ip: number[]): Uint8Array => {
    const f = new Uint8Array(60);
    f.set([2, 0, 0, 0, 9, 9, ...mac(1), 8, 6, 0, 1, 8, 0, 6, 4, 0, 2, ...mac(1), ...ip]);
    return f;
  };
  const post = (f: Uint8Array): void => {
    send.post(k.place(1, 1, f, [4096]));
    k.run();
  };
  const others = [
    [10, 77, 0, 2],
    [10, 77, 255, 254],
    [1, 2, 3, 4],
  ];
  for (const ip of [...others, [10, 77, 0, 1]]) post(arp(ip));
  t.match(send.v, { packets: 4, dropSpoofed: 3, frames: 1 });
  one.nested = true;
  for (const ip of others) post(arp(ip));
  t.match(send.v, { packets: 7, dropSpoofed: 5, frames: 2 });
  t.end();
});

t.test('a bulk packet to a group goes in frames to the cable and to the default queue, each whole', (t) => {
  const x = make();
  x.stray.postPages(40, 40);
  const payload = bytesOf(20_000);
  const packet = tcpPacket({ payload, sequence: 5, id: 1, flags: 0x18, options: 12 });
  packet.set([255, 255, 255, 255, 255, 255, ...mac(1)], 0);
  x.send.post(x.k.place(1, 1, packet, [4096]), TSO, 1448, 34, 66);
  x.k.run();
  const flooded = x.stray.take().frames;
  t.equal(flooded.length, 14);
  t.same(
    flooded.map((f) => Buffer.from(f.bytes)),
    x.k.frames,
  );
  t.ok(x.k.frames.every(checksumsRight));
  t.same(Buffer.concat(x.k.frames.map((f) => f.subarray(66))), Buffer.from(payload));
  t.match(x.send.v, { floodFrames: 14, toQueues: 0, frames: 14 });
  t.end();
});
