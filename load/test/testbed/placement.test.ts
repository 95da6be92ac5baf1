/** Where data threads run: the rule, what can be asked for, and what is said of it. */
import t from 'tap';
import fc from 'fast-check';
import { allowedCores, coreFor } from '@grantline/base';
import type { Handover } from '@grantline/machine';
import {
  handoverText,
  parsePlacement,
  place,
  placementFor,
  placementText,
  PLACEMENTS,
  SLOW_HANDOVER,
} from '../../src/testbed/placement.js';
import { placeEnv } from '../../src/testbed/service-env.js';

const measured = (aloneGbps: number, handoverGbps: number | null): Handover => ({
  ...{ cores: [0, 1], aloneGbps, handoverGbps },
  ...{ roundTripNs: handoverGbps === null ? null : 150, wakeUs: 40 },
});

t.test('two cores far from each other are not used for one path; near ones are', (t) => {
  // Gb/s as they were found: docs/adr/0024.
  t.equal(placementFor(measured(167, 20), 2, 1), 'together');
  t.equal(placementFor(measured(175, 15), 2, 1), 'together');
  t.equal(placementFor(measured(167, 80), 2, 1), 'apart');
  t.equal(placementFor(measured(200, 45), 2, 1), 'apart');
  t.equal(placementFor(measured(230, 220), 2, 1), 'apart');
  t.equal(placementFor(measured(100, 100 * SLOW_HANDOVER), 2, 1), 'apart', 'the limit itself is near');
  t.end();
});

t.test('the rule looks at the share that is handed over, not at how fast the machine is', (t) => {
  const gbps = fc.double({ min: 1, max: 1000, noNaN: true });
  // Powers of two: they change no digit of the quotient.
  const property = fc.property(gbps, gbps, fc.integer({ min: -6, max: 6 }), (alone, hand, power) => {
    const times = 2 ** power;
    return placementFor(measured(alone, hand), 2, 1) === placementFor(measured(alone * times, hand * times), 2, 1);
  });
  t.doesNotThrow(() => fc.assert(property));
  t.end();
});

t.test(
  'one core is left to the scheduler; without figures it is apart; several guests have cores of their own',
  (t) => {
    t.equal(placementFor(measured(165, null), 1, 1), 'none');
    t.equal(placementFor(null, 1, 1), 'none');
    t.equal(placementFor(null, 2, 1), 'apart');
    t.equal(placementFor(measured(165, null), 2, 1), 'apart');
    t.equal(placementFor(measured(165, 15), 2, 8), 'together', 'on two cores guests share one in any case');
    t.equal(placementFor(measured(165, 15), 4, 8), 'apart');
    t.equal(placementFor(measured(165, 15), 4, 1), 'together');
    t.end();
  },
);

t.test('together is one core for all, none is no core, apart is as it was', (t) => {
  for (const cores of [
    [3, 5],
    [0, 1, 2, 3],
  ]) {
    for (const kind of ['nic', 'driver-domain', 'guest'] as const) {
      t.equal(coreFor(kind, 1, cores, 'together'), cores[0]);
      t.equal(coreFor(kind, 1, cores, 'none'), null);
      t.equal(coreFor(kind, 1, cores, 'apart'), coreFor(kind, 1, cores));
      t.equal(coreFor(kind, 0, [7], 'together'), null, 'one core needs no pinning');
    }
    t.not(coreFor('nic', 0, cores), coreFor('guest', 0, cores));
  }
  t.same(placeEnv('driver-domain', 0, [3, 5], 'together', 1), { GRANTLINE_CORE: '3', GRANTLINE_NATIVE_CORE: '3' });
  t.same(placeEnv('driver-domain', 0, [3, 5], 'apart', 1), { GRANTLINE_CORE: '3', GRANTLINE_NATIVE_CORE: '5' });
  t.same(placeEnv('guest', 0, [3, 5], 'none', 1), {});
  t.end();
});

t.test('a service whose core many share is told how many', (t) => {
  t.same(placeEnv('guest', 31, [3, 5], 'apart', 32), { GRANTLINE_CORE: '5', GRANTLINE_SHARERS: '32' });
  t.same(placeEnv('nic', 0, [3, 5], 'apart', 32), { GRANTLINE_CORE: '3' });
  t.same(placeEnv('nic', 0, [3, 5], 'together', 8), { GRANTLINE_CORE: '3', GRANTLINE_SHARERS: '10' });
  t.same(placeEnv('guest', 0, [3], 'apart', 8), { GRANTLINE_SHARERS: '10' }, 'one core, nothing to pin');
  t.same(placeEnv('guest', 0, [3, 5], 'none', 31), { GRANTLINE_SHARERS: '17' });
  t.same(placeEnv('guest', 1, [3], 'apart', 2), {}, 'four are not many');
  t.end();
});

t.test('--placement takes its four words, --no-pin is one of them, and the two may not contradict each other', (t) => {
  for (const placement of PLACEMENTS) t.equal(parsePlacement({ placement, pin: true }), placement);
  t.equal(parsePlacement({ pin: true }), 'auto');
  t.equal(parsePlacement({}), 'auto');
  t.equal(parsePlacement({ pin: false }), 'none');
  t.equal(parsePlacement({ pin: false, placement: 'none' }), 'none');
  const refused = (args: { placement?: string; pin?: boolean }, message: RegExp): void =>
    void t.throws(() => parsePlacement(args), { name: 'UserError', message });
  refused({ placement: 'nowhere' }, /unknown placement "nowhere" - give auto, together, apart, none/);
  refused({ placement: '' }, /unknown placement/);
  refused({ placement: 'apart', pin: false }, /--no-pin and --placement apart contradict/);
  t.end();
});

t.test(
  'what was asked for is what there is, where there are cores for it; figures are there in any case',
  async (t) => {
    for (const asked of ['together', 'apart', 'none'] as const) {
      const placed = await place(asked, 1);
      t.equal(placed.placement, allowedCores().length < 2 ? 'none' : asked);
      t.ok(placed.handover!.aloneGbps > 0);
    }
  },
);

const oneCore = allowedCores().length < 2 && 'one core';
t.test('cores are far when they are so each time: who is near once has both cores', { skip: oneCore }, async (t) => {
  const [far, near] = [measured(167, 20), measured(167, 80)];
  const decided = async (asked: 'auto' | 'apart', ...said: Handover[]) => {
    const left = [...said];
    const { placement, handover } = await place(asked, 1, () => Promise.resolve(left.shift() ?? null), 0);
    return [placement, handover?.handoverGbps, said.length - left.length];
  };
  t.same(await decided('auto', far, far, far), ['together', 20, 3]);
  t.same(await decided('auto', far, far, near), ['apart', 80, 3]);
  t.same(await decided('auto', far, near, far), ['apart', 80, 2]);
  t.same(await decided('auto', near, far, far), ['apart', 80, 1]);
  t.same(await decided('apart', far, far, far), ['apart', 20, 1], 'what is asked for waits for nothing');
});

t.test('what is said of it names choice and reason, and figures that are not there are not made up', (t) => {
  t.equal(placementText({ asked: 'auto', placement: 'together' }), 'together (auto)');
  t.equal(placementText({ asked: 'apart', placement: 'apart' }), 'apart (as asked for)');
  t.equal(placementText({ asked: 'apart', placement: 'none' }), 'none (not apart: there is one core)');
  t.equal(placementText({ asked: null, placement: 'apart' }), 'apart (as the testbed has it)');
  t.equal(placementText({ asked: null, placement: null }), 'not known (as the testbed has it)');
  t.match(
    handoverText(measured(165, 9.14)),
    /165 Gb\/s by itself, 9\.1 Gb\/s reach the other, .* 150 ns, a wake-up 40 us/,
  );
  t.match(handoverText(measured(165, null)), /165 Gb\/s by itself, there is no other/);
  t.match(handoverText(null), /could not be measured/);
  t.end();
});
