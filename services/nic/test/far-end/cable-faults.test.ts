import t from 'tap';
import { CounterBlock, memOver } from '@grantline/machine';
import { EGRESS_COUNTERS, FAULTS_COUNTERS } from '@grantline/observe';
import type { FaultSettings } from '@grantline/base';
import { CableInjector } from '../../src/far-end/data/cable-faults.js';
import type { Cable } from '../../src/far-end/data/cable.js';
import { CableOut } from '../../src/hardware/data/cable-out.js';
import { F } from '../../src/far-end/data/faults.js';
import { DELIVERED } from '../../src/hardware/data/nic-queue.js';

const FRAME_AT = 1 << 16;
const FRAME_BYTES = 60;
const DELAY_US = 1000;
const DELAY_ALL: FaultSettings = {
  seed: 1,
  loss: 0,
  duplicate: 0,
  corrupt: 0,
  reorder: 0,
  delay: 1,
  delayUs: DELAY_US,
};

/** An injector between a NIC that only notes what it takes, and a far end that does too. */
function make() {
  const mem = memOver(new ArrayBuffer(8 << 20));
  let at = 1 << 20;
  const space = { mem, mapPrivate: (bytes: number) => (at += bytes) - bytes };
  const taken: number[] = [];
  type Injector = { receive(off: number, len: number): number; endBurst(): void };
  const nic = {
    faults: null as Injector | null,
    take(off: number) {
      taken.push(off);
      return DELIVERED;
    },
    moderate() {},
  };
  const cable = { nic, now: 1e9, open() {}, close() {} };
  const out = new CableOut(new CounterBlock(mem, 64, EGRESS_COUNTERS));
  const arrived: number[] = [];
  out.farEnd = { room: 64, frame: (head: number) => void arrived.push(head), settle() {} };
  const counters = {
    in: new CounterBlock(mem, 4096, FAULTS_COUNTERS, { direction: 'in' }),
    out: new CounterBlock(mem, 8192, FAULTS_COUNTERS, { direction: 'out' }),
  };
  const injector = new CableInjector({ space, cable: cable as unknown as Cable, out, counters });
  injector.set({ in: DELAY_ALL, out: DELAY_ALL });
  return { nic, cable, out, taken, arrived, counters };
}

// Under load the NIC's loop never sleeps, and only before it sleeps does it ask the injector when it wants to be polled.
t.test('what is due goes on with the bursts of a loop that never sleeps, to the NIC', (t) => {
  const { nic, cable, taken, counters } = make();
  nic.faults!.receive(FRAME_AT, FRAME_BYTES);
  nic.faults!.endBurst();
  t.same(taken, [], 'not due yet');
  cable.now += 2 * DELAY_US * 1000;
  nic.faults!.endBurst();
  t.equal(taken.length, 1);
  t.equal(counters.in.v[F.delayed], 1);
  t.equal(counters.in.v[F.held], 0);
  t.end();
});

t.test('and from it', (t) => {
  const { out, cable, arrived, counters } = make();
  out.farEnd.frame(FRAME_AT, FRAME_BYTES, 0, 0);
  out.farEnd.settle(cable.now);
  t.same(arrived, [], 'not due yet');
  out.farEnd.settle(cable.now + 2 * DELAY_US * 1000);
  t.equal(arrived.length, 1);
  t.equal(counters.out.v[F.delayed], 1);
  t.equal(counters.out.v[F.held], 0);
  t.end();
});
