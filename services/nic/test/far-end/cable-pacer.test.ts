import t from 'tap';
import { ManualClock } from '@grantline/base';
import { WIRE_OVERHEAD_BYTES } from '@grantline/frames';
import { PACKET_MEMORY_BYTES, Pacer, type LinkSettings } from '../../src/far-end/data/cable.js';

const START_NS = 3.7e14; // a machine that has been up for four days
const link = (gbps: number | null, pause = true): LinkSettings => ({
  gbps,
  pause,
  packetMemoryBytes: PACKET_MEMORY_BYTES,
});

/** Takes what is ready at steps of `stepNs` for `ns`. */
function drive(pacer: Pacer, clock: ManualClock, ns: number, stepNs: number, len: number): number {
  let frames = 0;
  for (let t = 0; t < ns; t += stepNs) {
    clock.advanceNs(stepNs);
    pacer.begin(clock.nowNs());
    for (; pacer.ready(len); frames++) pacer.take(len);
  }
  return frames;
}

t.test('each rate carries exactly its frames, preamble, gap and FCS counted', (t) => {
  for (const [gbps, seconds, expected] of [
    [10, 10, 8_127_438],
    [1, 10, 812_743],
    [25, 1, 2_031_859],
    [40, 1, 3_250_975],
    [100, 1, 8_127_438],
  ] as const) {
    const clock = new ManualClock(START_NS);
    const frames = drive(new Pacer(link(gbps), START_NS), clock, seconds * 1e9, 100e3, 1514);
    t.ok(Math.abs(frames - expected) <= 1, `${gbps} Gb/s in ${seconds} s: ${frames}`);
  }
  t.end();
});

t.test('the send time of frame i is i wire times after the start, also after 10 million frames', (t) => {
  const pacer = new Pacer(link(10), START_NS);
  pacer.begin(START_NS + 20e9);
  for (let i = 0; i < 1e7; i++) pacer.take(1514);
  t.ok(Math.abs(pacer.sendNs() - (START_NS + 1e7 * 1230.4)) < 1);
  t.end();
});

t.test('with flow control a late process loses nothing, and the time that the sender was held counts', (t) => {
  const clock = new ManualClock(START_NS);
  const pacer = new Pacer(link(10), START_NS);
  clock.advanceNs(5e6);
  pacer.begin(clock.nowNs());
  t.equal(pacer.overrun(), false);
  // 5 ms are 6.25 MB; 1 MiB of it lay in the packet memory.
  t.ok(Math.abs(pacer.pausedNs - (5e6 - PACKET_MEMORY_BYTES / 1.25)) < 1);
  let frames = 0;
  for (; pacer.ready(1514); frames++) pacer.take(1514);
  t.equal(frames, Math.floor(5e6 / 1230.4));
  const before = pacer.pausedNs;
  frames += drive(pacer, clock, 995e6, 100e3, 1514);
  t.equal(pacer.pausedNs, before, 'in time: nobody is held');
  t.ok(Math.abs(frames - 812_743) <= 1);
  t.end();
});

t.test('without flow control what exceeds the packet memory is lost', (t) => {
  const pacer = new Pacer(link(10, false), START_NS);
  pacer.begin(START_NS + 5e6);
  let lost = 0;
  for (; pacer.overrun(); lost++) pacer.take(1514);
  let kept = 0;
  for (; pacer.ready(1514); kept++) pacer.take(1514);
  t.equal(pacer.pausedNs, 0);
  t.equal(lost + kept, Math.floor(5e6 / 1230.4));
  t.equal(kept, Math.floor(PACKET_MEMORY_BYTES / (1514 + WIRE_OVERHEAD_BYTES)));
  t.end();
});

t.test('a wake-up is due when a burst is worth it, and never for more than a quarter of a queue', (t) => {
  const due = (gbps: number, len: number): number => new Pacer(link(gbps), START_NS).dueNs(START_NS, len);
  t.equal(Math.round(due(10, 1514)), 100_000, '100 us are more than 64 frames');
  t.equal(Math.round(due(1, 1514)), 64 * 12304, '64 frames take longer than 100 us');
  t.equal(Math.round(due(100, 1514)), Math.round(128 * 123.04), 'a quarter of the queue');
  t.equal(Math.round(due(100, 9014)), Math.round(25 * 723.04), 'a frame of five half pages');
  t.equal(new Pacer(link(null), START_NS).dueNs(START_NS, 1514), 0);
  t.end();
});

t.test('an unlimited link is always ready, and stamps the burst’s time', (t) => {
  const pacer = new Pacer(link(null), START_NS);
  pacer.begin(START_NS + 77);
  for (let i = 0; i < 1000; i++) pacer.take(1514);
  t.ok(pacer.ready(9014));
  t.equal(pacer.sendNs(), START_NS + 77);
  t.equal(pacer.overrun(), false);
  t.end();
});
