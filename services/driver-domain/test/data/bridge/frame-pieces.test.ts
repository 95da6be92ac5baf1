/** What a capture at the driver domain holds: packets of a guest whole, drops with their reasons, frames for a guest. */
import t from 'tap';
import { INBOUND, OUTBOUND, BRIDGE_COUNTERS } from '@grantline/observe';
import { memoryProbe } from '@grantline/observe/testkit';
import type { DomId } from '@grantline/base';
import { ACCEPTED, BridgeProbe } from '../../../src/data/bridge/frame-pieces.js';
import { Bridge } from '../../../src/data/bridge/bridge.js';
import { Buffers, FOREIGN_PAGES, ForeignFrames } from '../../../src/data/bridge/buffers.js';
import { LocalSwitch } from '../../../src/data/tx/local-switch.js';
import { STORM_BURST } from '@grantline/frames';
import { Arena, block, frameOf } from '../../kit.js';
import { BridgeBase } from '../rx/netback-kit.js';
import { FIRST_GREF as G, TxBase } from '../tx/tx-kit.js';

const RING = 16 * 4096;

t.test('packets of a guest, by standing and by passing grants: whole, once, outbound', (t) => {
  for (const pooled of [true, false]) {
    const x = new TxBase();
    if (pooled) for (let i = 0; i < 40; i++) x.pooled(G + i);
    const { probe, packets } = memoryProbe(x.arena.mem, x.arena.pages(16), RING);
    x.tx.probe = probe;
    const sent = [x.frame(1, 60), x.frame(2, 1514), x.frame(3, 9000)];
    x.send(sent[0], [G], [4096]);
    x.send(sent[1], [G + 1], [4096], 64);
    x.send(sent[2], [G + 2, G + 3, G + 4], [4000, 4000, 1000]);
    x.run();
    const got = packets();
    // Only a real mapping shows the same page twice: of passing ones the kit has what was copied.
    const seen = (b: Uint8Array): string => Buffer.from(pooled ? b : b.subarray(0, 128)).toString('hex');
    t.same(
      got.map((p) => [p.length, p.bytes.length, seen(p.bytes)]),
      sent.map((b) => [b.length, b.length, seen(b)]),
      pooled ? 'standing' : 'passing',
    );
    t.ok(got.every((p) => p.direction === OUTBOUND && p.comment === null));
    x.take();
    t.same(x.leaks(), []);
  }
  t.end();
});

t.test(
  'spoofed, flooded too often, meant for oneself, not granted: there with the reason, as many as are counted',
  (t) => {
    const x = new TxBase({ local: { take: () => -1, leave: () => {} } });
    const { probe, packets } = memoryProbe(x.arena.mem, x.arena.pages(16), RING);
    x.tx.probe = probe;
    const spoofed = x.frame(1, 60);
    spoofed[11] = 9;
    const hairpin = x.frame(2, 60);
    hairpin.set([2, 0, 0, 0, 0, 1], 0);
    const between = x.frame(3, 1500);
    between.set([2, 0, 0, 0, 0, 2], 0);
    const group = x.frame(4, 60);
    group.fill(255, 0, 6);
    x.send(spoofed, [G], [4096]);
    x.send(hairpin, [G + 1], [4096]);
    x.send(between, [G + 2], [4096]);
    x.xen.refuses.set(G + 3, -3);
    x.send(x.frame(5, 1514), [G + 3], [4096]);
    x.run();
    const storm = STORM_BURST + 5;
    t.same(
      packets().map((p) => [p.bytes.length, p.length, p.comment]),
      [
        [60, 60, 'dropped at netback_transmit: spoofed'],
        [60, 60, 'dropped at netback_transmit: hairpin'],
        [1500, 1500, 'dropped at netback_transmit: no_room'],
        [0, 1514, 'dropped at netback_transmit: grant_error'],
      ],
    );
    x.take();
    let refused = 0;
    for (let i = 0; i < storm; i++) {
      x.send(group, [G + 4], [4096]);
      x.run();
      x.take();
      refused += packets().filter((p) => p.comment === 'dropped at netback_transmit: storm').length;
    }
    t.match(x.v, { dropSpoofed: 1, dropHairpin: 1, dropNoRoom: 1, dropGrantError: 1, dropStorm: refused });
    t.equal(refused, 5);
    t.end();
  },
);

t.test('from guest to guest: the receiver’s capture has the bytes that lie in the sender’s pages', (t) => {
  const arena = new Arena(64 + FOREIGN_PAGES);
  const foreign = new ForeignFrames(arena.pages(FOREIGN_PAGES), 500);
  const buffers = new Buffers(arena.pages(1), 0, 1);
  buffers.foreign = foreign;
  const { probe, packets } = memoryProbe(arena.mem, arena.pages(16), RING);
  const bridge = new Bridge(arena.mem, buffers, block(BRIDGE_COUNTERS));
  const local = new LocalSwitch(arena.mem, bridge, foreign);
  const out = new BridgeProbe(buffers);
  out.probe = probe;
  bridge.attach(2, { deliver: (id, len) => out.frame(id, len, ACCEPTED) });
  for (const [len, mss] of [
    [60, 0],
    [5000, 0],
    [9000, 1448],
  ]) {
    const base = new TxBase();
    const p = base.tx.packets.take();
    const headersAt = arena.pages(0);
    const bytes = frameOf(1, len);
    base.tx.packets.total[p] = len;
    base.tx.packets.headBytes[p] = Math.min(128, len);
    base.tx.packets.mss[p] = mss;
    const pages = 40 * 4096;
    arena.mem.u8.set(bytes.subarray(0, 128), headersAt + p * 128);
    arena.mem.u8.set(bytes.subarray(128), pages);
    base.tx.packets.size[p] = Math.max(0, len - 128);
    base.tx.packets.at[p] = pages - 7;
    base.tx.packets.offset[p] = 7;
    const source = { domid: 1 as DomId, packets: base.tx.packets, headersPfn: 0, headersAt, copied: () => {} };
    local.take(source, p, 2, 1, mss > 0 ? 54 : 0);
    const got = packets();
    if (mss === 0)
      t.same(
        got.map((f) => f.bytes),
        [Buffer.from(bytes)],
      );
    else {
      t.equal(got.length, Math.ceil((len - 54) / mss));
      const payload = Buffer.concat(got.map((f) => f.bytes.subarray(54)));
      t.same(payload, Buffer.from(bytes.subarray(54)), 'cut, each with a header of its own');
    }
    t.ok(got.every((f) => f.direction === INBOUND && f.bytes.length === f.length));
  }
  t.end();
});

t.test('for a guest: frames of one and of several buffers, and those that are dropped', (t) => {
  const x = new BridgeBase({ guestPages: 128 });
  const { probe, packets } = memoryProbe(x.arena.mem, x.pages[100], RING);
  x.rx.probe.probe = probe;
  const frames = [frameOf(1, 60), frameOf(2, 9000)];
  for (const f of frames) t.ok(x.deliver(f));
  t.same(
    packets().map((p) => [p.bytes, p.comment]),
    frames.map((f) => [Buffer.from(f), null]),
  );
  x.rx.stop();
  t.same(
    packets().map((p) => [p.length, p.comment]),
    [60, 9000].map((n) => [n, 'dropped at netback: disabled']),
    'what waited goes with its reason',
  );
  x.deliver(frames[0]);
  t.same(
    packets().map((p) => p.comment),
    ['dropped at netback: disabled'],
  );
  t.equal(x.v['dropDisabled'], 3);
  t.end();
});
