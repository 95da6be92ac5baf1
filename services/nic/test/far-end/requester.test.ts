import t from 'tap';
import { REQUESTER_COUNTERS } from '@grantline/observe';
import { FlowTemplates, RESPOND_PORT } from '@grantline/frames';
import { Requester, type RequestPlan } from '../../src/far-end/data/requester.js';
import { Kit } from '../kit.js';

const MAC = 0x00163e000001;

/** A requester, and a guest that has so many buffers. */
function make(plan: Partial<RequestPlan>, buffers = 64) {
  const kit = new Kit();
  const queue = kit.queue(1000, 1);
  kit.nic.attach(queue.queue, MAC, null);
  queue.postPages(buffers);
  const flow = (flowId: number) => ({
    ...{ flowId, guestIndex: 0, dstMac: '00:16:3e:00:00:01', srcMac: '02:00:00:ca:b1:e0' },
    ...{ dstIp: '10.0.0.1', srcIp: '10.255.255.254', srcPort: 9, dstPort: RESPOND_PORT },
  });
  const full = { flows: 1, inFlight: 4, perSecond: null, timeoutNs: 1e6, ...plan };
  const flows = Array.from({ length: full.flows }, (_, i) => flow(i));
  const space = { mem: kit.mem, mapPrivate: () => kit.frames };
  const templates = new FlowTemplates(space, { seed: 1, flows, sizes: [60], protocol: 'udp' });
  const counters = kit.block(REQUESTER_COUNTERS);
  kit.cable.start({ gbps: null, pause: true, packetMemoryBytes: 1 << 20 });
  const requester = new Requester(kit.cable, templates, counters, full, () => kit.laps.now);
  const v = () => {
    counters.commit();
    return counters.read();
  };
  return { kit, queue, requester, v };
}

t.test('closed loop: so many are out and no more; each answer brings the next; guests are asked in turn', (t) => {
  const { kit, queue, requester, v } = make({ flows: 2 });
  t.equal(requester.poll(), 4);
  t.equal(requester.poll(), 0);
  t.equal(requester.inFlight, 4);
  kit.laps.now += 5000;
  requester.answered(1, 0);
  requester.answered(0, 1);
  t.equal(requester.poll(), 2);
  t.equal(requester.rtt.count, 2);
  t.ok(Math.abs(requester.rtt.percentile(50) - 5000) <= 5, 'the time of the answer');
  const { frames } = queue.take();
  const stamps = frames.map((f) => [((f.bytes[42] << 8) | f.bytes[43]) >> 4, f.bytes[47]]);
  t.same(stamps, [
    [0, 0],
    [1, 0],
    [0, 1],
    [1, 1],
    [0, 2],
    [1, 2],
  ]);
  t.match(v(), { requests: 6, answered: 2 });
  requester.stop();
  requester.answered(0, 0);
  t.equal(requester.poll(), 0, 'nothing more is asked');
  t.match(v(), { requests: 6, answered: 3, timeouts: 0, inFlight: 3 }, 'but answers count');
  t.end();
});

t.test('without an answer a request is given up; what comes then is late, what comes again is repeated', (t) => {
  const { kit, requester, v } = make({ inFlight: 2 });
  requester.poll();
  requester.arm();
  t.equal(requester.dueAtNs, kit.laps.now + 1e6, 'it looks again when the oldest is due');
  kit.laps.now += 0.9e6;
  requester.answered(0, 1);
  t.equal(requester.poll(), 1);
  kit.laps.now += 0.2e6;
  t.equal(requester.poll(), 1, 'the first is given up, the third is not');
  t.match(v(), { requests: 4, answered: 1, timeouts: 1, inFlight: 2 });
  requester.answered(0, 0);
  requester.answered(0, 0);
  requester.answered(0, 1);
  requester.answered(0, 77);
  t.match(v(), { answered: 1, late: 1, repeated: 3 });
  t.equal(requester.rtt.count, 1, 'only first answers in time count');
  t.end();
});

t.test('open loop: by the clock, and time counts from when a request was due, not from when it could go', (t) => {
  const { kit, requester, v } = make({ perSecond: 1e5, inFlight: 8, timeoutNs: 1e9 });
  t.equal(requester.patient, false);
  t.equal(requester.poll(), 1);
  t.equal(requester.poll(), 0);
  requester.arm();
  t.equal(requester.dueAtNs, kit.laps.now + 1e4);
  // A stall of 200 us: 20 fell due, 8 may be out.
  kit.laps.now += 200e3;
  t.equal(requester.poll(), 7);
  for (let i = 0; i < 8; i++) requester.answered(0, i);
  t.equal(requester.poll(), 8);
  kit.laps.now += 1000;
  requester.measure();
  for (let i = 8; i < 16; i++) requester.answered(0, i);
  t.ok(Math.abs(requester.rtt.max - 121e3) < 200, 'the ninth was due 120 us before it went');
  t.ok(Math.abs(requester.rtt.min - 51e3) < 100);
  t.match(v(), { requests: 16, answered: 16 });
  t.end();
});

t.test('a request that finds no buffer is kept, sent once there is one, and its time goes on', (t) => {
  const { kit, queue, requester, v } = make({ inFlight: 2 }, 1);
  t.equal(requester.poll(), 1);
  t.equal(requester.poll(), 0);
  t.equal(requester.progress().heldFrames, 1);
  t.equal(requester.arm(), false);
  t.ok(requester.dueAtNs <= kit.laps.now + 2e6);
  kit.laps.now += 3000;
  queue.take();
  queue.postPages(1);
  t.equal(requester.poll(), 1);
  requester.answered(0, 1);
  t.ok(Math.abs(requester.rtt.max - 3000) <= 3);
  t.match(v(), { requests: 2, answered: 1 });
  t.end();
});
