import t from 'tap';
import fc from 'fast-check';
import { CounterBlock, AddressSpace } from '@grantline/machine';
import { TAP_COUNTERS } from '@grantline/observe';
import { tcpAt, PacketCutter } from '@grantline/frames';
import { TapWriter } from '@grantline/measure';
import { FakeTap } from '../fake-tap.js';
import { checksumsRight, tcpPacket } from '../tx-kit.js';

const space = new AddressSpace(16 << 20);
const counters = new CounterBlock(space.mem, space.mapPrivate(4096), TAP_COUNTERS);
const tap = new FakeTap(space);
const writer = new TapWriter(space, tap, counters);
const cutter = new PacketCutter(space);
const at = space.mapPrivate(1 << 17);
const copies = space.mapPrivate(1 << 20);

interface Made {
  payload: Uint8Array;
  sequence: number;
  id: number;
  flags: number;
  options: number;
  /** VLAN tags. */
  tags?: number;
}

const TAG = [0x81, 0x00, 0x00, 0x64];
/** A frame with so many tags, and without. */
const tag = (frame: Buffer, tags = 0): Buffer =>
  Buffer.concat([frame.subarray(0, 12), ...new Array<Buffer>(tags).fill(Buffer.from(TAG)), frame.subarray(12)]);
const untag = (frame: Buffer, tags = 0): Buffer =>
  Buffer.concat([frame.subarray(0, 12), frame.subarray(12 + 4 * tags)]);

/** Frames of a packet, each where it lies. */
function cut(made: Made, mss: number): { off: number; len: number }[] {
  const packet = tag(tcpPacket(made), made.tags);
  space.mem.u8.set(packet, at);
  cutter.begin(at, packet.length, tcpAt(space.mem, at, packet.length), mss);
  const frames: { off: number; len: number }[] = [];
  for (let to = copies; cutter.next(); to += (cutter.bytes + 3) & ~3) {
    space.mem.u8.copyWithin(to, cutter.at, cutter.at + cutter.bytes);
    frames.push({ off: to, len: cutter.bytes });
  }
  return frames;
}
const bytesOf = ({ off, len }: { off: number; len: number }): Buffer => Buffer.from(space.mem.u8.slice(off, off + len));
/** The sum over the IP header of an untagged frame. */
const ipSumIsRight = (frame: Buffer): boolean => {
  let sum = 0;
  for (let i = 14; i < 34; i += 2) sum += frame.readUInt16BE(i);
  return (sum >>> 16) + (sum & 0xffff) === 0xffff;
};
const payloadOf = (bytes: number): Uint8Array =>
  Uint8Array.from({ length: bytes }, (_, i) => (i * 31 + (i >> 7)) & 255);

t.test('what is cut in place and joined again is the packet that it was, and its checksums are right', (t) => {
  fc.assert(
    fc.property(
      fc.record({
        bytes: fc.integer({ min: 1, max: 60000 }),
        mss: fc.oneof(fc.constantFrom(1448, 1460, 536), fc.integer({ min: 500, max: 8900 })),
        sequence: fc.constantFrom(1, 0xfffffff0, 0x7fffffff),
        id: fc.constantFrom(0, 7, 0xffff),
        flags: fc.constantFrom(0x10, 0x18),
        options: fc.constantFrom(0, 12, 40),
        splits: fc.boolean(),
        tags: fc.constantFrom(0, 0, 1, 2),
      }),
      ({ bytes, mss, sequence, id, flags, options, splits, tags }) => {
        tap.written.length = 0;
        const made = { payload: payloadOf(bytes), sequence, id, flags, options, tags };
        const header = 54 + options + 4 * tags;
        const frames = cut(made, mss);
        if (!frames.every((f) => checksumsRight(untag(bytesOf(f), tags)))) return false;
        for (const { off, len } of frames) {
          // In two pieces, as frames lie in buffers of half a page or come out of the segmenter.
          const first = splits && len > header + 1 ? header + 1 : len;
          writer.piece(off, first, first < len, false);
          if (first < len) writer.piece(off + first, len - first, false, false);
        }
        writer.flush();
        const joined = tap.written.map((w) => w.packet.subarray(header));
        if (!Buffer.concat(joined).equals(Buffer.from(made.payload))) return false;
        // An odd segment size cannot be joined: the sums would have to be shifted.
        if ((mss & 1) === 0 && tap.written.length !== 1) return false;
        return tap.written.every(
          (w) =>
            checksumsRight(untag(Buffer.from(w.packet), tags)) &&
            (w.packet.length <= header + mss || (w.gsoType === 1 && w.gsoSize === mss)),
        );
      },
    ),
    { numRuns: 60 },
  );
  t.end();
});

t.test('the cutter tells the last frame of a packet, with which a burst may end', (t) => {
  const told = (bytes: number): boolean[] => {
    space.mem.u8.set(tcpPacket({ payload: payloadOf(bytes), sequence: 5, id: 1, flags: 0x10, options: 0 }), at);
    cutter.begin(at, 54 + bytes, tcpAt(space.mem, at, 54), 1000);
    const more: boolean[] = [];
    while (cutter.next()) more.push(cutter.more);
    return more;
  };
  t.same(told(3000), [true, true, false]);
  t.same(told(3001), [true, true, true, false]);
  t.equal(cutter.more, false, 'and none afterwards');
  t.end();
});

/** Gives a packet to the writer in pieces of at most so many frames. @returns headers, and how many pieces were of several */
function pieces(made: Made, mss: number, most: number): number {
  const packet = tcpPacket(made);
  space.mem.u8.set(packet, at);
  cutter.begin(at, packet.length, tcpAt(space.mem, at, packet.length), mss);
  let several = 0;
  for (let to = copies; cutter.next(most * mss); to += (cutter.bytes + 3) & ~3) {
    space.mem.u8.copyWithin(to, cutter.at, cutter.at + cutter.bytes);
    if (cutter.frames > 1) writer.bulk(mss, cutter.frames);
    if (cutter.frames > 1) several++;
    // In buffers of 2 KiB.
    for (let done = 0; done < cutter.bytes; done += 2048) {
      const part = Math.min(2048, cutter.bytes - done);
      writer.piece(to + done, part, done + part < cutter.bytes, cutter.frames > 1);
    }
  }
  return several;
}

t.test('pieces of several frames are joined to the packet that they were, its checksum blank', (t) => {
  fc.assert(
    fc.property(
      fc.record({
        bytes: fc.integer({ min: 2, max: 60000 }),
        mss: fc.constantFrom(1448, 1460, 536),
        most: fc.integer({ min: 2, max: 25 }),
        sequence: fc.constantFrom(1, 0xfffffff0, 0x7fffffff),
        id: fc.constantFrom(0, 0xffff),
        flags: fc.constantFrom(0x10, 0x18),
        options: fc.constantFrom(0, 12, 40),
      }),
      ({ bytes, mss, most, sequence, id, flags, options }) => {
        tap.written.length = 0;
        const made = { payload: payloadOf(bytes), sequence, id, flags, options };
        const header = 54 + options;
        const several = pieces(made, mss, most);
        writer.flush();
        const joined = tap.written.map((w) => w.packet.subarray(header));
        if (!Buffer.concat(joined).equals(Buffer.from(made.payload))) return false;
        // A last frame that stood alone was summed, and is not joined to what was not.
        if (
          tap.written.length !==
          (several === 0 ? 1 : 1 + (bytes % (most * mss) > 0 && bytes % (most * mss) <= mss ? 1 : 0))
        )
          return false;
        return tap.written.every((w) => {
          const frames = Math.ceil((w.packet.length - header) / mss);
          if (w.packet.readUInt16BE(16) !== w.packet.length - 14) return false;
          if (frames === 1) return w.flags === 0 && checksumsRight(Buffer.from(w.packet));
          if (w.flags !== 1 || w.gsoType !== 1 || w.gsoSize !== mss || w.headerBytes !== header) return false;
          // What the kernel would cut from it, and sum, are right frames.
          const first = Buffer.from(w.packet);
          space.mem.u8.set(first, at);
          cutter.begin(at, first.length, tcpAt(space.mem, at, first.length), mss);
          while (cutter.next()) if (!checksumsRight(bytesOf({ off: cutter.at, len: cutter.bytes }))) return false;
          return ipSumIsRight(first);
        });
      },
    ),
    { numRuns: 80 },
  );
  t.end();
});

t.test('pieces that do not follow, or are of other segments, go each by itself', (t) => {
  const made = (bytes: number, sequence: number, flags = 0x10): Made => ({
    ...{ payload: payloadOf(bytes), sequence, id: 1, flags, options: 12 },
  });
  const sent = (...list: [Made, number][]): number[] => {
    tap.written.length = 0;
    let from = copies;
    for (const [one, mss] of list) {
      const packet = tcpPacket(one);
      space.mem.u8.set(packet, from);
      writer.bulk(mss, Math.ceil(one.payload.length / mss));
      writer.piece(from, packet.length, false, true);
      from += (packet.length + 3) & ~3;
    }
    writer.flush();
    return tap.written.map((w) => w.packet.length - 66);
  };
  t.same(sent([made(4000, 1), 1000], [made(3000, 4001), 1000]), [7000]);
  t.same(sent([made(4000, 1), 1000], [made(3000, 4002), 1000]), [4000, 3000], 'a gap');
  t.same(sent([made(4000, 1), 1000], [made(3000, 4001), 1500]), [4000, 3000], 'longer segments');
  t.same(sent([made(4000, 1), 1000], [made(3000, 4001), 500]), [4000, 3000], 'shorter segments');
  t.same(sent([made(4001, 1), 1000], [made(3000, 4002), 1000]), [4001, 3000], 'behind a short segment');
  t.same(sent([made(4000, 1, 0x18), 1000], [made(3000, 4001), 1000]), [4000, 3000], 'behind PSH');
  t.same(sent([made(4000, 1), 1000], [made(3000, 4001, 0x11), 1000]), [4000, 3000], 'FIN');
  t.same(sent([made(40_000, 1), 1000], [made(26_000, 40_001), 1000]), [40_000, 26_000], 'too long together');
  t.end();
});

t.test('a piece that is not taken becomes the frame that it begins with, and nothing else changes', (t) => {
  const made = { payload: payloadOf(30_000), sequence: 0xfffffff0, id: 0xfffe, flags: 0x18, options: 12 };
  const plain = cut(made, 1448).map(bytesOf);
  const packet = tcpPacket(made);
  space.mem.u8.set(packet, at);
  cutter.begin(at, packet.length, tcpAt(space.mem, at, packet.length), 1448);
  const frames: Buffer[] = [];
  while (cutter.next(5 * 1448)) {
    if (cutter.frames > 1) cutter.shorten();
    t.equal(cutter.frames, 1);
    frames.push(bytesOf({ off: cutter.at, len: cutter.bytes }));
  }
  t.same(frames, plain);
  t.end();
});

t.test('a byte that was wrong in one segment makes the joined packet wrong', (t) => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 9999 }), fc.integer({ min: 1, max: 255 }), (where, by) => {
      tap.written.length = 0;
      const frames = cut({ payload: payloadOf(10000), sequence: 5, id: 1, flags: 0x10, options: 12 }, 1448);
      const frame = frames[Math.floor(where / 1448)];
      space.mem.u8[frame.off + 66 + (where % 1448)] ^= by;
      for (const { off, len } of frames) writer.piece(off, len, false, false);
      writer.flush();
      return tap.written.length === 1 && !checksumsRight(tap.written[0].packet);
    }),
    { numRuns: 30 },
  );
  t.end();
});

t.test(
  'a gap, another acknowledgement, a wrong IP checksum and a flag part packets; a blank checksum stays blank',
  (t) => {
    const made = { payload: payloadOf(5 * 1000), sequence: 5, id: 1, flags: 0x10, options: 0 };
    const pieces = (change: (frames: { off: number; len: number }[]) => void, blank = false): number[] => {
      tap.written.length = 0;
      const frames = cut(made, 1000);
      change(frames);
      for (const { off, len } of frames) writer.piece(off, len, false, blank);
      writer.flush();
      return tap.written.map((w) => Math.ceil((w.packet.length - 54) / 1000));
    };
    const poke = (frame: number, byte: number): number[] =>
      pieces((f) => void (space.mem.u8[f[frame].off + byte] ^= 1));
    t.same(
      pieces(() => {}),
      [5],
    );
    t.same(
      pieces((f) => void f.splice(2, 1)),
      [2, 2],
      'lost in the middle',
    );
    t.same(poke(2, 45), [2, 1, 2], 'acknowledgement');
    t.same(poke(2, 25), [2, 1, 2], 'IP checksum');
    t.same(poke(2, 22), [2, 1, 2], 'time to live');
    t.same(poke(2, 15), [2, 1, 2], 'type of service');
    t.same(poke(2, 37), [2, 1, 2], 'port');
    t.same(
      pieces((f) => void (space.mem.u8[f[2].off + 47] |= 8)),
      [3, 2],
      'PSH ends a packet',
    );
    t.same(
      pieces((f) => void (space.mem.u8[f[2].off + 47] |= 1)),
      [2, 1, 2],
      'FIN goes alone',
    );
    t.same(
      pieces(() => {}, true),
      [5],
    );
    t.equal(tap.written[0].flags, 1, 'NEEDS_CSUM');
    writer.coalesce = false;
    t.same(
      pieces(() => {}),
      [1, 1, 1, 1, 1],
    );
    writer.coalesce = true;
    tap.down = true;
    const before = counters.v[TAP_COUNTERS.names.indexOf('dropRefused')];
    t.same(
      pieces(() => {}),
      [],
    );
    t.equal(
      counters.v[TAP_COUNTERS.names.indexOf('dropRefused')] - before,
      5,
      'what the kernel refuses is counted in frames',
    );
    tap.down = false;
    t.end();
  },
);
