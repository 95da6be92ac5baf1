import fc from 'fast-check';
import t from 'tap';
import {
  NICQ_AVAIL_EVENT,
  NICQ_AVAIL_PROD,
  NICQ_COMP_EVENT,
  NICQ_COMP_PROD,
  idxAdd,
  type RingIdx,
} from '@grantline/xen';
import { DELIVERED, NO_BUFFER, UNFIT } from '../../src/hardware/data/nic-queue.js';
import { MAX_CHAIN } from '../../src/hardware/data/rx-queue.js';
import { Kit, type TestQueue } from '../kit.js';

const MAC = 0x02_00_00_00_00_01;

/** Moves both sides' indices, so that they wrap during the test. */
function startAt(kit: Kit, q: TestQueue, start: number): void {
  const ring = (q.queue as unknown as { ring: { cons: RingIdx; published: RingIdx } }).ring;
  const driver = q.driver as unknown as { availProd: RingIdx; compCons: RingIdx; published: RingIdx };
  const idx = idxAdd(0 as RingIdx, start);
  Object.assign(ring, { cons: idx, published: idx });
  Object.assign(driver, { availProd: idx, compCons: idx, published: idx });
  const at = (word: number): number => (q.header + word) >> 2;
  for (const word of [NICQ_AVAIL_PROD, NICQ_COMP_PROD]) Atomics.store(kit.mem.u32, at(word), idx);
  for (const word of [NICQ_AVAIL_EVENT, NICQ_COMP_EVENT]) Atomics.store(kit.mem.u32, at(word), idxAdd(idx, 1));
}

const buffer = fc.oneof(
  { weight: 4, arbitrary: fc.constant({ offset: 0, len: 4096 }) },
  { weight: 4, arbitrary: fc.constantFrom({ offset: 0, len: 2048 }, { offset: 2048, len: 2048 }) },
  {
    weight: 2,
    arbitrary: fc.record({ offset: fc.integer({ min: 0, max: 4100 }), len: fc.integer({ min: 0, max: 4200 }) }),
  },
);
const step = fc.oneof(
  fc.record({ op: fc.constant('post' as const), buffer }),
  fc.record({
    op: fc.constant('frame' as const),
    len: fc.oneof(fc.constantFrom(60, 1514, 9014), fc.integer({ min: 60, max: 9014 })),
  }),
  fc.record({
    op: fc.constant('packet' as const),
    len: fc.oneof(fc.constantFrom(4096, 4097, 36266), fc.integer({ min: 1600, max: 65535 })),
    frames: fc.integer({ min: 2, max: 255 }),
  }),
);
const MSS = 1448;

t.test(
  'whatever buffers and frames: frames and packets arrive byte for byte, in order, and no byte outside a buffer changes',
  (t) => {
    // One arena: a fresh one for each run would cost more than the runs.
    const kit = new Kit();
    fc.assert(
      fc.property(
        fc.array(step, { maxLength: 60, size: 'max' }),
        fc.integer({ min: 0xffffffc0, max: 0xffffffff }),
        (steps, start) => {
          const memory = kit.mem.u8.subarray(kit.page(1, 0), kit.page(1, 128));
          memory.fill(0xee);
          const q = kit.queue(1000, 1, 0, 1, 0, 65535);
          startAt(kit, q, start);
          const id = kit.nic.attach(q.queue, MAC, null);
          const spans: [number, number][] = [];
          // Bytes, and how many frames a packet stands for; 0: a frame.
          const sent: [number, number][] = [];
          let pfn = 0;
          for (const s of steps) {
            if (s.op === 'post') {
              q.post(kit.map(1000, 1, pfn), s.buffer.offset, s.buffer.len, kit.page(1, pfn) + s.buffer.offset);
              spans.push([
                kit.page(1, pfn) + s.buffer.offset,
                s.buffer.offset + s.buffer.len <= 4096 ? s.buffer.len : 0,
              ]);
              pfn++;
              continue;
            }
            const fill = (sent.length % 200) + 1;
            const at = kit.frame(MAC, s.len, fill);
            const frames = s.op === 'packet' ? s.frames : 0;
            const status = frames > 0 ? kit.receivePacket(at, s.len, 66, MSS, frames) : kit.receive(at, s.len);
            if (status === DELIVERED) sent.push([s.len, frames]);
            else if (status === UNFIT && frames > 0) continue;
            else if (status !== NO_BUFFER && q.counters.dropTooLong === 0 && q.counters.dropBadDescriptor === 0)
              return false;
          }
          const { frames } = q.take();
          kit.nic.detach(id);
          // Table entries are used up from run to run; start the table anew.
          (kit as unknown as { nextDpn: number }).nextDpn = 1;
          if (frames.length !== sent.length) return false;
          for (const [i, frame] of frames.entries()) {
            const fill = (i % 200) + 1;
            const [len, stands] = sent[i];
            if ((frame.packet?.frames ?? 0) !== stands || (stands > 0 && frame.packet?.mss !== MSS)) return false;
            if (frame.bytes.length !== len || !frame.bytes.slice(6).every((b) => b === fill)) return false;
          }
          for (const [at, len] of spans) kit.mem.u8.fill(0xee, at, at + len);
          return memory.every((b) => b === 0xee) && q.counters.buffers <= frames.length * (MAX_CHAIN + 1);
        },
      ),
      { numRuns: 200 },
    );
    t.end();
  },
);
