import t from 'tap';
import { parseCapture } from '@grantline/shared/capture/read-capture.js';
import { writePcap } from '@grantline/shared/capture/write-pcap.js';
import { parseMac } from '@grantline/shared/capture/rewrite.js';
import type { Capture } from '@grantline/shared/capture/capture.js';
import { compareBags, expectedOf, FrameBag, mappingsOf, stationsOf } from '../src/runner/replay-expected.js';

const A = '02:00:00:00:00:0a';
const B = '02:00:00:00:00:0b';
const C = '02:00:00:00:00:0c';
const ALL = 'ff:ff:ff:ff:ff:ff';
const G1 = '00:16:3e:00:00:01';
const G2 = '00:16:3e:00:00:02';

function frame(to: string, from: string, length: number, fill: number): Uint8Array {
  const f = new Uint8Array(length).fill(fill);
  for (const [at, mac] of [
    [0, to],
    [6, from],
  ] as const) {
    const n = parseMac(mac);
    for (let i = 0; i < 6; i++) f[at + i] = Math.floor(n / 2 ** (8 * (5 - i))) % 256;
  }
  return f;
}

const captureOf = (frames: Uint8Array[]): Capture =>
  parseCapture(writePcap(frames.map((bytes, i) => ({ timeNs: i * 1000, bytes }))));
const bagOf = (...frames: Uint8Array[]): FrameBag => {
  const bag = new FrameBag();
  for (const f of frames) bag.add(f);
  return bag;
};

t.test('stations are the single destinations, in order of first appearance', (t) => {
  t.same(stationsOf(captureOf([frame(ALL, A, 60, 1), frame(B, A, 60, 2), frame(A, B, 60, 3), frame(B, A, 60, 4)])), [
    B,
    A,
  ]);
  t.end();
});

t.test('stations go to guests in turn; rules replace that; guests own addresses stay', (t) => {
  t.same(mappingsOf([B, A, C], [G1, G2], []), [
    { from: B, to: G1 },
    { from: A, to: G2 },
    { from: C, to: G1 },
  ]);
  t.same(mappingsOf([B, G1], [G1], []), [{ from: B, to: G1 }]);
  t.same(mappingsOf([B, A], [G1, G2], [{ mac: A, guest: 2 }]), [{ from: A, to: G2 }]);
  t.end();
});

t.test('unicast goes to its guest rewritten, group frames to all, foreign ones may go anywhere', (t) => {
  const capture = captureOf([frame(B, A, 100, 1), frame(ALL, A, 80, 2), frame(C, A, 90, 3)]);
  const e = expectedOf(capture, [{ from: B, to: G2 }], [G1, G2], 2);
  t.same(
    e.must.map((b) => b.frames),
    [2, 4],
  );
  t.equal(e.must[1].bytes, 2 * (100 + 80));
  t.equal(e.may.frames, 2);
  t.same([...e.must[0].count], [...bagOf(frame(ALL, A, 80, 2), frame(ALL, A, 80, 2)).count]);
  t.end();
});

t.test('short frames are padded with zeros to 60 bytes as a sender does', (t) => {
  const short = frame(G1, A, 42, 7);
  const padded = new Uint8Array(60);
  padded.set(short);
  t.same([...expectedOf(captureOf([short]), [], [G1], 1).must[0].count], [...bagOf(padded).count]);
  t.end();
});

t.test('frames longer than the wire carries are expected nowhere', (t) => {
  const e = expectedOf(captureOf([frame(G1, A, 9015, 1), frame(G1, A, 9014, 1)]), [], [G1], 3);
  t.equal(e.must[0].frames, 3);
  t.equal(e.unsendable, 3);
  t.end();
});

t.test('a changed byte is one missing and one extra; order does not matter, number does', (t) => {
  const x = frame(G1, A, 60, 1);
  const y = frame(G1, A, 60, 2);
  const z = frame(G1, A, 60, 3);
  const none = new FrameBag();
  const diff = (must: FrameBag, got: FrameBag, may = none): number[] => {
    const d = compareBags(must, may, got);
    return [d.missing, d.extra];
  };
  t.same(diff(bagOf(x, y), bagOf(y, x)), [0, 0]);
  t.same(diff(bagOf(x, y), bagOf(x, z)), [1, 1]);
  t.same(diff(bagOf(x, x), bagOf(x)), [1, 0]);
  t.same(diff(bagOf(x), bagOf(x, x)), [0, 1]);
  t.same(diff(bagOf(x), bagOf(x, z), bagOf(z)), [0, 0], 'a flooded frame may arrive');
  t.end();
});
