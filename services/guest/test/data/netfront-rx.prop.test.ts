import t from 'tap';
import fc from 'fast-check';
import { makeRig } from './rig.js';

const startIdx = fc.oneof(
  fc.constant(0),
  fc.integer({ min: 0xffffff00, max: 0xffffffff }),
  fc.integer({ min: 0, max: 0xffffffff }),
);
/** One step of the back end: so many slots in the frame (0: an error response), or a publication. */
const step = fc.oneof(
  { arbitrary: fc.integer({ min: 0, max: 5 }), weight: 5 },
  { arbitrary: fc.constant(-1), weight: 2 },
);

t.test('every frame is delivered once and in order, and slots, buffers and grants balance', (t) => {
  fc.assert(
    fc.property(
      startIdx,
      fc.boolean(),
      fc.boolean(),
      fc.constantFrom(4096, 2048),
      fc.constantFrom(8, 64, 256, 512),
      fc.array(step, { maxLength: 300, size: 'max' }),
      (start, perFrameGrants, batching, bytes, buffers, steps) => {
        const rig = makeRig({ start, perFrameGrants, batching, bytes, buffers });
        const { front, back, ring } = rig;
        front.refill();
        const sent: number[] = [];
        let errors = 0;
        let slotsUsed = 0;
        for (const s of steps) {
          if (s < 0) {
            back.push();
            while (front.poll() > 0 || front.arm());
          } else if (back.unconsumed() >= Math.max(1, s)) {
            slotsUsed += Math.max(1, s);
            if (s === 0) {
              const r = rig.request();
              rig.respond(r.id, 0, 0, -1);
              errors++;
            } else {
              const mark = sent.length + 1;
              rig.deliver(mark, s);
              sent.push(mark);
            }
          }
        }
        back.push();
        while (front.poll() > 0 || front.arm());
        t.equal(front.fault, 0);
        if (JSON.stringify(rig.sink.frames) !== JSON.stringify(sent)) throw new Error('frames differ');
        const out = ring.size - ring.free();
        if (out + rig.buffers.freeCount !== buffers) throw new Error('buffers are lost');
        if (!batching && out !== Math.min(buffers, ring.size)) throw new Error(`only ${out} are posted`);
        if (rig.count('frames') !== sent.length + errors) throw new Error('frames');
        if (rig.count('dropError') !== errors || rig.count('toStack') !== sent.length) throw new Error('drops');
        if (rig.count('responses') !== slotsUsed) throw new Error('responses');
        const revoked = rig.count('grantsRevoked');
        if (revoked !== (perFrameGrants ? slotsUsed - errors : 0)) throw new Error('revoked');
        if (perFrameGrants && rig.count('grantsIssued') - revoked !== rig.buffers.granted.reduce((a, b) => a + b))
          throw new Error('issued');
        if (!perFrameGrants && rig.count('grantsIssued') !== 0) throw new Error('issued in reuse');
        const missing = rig.missing();
        if (missing.pages !== 0 || missing.grants !== 0) throw new Error('pages or grants are lost');
      },
    ),
    { numRuns: 150 },
  );
  t.end();
});

t.test('any bytes in the ring page break the queue at worst', (t) => {
  fc.assert(
    fc.property(
      startIdx,
      fc.array(fc.tuple(fc.integer({ min: 0, max: 1023 }), fc.integer()), { minLength: 1, maxLength: 60, size: 'max' }),
      fc.integer({ min: 0, max: 300 }),
      (start, writes, jump) => {
        const rig = makeRig({ start, perFrameGrants: true, bytes: 2048 });
        rig.front.refill();
        for (const [word, value] of writes) rig.mem.i32[(rig.ring.base >> 2) + word] = value;
        rig.mem.u32[(rig.ring.base >> 2) + 2] = (start + jump) >>> 0;
        for (let i = 0; i < 8; i++) rig.front.poll();
        rig.front.arm();
        const ok = rig.missing();
        if (ok.pages !== 0 || ok.grants !== 0) throw new Error('pages or grants are lost');
      },
    ),
    { numRuns: 150 },
  );
  t.end();
});
