import t from 'tap';
import { BRIDGE_COUNTERS } from '@grantline/observe';
import { ManualClock } from '@grantline/base';
import { Bridge, UPLINK, BridgeTable } from '../../../src/data/bridge/bridge.js';
import { Buffers } from '../../../src/data/bridge/buffers.js';
import { Arena, block, frameOf } from '../../kit.js';

const GUEST = [2, 0, 0, 0, 0, 1];
const OTHER = [2, 0, 0, 0, 0, 2];
const STRANGER = [2, 0, 0, 0, 0, 77];

function make(table?: BridgeTable) {
  const arena = new Arena(4);
  const buffers = new Buffers(arena.pages(1), 1, 1);
  const counters = block(BRIDGE_COUNTERS);
  const bridge = new Bridge(arena.mem, buffers, counters, table);
  const clock = new ManualClock(1e12);
  const seen: number[] = [];
  const forward = (dst: number[], src: number[], ingress = UPLINK, looped = 0): number[] => {
    seen.length = 0;
    arena.mem.u8.set(frameOf(0, 60, dst, src), buffers.offset(0));
    bridge.forward(Int16Array.of(0), Uint16Array.of(60), 1, ingress, clock.nowNs(), Uint8Array.of(looped));
    return [...seen];
  };
  for (const p of [1, 2]) bridge.attach(p, { deliver: () => void seen.push(p) });
  bridge.setStatic('02:00:00:00:00:01', 1);
  bridge.setStatic('02:00:00:00:00:02', 2);
  return { bridge, counters, clock, forward };
}

t.test('a frame for a vif goes to that vif alone', (t) => {
  const { forward } = make();
  t.same(forward(GUEST, STRANGER), [1]);
  t.same(forward(OTHER, STRANGER), [2]);
  t.end();
});

t.test('a source that spoofs a guest does not get its frames (H16)', (t) => {
  const { forward } = make();
  forward(STRANGER, GUEST, 2);
  t.same(forward(GUEST, STRANGER), [1]);
  t.end();
});

t.test("a looped frame teaches nothing: what the cable brings for a nested guest's station is still delivered", (t) => {
  const { forward, counters, clock, bridge } = make();
  const NESTED = [2, 0, 0, 0, 0, 99];
  const ALL = [255, 255, 255, 255, 255, 255];
  for (let n = 0; n < 3; n++) t.same(forward(ALL, NESTED, UPLINK, 8), [1, 2], 'whose it is nobody knows');
  t.same(forward(NESTED, STRANGER), [1, 2]);
  // Seen at its guest's port before that guest left the bridge: that stays true, for as long as it was to.
  forward(ALL, NESTED, 1);
  t.same(forward(ALL, NESTED, UPLINK, 8), [2], 'it gets nothing back');
  t.same(forward(NESTED, STRANGER), [1]);
  clock.advanceNs(301e9);
  forward(ALL, NESTED, UPLINK, 8);
  bridge.sweep(clock.nowNs());
  t.same(forward(NESTED, STRANGER), [1, 2], 'nor does it confirm');
  // One of the cable's own, learned, and a looped frame that claims to be it.
  forward(ALL, STRANGER);
  clock.advanceNs(200e9);
  forward(ALL, STRANGER, UPLINK, 8);
  clock.advanceNs(101e9);
  bridge.sweep(clock.nowNs());
  t.same(forward(STRANGER, GUEST, 1), [2], 'on the cached path, too');
  t.equal(counters.read()['dropHairpin'], 0);
  t.end();
});

t.test('what a port throws is told to that port; the frames behind it and the other ports have theirs', (t) => {
  const { bridge, forward, counters } = make();
  const errors: unknown[] = [];
  const broken = (): never => {
    throw new Error('broken');
  };
  bridge.attach(1, { deliver: broken, failed: (err) => errors.push(err) });
  t.same(forward(GUEST, STRANGER), []);
  t.same(forward([255, 255, 255, 255, 255, 255], STRANGER), [2]);
  t.equal(errors.length, 2);
  t.equal(counters.read()['inFrames'], 2);
  bridge.attach(1, { deliver: broken });
  t.throws(() => forward(GUEST, STRANGER), /broken/);
  t.end();
});

t.test('a frame never leaves by the port that it came in by', (t) => {
  const { forward, counters } = make();
  t.same(forward(GUEST, STRANGER, 1), []);
  t.equal(counters.read()['dropHairpin'], 1);
  t.end();
});

t.test('group and unknown addresses go to all vifs but the ingress', (t) => {
  const { forward, counters } = make();
  t.same(forward([255, 255, 255, 255, 255, 255], STRANGER), [1, 2]);
  t.same(forward([2, 9, 9, 9, 9, 9], GUEST, 1), [2]);
  t.equal(counters.read()['flooded'], 2);
  t.equal(counters.read()['floodCopies'], 3);
  t.end();
});

t.test(
  'what a guest sent past the bridge is flooded to all but that guest; the same frame of the cable to all',
  (t) => {
    const { forward, counters } = make();
    const all = [255, 255, 255, 255, 255, 255];
    t.same(forward(all, GUEST, UPLINK, 8), [2]);
    t.same(forward(all, GUEST, UPLINK), [1, 2], 'IEEE 802.1D filters by the ingress alone');
    t.same(forward(all, STRANGER, UPLINK, 8), [1, 2]);
    t.same(forward(OTHER, GUEST, UPLINK, 8), [2]);
    t.match(counters.read(), { flooded: 3, floodCopies: 5, forwarded: 1 });
    t.end();
  },
);

t.test('a group address as source is not learned', (t) => {
  const { forward, bridge } = make();
  forward(GUEST, [1, 0, 0, 0, 0, 1]);
  t.equal(bridge.table.learnedCount, 0);
  t.end();
});

t.test('an address is forgotten after 300 s of silence, a static one never', (t) => {
  const { forward, bridge, clock, counters } = make();
  forward(STRANGER, OTHER, 2);
  forward(GUEST, STRANGER, 2);
  t.same(forward(STRANGER, GUEST, 1), [2]);
  clock.advanceNs(301e9);
  bridge.sweep(clock.nowNs());
  t.same(forward(STRANGER, GUEST, UPLINK), [1, 2]);
  t.same(forward(GUEST, OTHER, UPLINK), [1]);
  t.equal(counters.read()['aged'], 1);
  t.end();
});

t.test('a frame for a vif that is not connected is dropped, not shown to others', (t) => {
  const { forward, bridge, counters } = make();
  bridge.detach(1);
  t.same(forward(GUEST, STRANGER), []);
  t.equal(counters.read()['dropNoPort'], 1);
  t.end();
});

t.test('invented sources fill half of the table at most, and static entries stay', (t) => {
  const { forward, bridge } = make(new BridgeTable(64));
  for (let i = 0; i < 200; i++) forward(GUEST, [2, 1, 1, 1, 1, i]);
  t.equal(bridge.table.learnedCount, 32);
  t.same(forward(OTHER, STRANGER), [2]);
  t.end();
});
