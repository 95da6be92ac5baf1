import { spawnSync } from 'node:child_process';
import { truncateSync } from 'node:fs';
import t from 'tap';
import { readUpTo } from '../../src/base/user-file.js';
import { readToken } from '../../src/cli/remote.js';
import { readCapture } from '../../src/cli/replay.js';
import { parseCapture, writePcap, type Capture } from '@grantline/observe';
import { keyOf, parseMac } from '@grantline/frames';
import {
  compareBags,
  expectedOf,
  FrameBag,
  mappingsOf,
  sendableOf,
  stationsOf,
  tooLarge,
} from '../../src/runner/replay-expected.js';

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
    const n = keyOf(parseMac(mac));
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

t.test(
  'a capture lasts as long as the latest of its frames, wherever that stands; frames keep the order of the file',
  (t) => {
    const at = (...seconds: number[]): Capture => {
      const bytes = seconds.map((_, i) => frame(G1, A, 60, i));
      const capture = captureOf(bytes);
      return { ...capture, timesNs: Float64Array.from(seconds, (s) => s * 1e9) };
    };
    t.equal(sendableOf(at(0, 1, -40), []).spanNs, 1e9);
    t.equal(sendableOf(at(0, 100, 10), []).spanNs, 100e9);
    t.equal(sendableOf(at(0), []).spanNs, 0);
    t.equal(sendableOf(at(), []).spanNs, 0);
    const sent = parseCapture(sendableOf(at(0, 100, 10, 120), []).file);
    t.same([...sent.timesNs], [0, 100e9, 100e9, 120e9]);
    t.same(
      [...sent.offsets].map((o) => sent.bytes[o + 20]),
      [0, 1, 2, 3],
    );
    t.end();
  },
);

t.test("what is sent has the guests' addresses, and no frame that is too long for the cable", (t) => {
  const s = sendableOf(captureOf([frame(B, A, 9015, 1), frame(B, A, 100, 2), frame(B, A, 20_000, 3)]), [
    { from: B, to: G1 },
  ]);
  t.match(s, { frames: 1, oversize: 2 });
  const sent = parseCapture(s.file);
  t.same(Buffer.from(sent.bytes.subarray(sent.offsets[0], sent.offsets[0] + 100)), Buffer.from(frame(G1, A, 100, 2)));
  t.end();
});

t.test('any number of stations in one file', (t) => {
  const mac = (i: number): string =>
    `02:00:00:01:${(i >> 8).toString(16).padStart(2, '0')}:${(i & 255).toString(16).padStart(2, '0')}`;
  const capture = captureOf(Array.from({ length: 10_000 }, (_, i) => frame(mac(i), A, 60, i % 256)));
  const stations = stationsOf(capture);
  t.equal(stations.length, 10_000);
  const sent = parseCapture(sendableOf(capture, mappingsOf(stations, [G1, G2], [])).file);
  t.equal(sent.count, 10_000);
  t.same(stationsOf(sent).sort(), [G1, G2]);
  t.equal(tooLarge(capture, 2, [], 1), null);
  t.end();
});

t.test("what does not fit is known before anything starts: the NIC's memory, and what a guest keeps", (t) => {
  /** So many frames of 9000 bytes, which all lie in the same place. */
  const many = (count: number): Capture => {
    const one = captureOf([frame(B, A, 9000, 1)]);
    return {
      ...one,
      count,
      offsets: new Uint32Array(count).fill(one.offsets[0]),
      lengths: new Uint32Array(count).fill(9000),
      timesNs: new Float64Array(count),
    };
  };
  t.equal(tooLarge(many(17_500), 1, [], 1), null, '150 MB');
  t.match(tooLarge(many(30_000), 1, [], 1), /its frames need 258 MiB of the NIC's memory, which has 256/);
  t.match(tooLarge(many(17_500), 1, [], 2), /a guest would have to keep 30\d MiB of frames, and has room for 25\d/);
  t.end();
});

t.test('of a file that is too long no more is read than shows it, also of one without an end', (t) => {
  const dir = t.testdir({ short: 'abc', long: 'abcd' });
  t.equal(readUpTo('/dev/zero', 200_000), null);
  t.equal(readUpTo(`${dir}/long`, 3), null);
  t.equal(readUpTo(`${dir}/short`, 3)?.toString(), 'abc');
  const piped = spawnSync(
    'sh',
    [
      '-c',
      `head -c 300000 /dev/zero | "${process.execPath}" --input-type=module -e "
    const { readUpTo } = await import('${new URL('../../src/base/user-file.js', import.meta.url).href}');
    console.log(readUpTo('-', 300000).length, readUpTo('-', 0).length, readUpTo('/dev/null', 0).length);"`,
    ],
    { encoding: 'utf8' },
  );
  t.equal(piped.stdout, '300000 0 0\n', piped.stderr);
  truncateSync(`${dir}/long`, 20 * 2 ** 30);
  t.throws(() => readCapture(`${dir}/long`), /larger than 512 MiB/);
  t.throws(() => readToken('/dev/zero'), /too long for a token/);
  t.end();
});
