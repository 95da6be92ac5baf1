import t from 'tap';
import { frame, ts, type Parts } from '@grantline/frames/testkit';
import { Receiver, SpyApp } from './kit.js';
import { TestSpace } from '@grantline/machine/testkit';

/** Receives the frames in one batch (an empty list ends a batch). @returns how many frames each segment holds */
function receive(...frames: (Parts | null)[]): number[] {
  const space = new TestSpace();
  const app = new SpyApp(space.mem);
  const rx = new Receiver(space, app, { lro: true });
  for (const parts of frames)
    if (parts) rx.add(frame(parts));
    else rx.deliver();
  rx.deliver();
  return app.segments.map((s) => s.frames);
}

const four = [1, 2, 3, 4];
const first: Parts = { seq: 100, payload: four, options: ts(5), ack: 50 };
const next: Parts = { ...first, seq: 104 };
const third: Parts = { ...first, seq: 108 };

const merged: [string, Parts[]][] = [
  ['the next sequence number', [first, next]],
  [
    'a sequence that wraps at 2^32',
    [
      { ...first, seq: 0xfffffffc },
      { ...next, seq: 0 },
    ],
  ],
  [
    'no options in either',
    [
      { ...first, options: [] },
      { ...next, options: [] },
    ],
  ],
  ['a timestamp that moved on', [first, { ...next, options: ts(6) }]],
  [
    'a timestamp that wrapped',
    [
      { ...first, options: ts(0xffffffff) },
      { ...next, options: ts(0) },
    ],
  ],
  ['an acknowledgement that moved on', [first, { ...next, ack: 51 }]],
  ['another window', [first, { ...next, window: 999 }]],
  ['a shorter last one', [first, { ...next, payload: [1] }]],
  ['PSH on the second', [first, { ...next, flags: 0x18 }]],
  [
    'the same VLAN',
    [
      { ...first, tag: 5 },
      { ...next, tag: 5 },
    ],
  ],
  [
    'no DF in either',
    [
      { ...first, df: false },
      { ...next, df: false },
    ],
  ],
];
for (const [name, frames] of merged)
  t.test(`merged: ${name}`, (t) => {
    t.same(receive(...frames), [2]);
    t.end();
  });

const apart: [string, Parts[]][] = [
  ['a gap', [first, { ...next, seq: 105 }]],
  ['an overlap', [first, { ...next, seq: 103 }]],
  ['a repeat', [first, first]],
  ['another source address', [first, { ...next, srcIp: '10.0.1.2' }]],
  ['another source port', [first, { ...next, srcPort: 1001 }]],
  ['a longer second one', [first, { ...next, payload: [1, 2, 3, 4, 5] }]],
  ['no payload in the second', [first, { ...next, payload: [] }]],
  [
    'no payload in the first',
    [
      { ...first, payload: [] },
      { ...next, seq: 100 },
    ],
  ],
  ['PSH on the first', [{ ...first, flags: 0x18 }, next]],
  ['no ACK', [first, { ...next, flags: 0 }]],
  ...[0x01, 0x02, 0x04, 0x20, 0x40, 0x80].map((flag): [string, Parts[]] => [
    `flag 0x${flag.toString(16)}`,
    [first, { ...next, flags: 0x10 | flag }],
  ]),
  ['flag 0x1 on the first', [{ ...first, flags: 0x11 }, next]],
  ['IP options', [first, { ...next, ipOptions: [1, 1, 1, 1] }]],
  [
    'IP options in both',
    [
      { ...first, ipOptions: [1, 1, 1, 1] },
      { ...next, ipOptions: [1, 1, 1, 1] },
    ],
  ],
  ['another TOS', [first, { ...next, tos: 3 }]],
  ['another TTL', [first, { ...next, ttl: 63 }]],
  ['another DF', [first, { ...next, df: false }]],
  ['a timestamp only in the second', [{ ...first, options: [] }, next]],
  ['a timestamp only in the first', [first, { ...next, options: [] }]],
  ['a timestamp that goes back', [first, { ...next, options: ts(4) }]],
  ['an acknowledgement that goes back', [first, { ...next, ack: 49 }]],
  [
    'options other than an aligned timestamp',
    [first, next].map((p) => ({ ...p, options: [1, 1, 5, 10, 0, 0, 0, 1, 0, 0, 0, 2] })),
  ],
  ['options of another length', [first, next].map((p) => ({ ...p, options: [1, 1, 1, 1] }))],
  [
    'another VLAN',
    [
      { ...first, tag: 5 },
      { ...next, tag: 6 },
    ],
  ],
  ['a VLAN only in the second', [first, { ...next, tag: 6 }]],
  ['UDP', [first, next].map((p) => ({ protocol: 17, payload: p.payload ?? [] }))],
];
for (const [name, frames] of apart)
  t.test(`never merged: ${name}`, (t) => {
    t.same(receive(...frames), [1, 1]);
    t.end();
  });

t.test('what may not be merged ends the merge before it: the one behind it starts anew', (t) => {
  t.same(receive(first, next, { ...third, seq: 200 }, { ...third, seq: 204 }), [2, 2]);
  t.same(receive(first, { ...next, flags: 0x11 }, third), [1, 1, 1]);
  t.same(receive(first, { ...next, payload: [] }, next), [1, 1, 1]);
  t.end();
});

t.test('PSH and a shorter payload end a merge with themselves', (t) => {
  t.same(receive(first, { ...next, flags: 0x18 }, third), [2, 1]);
  t.same(receive(first, { ...next, payload: [1] }, { ...third, seq: 105 }), [2, 1]);
  t.end();
});

t.test('nothing is merged across batches', (t) => {
  t.same(receive(first, null, next), [1, 1]);
  t.end();
});

t.test('a reserved bit beside the flags keeps a segment apart', (t) => {
  const space = new TestSpace();
  const app = new SpyApp(space.mem);
  const rx = new Receiver(space, app, { lro: true });
  const odd = frame(next);
  odd[46] = odd[46] | 1;
  rx.add(frame(first)).add(odd).deliver();
  t.equal(app.segments.length, 2);
  t.end();
});

t.test('a segment stands for at most 65535 bytes of IP packet', (t) => {
  const payload = new Uint8Array(1448);
  const space = new TestSpace();
  const app = new SpyApp(space.mem);
  const rx = new Receiver(space, app, { lro: true });
  for (let i = 0; i < 100; i++) rx.add(frame({ seq: i * 1448, payload, options: ts(1) }));
  rx.deliver();
  // 52 bytes of headers and 45 times 1448 are 65212; one more would be 66660.
  t.same(
    app.segments.map((s) => s.frames),
    [45, 45, 10],
  );
  t.same(rx.counts(), { inFrames: 100, toSocket: 100, segments: 3, coalesced: 97 });
  t.end();
});

t.test('exactly 65535 bytes may be merged', (t) => {
  // 40 + 8 * 8185 + 15 = 65535
  const space = new TestSpace();
  const run = (last: number): number[] => {
    const app = new SpyApp(space.mem);
    const rx = new Receiver(space, app, { lro: true });
    for (let i = 0; i < 8; i++) rx.add(frame({ seq: i * 8185, payload: new Uint8Array(8185) }));
    rx.add(frame({ seq: 8 * 8185, payload: new Uint8Array(last) })).deliver();
    return app.segments.map((s) => s.frames);
  };
  t.same(run(15), [9]);
  t.same(run(16), [8, 1]);
  t.end();
});

t.test('eight flows are held; a ninth takes the place of the one held longest', (t) => {
  const flow = (i: number, seq: number): Parts => ({ srcPort: 2000 + i, seq, payload: four });
  const flows = [0, 1, 2, 3, 4, 5, 6, 7];
  const heads = flows.map((i) => flow(i, 0));
  const tails = flows.map((i) => flow(i, 4));
  t.same(
    receive(...heads, ...tails),
    flows.map(() => 2),
  );
  t.same(receive(...heads, flow(8, 0), ...tails.slice(1), flow(8, 4)), [1, ...flows.map(() => 2)]);
  t.end();
});
