/** Frames and packets over several buffers of which the hypervisor refused one: all of it is one failed frame for the guest. */
import t from 'tap';
import { GNTST, NETIF_NR_SLOTS_MIN } from '@grantline/xen';
import { frameOf } from '../../kit.js';
import { FIRST_GREF, NicBase } from './netback-kit.js';

const PACKET = { frames: 14, mss: 1448 };
const MORE = 4;

/** A queue with 40 half pages posted, all pinned but those refused. */
function queue(s: { refused?: number[]; badUnpins?: number[] }): NicBase {
  const x = new NicBase({ bufferBytes: 2048 });
  for (const i of s.refused ?? []) x.xen.refuses.set(FIRST_GREF + i, GNTST.generalError);
  for (const i of s.badUnpins ?? []) x.xen.badUnpins.add(FIRST_GREF + i);
  for (let i = 0; i < 40; i++) x.front.post(FIRST_GREF + i, (i & 1) * 2048);
  settle(x);
  return x;
}

function settle(x: NicBase): void {
  for (let i = 0; i < 10; i++) {
    x.rx.poll();
    x.xen.replyAll();
  }
}

function receive(x: NicBase, len: number, packet: typeof PACKET | null = null): void {
  x.nic.receive(frameOf(1, len), 0, packet);
  x.nic.publish();
}

const answers = (x: NicBase): string => {
  const all = x.front.take().map((r) => `${r.status}/${r.flags}`);
  return all.join(' ');
};

t.test('a refused page later in a packet does not end it: the rest is no frame of its own', (t) => {
  const x = queue({ refused: [5] });
  receive(x, 20000, PACKET);
  settle(x);
  t.equal(answers(x), '2048/14 0/1 2048/4 2048/4 2048/4 -1/4 2048/4 2048/4 2048/4 2048/4 2048/4 1568/0');
  t.match(x.v, { nicFrames: 14, outFrames: 0, dropGrantError: 14, badRequests: 1 });
  t.end();
});

t.test('nor in a long frame, nor between a packet and what tells what it is', (t) => {
  const x = queue({ refused: [1, 5] });
  receive(x, 5000);
  receive(x, 5000, PACKET);
  settle(x);
  t.equal(answers(x), '2048/4 -1/4 2048/4 904/0 -1/4 -1/4 -1/4 2048/4 904/0');
  t.match(x.v, { nicFrames: 15, outFrames: 0, dropGrantError: 15, badRequests: 2 });
  t.end();
});

t.test('a refused page between frames stands alone and spoils neither', (t) => {
  const x = queue({ refused: [3] });
  receive(x, 5000);
  receive(x, 5000);
  settle(x);
  t.equal(answers(x), '2048/4 2048/4 904/0 -1/0 2048/4 2048/4 904/0');
  t.match(x.v, { nicFrames: 2, outFrames: 2, dropGrantError: 0 });
  t.end();
});

t.test('with refused pages in it a packet has no more slots than any may have: what is over is an error', (t) => {
  const x = queue({ refused: [4, 9] });
  receive(x, NETIF_NR_SLOTS_MIN * 2048, PACKET);
  settle(x);
  const r = x.front.take();
  // The second tells what it is.
  r.splice(1, 1);
  t.same(
    r.slice(NETIF_NR_SLOTS_MIN - 2).map((p) => [p.status, p.flags & MORE]),
    [
      [2048, MORE],
      [2048, 0],
      [-1, MORE],
      [-1, 0],
    ],
  );
  t.match(x.v, { nicFrames: 14, outFrames: 0, dropGrantError: 14 });
  receive(x, 100);
  settle(x);
  t.equal(answers(x), '100/0');
  t.match(x.v, { outFrames: 1, dropGrantError: 14 });
  t.end();
});

for (const [where, slot] of [
  ['first', 0],
  ['last', 10],
] as const)
  t.test(`an unpin that fails for the ${where} page of a packet spoils that packet alone`, (t) => {
    const x = queue({ badUnpins: [slot] });
    receive(x, 20000, PACKET);
    settle(x);
    t.match(x.v, { nicFrames: 14, outFrames: 0, dropGrantError: 14 });
    receive(x, 1000);
    settle(x);
    t.match(x.v, { nicFrames: 15, outFrames: 1, outBytes: 1000, dropGrantError: 14 });
    t.end();
  });

t.test('an unpin that fails for the first or only page of a frame spoils it', (t) => {
  const x = queue({ badUnpins: [0, 3] });
  receive(x, 5000);
  receive(x, 1000);
  receive(x, 1000);
  settle(x);
  t.equal(answers(x), '-1/4 2048/4 904/0 -1/0 1000/0');
  t.match(x.v, { nicFrames: 3, outFrames: 1, outBytes: 1000, dropGrantError: 2 });
  t.end();
});

t.test('a torn packet whose vif stops before the answer is counted as its frames', (t) => {
  const x = queue({ refused: [1] });
  receive(x, 20000, PACKET);
  x.rx.poll();
  x.rx.stop();
  x.rx.drain();
  t.match(x.v, { nicFrames: 14, outFrames: 0, dropDisabled: 14, dropGrantError: 0 });
  t.end();
});
