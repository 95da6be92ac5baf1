/** A packet that is cut where it lies: every frame is whole and right, whatever the size of its segments. */
import t from 'tap';
import {
  internetChecksum,
  foldSum,
  pseudoSum,
  sumOf,
  writeIpv4,
  TCP_FIN,
  TCP_FLAG_ACK,
  TCP_PSH,
} from '@grantline/frames';
import { memOver } from '@grantline/machine';
import { InPlaceCut } from '../../src/far-end/data/in-place-cut.js';

const AT = 64;
const HEADER = 66;
const SRC = 0x0a4dfffe;
const DST = 0x0a4d0001;

t.test('payload, numbers, flags and both checksums of each frame are right, for any segment size', (t) => {
  for (const mss of [536, 537, 538, 1446, 1447, 1448, 1460]) {
    const mem = memOver(new ArrayBuffer(1 << 20));
    let next = 1 << 17;
    const space = { mem, mapPrivate: (n: number) => (next += n) - n };
    const total = HEADER + 5 * mss + 77;
    for (let i = 0; i < total - HEADER; i++) mem.u8[AT + HEADER + i] = (i * 7 + (i >> 8)) & 0xff;
    writeIpv4(mem, AT + 14, total - 14, 6, SRC, DST);
    mem.dv.setUint16(AT + 12, 0x0800);
    mem.dv.setUint32(AT + 38, 0xfffff000);
    mem.dv.setUint16(AT + 46, (32 << 10) | TCP_FLAG_ACK | TCP_PSH | TCP_FIN);
    const cut = new InPlaceCut(space);
    cut.begin(AT, total, mss);
    const payload: number[] = [];
    const wrong: string[] = [];
    let frames = 0;
    do {
      const { at, bytes } = cut;
      const last = payload.length + bytes - HEADER === total - HEADER;
      if (at % 4 !== 0) wrong.push(`frame ${frames} at ${at}`);
      if (mem.dv.getUint16(at + 16) !== bytes - 14) wrong.push(`length of frame ${frames}`);
      if (internetChecksum(mem, at + 14, 20) !== 0) wrong.push(`IP checksum of frame ${frames}`);
      const sum = pseudoSum(SRC, DST, 6, bytes - 34) + sumOf(mem, at + 34, bytes - 34);
      if (foldSum(sum) !== 0xffff) wrong.push(`TCP checksum of frame ${frames}`);
      if (mem.dv.getUint32(at + 38) !== (0xfffff000 + payload.length) >>> 0) wrong.push(`sequence of frame ${frames}`);
      const flags = TCP_FLAG_ACK | (last ? TCP_PSH | TCP_FIN : 0);
      if (mem.u8[at + 47] !== flags) wrong.push(`flags of frame ${frames}`);
      payload.push(...mem.u8.subarray(at + HEADER, at + bytes));
      frames++;
    } while (cut.next());
    t.same(wrong, [], `mss ${mss}`);
    t.equal(frames, 6);
    t.ok(payload.length === total - HEADER && payload.every((b, i) => b === ((i * 7 + (i >> 8)) & 0xff)), 'payload');
  }
  t.end();
});
