import t from 'tap';
import fc from 'fast-check';
import { FaultDice, PASS } from '../../src/far-end/data/faults.js';
import { FAULT_KINDS, parseFaults, wrongFaults, type FaultSettings } from '@grantline/base';

const chance = fc.double({ min: 0, max: 0.2, noNaN: true });
const settings: fc.Arbitrary<FaultSettings> = fc.record({
  seed: fc.integer({ min: 0, max: 0xffffffff }),
  ...{ loss: chance, duplicate: chance, corrupt: chance, reorder: chance, delay: chance },
  delayUs: fc.integer({ min: 1, max: 1000 }),
});

function fates(s: FaultSettings, frames: number, looks: number): number[] {
  const dice = new FaultDice(s);
  return Array.from({ length: frames }, () => {
    let { verdict } = dice;
    for (let i = 0; i < looks; i++) verdict = dice.verdict;
    dice.next();
    return verdict;
  });
}

t.test('the same seed decides the same, however often it is looked at, and another seed otherwise', (t) => {
  fc.assert(
    fc.property(settings, fc.integer({ min: 0, max: 3 }), (s, looks) => {
      t.same(fates(s, 200, 0), fates(s, 200, looks));
      if (FAULT_KINDS.every((kind) => s[kind] === 0)) t.ok(fates(s, 200, 0).every((v) => v === PASS));
    }),
    { numRuns: 50 },
  );
  const s = { ...parseFaults('loss=0.5,seed=7').in! };
  t.not(fates(s, 64, 0).join(''), fates({ ...s, seed: 8 }, 64, 0).join(''));
  t.end();
});

t.test('each kind comes as often as asked, from the first frame on, also with small seeds', (t) => {
  const counts = [0, 0, 0, 0, 0, 0];
  let first = 0;
  for (let seed = 0; seed < 200; seed++) {
    const s = { seed, loss: 0.02, duplicate: 0.04, corrupt: 0.06, reorder: 0.08, delay: 0.1, delayUs: 1 };
    const all = fates(s, 1000, 0);
    for (const v of all) counts[v]++;
    if (all[0] !== PASS) first++;
  }
  const wanted = [0.7, 0.02, 0.04, 0.06, 0.08, 0.1];
  counts.forEach((n, i) => t.ok(Math.abs(n / 200_000 - wanted[i]) < 0.005, `verdict ${i}: ${n / 200_000}`));
  t.ok(first > 30 && first < 90, `first frames are hit as others are: ${first} of 200`);
  t.end();
});

t.test('what is asked for in words: both directions draw apart, and what is wrong is said', (t) => {
  const both = parseFaults('loss=0.01, reorder=0.02,delay-us=500,seed=7');
  t.match(both.in, { seed: 7, loss: 0.01, reorder: 0.02, delayUs: 500, corrupt: 0 });
  t.not(both.in!.seed, both.out!.seed);
  t.equal(parseFaults('loss=1,direction=in').out, null);
  t.equal(parseFaults('loss=1,direction=out').in, null);
  for (const [text, why] of [
    ['loss=2', /loss must be a probability/],
    ['loss', /loss must be a probability/],
    ['los=0.1', /"los" is none of loss, duplicate/],
    ['loss=0.6,corrupt=0.6', /more than 1 together/],
    ['seed=1.5', /seed must be a whole number/],
    ['delay-us=0', /delay-us must be/],
    ['direction=up', /in, out or both/],
    ['', /is none of/],
  ] as const)
    t.throws(() => parseFaults(text), why, text);
  t.equal(wrongFaults(both.in!), null);
  t.end();
});
