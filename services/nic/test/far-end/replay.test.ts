import t from 'tap';
import { PACKET_MEMORY_BYTES } from '../../src/far-end/data/cable.js';
import { Replay, type LoadedCapture } from '../../src/far-end/data/replay.js';
import { Kit } from '../kit.js';

const MAC = 0x02_00_00_00_00_01;
const US = 1000;

function capture(kit: Kit, times: number[]): LoadedCapture {
  const offsets = Int32Array.from(times, (_, i) => kit.frame(MAC, 100, i + 1, kit.frames + i * 128));
  return {
    count: times.length,
    offsets,
    lengths: new Uint32Array(times.length).fill(100),
    timesNs: Float64Array.from(times),
  };
}

function start(times: number[], factor: number, loops: number, buffers = 512) {
  const kit = new Kit();
  const q = kit.queue(1, 1);
  kit.nic.attach(q.queue, MAC, null);
  q.postPages(buffers);
  kit.cable.start({ gbps: null, pause: true, packetMemoryBytes: PACKET_MEMORY_BYTES });
  const replay = new Replay(kit.cable, capture(kit, times), { factor, loops });
  const fills = (): number[] => q.take().frames.map((f) => f.bytes[6]);
  return { kit, q, replay, fills };
}

t.test('frames go at the recorded pace, and the sender sleeps until the next', (t) => {
  const { kit, replay, fills } = start([0, 10 * US, 10 * US, 500 * US], 1, 1);
  const t0 = kit.laps.now;
  t.equal(replay.poll(), 1);
  t.equal(replay.poll(), 0);
  t.equal(replay.arm(), false);
  t.equal(replay.dueAtNs, t0 + 10 * US);
  kit.laps.now = replay.dueAtNs;
  t.equal(replay.poll(), 2);
  replay.poll();
  t.equal(replay.dueAtNs, t0 + 500 * US);
  kit.laps.now = replay.dueAtNs;
  t.equal(replay.poll(), 1);
  t.equal(replay.done, true);
  t.same(fills(), [1, 2, 3, 4]);
  t.end();
});

t.test('a load that starts while the loop sleeps has no backlog: the pace begins with the first burst', (t) => {
  const { kit, replay, fills } = start([0, 500e6, 1570e6], 1, 1);
  // HTTP has started it; the meter's time is that of the last turn, long ago.
  kit.laps.now += 1.2e9;
  const t0 = kit.laps.now;
  t.equal(replay.poll(), 1);
  t.equal(replay.dueAtNs, t0 + 500e6);
  kit.laps.now = t0 + 1569e6;
  t.equal(replay.poll(), 1);
  kit.laps.now = t0 + 1570e6;
  t.equal(replay.poll(), 1);
  t.same(fills(), [1, 2, 3]);
  t.end();
});

t.test('the link begins with the first burst, too', (t) => {
  const kit = new Kit();
  const q = kit.queue(1, 1);
  kit.nic.attach(q.queue, MAC, null);
  q.postPages(512);
  kit.laps.now += 5e9;
  kit.cable.start({ gbps: 1, pause: true, packetMemoryBytes: PACKET_MEMORY_BYTES });
  kit.laps.now += 1.2e9;
  const times = new Array<number>(400).fill(0);
  const replay = new Replay(kit.cable, capture(kit, times), { factor: Infinity, loops: 1 });
  t.equal(replay.poll(), 0, 'nothing has come over the wire yet');
  // 124 bytes of wire time each, 8 ns a byte.
  kit.laps.now += 10 * 124 * 8;
  t.equal(replay.poll(), 10);
  t.equal(kit.cable.pacer.pausedNs, 0, 'and nobody was held before it');
  t.end();
});

t.test('a factor shortens the pace; as fast as possible knows none', (t) => {
  const twice = start([0, 10 * US], 2, 1);
  twice.replay.poll();
  t.equal(twice.replay.dueAtNs, twice.kit.laps.now + 5 * US);
  const max = start([0, 1e9, 2e9], Infinity, 2);
  t.equal(max.replay.poll(), 6);
  t.same(max.fills(), [1, 2, 3, 1, 2, 3]);
  t.equal(max.replay.done, true);
  t.end();
});

t.test('loops follow each other by the capture’s own length', (t) => {
  const { kit, replay } = start([0, 100 * US], 1, 3);
  const t0 = kit.laps.now;
  const seen: number[] = [];
  while (!replay.done) {
    for (let n = replay.poll(); n > 0; n--) seen.push((kit.laps.now - t0) / US);
    kit.laps.now += 50 * US;
  }
  t.same(seen, [0, 100, 100, 200, 200, 300]);
  t.end();
});

t.test('a frame without a buffer waits, and none is lost or sent twice', (t) => {
  const { kit, q, replay, fills } = start([0, 0, 0, 0, 0], Infinity, 1, 2);
  t.equal(replay.poll(), 2);
  t.equal(replay.poll(), 0);
  t.equal(replay.arm(), false);
  t.equal(replay.dueAtNs, kit.laps.now + 2e6);
  q.postPages(3, 40);
  t.equal(replay.poll(), 3);
  t.same(fills(), [1, 2, 3, 4, 5]);
  t.match(replay.progress(), { sentFrames: 5, heldFrames: 0 });
  t.end();
});
