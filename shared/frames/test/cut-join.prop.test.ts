/** A packet that is cut and joined again is the packet; what only looks like one is refused. */
import t from 'tap';
import fc from 'fast-check';
import { memOver } from '@grantline/machine';
import { nativeSum } from '../src/checksum.js';
import { Cutter, PacketCutter } from '../src/cut.js';
import { Joiner, LRO_ALONE, LRO_NEW, Lro } from '../src/join.js';
import { endOf, ipAt, l3Of, l4Of, tcpAt } from '../src/locate.js';

interface Shape {
  /** EtherTypes of the VLAN tags. */
  tags: number[];
  /** 32-bit words of options. */
  ipOptions: number;
  tcpOptions: 'none' | 'timestamps' | number;
  id: number;
  sequence: number;
  flags: number;
  payload: number;
  mss: number;
  seed: number;
}

const shape: fc.Arbitrary<Shape> = fc.record({
  tags: fc.array(fc.constantFrom(0x8100, 0x88a8, 0x9100), { maxLength: 2 }),
  ipOptions: fc.oneof({ weight: 3, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: fc.nat(10) }),
  tcpOptions: fc.oneof(fc.constantFrom('none' as const, 'timestamps' as const), fc.nat(10)),
  id: fc.oneof(fc.constantFrom(0, 0xffff, 0xfff8), fc.nat(0xffff)),
  sequence: fc.oneof(fc.constantFrom(0, 0xfffffff0, 0x7ffffff0), fc.nat(0xffffffff)),
  flags: fc.oneof(fc.constantFrom(0x10, 0x18), fc.constantFrom(0x19, 0x90, 0x98, 0x11, 0x50, 0x110)),
  payload: fc.oneof(fc.integer({ min: 1, max: 8000 }), fc.integer({ min: 1, max: 65000 })),
  mss: fc.oneof(fc.constantFrom(1448, 1460, 536), fc.integer({ min: 40, max: 9000 })),
  seed: fc.nat(0xffff),
});

/** By RFC 1071, byte by byte. */
function sum(bytes: Uint8Array, initial = 0): number {
  let all = initial;
  bytes.forEach((b, i) => (all += (i & 1) === 0 ? b << 8 : b));
  while (all > 0xffff) all = (all & 0xffff) + Math.floor(all / 0x10000);
  return all;
}
/** Sum of TCP with its pseudo header. */
const tcpSum = (f: Buffer, l3: number, l4: number): number =>
  sum(f.subarray(l4), sum(f.subarray(l3 + 12, l3 + 20), 6 + f.length - l4));

interface Packet {
  bytes: Buffer;
  l3: number;
  l4: number;
  header: number;
}

function make(s: Shape): Packet {
  const l3 = 14 + 4 * s.tags.length;
  const ihl = 20 + 4 * s.ipOptions;
  const words = s.tcpOptions === 'none' ? 0 : s.tcpOptions === 'timestamps' ? 3 : s.tcpOptions;
  const l4 = l3 + ihl;
  const header = l4 + 20 + 4 * words;
  const payload = Math.min(s.payload, 65535 + l3 - header);
  const bytes = Buffer.from(
    Uint8Array.from({ length: header + payload }, (_, i) => (i * 31 + s.seed + (i >> 8)) & 255),
  );
  s.tags.forEach((type, i) => bytes.writeUInt16BE(type, 12 + 4 * i));
  bytes.writeUInt16BE(0x0800, l3 - 2);
  bytes[l3] = 0x40 | (ihl >> 2);
  bytes.writeUInt16BE(ihl + header - l4 + payload, l3 + 2);
  bytes.writeUInt16BE(s.id, l3 + 4);
  bytes.writeUInt16BE(0x4000, l3 + 6);
  bytes[l3 + 9] = 6;
  bytes.writeUInt16BE(0, l3 + 10);
  bytes.writeUInt16BE(~sum(bytes.subarray(l3, l4)) & 0xffff, l3 + 10);
  bytes.writeUInt32BE(s.sequence, l4 + 4);
  bytes.writeUInt16BE(((20 + 4 * words) << 10) | s.flags, l4 + 12);
  if (s.tcpOptions === 'timestamps') bytes.writeUInt32BE(0x0101080a, l4 + 20);
  bytes.writeUInt16BE(0, l4 + 16);
  bytes.writeUInt16BE(~tcpSum(bytes, l3, l4) & 0xffff, l4 + 16);
  return { bytes, l3, l4, header };
}

const mem = memOver(new ArrayBuffer(1 << 20));
let mapped = 1 << 19;
const space = { mem, mapPrivate: (n: number) => (mapped += n) - n };
const cutter = new Cutter(mem);
const inPlace = new PacketCutter(space);
const AT = 64;
const FRAMES = 1 << 17;

const put = (bytes: Uint8Array, at: number): void => mem.u8.set(bytes, at);
const read = (at: number, bytes: number): Buffer => Buffer.from(mem.u8.slice(at, at + bytes));

/** Each segment in memory of its own. @returns where they are, and their bytes */
function cut(p: Packet, mss: number): { at: number; bytes: number }[] {
  put(p.bytes, AT);
  cutter.begin(AT, p.bytes.length, tcpAt(mem, AT, p.bytes.length), mss);
  const out: { at: number; bytes: number }[] = [];
  let at = FRAMES;
  for (let done = 0, n = 0; done < cutter.payload; n++) {
    const part = Math.min(mss, cutter.payload - done);
    mem.u8.copyWithin(at, AT, AT + p.header);
    mem.u8.copyWithin(at + p.header, AT + p.header + done, AT + p.header + done + part);
    cutter.write(at, n, done, part, nativeSum(mem, at + p.header, part));
    out.push({ at, bytes: p.header + part });
    at += (p.header + part + 3) & ~3;
    done += part;
  }
  if (!read(AT, p.bytes.length).equals(p.bytes)) throw new Error('cutting has changed the packet');
  return out;
}

t.test('what is cut and joined again is the packet; each segment is right, made beside it or in place', (t) => {
  const joined = { tap: 0, lro: 0 };
  fc.assert(
    fc.property(shape, (s) => {
      const p = make(s);
      const place = tcpAt(mem, AT, (put(p.bytes, AT), p.header));
      if (l3Of(place) !== p.l3 || l4Of(place) !== p.l4 || endOf(place) !== p.header) throw new Error('not found');
      // Few bytes of payload a segment, and the memory for headers would not do.
      const mss = Math.max(s.mss, Math.ceil((p.bytes.length - p.header) / 200));
      const frames = cut(p, mss);
      const seen: Buffer[] = [];
      frames.forEach(({ at, bytes }, n) => {
        const f = read(at, bytes);
        const last = n === frames.length - 1;
        if (sum(f.subarray(p.l3, p.l4)) !== 0xffff || tcpSum(f, p.l3, p.l4) !== 0xffff) throw new Error(`sums of ${n}`);
        // All else of the headers is the packet's.
        const want = Buffer.from(p.bytes.subarray(0, p.header));
        want.writeUInt16BE(bytes - p.l3, p.l3 + 2);
        want.writeUInt16BE((s.id + n) & 0xffff, p.l3 + 4);
        f.copy(want, p.l3 + 10, p.l3 + 10, p.l3 + 12);
        want.writeUInt32BE((s.sequence + n * mss) % 2 ** 32, p.l4 + 4);
        want[p.l4 + 13] = s.flags & (last ? 0xff : ~0x09) & (n > 0 ? ~0x80 : 0xff);
        f.copy(want, p.l4 + 16, p.l4 + 16, p.l4 + 18);
        if (!f.subarray(0, p.header).equals(want)) throw new Error(`header of ${n}`);
        seen.push(f);
      });
      if (!Buffer.concat(seen.map((f) => f.subarray(p.header))).equals(p.bytes.subarray(p.header)))
        throw new Error('payload');

      inPlace.begin(AT, p.bytes.length, place, mss);
      for (const f of seen) {
        if (!inPlace.next() || inPlace.at % 4 !== 0) throw new Error('in place: place');
        if (!read(inPlace.at, inPlace.bytes).equals(f)) throw new Error('in place: bytes');
      }
      if (inPlace.more || inPlace.next()) throw new Error('in place: more');

      const joiner = new Joiner(mem);
      const takes = frames.map(({ at, bytes }, n) => {
        if (!joiner.parse(at, bytes, bytes)) return false;
        if (n === 0) joiner.begin(false);
        else if (joiner.joins(false)) joiner.add();
        else return false;
        return true;
      });
      const plain = s.ipOptions === 0 && (s.flags & ~0x08) === 0x10;
      const even = frames.length === 1 || (mss & 1) === 0;
      if (takes.every((x) => x) !== (plain && even)) throw new Error('joined or not');
      if (plain && even && frames.length > 1) {
        joined.tap++;
        joiner.writeHeader(AT);
        const whole = Buffer.concat([read(AT, joiner.headerBytes), ...seen.map((f) => f.subarray(p.header))]);
        if (!whole.equals(p.bytes)) throw new Error('joined it is not the packet');
      }

      if (!plain) return;
      const lro = new Lro(mem);
      const numbers = frames.map(({ at, bytes }, n) =>
        lro.offer(at + p.l3, p.l4 - p.l3, at + p.l4, p.header - p.l4, bytes - p.header, 0, n),
      );
      // Of options it knows one layout alone; and a segment with PSH begins nothing.
      const known = s.tcpOptions === 'timestamps' || p.header === p.l4 + 20;
      const begins = known && (s.flags === 0x10 || frames.length > 1);
      const want = numbers.map((_, n) => (!begins ? LRO_ALONE : n === 0 ? LRO_NEW : 0));
      if (numbers.join() !== want.join()) throw new Error(`lro ${numbers.join()}`);
      if (known && frames.length > 1) joined.lro++;
    }),
    { numRuns: 300 },
  );
  t.ok(joined.tap > 20 && joined.lro > 20, `and many were joined: ${JSON.stringify(joined)}`);
  t.end();
});

t.test('headers are found only where all of them lie, whatever they say; nothing behind is looked at', (t) => {
  const lie = fc.record({ at: fc.nat(141), to: fc.nat(255) });
  fc.assert(
    fc.property(shape, fc.nat(160), fc.array(lie, { maxLength: 3 }), (s, there, lies) => {
      const p = make({ ...s, payload: 40 });
      for (const l of lies) if (l.at < p.bytes.length) p.bytes[l.at] = l.to;
      const linear = Math.min(there, p.bytes.length);
      put(p.bytes, AT);
      const found = [ipAt(mem, AT, linear), tcpAt(mem, AT, linear)];
      mem.u8.fill(0xff, AT + linear, AT + 256);
      if (found[0] !== ipAt(mem, AT, linear) || found[1] !== tcpAt(mem, AT, linear)) throw new Error('looked too far');
      const [ip, tcp] = found;
      if (lies.length === 0 && tcp >= 0 !== linear >= p.header) throw new Error('found or not');
      if (ip >= 0 && !(l3Of(ip) >= 14 && l4Of(ip) >= l3Of(ip) + 20 && l4Of(ip) <= linear)) throw new Error('IP');
      if (tcp >= 0 && !(ip === (tcp & 0xffff) && endOf(tcp) >= l4Of(tcp) + 20 && endOf(tcp) <= linear))
        throw new Error('TCP');
    }),
    { numRuns: 500 },
  );
  t.end();
});

t.test('a segment whose headers lie, or part from the others, is not joined', (t) => {
  const plain: Shape = {
    ...{ tags: [], ipOptions: 0, tcpOptions: 'timestamps', id: 1, sequence: 0xfffffff0, flags: 0x10 },
    ...{ payload: 4000, mss: 1000, seed: 3 },
  };
  const joins = (where: number, by: number): boolean => {
    const [one, two] = cut(make(plain), 1000);
    mem.u8[two.at + where] ^= by;
    const joiner = new Joiner(mem);
    joiner.parse(one.at, one.bytes, one.bytes);
    joiner.begin(false);
    return joiner.parse(two.at, two.bytes, two.bytes) && joiner.joins(false);
  };
  t.ok(joins(0, 0));
  fc.assert(
    // Of the headers of 66 bytes all but the TCP checksum, in which a wrong one stays wrong.
    fc.property(fc.nat(65), fc.integer({ min: 1, max: 255 }), (where, by) =>
      where === 50 || where === 51 || (where === 47 && by === 0x08) ? joins(where, by) : !joins(where, by),
    ),
    { numRuns: 400 },
  );
  t.end();
});
