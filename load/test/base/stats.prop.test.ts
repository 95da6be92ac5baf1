import t from 'tap';
import fc from 'fast-check';
import { median, medianIndex, medianInterval, spreadOf } from '../../src/base/stats.js';

const figures = fc.array(fc.double({ min: 0, max: 1e9, noNaN: true }), { minLength: 1, maxLength: 60, size: 'max' });
const upTo = (n: number): number[] => Array.from({ length: n }, (_, i) => i + 1);

t.test('intervals of the median have the ranks and the coverage of the binomial distribution', (t) => {
  // Ranks and coverage as printed in tables of nonparametric intervals for the median.
  for (const [n, low, coverage] of [
    [6, 1, 0.96875],
    [7, 1, 0.984375],
    [8, 1, 0.9921875],
    [9, 2, 0.9609375],
    [12, 3, 0.9614],
    [20, 6, 0.9586],
    [100, 40, 0.9648],
  ] as const) {
    const i = medianInterval(upTo(n));
    t.same([i.low, i.high, i.isRange], [low, n + 1 - low, false], `${n} runs`);
    t.ok(Math.abs(i.coverage - coverage) < 5e-5, `${n} runs: ${i.coverage}`);
  }
  t.end();
});

t.test('with fewer than six runs it is the range, and says so', (t) => {
  for (let n = 1; n < 6; n++) {
    const i = medianInterval(upTo(n));
    t.same(i, { low: 1, high: n, coverage: 1 - 2 ** (1 - n), isRange: true });
  }
  t.throws(() => medianInterval([]), RangeError);
  t.throws(() => spreadOf([]), RangeError);
  t.equal(medianIndex([]), -1);
  t.end();
});

t.test('the interval holds the median, reaches the confidence, and does not depend on the order of runs', (t) => {
  const met = { ranges: 0, intervals: 0 };
  fc.assert(
    fc.property(figures, (values) => {
      const i = medianInterval(values);
      met[i.isRange ? 'ranges' : 'intervals']++;
      const m = median(values);
      const { min, max } = spreadOf(values);
      if (!(min <= i.low && i.low <= m && m <= i.high && i.high <= max)) return false;
      if (i.isRange !== values.length < 6 || (!i.isRange && i.coverage < 0.95)) return false;
      if (!values.includes(m)) return false;
      return JSON.stringify(medianInterval([...values].reverse())) === JSON.stringify(i);
    }),
  );
  t.ok(met.ranges >= 5 && met.intervals >= 5, `both kinds were met: ${met.ranges} and ${met.intervals}`);
  t.end();
});

t.test('thousands of runs neither underflow nor widen the interval', (t) => {
  const i = medianInterval(upTo(10_000));
  t.same([i.low, i.high], [4902, 10_001 - 4902]);
  t.ok(i.coverage >= 0.95 && i.coverage < 0.955, `${i.coverage}`);
  t.end();
});
