import t from 'tap';
import { BRIDGE_COUNTERS } from '@grantline/observe';
import { NETRXF_CSUM_BLANK, NETRXF_DATA_VALIDATED, NETTXF_CSUM_BLANK } from '@grantline/xen';
import type { DomId } from '@grantline/base';
import { Bridge } from '../../../src/data/bridge/bridge.js';
import {
  Buffers,
  FOREIGN,
  FOREIGN_FRAMES,
  FOREIGN_PAGES,
  ForeignFrames,
  type TxSource,
} from '../../../src/data/bridge/buffers.js';
import { FramePieces } from '../../../src/data/bridge/frame-pieces.js';
import { LocalSwitch, NOBODY, NO_ROOM, TOO_LONG } from '../../../src/data/tx/local-switch.js';
import { TO_ALL } from '@grantline/frames';
import { TxPackets } from '../../../src/data/tx/tx-requests.js';
import { Arena, block, frameOf } from '../../kit.js';

/** A packet in a guest's pages, and two other vifs that keep what they are handed. */
function make() {
  const arena = new Arena(64 + FOREIGN_PAGES);
  const { mem } = arena;
  const pages = arena.pages(24);
  const headersAt = arena.pages(8);
  const segments = arena.pages(FOREIGN_PAGES);
  const frames = new ForeignFrames(segments, 500);
  const buffers = new Buffers(arena.pages(1), 0, 1);
  buffers.foreign = frames;
  const bridge = new Bridge(mem, buffers, block(BRIDGE_COUNTERS));
  const local = new LocalSwitch(mem, bridge, frames);
  const packets = new TxPackets();
  const copied: number[] = [];
  const source: TxSource = {
    ...{ domid: 1 as DomId, packets, headersPfn: 100, headersAt },
    copied: (packet) => void copied.push(packet),
  };
  const got: Record<number, { id: number; len: number }[]> = { 2: [], 3: [], 4: [] };
  for (const port of [2, 3])
    bridge.attach(port, {
      deliver: (id, len) => {
        buffers.retain(id);
        got[port].push({ id, len });
      },
    });
  /** Puts a packet into pages of 3000 bytes, the first 128 bytes into the header. */
  const put = (bytes: Uint8Array, mss = 0, flags = 0): number => {
    const first = packets.take();
    packets.headBytes[first] = Math.min(128, bytes.length);
    packets.total[first] = bytes.length;
    packets.mss[first] = mss;
    packets.flags[first] = flags;
    mem.u8.set(bytes.subarray(0, 128), headersAt + first * 128);
    let s = first;
    for (let from = 128, page = 0; from < bytes.length; from += 3000, page++) {
      if (page > 0) {
        const next = packets.take();
        packets.next[s] = next;
        s = next;
      }
      const part = bytes.subarray(from, from + 3000);
      mem.u8.set(part, pages + page * 4096 + 7);
      packets.gref[s] = page;
      packets.offset[s] = 7;
      packets.size[s] = part.length;
    }
    return first;
  };
  /** The bytes of a frame, piece by piece, as the grant copies would fetch them. */
  const read = (id: number, len: number): Buffer => {
    const pieces = new FramePieces(buffers);
    pieces.begin(id);
    const out: number[] = [];
    while (out.length < len) {
      const n = pieces.take(len - out.length);
      if (n < 1) throw new Error('a piece of nothing');
      const at =
        pieces.domid === 1
          ? pages + pieces.page * 4096
          : pieces.page >= 500
            ? segments + (pieces.page - 500) * 4096
            : headersAt + (pieces.page - 100) * 4096;
      out.push(...mem.u8.subarray(at + pieces.offset, at + pieces.offset + n));
    }
    return Buffer.from(out);
  };
  return { bridge, local, frames, buffers, source, copied, got, put, read };
}

/** A TCP packet with 66 bytes of headers. */
function bulkOf(payload: number): Uint8Array {
  const bytes = frameOf(4, 66 + payload);
  bytes.set([8, 0, 0x45, 0], 12);
  bytes[23] = 6;
  bytes[46] = 0x80;
  return bytes;
}

t.test('a packet goes to its vif in one frame; its sender hears when the receiver has let go of it', (t) => {
  const x = make();
  const bytes = frameOf(1, 5000);
  const p = x.put(bytes);
  t.equal(x.local.take(x.source, p, 2, 1, 0), 1);
  const [frame] = x.got[2];
  t.same(x.read(frame.id, frame.len), Buffer.from(bytes));
  t.equal(x.frames.flags[frame.id - FOREIGN], NETRXF_DATA_VALIDATED);
  t.same(x.copied, []);
  x.buffers.release(frame.id);
  t.same(x.copied, [p]);
  t.equal(x.frames.room, FOREIGN_FRAMES);
  t.equal(x.local.take(x.source, p, 9, 1, 0), NOBODY);
  t.end();
});

t.test('to all: each other vif gets it, and it is over with the last one', (t) => {
  const x = make();
  const p = x.put(frameOf(1, 60));
  t.equal(x.local.take(x.source, p, TO_ALL, 3, 0), 1, 'not to the one that it came from');
  x.buffers.release(x.got[2].pop()!.id);
  t.equal(x.local.take(x.source, p, TO_ALL, 1, 0), 2);
  x.buffers.release(x.got[2][0].id);
  t.equal(x.copied.length, 1);
  x.buffers.release(x.got[3][0].id);
  t.equal(x.copied.length, 2);
  t.end();
});

t.test('a bulk packet is cut: headers in step, payload where it lies, in one group', (t) => {
  const x = make();
  const bytes = bulkOf(10_000);
  bytes.set([0, 0, 0, 9], 38);
  bytes[47] = 0x19;
  const p = x.put(bytes, 1448, NETTXF_CSUM_BLANK);
  t.equal(x.local.take(x.source, p, 2, 1, 66), 7);
  x.got[2].forEach(({ id, len }, k) => {
    const frame = x.read(id, len);
    const part = Math.min(1448, 10_000 - k * 1448);
    t.equal(len, 66 + part);
    t.equal(frame.readUInt16BE(16), 52 + part);
    t.equal(frame.readUInt32BE(38), 9 + k * 1448);
    t.equal(frame[47], k === 6 ? 0x19 : 0x10, 'FIN and PSH on the last only');
    t.same(frame.subarray(66), Buffer.from(bytes.subarray(66 + k * 1448, 66 + k * 1448 + part)));
    let sum = 0;
    for (let i = 14; i < 34; i += 2) sum += frame.readUInt16BE(i);
    t.equal((sum & 0xffff) + (sum >>> 16), 0xffff, 'IP checksum');
    t.equal(x.frames.flags[id - FOREIGN], NETRXF_CSUM_BLANK | NETRXF_DATA_VALIDATED);
  });
  for (const { id } of x.got[2].splice(0)) x.buffers.release(id);
  t.same(x.copied, [p]);
  t.equal(x.frames.room, FOREIGN_FRAMES);
  t.end();
});

t.test('segments too many, and frames too long for a bridge, are not taken and leave nothing behind', (t) => {
  const x = make();
  const big = frameOf(1, 60_000);
  t.equal(x.local.take(x.source, x.put(big), 2, 1, 0), TOO_LONG);
  t.equal(x.local.take(x.source, x.put(big, 9000), 2, 1, 66), TOO_LONG);
  t.equal(x.local.take(x.source, x.put(big, 4), 2, 1, 66), NO_ROOM);
  t.equal(x.frames.room, FOREIGN_FRAMES);
  t.same(x.got[2], []);
  t.end();
});

t.test(
  'a bulk packet goes whole to a guest that takes such, with its mss; cut to one that does not, and to all',
  (t) => {
    const x = make();
    const bytes = bulkOf(10_000);
    const asked: number[] = [];
    x.bridge.attach(4, {
      deliver: (id, len) => {
        x.buffers.retain(id);
        x.got[4].push({ id, len });
      },
      takesBulk: (len) => asked.push(len) > 0 && len < 11_000,
    });
    const p = x.put(bytes, 1448, NETTXF_CSUM_BLANK);
    t.equal(x.local.take(x.source, p, 4, 1, 66), 7, 'counted by the frames that it stands for');
    const [whole] = x.got[4].splice(0);
    const i = whole.id - FOREIGN;
    t.same([whole.len, x.frames.mss[i], x.buffers.framesOf(whole.id)], [10_066, 1448, 7]);
    t.same(x.read(whole.id, whole.len), Buffer.from(bytes));
    t.equal(x.frames.flags[i], NETRXF_CSUM_BLANK | NETRXF_DATA_VALIDATED);
    x.buffers.release(whole.id);
    t.same(x.copied, [p]);
    t.equal(x.local.take(x.source, x.put(bulkOf(12_000), 1448), 4, 1, 66), 9);
    t.same(
      x.got[4].splice(0).map((f) => x.frames.mss[f.id - FOREIGN]),
      new Array(9).fill(0),
      'longer than it takes',
    );
    t.equal(x.local.take(x.source, x.put(bytes, 50), 4, 1, 66), 200);
    t.equal(x.got[4].splice(0).length, 200, 'more frames than a packet may stand for');
    x.local.take(x.source, x.put(bytes, 1448), TO_ALL, 1, 66);
    t.same(
      x.got[4].map((f) => x.frames.mss[f.id - FOREIGN]),
      new Array(7).fill(0),
    );
    t.same(asked, [10_066, 12_066]);
    t.end();
  },
);

t.test('a guest whose receiver takes nothing leaves room for the packets of others (H43)', (t) => {
  const x = make();
  const bytes = bulkOf(600);
  const crowded = x.source;
  const other: TxSource = { ...crowded, packets: new TxPackets() };
  while (x.local.take(crowded, x.put(bytes, 4), 2, 1, 66) > 0);
  t.ok(x.frames.room >= FOREIGN_FRAMES / 4, `${x.frames.room} are left`);
  const p = other.packets.take();
  other.packets.total[p] = other.packets.headBytes[p] = 60;
  t.equal(x.local.take(other, p, 3, 4, 0), 1);
  for (const { id } of [...x.got[2], ...x.got[3]]) x.buffers.release(id);
  t.equal(x.frames.room, FOREIGN_FRAMES);
  t.same([crowded.packets.lent, other.packets.lent], [0, 0]);
  t.end();
});

t.test('a bulk packet with a VLAN tag is cut like one without, whatever its VLAN', (t) => {
  for (const vlan of [1, 0x612, 0xfff]) {
    const x = make();
    const bytes = frameOf(4, 58 + 3000);
    bytes.set([0x81, 0, vlan >> 8, vlan & 255, 8, 0, 0x45, 0], 12);
    bytes[18 + 9] = 6;
    bytes[38 + 12] = 0x50;
    t.equal(x.local.take(x.source, x.put(bytes, 1000, NETTXF_CSUM_BLANK), 2, 1, 58), 3);
    t.same(
      x.got[2].map(({ id, len }) => {
        const frame = x.read(id, len);
        let sum = 0;
        for (let i = 18; i < 38; i += 2) sum += frame.readUInt16BE(i);
        return [frame.readUInt16BE(14), frame.readUInt16BE(20), (sum & 0xffff) + (sum >>> 16)];
      }),
      new Array(3).fill([vlan, 1040, 0xffff]),
      `VLAN ${vlan}`,
    );
  }
  t.end();
});
