/** How a station gives the NIC what it cuts: pieces of several frames to a queue that takes them, frames to others. */
import t from 'tap';
import fc from 'fast-check';
import { memOver } from '@grantline/machine';
import { PacketCutter, tcpAt } from '@grantline/frames';
import { OFFER_WAITS, StationPort } from '../../src/far-end/data/station.js';
import { checksumsRight, tcpPacket } from '../tx-kit.js';
import { UNFIT } from '../../src/hardware/data/nic-queue.js';
import { PACKET_STARVED_NS } from '../../src/hardware/data/rx-queue.js';
import { Kit, type Frame, type TestQueue } from '../kit.js';

const MAC = 0x02_00_00_00_00_02;
const OVERHEAD = 24;

interface Rig {
  kit: Kit;
  q: TestQueue;
  cut: PacketCutter;
  port: StationPort;
  /** Gives a packet of so many bytes of payload to the NIC. @returns bytes of the frames that it stood for, and their number */
  send: (bytes: number, mss: number) => { frames: number; bytes: number };
}

function rig(packetBytes: number, bufferBytes: number): Rig {
  const kit = new Kit();
  let free = kit.frames;
  const space = {
    mem: kit.mem,
    mapPrivate(bytes: number): number {
      free += (bytes + 63) & ~63;
      return free - ((bytes + 63) & ~63);
    },
  };
  const q = kit.queue(1000, 1, 0, 1, 0, packetBytes);
  kit.nic.attach(q.queue, MAC, null);
  for (let i = 0; i < 500; i++) q.post(kit.map(1000, 1, 16 + i), 0, bufferBytes, kit.page(1, 16 + i));
  const cut = new PacketCutter(space);
  const port = new StationPort(kit.cable, 1e6);
  const at = space.mapPrivate(1 << 17);
  return {
    ...{ kit, q, cut, port },
    send(bytes, mss) {
      const packet = tcpPacket({
        payload: payloadOf(bytes),
        sequence: 0xffffff00,
        id: 0xfff0,
        flags: 0x18,
        options: 12,
      });
      packet.writeUIntBE(MAC, 0, 6);
      kit.mem.u8.set(packet, at);
      cut.begin(at, packet.length, tcpAt(kit.mem, at, packet.length), mss);
      kit.cable.open();
      while (port.next(cut)) if (port.offerPiece(cut) === OFFER_WAITS) throw new Error('it waits');
      kit.cable.closeStation(0);
      const frames = Math.ceil(bytes / mss);
      return { frames, bytes: bytes + frames * 66 };
    },
  };
}
const payloadOf = (bytes: number): Uint8Array =>
  Uint8Array.from({ length: bytes }, (_, i) => (i * 31 + (i >> 7)) & 255);
const cable = (kit: Kit): Record<string, number> => {
  kit.cable.counters.commit();
  return kit.cable.counters.read();
};

/** Cuts a piece of several frames as a NIC would, with a cutter that is tested elsewhere. @returns its frames */
function framesOf({ bytes, packet }: Frame): Buffer[] {
  if (packet === undefined) return [Buffer.from(bytes)];
  const mem = memOver(new ArrayBuffer(1 << 18));
  let free = 0;
  const cut = new PacketCutter({ mem, mapPrivate: (n: number) => (free += n) - n });
  mem.u8.set(bytes, 1 << 17);
  cut.begin(1 << 17, bytes.length, tcpAt(mem, 1 << 17, bytes.length), packet.mss);
  const out: Buffer[] = [];
  while (cut.next()) out.push(Buffer.from(mem.u8.slice(cut.at, cut.at + cut.bytes)));
  if (out.length !== packet.frames) throw new Error(`${out.length} frames instead of ${packet.frames}`);
  return out;
}

t.test(
  'whatever pieces a queue takes, the frames that they stand for are those that the packet would be cut into',
  (t) => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 60_000 }),
        fc.oneof(fc.constantFrom(1448, 1460, 536), fc.integer({ min: 480, max: 8900 })),
        fc.constantFrom(0, 18 * 2048, 65_535),
        // 600: buffers that hold no packet of this length, though the driver said so.
        fc.constantFrom(4096, 2048, 600),
        (bytes, mss, packetBytes, bufferBytes) => {
          const whole = rig(packetBytes, bufferBytes);
          const plain = rig(0, 4096);
          const said = whole.send(bytes, mss);
          plain.send(bytes, mss);
          const got = whole.q.take().frames;
          const want = plain.q.take().frames.flatMap(framesOf);
          const frames = got.flatMap(framesOf);
          if (bufferBytes * 18 < mss + 66) return true;
          if (frames.length !== want.length || !frames.every((f, i) => f.equals(want[i]))) return false;
          if (!frames.every((f) => checksumsRight(f))) return false;
          const { stationFrames, stationBytes } = cable(whole.kit);
          if (stationFrames !== said.frames || stationBytes !== said.bytes) return false;
          if (whole.q.counters.frames !== said.frames) return false;
          // Who promises more than 18 buffers hold may get frames.
          return packetBytes === 0 || packetBytes > 18 * bufferBytes || bytes <= 2 * 8900 || got.length < frames.length;
        },
      ),
      { numRuns: 60 },
    );
    t.end();
  },
);

t.test('on a link with a rate a piece takes as long as its frames', (t) => {
  const { kit, port, send } = rig(65_535, 4096);
  kit.cable.setSpeed(1);
  const { bytes, frames } = send(43 * 1448, 1448);
  t.equal(port.arm(1514), false);
  // An idle wire makes up for 100 us.
  t.equal(Math.round(port.dueAtNs - kit.laps.now), (bytes + frames * OVERHEAD) * 8 - 100e3);
  t.end();
});

t.test(
  'a piece that waits for buffers for too long goes as frames, as far as there is room, and so does what follows',
  (t) => {
    const { kit, q, cut, port, send } = rig(36_864, 2048);
    for (let i = 0; i < 14; i++) send(36_000, 1448);
    kit.cable.open();
    const at = kit.frames + (6 << 20);
    kit.mem.u8.set(tcpPacket({ payload: payloadOf(36_200), sequence: 1, id: 1, flags: 0x10, options: 12 }), at);
    kit.mem.u8.set([2, 0, 0, 0, 0, 2], at);
    const begin = (): void => {
      cut.begin(at, 36_266, tcpAt(kit.mem, at, 36_266), 1448);
      port.next(cut);
    };
    for (let n = 0; n < 40 && q.counters.buffers < 490; n++) {
      begin();
      if (port.offerPiece(cut) === OFFER_WAITS) break;
    }
    t.equal(cut.frames, 25);
    t.equal(port.offerPiece(cut), OFFER_WAITS);
    const before = cable(kit);
    kit.laps.now += PACKET_STARVED_NS;
    kit.cable.closeStation(0);
    kit.cable.open();
    // Of the last buffers each takes a frame; then a frame is held, as it would be without packets.
    let frames = 0;
    for (; port.offerPiece(cut) !== OFFER_WAITS; frames++) {
      t.equal(cut.frames, 1);
      t.ok(port.next(cut));
    }
    t.ok(frames > 0, `${frames} frames`);
    t.equal(cable(kit)['stationFrames'] - before['stationFrames'], frames);
    kit.laps.now += 2e6;
    t.equal(port.offerPiece(cut), 1, 'given up');
    t.equal(cable(kit)['dropHeld'], 1);
    kit.cable.closeStation(0);
    t.end();
  },
);

t.test('to a group, and of frames that are too long, nothing goes uncut', (t) => {
  const { kit, q, send } = rig(65_535, 4096);
  const { nic } = kit;
  kit.cable.open();
  const at = kit.frames + (6 << 20);
  kit.mem.u8.set(tcpPacket({ payload: payloadOf(24_000), sequence: 1, id: 1, flags: 0x10, options: 12 }), at);
  kit.mem.u8.set([2, 0, 0, 0, 0, 2], at);
  t.equal(nic.receivePacket(at, 24_066, 66, 12_000, 2), UNFIT);
  t.ok(nic.packetBytes(at) > 0);
  kit.mem.u8[at] |= 1;
  t.equal(nic.packetBytes(at), 0);
  kit.cable.closeStation(0);
  t.equal(q.counters.frames, 0);
  send(3000, 1448);
  t.end();
});
