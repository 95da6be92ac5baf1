import t from 'tap';
import fc from 'fast-check';
import { foldSum, internetChecksum, pseudoSum, sumOf, swapSum, updateChecksum } from '../src/checksum.js';
import { memOver } from '@grantline/machine';
import {
  formatMac,
  isGroup,
  keyOf,
  macHi,
  macLo,
  macOf,
  parseMac,
  writeMac,
  formatIp,
  parseIp,
} from '../src/headers.js';

const memOf = (bytes: number[]) => {
  const mem = memOver(new ArrayBuffer(4096));
  mem.u8.set(bytes);
  return mem;
};

t.test('the example of RFC 1071 section 3 sums to ddf2', (t) => {
  const mem = memOf([0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]);
  t.equal(sumOf(mem, 0, 8), 0xddf2);
  t.equal(internetChecksum(mem, 0, 8), 0x220d);
  t.end();
});

t.test('a known IPv4 header has the checksum b861, and with it in place the checksum is 0', (t) => {
  const header = [0x45, 0, 0, 0x73, 0, 0, 0x40, 0, 0x40, 0x11, 0, 0, 0xc0, 0xa8, 0, 1, 0xc0, 0xa8, 0, 0xc7];
  t.equal(internetChecksum(memOf(header), 0, 20), 0xb861);
  header[10] = 0xb8;
  header[11] = 0x61;
  t.equal(internetChecksum(memOf(header), 0, 20), 0);
  t.end();
});

t.test('an odd last byte counts as the high byte of a word', (t) => {
  t.equal(sumOf(memOf([0x12, 0x34, 0x56]), 0, 3), 0x1234 + 0x5600);
  t.end();
});

t.test('a known UDP packet with its pseudo header has a checksum worked out by hand', (t) => {
  // 10.0.0.1 to 10.0.0.2, ports 1 to 2, "ab": 0a00+0001+0a00+0002+0011+000a + 0001+0002+000a+6162 = 758d
  const mem = memOf([0, 1, 0, 2, 0, 10, 0, 0, 0x61, 0x62]);
  const pseudo = pseudoSum(parseIp('10.0.0.1'), parseIp('10.0.0.2'), 17, 10);
  t.equal(internetChecksum(mem, 0, 10, pseudo), ~0x758d & 0xffff);
  t.end();
});

t.test('a sum of parts is the sum of the whole, swapped where a part starts at an odd offset', (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 1, maxLength: 200 }), fc.nat(200), (bytes, cut) => {
      const mem = memOf([...bytes]);
      const at = Math.min(cut, bytes.length);
      const second = sumOf(mem, at, bytes.length - at);
      const sum = foldSum(sumOf(mem, 0, at) + ((at & 1) === 1 ? swapSum(second) : second));
      return sum === sumOf(mem, 0, bytes.length);
    }),
  );
  t.end();
});

t.test('an incremental update is the checksum of the changed range', (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 6, maxLength: 40 }), fc.nat(0xffff), (bytes, word) => {
      // Not all zero: zero has two representations, and a header never is.
      const mem = memOf([0x45, 0, ...bytes]);
      const before = internetChecksum(mem, 0, bytes.length + 2);
      const old = mem.dv.getUint16(4);
      mem.dv.setUint16(4, word);
      return updateChecksum(before, old, word) === internetChecksum(mem, 0, bytes.length + 2);
    }),
  );
  t.end();
});

t.test('addresses survive parsing and formatting; what is none is refused', (t) => {
  t.equal(formatMac(parseMac('00:16:3e:ff:00:A1')), '00:16:3e:ff:00:a1');
  const mac = parseMac('fe:ff:00:10:80:01');
  const mem = memOf(new Array<number>(8).fill(0));
  writeMac(mem, 2, mac);
  t.same([...mem.u8.subarray(2, 8)], [0xfe, 0xff, 0, 0x10, 0x80, 1]);
  t.same({ hi: macHi(mem, 2), lo: macLo(mem, 2) }, mac);
  t.equal(keyOf(mac), 0xfeff00108001);
  t.same(macOf(keyOf(mac)), mac);
  t.same([isGroup(mac.hi), isGroup(parseMac('01:00:5e:00:00:01').hi)], [false, true]);
  t.equal(formatIp(parseIp('192.168.0.255')), '192.168.0.255');
  t.equal(parseIp('255.255.255.255'), 0xffffffff);
  for (const bad of ['', '1.2.3', '1.2.3.256', '1.2.3.4.5', 'a.b.c.d']) t.throws(() => parseIp(bad), RangeError);
  for (const bad of ['', '00:16:3e:00:00', '00:16:3e:00:00:0g']) t.throws(() => parseMac(bad), RangeError);
  t.end();
});
