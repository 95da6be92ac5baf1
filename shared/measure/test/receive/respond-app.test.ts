import t from 'tap';
import { RESPONDER_COUNTERS, STACK_COUNTERS } from '@grantline/observe';
import {
  foldSum,
  pseudoSum,
  sumOf,
  PROTO_UDP,
  parseIp,
  Pattern,
  RESPOND_PORT,
  STAMP_BYTES,
  stampCheck,
  parseIp as ip,
  parseMac,
} from '@grantline/frames';
import type { TxDevice } from '../../src/send/tx-device.js';
import { RESPOND_SOCKET, RespondApp } from '../../src/receive/respond-app.js';
import { MAX_IN_FLIGHT } from '@grantline/base';
import { RxStack } from '../../src/receive/rx-stack.js';
import { VerifyApp } from '../../src/receive/verify-app.js';
import { IP, MAC, flowSpec, templates } from '@grantline/frames/testkit';
import { appBlock, latencyBlock } from './kit.js';
import { TestSpace, block } from '@grantline/machine/testkit';

const ASKER = '02:00:00:00:00:01';
const UDP_PAYLOAD = 42;

function make() {
  const space = new TestSpace(64 << 20);
  const app = appBlock(space);
  const verify = new VerifyApp(space, app, latencyBlock(space));
  const counters = block(space, RESPONDER_COUNTERS);
  const respond = new RespondApp({ space, beside: verify, counters });
  const stack = new RxStack({
    ...{ mem: space.mem, counters: block(space, STACK_COUNTERS), lro: false, app: respond },
    ...{ macs: [parseMac(MAC)], ips: [ip(IP)] },
  });
  stack.listen(PROTO_UDP, 9, 0);
  stack.listen(PROTO_UDP, RESPOND_PORT, RESPOND_SOCKET);
  const sent: Buffer[] = [];
  const device = { free: Infinity, given: 0, pushes: 0 };
  const tx: TxDevice = {
    maxBytes: 65535,
    room: () => device.free > 0,
    stage(src, bytes) {
      device.free--;
      sent.push(Buffer.from(space.mem.u8.slice(src, src + bytes)));
      return 1;
    },
    push: () => void device.pushes++,
    reclaim: () => {
      const n = device.given;
      device.free += n;
      device.given = 0;
      return n;
    },
    arm: () => false,
  };
  respond.attach(tx);
  verify.reset({ seed: 7 });
  // The guest's flow is the asker's, turned round.
  const back = { dstMac: ASKER, srcMac: MAC, dstIp: '10.0.1.1', srcIp: IP, srcPort: RESPOND_PORT, dstPort: 9 };
  respond.prepare({ seed: 7, flows: [{ ...flowSpec(0), ...back }] });
  /** Gives frames in, in one batch, in buffers of at most `part` bytes. */
  const give = (at: number[], bytes: number, part = 9014): void => {
    for (const from of at)
      for (let off = 0; off < bytes; off += part)
        stack.fragment(from + off, Math.min(part, bytes - off), off + part < bytes);
    stack.process();
    stack.deliver(2e9);
  };
  const v = (): Record<string, number> => (counters.commit(), counters.read());
  return { space, respond, device, sent, give, v, app, stack };
}

t.test('a request comes back to who asked: same flow, number and time, the next pattern, right checksums', (t) => {
  const pattern = new Pattern(7);
  for (const bytes of [60, 61, 84, 1514, 9013]) {
    const b = make();
    const asked = templates(b.space, [bytes], {
      flows: [flowSpec(0, { srcPort: 9, dstPort: RESPOND_PORT })],
      protocol: 'udp',
    });
    for (let i = 0; i < 7; i++) {
      const at = asked.next(0, 0, 1e9 + i);
      const request = Buffer.from(b.space.mem.u8.slice(at, at + bytes));
      b.give([at], bytes, bytes > 4096 ? 4096 : undefined);
      const frame = b.sent.at(-1)!;
      t.equal(b.sent.length, i + 1);
      t.equal(frame.length, bytes);
      t.equal(
        frame.subarray(0, 12).toString('hex'),
        request.subarray(6, 12).toString('hex') + request.subarray(0, 6).toString('hex'),
      );
      t.equal(frame.readUInt32BE(26), parseIp(IP));
      t.equal(frame.readUInt32BE(30), parseIp('10.0.1.1'));
      t.same([frame.readUInt16BE(34), frame.readUInt16BE(36)], [RESPOND_PORT, 9]);
      const copy = b.space.mapPrivate(16384);
      b.space.mem.u8.set(frame, copy);
      t.equal(foldSum(sumOf(b.space.mem, copy + 14, 20)), 0xffff, 'IP checksum');
      const udp =
        sumOf(b.space.mem, copy + 34, bytes - 34) + pseudoSum(parseIp(IP), parseIp('10.0.1.1'), PROTO_UDP, bytes - 34);
      t.equal(foldSum(udp), 0xffff, 'UDP checksum');
      const n = bytes - UDP_PAYLOAD - STAMP_BYTES;
      const stamp = UDP_PAYLOAD + n;
      t.equal(frame.readUInt16BE(stamp) >>> 4, 0);
      t.equal(frame.readUInt16BE(stamp) & 15, (i + 1) % 5, 'the next variant');
      t.equal(frame.subarray(stamp + 2, stamp + 14).compare(request.subarray(stamp + 2, stamp + 14)), 0);
      const variant = frame.readUInt16BE(stamp) & 15;
      t.equal(
        frame.subarray(UDP_PAYLOAD, stamp).compare(pattern.bytes.subarray(variant * 9216, variant * 9216 + n)),
        0,
      );
      const check = stampCheck(
        ...([pattern.sumOf(variant, n), frame.readUInt16BE(stamp), frame.readInt32BE(stamp + 2)] as const),
        ...([frame.readInt32BE(stamp + 6), frame.readInt32BE(stamp + 10)] as const),
      );
      t.equal(frame.readInt32BE(stamp + 14), check);
    }
    t.match(b.v(), { requests: 7, responses: 7, responseBytes: 7 * bytes, dropCorrupt: 0 });
  }
  t.end();
});

t.test(
  'a request of which one bit is wrong, and one of a stranger, is not answered; a load beside it is verified',
  (t) => {
    const b = make();
    const flows = [
      flowSpec(0, { srcPort: 9, dstPort: RESPOND_PORT }),
      flowSpec(1, { srcPort: 9, dstPort: RESPOND_PORT }),
    ];
    const asked = templates(b.space, [100], { flows, protocol: 'udp' });
    for (let byte = UDP_PAYLOAD; byte < 100; byte++) {
      const at = asked.next(0, 0, 1e9);
      b.space.mem.u8[at + byte] ^= 1 << (byte & 7);
      b.give([at], 100);
      b.space.mem.u8[at + byte] ^= 1 << (byte & 7);
    }
    b.give([asked.next(1, 0, 1e9)], 100);
    t.equal(b.sent.length, 0);
    t.match(b.v(), { requests: 59, responses: 0, dropCorrupt: 59 });
    const load = templates(b.space, [60], { protocol: 'udp' });
    b.give([load.next(0, 0, 1e9)], 60);
    t.match(b.app.read(), { frames: 1, corrupt: 0, duplicate: 0 });
    t.end();
  },
);

t.test('responses wait for room, so many and no more, and go as soon as there is some', (t) => {
  const b = make();
  const asked = templates(b.space, [60], {
    flows: [flowSpec(0, { srcPort: 9, dstPort: RESPOND_PORT })],
    protocol: 'udp',
  });
  b.device.free = 3;
  let woken = 0;
  b.respond.wake = () => void woken++;
  for (let i = 0; i < MAX_IN_FLIGHT + 10; i++) b.give([asked.next(0, 0, 1e9)], 60);
  t.equal(b.sent.length, 3);
  t.ok(woken > 0, 'whoever polls the device is told');
  t.match(b.v(), { requests: MAX_IN_FLIGHT + 10, responses: 3, dropNoRoom: 7 });
  b.device.given = 1000;
  t.equal(b.respond.flush(), MAX_IN_FLIGHT);
  t.same(
    b.sent.map((f) => f.readInt32BE(UDP_PAYLOAD + 2)),
    Array.from({ length: MAX_IN_FLIGHT + 3 }, (_, i) => i),
    'in order',
  );
  b.respond.attach(null);
  b.give([asked.next(0, 0, 1e9)], 60);
  t.match(b.v(), { dropNoDevice: 1 });
  t.end();
});
