/** What a capture in the guest holds: each frame that netfront took, whole, and what it sends. */
import t from 'tap';
import { NETIF_RSP_ERROR } from '@grantline/xen';
import { memoryProbe } from '@grantline/observe/testkit';
import { RxProbe } from '@grantline/observe';
import { makeRig } from './rig.js';

t.test('frames of one slot and of several, and one that netback could not fill', (t) => {
  const rig = makeRig({ buffers: 256 });
  // The guest has pages to spare; the ring of the capture is put into the last of them.
  const first = 600 * 4096;
  const { probe, packets } = memoryProbe(rig.mem, first, 100 * 4096);
  rig.front.probe = new RxProbe(probe);
  rig.front.refill();
  rig.deliver(0x11111111);
  rig.deliver(0x22222222, 3, 4096);
  const bad = rig.request();
  rig.respond(bad.id, 0, 0, NETIF_RSP_ERROR);
  rig.deliver(0x33333333);
  rig.back.push();
  rig.front.poll();
  const got = packets();
  t.same(
    got.map((p) => [p.length, p.bytes.length, p.comment]),
    [
      [0, 0, 'dropped at netfront: error'],
      [60, 60, null],
      [3 * 4096, 3 * 4096, null],
      [60, 60, null],
    ],
    'a frame without bytes stands before those of its batch',
  );
  t.same(
    [1, 2, 3].map((i) => got[i].bytes.readUInt32LE(0)),
    [0x11111111, 0x22222222, 0x33333333],
  );
  t.equal(rig.count('frames'), 4, 'as many as netfront counts');
  t.end();
});

t.test(
  'the hostile back end: what stands behind an impossible response is not captured, and nothing is read there',
  (t) => {
    const rig = makeRig({ buffers: 256 });
    const { probe, packets } = memoryProbe(rig.mem, 600 * 4096, 100 * 4096);
    rig.front.probe = new RxProbe(probe);
    rig.front.refill();
    rig.deliver(0x11111111);
    const r = rig.request();
    rig.respond(r.id, 4090, 0, 60);
    rig.back.push();
    rig.front.poll();
    t.same(
      packets().map((p) => [p.length, p.comment]),
      [
        [0, 'dropped at netfront: malformed'],
        [60, null],
      ],
    );
    t.end();
  },
);
