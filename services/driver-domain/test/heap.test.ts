import t from 'tap';
import { frameOf } from './kit.js';
import { FIRST_GREF, NicBase } from './data/rx/netback-kit.js';

/** Heap growth in bytes over `n` frames through the pooled queue. */
function grow(x: NicBase, n: number): number {
  const frame = frameOf(1, 1514);
  const { ring } = x.front;
  const before = process.memoryUsage().heapUsed;
  for (let done = 0; done < n;) {
    let k = 0;
    for (; k < 64 && x.nic.device.available() > 0; k++) {
      x.nic.device.complete(frame.length, 1);
      done++;
    }
    x.nic.publish();
    x.rx.poll();
    // The guest: takes the responses and posts the same buffers again, by hand, so that only netback can allocate.
    const got = ring.unconsumed();
    for (let i = 0; i < got; i++) {
      const at = ring.slot(ring.reqProdPvt);
      x.arena.mem.u32[at >> 2] = ring.reqProdPvt & 0xffff;
      x.arena.mem.u32[(at >> 2) + 1] = FIRST_GREF + (ring.reqProdPvt & 63);
      ring.rspCons = ((ring.rspCons + 1) >>> 0) as typeof ring.rspCons;
      ring.reqProdPvt = ((ring.reqProdPvt + 1) >>> 0) as typeof ring.reqProdPvt;
    }
    ring.push();
    ring.arm();
    x.rx.poll();
  }
  return process.memoryUsage().heapUsed - before;
}

t.test('the heap does not grow with the frames', (t) => {
  const x = new NicBase({ start: 0xffffff00, guestPages: 64 });
  for (let i = 0; i < 64; i++) {
    x.pooled(FIRST_GREF + i);
    x.front.post(FIRST_GREF + i);
  }
  x.rx.poll();
  grow(x, 20_000);
  // A collection in between makes a measurement negative, never larger: the smallest of a few is the honest one.
  const least = Math.min(...Array.from({ length: 3 }, () => grow(x, 100_000)));
  // One object of the smallest size for each frame would be 1.6 MB.
  t.ok(least < 400_000, `${least} bytes for 100000 frames`);
  t.equal(x.v['hypercalls'], 0);
  t.end();
});
