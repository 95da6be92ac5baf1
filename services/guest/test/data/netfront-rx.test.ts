import t from 'tap';
import { NETRXF_EXTRA_INFO, NETRXF_MORE_DATA } from '@grantline/xen';
import { NETFRONT_FAULTS } from '../../src/data/netfront-rx.js';
import { makeRig } from './rig.js';

const NEAR_WRAP = 0xffffffe0;

t.test('per-frame grants: exactly one issue and one revoke for each frame', (t) => {
  const rig = makeRig({ perFrameGrants: true, start: NEAR_WRAP });
  rig.front.refill();
  const first = rig.count('grantsIssued');
  t.equal(first, 256);
  for (let round = 0; round < 100; round++) {
    for (let i = 0; i < 64; i++) rig.deliver(round);
    rig.back.push();
    rig.front.poll();
  }
  t.equal(rig.count('frames'), 6400);
  t.equal(rig.count('grantsRevoked'), 6400);
  t.equal(rig.count('grantsIssued') - first, 6400);
  t.same(rig.missing(), { pages: 0, grants: 0 });
  t.end();
});

t.test('a batch has as many responses as the sink asks for, within bounds', (t) => {
  for (const [asked, first] of [
    [undefined, 64],
    [100, 100],
    [1000, 192],
  ] as const) {
    const rig = makeRig({ start: NEAR_WRAP, batch: asked });
    rig.front.refill();
    for (let i = 0; i < 250; i++) rig.deliver(i);
    rig.back.push();
    const got = [rig.front.poll()];
    while (got.reduce((a, b) => a + b) < 250) got.push(rig.front.poll());
    t.equal(got[0], first);
    t.same(
      rig.sink.frames,
      Array.from({ length: 250 }, (_, i) => i),
      'all, and in order',
    );
  }
  t.end();
});

t.test('reused grants: no access to the grant table in steady state', (t) => {
  const rig = makeRig({ start: NEAR_WRAP });
  rig.front.refill();
  const { issued, revoked } = rig.grants;
  for (let round = 0; round < 100; round++) {
    for (let i = 0; i < 64; i++) rig.deliver(round);
    rig.back.push();
    rig.front.poll();
  }
  t.equal(rig.count('toStack'), 6400);
  t.equal(rig.grants.issued, issued);
  t.equal(rig.grants.revoked, revoked);
  t.end();
});

t.test('two half-page buffers share a page, each with its own offset and entry', (t) => {
  const rig = makeRig({ bytes: 2048 });
  t.equal(rig.pages.free, 1020 - 1 - 256);
  rig.front.refill();
  const seen = new Map<number, { offset: number; gref: number }[]>();
  for (let i = 0; i < 256; i++) {
    const r = rig.request();
    seen.set(r.page, [...(seen.get(r.page) ?? []), { offset: r.offset, gref: r.gref }]);
  }
  t.equal(seen.size, 128);
  for (const halves of seen.values()) {
    t.same(halves.map((h) => h.offset).sort(), [0, 2048].sort());
    t.not(halves[0].gref, halves[1].gref);
  }
  t.end();
});

t.test('pages are clear when they are granted for the first time', (t) => {
  const rig = makeRig({ buffers: 1 });
  const pfn = rig.pages.alloc();
  rig.mem.u8.fill(7, rig.pages.offset(pfn as never), rig.pages.offset(pfn as never) + 4096);
  rig.pages.release(pfn as never);
  const again = rig.pages.alloc();
  t.equal(again, pfn);
  const at = rig.pages.offset(pfn as never);
  t.ok(rig.mem.u8.slice(at, at + 4096).every((b) => b === 0));
  t.end();
});

t.test('batching refills once a quarter of the ring is free, otherwise after each batch', (t) => {
  for (const batching of [true, false]) {
    const rig = makeRig({ batching });
    rig.front.refill();
    const first = rig.count('requests');
    for (let i = 0; i < 63; i++) {
      rig.deliver(i);
      rig.back.push();
      rig.front.poll();
    }
    t.equal(rig.count('requests') - first, batching ? 0 : 63);
    rig.deliver(0);
    rig.back.push();
    rig.front.poll();
    t.equal(rig.count('requests') - first, 64);
  }
  t.end();
});

t.test('netback is notified only when it asked', (t) => {
  const rig = makeRig();
  rig.front.refill();
  t.equal(rig.kicks(), 1);
  for (let i = 0; i < 64; i++) rig.deliver(i);
  rig.back.push();
  rig.front.poll();
  t.equal(rig.kicks(), 1);
  t.equal(rig.count('suppressed'), 1);
  while (rig.back.unconsumed() > 0) rig.deliver(1);
  t.equal(rig.back.arm(), false);
  rig.back.push();
  rig.front.poll();
  t.equal(rig.kicks(), 2);
  t.end();
});

t.test('an error response drops its whole frame and its buffers go back with the same grants', (t) => {
  for (const perFrameGrants of [true, false]) {
    const rig = makeRig({ perFrameGrants, buffers: 4 });
    rig.front.refill();
    const grefs = new Set<number>();
    for (let i = 0; i < 3; i++) {
      const r = rig.request();
      grefs.add(r.gref);
      rig.respond(r.id, 0, i < 2 ? NETRXF_MORE_DATA : 0, i === 1 ? -2 : 100);
    }
    rig.back.push();
    const { issued, revoked } = rig.grants;
    t.equal(rig.front.poll(), 3);
    t.equal(rig.count('dropError'), 1);
    t.same(rig.sink.frames, []);
    t.same([rig.grants.issued, rig.grants.revoked], [issued, revoked]);
    const after = new Set([rig.request(), rig.request(), rig.request(), rig.request()].map((r) => r.gref));
    for (const gref of grefs) t.ok(after.has(gref));
  }
  t.end();
});

t.test('a frame whose end is not published waits, and does not keep the loop awake', (t) => {
  const rig = makeRig();
  rig.front.refill();
  const r = rig.request();
  rig.respond(r.id, 0, NETRXF_MORE_DATA, 100);
  rig.back.push();
  t.equal(rig.front.poll(), 0);
  t.equal(rig.front.arm(), false);
  const s = rig.request();
  rig.respond(s.id, 0, 0, 50);
  t.equal(rig.back.push(), true);
  t.equal(rig.front.poll(), 2);
  t.same(rig.sink.lengths, [150]);
  t.end();
});

/** Good frame, then the fault: the first is delivered, the second breaks the queue and nothing more is done. */
function hostile(name: string, reason: number, act: (rig: ReturnType<typeof makeRig>) => void, o = {}): void {
  t.test(name, (t) => {
    const rig = makeRig({ start: NEAR_WRAP, ...o });
    rig.front.refill();
    rig.deliver(77);
    act(rig);
    rig.front.poll();
    t.same(rig.faults, [NETFRONT_FAULTS[reason]]);
    t.equal(rig.front.poll(), 0);
    t.equal(rig.front.arm(), false);
    t.equal(rig.count('dropMalformed') > 0 ? rig.count('frames') - rig.count('toStack') : 1, 1);
    t.same(rig.sink.frames, reason === 1 ? [] : [77]);
    const requests = rig.count('requests');
    rig.front.poll();
    t.equal(rig.count('requests'), requests);
    for (let gref = 8; gref < 600; gref++) rig.pin(gref, false);
    t.same(rig.missing(), { pages: 0, grants: 0 });
    t.end();
  });
}

const push = (rig: ReturnType<typeof makeRig>): void => void rig.back.push();

hostile('H37: rsp_prod ahead of the requests breaks netfront', 1, (rig) => {
  rig.mem.u32[(rig.ring.base >> 2) + 2] = (rig.ring.rspCons + 257) >>> 0;
});
hostile('H37: rsp_prod that goes backwards breaks netfront', 1, (rig) => {
  rig.mem.u32[(rig.ring.base >> 2) + 2] = (rig.ring.rspCons - 1) >>> 0;
});
hostile('H15: an id that is live but belongs to another slot breaks netfront', 2, (rig) => {
  rig.respond((rig.request().id + 1) & 255, 0, 0, 60);
  push(rig);
});
hostile('H15: an id beyond the ring breaks netfront', 2, (rig) => {
  rig.respond(rig.request().id + 256, 0, 0, 60);
  push(rig);
});
hostile('H15: a slot without a live buffer breaks netfront', 2, (rig) => {
  const slots = rig.front['slotBuffer'];
  const r = rig.request();
  slots[r.id] = -1;
  rig.respond(r.id, 0, 0, 60);
  push(rig);
});
hostile('H37: more bytes than a page breaks netfront', 3, (rig) => {
  rig.respond(rig.request().id, 0, 0, 4097);
  push(rig);
});
hostile('H37: an offset that takes the data out of its page breaks netfront', 3, (rig) => {
  rig.respond(rig.request().id, 4095, 0, 2);
  push(rig);
});
hostile(
  'H29: data in the other half of the page breaks netfront',
  3,
  (rig) => {
    const r = rig.request();
    rig.respond(r.id, r.offset ^ 2048, 0, 60);
    push(rig);
  },
  { bytes: 2048 },
);
t.test('H29: data in front of the upper half of the page breaks netfront', (t) => {
  const rig = makeRig({ start: NEAR_WRAP, bytes: 2048 });
  rig.front.refill();
  rig.deliver(77);
  rig.deliver(78);
  const r = rig.request();
  t.equal(r.offset, 2048);
  rig.respond(r.id, 0, 0, 60);
  push(rig);
  rig.front.poll();
  t.same(rig.faults, [NETFRONT_FAULTS[3]]);
  t.same(rig.sink.frames, [77, 78]);
  t.end();
});
hostile(
  'H37: more bytes than a half page breaks netfront',
  3,
  (rig) => {
    const r = rig.request();
    rig.respond(r.id, r.offset, 0, 2049);
    push(rig);
  },
  { bytes: 2048 },
);
hostile('extra info that was never agreed on breaks netfront', 4, (rig) => {
  rig.respond(rig.request().id, 0, NETRXF_EXTRA_INFO, 60);
  push(rig);
});
hostile('a chain without end breaks netfront after 18 slots', 5, (rig) => {
  for (let i = 0; i < 40; i++) rig.respond(rig.request().id, 0, NETRXF_MORE_DATA, 60);
  push(rig);
});
hostile(
  'H37: a grant that is still in use when answered breaks netfront, and the data is not looked at',
  6,
  (rig) => {
    const r = rig.request();
    rig.pin(r.gref, true);
    rig.respond(r.id, 0, 0, 60);
    push(rig);
  },
  { perFrameGrants: true },
);

t.test(
  'a packet that was not cut: extra info behind its first slot, one call for all its pieces (feature-gso-tcpv4)',
  (t) => {
    for (const perFrameGrants of [false, true]) {
      const rig = makeRig({ gso: true, perFrameGrants, start: NEAR_WRAP });
      const infos: number[] = [];
      const fragment = rig.sink.fragment.bind(rig.sink);
      rig.sink.fragment = (off: number, len: number, more: boolean, info = 0) => {
        infos.push(info);
        fragment(off, len, more);
      };
      rig.front.refill();
      const put = (mss: number, slots: number, publish = true): void => {
        for (let i = 0; i < slots; i++) {
          const r = rig.request();
          const at = r.page + r.offset;
          if (i === 0) rig.mem.u8.set([8, 0, 0x45, 0], at + 12);
          if (i === 0) rig.mem.u8[at + 23] = 6;
          if (i === 0) rig.mem.u8[at + 46] = 0x80;
          rig.respond(
            r.id,
            r.offset,
            (i === 0 ? NETRXF_EXTRA_INFO | 3 : 0) | (i + 1 < slots ? NETRXF_MORE_DATA : 0),
            4000,
          );
          if (i > 0) continue;
          rig.request();
          // The half that came is not taken before the rest.
          if (!publish) {
            rig.back.push();
            t.equal(rig.front.poll(), 0);
          }
          rig.respond(1, mss, 1, 0);
        }
        rig.back.push();
        rig.front.poll();
      };
      put(1448, 3);
      const frames = Math.ceil((12_000 - 66) / 1448);
      t.same(infos, [(1 << 24) | (frames << 16) | 1448, 0, 0]);
      t.equal(rig.count('frames'), frames);
      put(1448, 1, false);
      t.equal(rig.count('toStack'), frames + 3);
      t.same(rig.sink.lengths, [12_000, 4000]);
      put(10, 2);
      t.equal(rig.count('dropMalformed'), 1, 'more frames than a packet may stand for');
      t.same(rig.faults, []);
      put(0, 1);
      t.same(rig.faults, [NETFRONT_FAULTS[7]], 'no size');
      t.same(rig.missing(), { pages: 0, grants: 0 });
    }
    t.end();
  },
);
