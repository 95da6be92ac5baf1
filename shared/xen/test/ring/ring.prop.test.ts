import t from 'tap';
import fc from 'fast-check';
import { RING_REQ_PROD, RING_RSP_PROD, RX_RING_SIZE } from '../../src/abi/ring.js';
import { RX_SLOT_BYTES } from '../../src/abi/netif.js';
import { memOver, type Mem } from '@grantline/machine';
import { BackRing, FrontRing } from '../../src/ring/shared-ring.js';
import { idxAdd, ringIdx } from '../../src/ring/indices.js';

function pairAt(start: number, size = RX_RING_SIZE): { mem: Mem; front: FrontRing; back: BackRing } {
  const mem = memOver(new ArrayBuffer(8192));
  const front = new FrontRing(mem, 4096, size, RX_SLOT_BYTES, ringIdx(start));
  return { mem, front, back: new BackRing(mem, 4096, size, RX_SLOT_BYTES) };
}

type Step = { kind: 'put' | 'take' | 'answer' | 'collect' | 'frontSleeps' | 'backSleeps'; n: number };
const step: fc.Arbitrary<Step> = fc.record({
  kind: fc.constantFrom('put', 'take', 'answer', 'collect', 'frontSleeps', 'backSleeps'),
  n: fc.integer({ min: 1, max: 9 }),
});
const start = fc.oneof(fc.integer({ min: 0, max: 0xffffffff }), fc.integer({ min: 0xffffffd0, max: 0xffffffff }));

t.test(
  'H7: requests and answers come out once and in order, and no sleeper misses its wake-up, from any start index',
  (t) => {
    fc.assert(
      fc.property(
        start,
        fc.constantFrom(8, 16, 256),
        fc.array(step, { maxLength: 200, size: 'max' }),
        (from, size, steps) => {
          const { mem, front, back } = pairAt(from, size);
          const requests: number[] = []; // put, not taken
          const taken: number[] = []; // taken, not answered
          const answers: number[] = []; // answered, not collected
          let serial = 0;
          let backAsleep = false;
          let frontAsleep = false;
          for (const s of steps) {
            if (s.kind === 'put') {
              for (let i = 0; i < s.n && front.free() > 0; i++) {
                mem.u32[front.slot(front.reqProdPvt) >> 2] = serial;
                requests.push(serial++);
                front.reqProdPvt = idxAdd(front.reqProdPvt, 1);
              }
              if (front.push()) backAsleep = false;
            } else if (s.kind === 'take') {
              const n = Math.min(s.n, back.unconsumed());
              for (let i = 0; i < n; i++) {
                if (mem.u32[back.slot(back.reqCons) >> 2] !== requests[0]) return false;
                taken.push(requests.shift()!);
                back.reqCons = idxAdd(back.reqCons, 1);
              }
            } else if (s.kind === 'answer') {
              for (let i = 0; i < s.n && taken.length > 0; i++) {
                mem.u32[back.slot(back.rspProdPvt) >> 2] = taken[0]!;
                answers.push(taken.shift()!);
                back.rspProdPvt = idxAdd(back.rspProdPvt, 1);
              }
              if (back.push()) frontAsleep = false;
            } else if (s.kind === 'collect') {
              const n = Math.min(s.n, front.unconsumed());
              for (let i = 0; i < n; i++) {
                if (mem.u32[front.slot(front.rspCons) >> 2] !== answers[0]) return false;
                answers.shift();
                front.rspCons = idxAdd(front.rspCons, 1);
              }
            } else if (s.kind === 'frontSleeps') {
              frontAsleep = !front.arm();
            } else {
              backAsleep = !back.arm();
            }
            if (backAsleep && requests.length > 0) return false; // a lost wake-up
            if (frontAsleep && answers.length > 0) return false;
            if (front.free() !== size - requests.length - taken.length - answers.length) return false;
            if (back.unconsumed() !== requests.length) return false;
          }
          return true;
        },
      ),
      { numRuns: 400 },
    );
    t.end();
  },
);

t.test('H1: req_prod further ahead than the ring has slots marks the ring broken, whatever the index', (t) => {
  fc.assert(
    fc.property(start, fc.integer({ min: RX_RING_SIZE + 1, max: 0xffffffff }), (from, jump) => {
      const { mem, back } = pairAt(from);
      mem.u32[(4096 + RING_REQ_PROD) >> 2] = (from + jump) >>> 0;
      return back.unconsumed() === -1;
    }),
  );
  t.end();
});

t.test('H1: requests that are taken and not answered yet count: with them there are never more than slots', (t) => {
  const taken = fc.integer({ min: 1, max: RX_RING_SIZE });
  fc.assert(
    fc.property(start, taken, fc.double({ min: 0, max: 0.999, noNaN: true }), (from, n, over) => {
      const { mem, front, back } = pairAt(from);
      front.reqProdPvt = idxAdd(front.reqProdPvt, n);
      front.push();
      back.reqCons = idxAdd(back.reqCons, n);
      // No further ahead of what was taken than the ring is long, and yet the slots of what is not answered are written anew.
      mem.u32[(4096 + RING_REQ_PROD) >> 2] = idxAdd(ringIdx(from), RX_RING_SIZE + 1 + Math.floor(over * n));
      return back.unconsumed() === -1;
    }),
  );
  t.end();
});

t.test('H1: attaching to a ring whose req_prod is impossible is refused', (t) => {
  const { mem } = pairAt(0xfffffff0);
  mem.u32[(4096 + RING_REQ_PROD) >> 2] = 0xfffffff0 + 400;
  t.throws(() => new BackRing(mem, 4096, RX_RING_SIZE, RX_SLOT_BYTES), /ahead/);
  t.end();
});

t.test('H2: req_prod going backwards is a jump, not a small negative step', (t) => {
  const { mem, front, back } = pairAt(0xfffffff0);
  front.reqProdPvt = idxAdd(front.reqProdPvt, 20);
  front.push();
  back.reqCons = idxAdd(back.reqCons, 10);
  mem.u32[(4096 + RING_REQ_PROD) >> 2] = 0xfffffff5;
  t.equal(back.unconsumed(), -1);
  t.end();
});

t.test('H4: a front end that overwrites rsp_prod changes nothing that the back end believes', (t) => {
  for (const lie of [0xdeadbeef, 11, 12]) {
    const { mem, front, back } = pairAt(7);
    front.reqProdPvt = idxAdd(front.reqProdPvt, 4);
    front.push();
    mem.u32[(4096 + RING_RSP_PROD) >> 2] = lie;
    t.equal(back.unconsumed(), 4);
    back.reqCons = idxAdd(back.reqCons, 4);
    back.rspProdPvt = idxAdd(back.rspProdPvt, 4);
    t.equal(back.push(), true, 'whether to notify is judged by what was published');
    t.equal(mem.u32[(4096 + RING_RSP_PROD) >> 2], 11);
  }
  t.end();
});

t.test('H37: rsp_prod beyond the requests outstanding marks the ring broken for the front end', (t) => {
  const { mem, front } = pairAt(0xfffffffe);
  front.reqProdPvt = idxAdd(front.reqProdPvt, 3);
  front.push();
  mem.u32[(4096 + RING_RSP_PROD) >> 2] = (0xfffffffe + 4) >>> 0;
  t.equal(front.unconsumed(), -1);
  t.end();
});

t.test('a restarted back end continues at rsp_prod', (t) => {
  const { mem, front, back } = pairAt(0xffffffff);
  front.reqProdPvt = idxAdd(front.reqProdPvt, 5);
  front.push();
  back.reqCons = idxAdd(back.reqCons, 3);
  back.rspProdPvt = idxAdd(back.rspProdPvt, 2);
  back.push();
  const again = new BackRing(mem, 4096, RX_RING_SIZE, RX_SLOT_BYTES);
  t.equal(again.unconsumed(), 3);
  t.equal(again.rspProdPvt, 1);
  t.end();
});
